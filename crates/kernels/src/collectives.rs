//! Collectives by themselves: over lines or both axes of a grid, and a round of the vendor library's.
//!
//! Written for their time. A reduction in one or two phases is the one that was published for WSE-2
//! (sources.md#reductions-over-512-elements); a round is that of a graph traversal on WSE-3
//! (sources.md#graph-traversal-on-a-cs-3): seven collectives of the vendor's library, one after the other. Where the
//! roots of the lines of a grid differ, the program is that of the line whose root is farthest from its members: it
//! ends last.

use wafersim_program::pieces::ring_words;
use wafersim_program::{
    Action, Axis, BufferId, ChainReduce, Multicast, Node, Program, ReduceOperator, Region, Root, Segment, Step, Style,
    collective,
};
use wafersim_spec::DataType;

/// A payload that every processing element of a region holds one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    /// Processing elements.
    pub region: Region,
    /// Elements in each.
    pub elements: u64,
    /// Their type.
    pub data_type: DataType,
}

/// One chain along each row to its first member, then along the first column if there are several rows.
pub fn reduce_chain(payload: &Payload) -> Program {
    reduce("chain reduction", payload, |line| line)
}

/// The same in two phases: chains in groups of `group_size`, then a chain of their first members.
pub fn reduce_two_phase(payload: &Payload, group_size: u64) -> Program {
    reduce("two-phase reduction", payload, |line| group_size.clamp(1, line))
}

/// The first element of the region, or that in its middle, sends its payload to all: along its row, or over both axes.
pub fn broadcast(payload: &Payload, from_middle: bool) -> Program {
    let Payload { region, elements, data_type } = *payload;
    let mut program = Program::new("broadcast", region);
    let values = program.buffer("payload", elements, data_type);
    let place = |length: u64| if from_middle { length / 2 } else { 0 };
    let node = if region.rows > 1 {
        collective::broadcast(&mut program, region, (place(region.columns), place(region.rows)), values)
    } else {
        collective::multicast(&mut program, Axis::X, place(region.columns), values)
    };
    program.push("broadcast", vec![node]);
    program
}

/// Which way pieces of a payload go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// All hold the payload; each ends with its piece of the sum.
    ReduceScatter,
    /// Each holds a piece; all end with the payload.
    AllGather,
}

/// Pieces of a payload round the rings of the rows, then of the columns; the other way round where they are gathered.
/// `queue` is what an input queue of a router holds, in words.
pub fn shared(payload: &Payload, sharing: Sharing, queue: u64) -> Program {
    let Payload { region, elements, data_type } = *payload;
    let mut program = Program::new("pieces of a payload", region);
    let parts = [elements, elements.div_ceil(region.columns.max(1))];
    let parts = [parts[0], parts[1], parts[1].div_ceil(region.rows.max(1))];
    let buffers = parts.map(|part| program.buffer("piece", part, data_type));
    let mut axes = [(Axis::X, buffers[0], buffers[1]), (Axis::Y, buffers[1], buffers[2])];
    if sharing == Sharing::AllGather {
        axes.reverse();
    }
    for (axis, whole, piece) in axes {
        let count = region.along(axis);
        if count <= 1 {
            continue;
        }
        let ring =
            collective::Sharing { axis, count, stride: 1, words: ring_words(queue), source: whole, target: piece };
        let nodes = match sharing {
            Sharing::ReduceScatter => collective::reduce_scatter(&mut program, region, ring, ReduceOperator::Add),
            Sharing::AllGather => {
                let ring = collective::Sharing { source: piece, target: whole, ..ring };
                collective::all_gather(&mut program, region, ring)
            }
        };
        program.push(if axis == Axis::X { "along x" } else { "along y" }, nodes);
    }
    program
}

/// Reductions in groups of `group(line)` members: of a whole line where that is one group.
fn reduce(name: &str, payload: &Payload, group: impl Fn(u64) -> u64) -> Program {
    let Payload { region, elements, data_type } = *payload;
    let mut program = Program::new(name, region);
    let values = program.buffer("payload", elements, data_type);
    let column = Region { columns: 1, ..region };
    for (axis, region) in [(Axis::X, region), (Axis::Y, column)] {
        let line = region.along(axis).max(1);
        let nodes = phases(&mut program, axis, region, values, group(line));
        if !nodes.is_empty() {
            program.push(if axis == Axis::X { "along x" } else { "along y" }, nodes);
        }
    }
    program
}

fn phases(program: &mut Program, axis: Axis, region: Region, payload: BufferId, group: u64) -> Vec<Node> {
    let line = region.along(axis);
    let groups = line.div_ceil(group);
    let mut nodes = Vec::with_capacity(2);
    if group > 1 {
        nodes.push(chain(program, axis, region, Chain { members: group, stride: 1, payload }));
    }
    // The root of the last group has nobody behind it: it passes its group's stream on as it comes, and that waits at
    // the door of the last root but one until this has its own group's. So the way of the last group is not on the
    // critical path; of two groups only the second turn of the first root is.
    let second = match groups {
        0 | 1 => None,
        2 => Some((2, 1)),
        more => Some((more - 1, group)),
    };
    if let Some((members, stride)) = second {
        let length = ((members - 1) * stride + 1).min(line);
        let region = match axis {
            Axis::X => Region { columns: length, ..region },
            Axis::Y => Region { rows: length, ..region },
        };
        nodes.push(chain(program, axis, region, Chain { members, stride, payload }));
    }
    nodes
}

#[derive(Debug, Clone, Copy)]
struct Chain {
    members: u64,
    stride: u64,
    payload: BufferId,
}

fn chain(program: &mut Program, axis: Axis, region: Region, chain: Chain) -> Node {
    let colors = program.new_colors(4);
    let Chain { members, stride, payload } = chain;
    Node::Step(Step {
        region,
        action: Action::ChainReduce(ChainReduce {
            axis,
            count: members,
            stride,
            offset: 0,
            segment: Segment::LINE,
            root: Root::First,
            operator: ReduceOperator::Add,
            style: Style::Streaming,
            payload,
            colors,
        }),
    })
}

/// What a phase of a round does along its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collective {
    /// The root sends to all of its line.
    Broadcast,
    /// All send to the root.
    Reduce,
}

/// Which member of its line is the root of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// That on the diagonal of the grid: another one in each line.
    Diagonal,
    /// The same, and only the middle of the line waits for it.
    DiagonalForTheMiddle,
    /// The one in the middle.
    Middle,
    /// The first.
    First,
}

/// A collective of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phase {
    /// Along which lines.
    pub axis: Axis,
    /// What it does.
    pub collective: Collective,
    /// Where its roots are.
    pub at: At,
}

impl Phase {
    /// The seven of a round of the published traversal: what was visited and what is new along rows and columns, the
    /// rows' findings back to the diagonal, and how many there are to the middle of the grid and to all.
    pub const TRAVERSAL: [Self; 7] = [
        Self { axis: Axis::X, collective: Collective::Broadcast, at: At::Diagonal },
        Self { axis: Axis::Y, collective: Collective::Broadcast, at: At::Diagonal },
        Self { axis: Axis::X, collective: Collective::Reduce, at: At::Diagonal },
        Self { axis: Axis::Y, collective: Collective::Broadcast, at: At::DiagonalForTheMiddle },
        Self { axis: Axis::X, collective: Collective::Reduce, at: At::Middle },
        Self { axis: Axis::X, collective: Collective::Broadcast, at: At::Middle },
        Self { axis: Axis::Y, collective: Collective::Broadcast, at: At::Middle },
    ];
}

/// Collectives of the vendor's library one after the other. Those with roots on the diagonal carry the payload; what
/// the middle is asked for is one word.
pub fn library_round(payload: &Payload, phases: &[Phase]) -> Program {
    let Payload { region, elements, data_type } = *payload;
    let mut program = Program::new("library round", region);
    let vector = program.buffer("vector", elements, data_type);
    let count = program.buffer("count", 1, DataType::Fp32);
    for phase in phases {
        let line = region.along(phase.axis);
        let payload = if phase.at == At::Diagonal { vector } else { count };
        let node = phase.node(&mut program, region, payload);
        if line > 1 {
            program.push(phase.name(), vec![node]);
        }
    }
    program
}

impl Phase {
    fn name(self) -> &'static str {
        match self.collective {
            Collective::Broadcast => "broadcast",
            Collective::Reduce => "reduction",
        }
    }

    fn node(self, program: &mut Program, region: Region, payload: BufferId) -> Node {
        let line = region.along(self.axis).max(1);
        let colors = program.new_colors(4);
        let axis = self.axis;
        let action = match self.collective {
            Collective::Reduce => Action::ChainReduce(ChainReduce {
                axis,
                count: line,
                stride: 1,
                offset: 0,
                segment: Segment::LINE,
                root: if self.at == At::Middle { Root::Middle } else { Root::First },
                operator: ReduceOperator::Add,
                style: Style::Library,
                payload,
                colors,
            }),
            Collective::Broadcast => Action::Multicast(Multicast {
                axis,
                from: if self.at == At::Middle { line / 2 } else { 0 },
                span: if self.at == At::DiagonalForTheMiddle { line / 2 + 1 } else { line },
                stride: 1,
                style: Style::Library,
                payload,
                colors: colors[..2].to_vec(),
            }),
        };
        Node::Step(Step { region, action })
    }
}

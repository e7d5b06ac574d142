//! Experts in rectangles: dispatch, the network of each rectangle, combine. Ours: no published kernel has experts.
//!
//! All rectangles work at the same time; experts that share one work one after the other. A token lies along y, copied
//! along x. Dispatch: every column of a rectangle fetches its share of the vector from the whole column of the region,
//! whose owners send it once for all rectangles of that column; then each row of the rectangle passes the shares round
//! along x. Combine is the way back: each column keeps its share of the outputs and sends it to those who hold that
//! part of the stream, where they are added; then every row of the region is summed along x, since each column has the
//! sum of its own experts.

use std::collections::BTreeMap;

use wafersim_mapping::{ExpertMapping, LineKind};
use wafersim_place::CellGrid;
use wafersim_program::{
    Axis, BufferId, Digit, Dimension, Field, Formula, Math, Node, Operand, Operation, Pair, Pairs, Region, Spread,
    layout::even,
};
use wafersim_spec::model::Moe;

use crate::network::{Network, NetworkForm};
use crate::overlap::{Body, hide};
use crate::relayout::Way;
use crate::request::{CellPair, LowerError, PlaceLoad, Routed, cells_of};
use crate::router::Choice;
use crate::writer::{Lines, Writer, along, first, table};

/// A rectangle that experts work in.
#[derive(Debug, Clone)]
struct Cell {
    region: Region,
    /// Tokens that come, each once, in order.
    tokens: Vec<u64>,
    /// Pairs in the order in which they are worked on; rows count the tokens that come.
    pairs: Pairs,
    /// Different experts among them.
    distinct: u64,
    /// Whether its network is written. Of an expected load only the busiest rectangle is, beside what travels in its
    /// column.
    works: bool,
}

/// Experts in rectangles while they are written.
#[derive(Debug, Clone)]
pub(crate) struct Clusters {
    cells: Vec<Cell>,
    networks: Vec<(Region, Network)>,
    /// What comes back before it is sent to its owners: a field for each rectangle.
    kept: BufferId,
    /// Gate and up, activation, down of every rectangle at work.
    parts: Vec<[Vec<Node>; 3]>,
}

impl Clusters {
    /// One of the three parts, of all rectangles at the same time. It is given away.
    pub fn part(&mut self, part: usize) -> Vec<Node> {
        let of_one =
            |parts: &mut [Vec<Node>; 3]| Node::Sequence(parts.get_mut(part).map(std::mem::take).unwrap_or_default());
        vec![Node::Parallel(self.parts.iter_mut().map(of_one).collect())]
    }
}

/// Wavelets that the places of a line let pass or take: a place takes in one after the other what comes from both
/// sides.
pub(crate) struct Passing {
    changes: Vec<i64>,
}

impl Passing {
    pub fn new(length: u64) -> Self {
        Self { changes: vec![0; length as usize + 1] }
    }

    pub fn send(&mut self, from: u64, to: u64, wavelets: u64) {
        let (low, high) = (from.min(to) as usize, from.max(to) as usize);
        if let Some(change) = self.changes.get_mut(low) {
            *change += wavelets as i64;
        }
        if let Some(change) = self.changes.get_mut(high + 1) {
            *change -= wavelets as i64;
        }
    }

    /// Those of the busiest place.
    pub fn busiest(&self) -> u64 {
        let sums = self.changes.iter().scan(0i64, |sum, change| {
            *sum += change;
            Some(*sum)
        });
        sums.max().unwrap_or(0).max(0) as u64
    }
}

/// The place of an element of a dimension that is shared out evenly: see [`even`].
const fn owner(size: u64, parts: u64, element: u64) -> u64 {
    let each = match size.checked_div(parts) {
        Some(each) => each,
        None => size,
    };
    if each == 0 || element >= each * parts { element - each * parts } else { element / each }
}

/// What the fullest column of a rectangle keeps of what its row `row` holds of a vector.
fn share(hidden: u64, region: Region, row: u64) -> Vec<u64> {
    let here = even(hidden, region.rows, row);
    let kept = even(here.len() as u64, region.columns, 0);
    kept.into_iter().filter_map(|at| here.get(at as usize).copied()).collect()
}

/// The farthest way between the rows of a rectangle and the owners of what they hold, whichever column fetches it.
fn farthest_way(hidden: u64, whole: Region, region: Region) -> u64 {
    let (each, wraps) = (hidden / region.rows, hidden / whole.rows * whole.rows);
    let of_row = |row: u64| {
        let (first, last) = (each * row, each * (row + 1));
        // Owners rise along a run, but for where the elements that are left over begin.
        let run = [first, last.saturating_sub(1), wraps.saturating_sub(1), wraps];
        let run = run.into_iter().filter(move |element| (first..last).contains(element));
        let left_over = (row < hidden % region.rows).then_some(each * region.rows + row);
        let to = region.y - whole.y + row;
        run.chain(left_over).map(move |element| owner(hidden, whole.rows, element).abs_diff(to)).max().unwrap_or(0)
    };
    (0..region.rows).map(of_row).max().unwrap_or(0)
}

impl Cell {
    fn rows(&self, tokens: u64) -> Dimension {
        Dimension { size: tokens, spread: Spread::Listed(self.tokens.clone()) }
    }

    /// A vector over the rows of the rectangle, its parts shared out once more along each row where `shared`.
    fn field(&self, name: &'static str, (tokens, hidden): (u64, u64), shared: bool) -> Field {
        let rows = Spread::Split(Digit::line(Axis::Y, self.region.rows));
        let spread = match shared {
            false => rows,
            true => Spread::Shared { spread: Box::new(rows), digit: Digit::line(Axis::X, self.region.columns) },
        };
        let spread = Spread::Within { rectangle: self.region, spread: Box::new(spread) };
        Field::new(name, self.rows(tokens), vec![Dimension { size: hidden, spread }])
    }
}

/// The rectangles that get something.
fn cells(
    experts: &ExpertMapping,
    routed: &Routed,
    tokens: u64,
    (moe, whole): (&Moe, Region),
) -> Result<Vec<Cell>, LowerError> {
    let grid = CellGrid::new(whole.columns, whole.rows, experts.across, experts.down);
    let refuse = |cell: u64| LowerError::Cell {
        cell,
        across: experts.across,
        down: experts.down,
        columns: whole.columns,
        rows: whole.rows,
    };
    if (grid.across, grid.down) != (experts.across, experts.down) {
        return Err(refuse(experts.cells().saturating_sub(1)));
    }
    let region = |cell: u64| {
        let rectangle = grid.rectangle(cell);
        Region::new(rectangle.x, rectangle.y, rectangle.columns, rectangle.rows)
    };
    let listed = |number: u64, pairs: &[CellPair], works: bool| {
        let mut here: Vec<u64> = pairs.iter().map(|pair| pair.token).collect();
        here.sort_unstable();
        here.dedup();
        let row = |token: u64| here.binary_search(&token).map_or(0, |row| row as u64);
        let mut order: Vec<&CellPair> = pairs.iter().collect();
        order.sort_by_key(|pair| (pair.expert, pair.token, pair.slot));
        let pair =
            |pair: &CellPair| Pair { token: pair.token, slot: pair.slot, from: row(pair.token), to: row(pair.token) };
        let mut experts: Vec<u64> = pairs.iter().map(|pair| pair.expert).collect();
        experts.sort_unstable();
        experts.dedup();
        let pairs = order.into_iter().map(pair).collect();
        Cell { region: region(number), tokens: here, pairs, distinct: experts.len() as u64, works }
    };
    match routed {
        Routed::Chosen(chosen) => {
            if let Some(expert) = chosen.iter().flatten().find(|expert| **expert >= moe.experts) {
                return Err(LowerError::Expert { expert: *expert, experts: moe.experts });
            }
            let cells = cells_of(chosen, experts);
            if let Some(cell) = cells.keys().find(|cell| **cell >= grid.cells()) {
                return Err(refuse(*cell));
            }
            Ok(cells.iter().map(|(number, pairs)| listed(*number, pairs, true)).collect())
        }
        Routed::Expected(load) => {
            // The last rectangle is among the smallest, and in a corner: it works longest and is farthest from its
            // tokens.
            let last = grid.cells() - 1;
            let expected = expected_pairs(load.busiest, 0, tokens);
            let mut cells = vec![listed(last, &expected, true)];
            let mut left = load.column.pairs.saturating_sub(load.busiest.pairs);
            let mut after = load.busiest.tokens;
            for above in 1..grid.down {
                let pairs = left.min(load.busiest.pairs);
                let few = PlaceLoad { pairs, distinct: 1, tokens: pairs.min(load.column.tokens) };
                if pairs > 0 {
                    let these = expected_pairs(few, after, load.column.tokens.clamp(1, tokens));
                    cells.push(listed(last - above * grid.across, &these, false));
                }
                left -= pairs;
                after += pairs;
            }
            Ok(cells)
        }
    }
}

/// Pairs of an expected load: tokens from `after` on, round and round, as many choices of each as it takes.
fn expected_pairs(load: PlaceLoad, after: u64, tokens: u64) -> Vec<CellPair> {
    let own = load.tokens.clamp(1, tokens.max(1));
    let pair = |number: u64| CellPair {
        token: (after + number % own) % tokens.max(1),
        slot: number / own,
        expert: number / own % load.distinct.max(1),
    };
    (0..load.pairs.max(1)).map(pair).collect()
}

impl Writer<'_> {
    /// Tokens to the rectangles of their experts.
    pub fn dispatch(&mut self, moe: &Moe, x: Operand, choice: Choice) -> Result<(Vec<Node>, Clusters), LowerError> {
        let request = self.request;
        let Some(experts) = &request.mapping.experts else {
            return Err(LowerError::Unknown {
                what: "a dispatch".into(),
                part: "spread experts",
                allowed: "experts in rectangles",
            });
        };
        let (tokens, hidden, whole) = (request.tokens, request.hidden, self.region());
        let cells = cells(experts, &request.routed, tokens, (moe, whole))?;
        let name = if self.laid(x).name == "normed" { "normed" } else { "x" };
        let fields = |shared: bool| cells.iter().map(|cell| cell.field(name, (tokens, hidden), shared)).collect();
        let fetched = self.declare("expert.fetched", fields(true));
        let arrived = self.declare("expert.input", fields(false));
        let way = self.fetch_way(&cells, hidden);
        let mut nodes = vec![self.relayout(Axis::Y, x.buffer, fetched, way)];
        nodes.push(self.relayout(Axis::X, fetched, arrived, self.passing_way(&cells)));
        let network = |(field, cell): (u32, &Cell)| Network {
            roles: crate::layer::EXPERT_ROLES,
            bias: moe.expert_bias,
            width: moe.width,
            hidden,
            x: Operand::new(arrived, field),
            inputs: Field::new(name, cell.rows(tokens), vec![along(hidden, Axis::Y, cell.region)]),
            chosen: Some((choice, cell.pairs.clone())),
            tiles: cell.distinct,
            rows: cell.rows(tokens),
            gating: moe.gating,
            weighs_input: moe.selection.weighs_input,
            output_gate: None,
        };
        let networks = (0u32..).zip(&cells).map(|(field, cell)| (cell.region, network((field, cell)))).collect();
        let fields = cells.iter().map(|cell| cell.field("output", (tokens, hidden), true)).collect();
        let kept = self.declare("expert.kept", fields);
        Ok((nodes, Clusters { cells, networks, kept, parts: Vec::new() }))
    }

    /// Gate and up, activation and down of every rectangle at work; each of its columns keeps its share of what comes
    /// out.
    pub fn experts_in_cells(&mut self, clusters: &mut Clusters, form: NetworkForm) {
        let kept = clusters.kept;
        for ((field, (region, network)), cell) in (0u32..).zip(&clusters.networks).zip(&clusters.cells) {
            if cell.works {
                clusters
                    .parts
                    .push(self.within(*region, |writer| writer.in_cell(network, form, Operand::new(kept, field))));
            }
        }
    }

    fn in_cell(&mut self, network: &Network, form: NetworkForm, kept: Operand) -> [Vec<Node>; 3] {
        let (mut gate_up, made) = self.gate_up("experts.gate_up", std::slice::from_ref(network), form, None);
        let Some(made) = made.first().copied() else { return Default::default() };
        let mut activation = vec![self.gated_activation(network, made)];
        let (mut down, output) = self.down("experts.down", &[(network.clone(), made.gate)], form);
        let work = vec![self.work(Operation::Copy, self.most(kept), 1)];
        let formula = Formula::Select { source: first(output), target: kept };
        down.push(self.compute(Math::Copy, &[output], kept.buffer, work, formula));
        if self.mapping().overlap.conversion {
            let parts = [&mut gate_up, &mut activation, &mut down].into_iter().zip([true, false, false]);
            hide(parts.map(|(nodes, waits)| Body { nodes, waits }).collect());
        }
        [gate_up, activation, down]
    }

    /// Outputs back to those who hold the stream, and the sum over the columns of rectangles. `beside`: partial sums
    /// along x of another network, which go into the same reduction.
    pub fn combine(&mut self, clusters: &Clusters, also: Option<BufferId>) -> (Vec<Node>, BufferId) {
        let (tokens, hidden, whole) = (self.request.tokens, self.request.hidden, self.region());
        let result = self.declare("expert.output", vec![table("output", tokens, hidden, Axis::Y, whole)]);
        let way = self.return_way(&clusters.cells, hidden);
        let mut nodes = vec![self.adding(Axis::Y, clusters.kept, result, way)];
        nodes.extend(also.map(|other| self.residual(first(result), first(other))));
        nodes.extend(self.reduce("experts.combine", LineKind::X, Lines::Whole(Axis::X), result));
        (nodes, result)
    }

    /// The way of vectors along the columns of the region to those that fetch them: an owner sends what rectangles
    /// above it want in one piece, and what those below it want in another. Columns of rectangles are alike; the one
    /// with most decides.
    fn fetch_way(&self, cells: &[Cell], hidden: u64) -> Way {
        let whole = self.region();
        let mut columns: BTreeMap<u64, Vec<&Cell>> = BTreeMap::new();
        cells.iter().for_each(|cell| columns.entry(cell.region.x).or_default().push(cell));
        let of_column = |cells: &Vec<&Cell>| {
            // (owner, whether it goes up, element, cell), and how far each owner's piece goes.
            let mut wanted: Vec<(u64, bool, u64, usize)> = Vec::new();
            let mut farthest: BTreeMap<(u64, bool), u64> = BTreeMap::new();
            for (index, cell) in cells.iter().enumerate() {
                for row in 0..cell.region.rows {
                    let to = cell.region.y - whole.y + row;
                    for element in share(hidden, cell.region, row) {
                        let from = owner(hidden, whole.rows, element);
                        if from != to {
                            wanted.push((from, to > from, element, index));
                            let known = farthest.entry((from, to > from)).or_insert(to);
                            *known = if to > from { (*known).max(to) } else { (*known).min(to) };
                        }
                    }
                }
            }
            wanted.sort_unstable();
            let mut places = Passing::new(whole.rows);
            for piece in wanted.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
                let Some(&(from, up, ..)) = piece.first() else { continue };
                let vectors = |of_element: &[(u64, bool, u64, usize)]| match of_element {
                    [one] => cells[one.3].tokens.len() as u64,
                    several => {
                        let mut tokens: Vec<u64> = Vec::new();
                        several.iter().for_each(|one| tokens.extend(&cells[one.3].tokens));
                        tokens.sort_unstable();
                        tokens.dedup();
                        tokens.len() as u64
                    }
                };
                let elements: u64 = piece.chunk_by(|a, b| a.2 == b.2).map(vectors).sum();
                let to = farthest.get(&(from, up)).copied().unwrap_or(from);
                places.send(from, to, self.activations().wavelets(elements));
            }
            places.busiest()
        };
        let wavelets = columns.values().map(of_column).max().unwrap_or(0);
        Way::Pieces { hops: self.farthest(cells, hidden), wavelets }
    }

    fn farthest(&self, cells: &[Cell], hidden: u64) -> u64 {
        let whole = self.region();
        cells.iter().map(|cell| farthest_way(hidden, whole, cell.region)).max().unwrap_or(0)
    }

    /// The way of shares round the rows of rectangles.
    fn passing_way(&self, cells: &[Cell]) -> Way {
        let hidden = self.request.hidden;
        let of_cell = |cell: &Cell| {
            let elements = hidden.div_ceil(cell.region.rows).div_ceil(cell.region.columns);
            (cell.region.columns, elements.saturating_mul(cell.tokens.len() as u64))
        };
        // Rectangles differ by a column or a row at most.
        let sizes: Vec<(u64, u64)> = cells.iter().map(of_cell).collect();
        let members = sizes.iter().map(|(members, _)| *members).max().unwrap_or(1);
        let elements = sizes.iter().map(|(_, elements)| *elements).max().unwrap_or(0);
        Way::AllGather { before: 0, owners: members, members, elements }
    }

    /// The way back along the columns of the region: every place of a rectangle sends its share of each token's output,
    /// those parts that go up in one piece, those that go down in another.
    fn return_way(&self, cells: &[Cell], hidden: u64) -> Way {
        let whole = self.region();
        let mut columns: BTreeMap<u64, Passing> = BTreeMap::new();
        for cell in cells {
            let places = columns.entry(cell.region.x).or_insert_with(|| Passing::new(whole.rows));
            for row in 0..cell.region.rows {
                let from = cell.region.y - whole.y + row;
                let mut pieces = [(0u64, from); 2];
                for element in share(hidden, cell.region, row) {
                    let to = owner(hidden, whole.rows, element);
                    let (count, farthest) = &mut pieces[usize::from(to > from)];
                    if to != from {
                        *count += cell.tokens.len() as u64;
                        *farthest = if to > from { (*farthest).max(to) } else { (*farthest).min(to) };
                    }
                }
                for (count, to) in pieces {
                    if count > 0 {
                        places.send(from, to, self.activations().wavelets(count));
                    }
                }
            }
        }
        let wavelets = columns.values().map(Passing::busiest).max().unwrap_or(0);
        Way::Pieces { hops: self.farthest(cells, hidden), wavelets }
    }
}

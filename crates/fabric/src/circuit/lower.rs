//! From a program to stages, streams and operations. One lowering for all programs: kernels have no fabric code of
//! their own.
//!
//! Colors of the program become colors of the router, in order, or renamed where there are more of them; steps that
//! share a color at different times share it here (the routers switch the color's route with the step;
//! [`colors::count`] says where). How long vector work takes is the caller's to say, since that is knowledge of the
//! closed form that should not stand twice.

use std::borrow::Cow;
use std::collections::BTreeMap;

use wafersim_program::{
    Action, AllGather, Axis, Color, KnownMovements, Node, Program, ReduceScatter, Region, Root, Step, Work,
};
use wafersim_spec::Wafer;
use wafersim_spec::wafer::{Key, RateSet};

use super::check;
use super::colors::{self, Given};
use super::error::CircuitError;
use super::laid;
use super::lowered::{Lowered, Part, Stage};
use super::pattern::{self, Context};
use super::route::Area;
use super::timing::{Tick, Timing, ticks};

/// Steps of an unrolled program.
const MOST_STEPS: u64 = 1 << 23;
/// Wavelets of one operation, members of a chain, hops of a way.
const MOST_WAVELETS: u64 = u32::MAX as u64;
const LONGEST_LINE: u64 = 1 << 16;

/// Names of colors of a program.
const MOST_NAMES: u64 = 1024;

/// Cycles of one piece of vector work in a processing element.
pub type WorkCycles<'a> = &'a dyn Fn(&Work) -> f64;

/// Lowers a program for a wafer. Its colors are those of the program in order; where it has more names than a router
/// has colors, names that do not meet share one.
///
/// # Errors
/// Where the program wants more colors than a router has, merges two sources on a color, reaches beyond the fabric, or
/// is too large to be unrolled.
pub fn lower(
    program: &Program,
    wafer: &Wafer,
    set: RateSet,
    work_cycles: WorkCycles<'_>,
) -> Result<Lowered, CircuitError> {
    let lowered = lower_names(program, wafer, set, work_cycles)?;
    match enough_colors(&lowered, Detail::Full)? {
        Some(given) => Ok(given.renamed(lowered)),
        None => Ok(lowered),
    }
}

/// Physical colors for a program with more names than a router has colors; nothing where it has no more.
fn enough_colors(lowered: &Lowered, detail: Detail) -> Result<Option<Given>, CircuitError> {
    let available = lowered.timing.colors;
    if lowered.colors <= available {
        return Ok(None);
    }
    let given = colors::given(lowered, detail);
    if given.physical > available {
        let (names, wanted) = (given.names, given.physical);
        return Err(CircuitError::Colors { names, wanted, available });
    }
    Ok(Some(given))
}

/// Whether every router has colors enough for a program, as [`lower`] says it. Relayouts are first taken as if they
/// went other ways than everything that they meet: who then has enough needs no more.
///
/// `movements` keeps what relayouts move for the next program.
///
/// # Errors
/// As [`lower`].
pub fn fits_in_routers(program: &Program, wafer: &Wafer, movements: &KnownMovements) -> Result<(), CircuitError> {
    let lowered = |detail: Detail| {
        let wanted = Wanted { detail, movements };
        lowered(program, wafer, RateSet::Silicon, &|_: &Work| 0.0, wanted)
    };
    if enough_colors(&lowered(Detail::Outline)?, Detail::Outline).is_ok() {
        return Ok(());
    }
    enough_colors(&lowered(Detail::Ways)?, Detail::Ways).map(|_| ())
}

/// Lowers a program whose colors stay names: as many as its steps use.
///
/// # Errors
/// As [`lower`], but for the number of colors.
pub fn lower_names(
    program: &Program,
    wafer: &Wafer,
    set: RateSet,
    work_cycles: WorkCycles<'_>,
) -> Result<Lowered, CircuitError> {
    let wanted = Wanted { detail: Detail::Full, movements: &KnownMovements::default() };
    lowered(program, wafer, set, work_cycles, wanted)
}

/// What is wanted of a program, and what is known of others.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    detail: Detail,
    movements: &'a KnownMovements,
}

/// How much of a program is lowered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// All of it.
    Full,
    /// Which ways streams go on which colors, and nothing of what cores do.
    Ways,
    /// The same, and relayouts by the colors that they use and no more.
    Outline,
}

impl Detail {
    /// Whether it is wanted what cores do.
    pub(super) const fn has_operations(self) -> bool {
        matches!(self, Self::Full)
    }
}

fn lowered(
    program: &Program,
    wafer: &Wafer,
    set: RateSet,
    work_cycles: WorkCycles<'_>,
    wanted: Wanted<'_>,
) -> Result<Lowered, CircuitError> {
    let timing = Timing::new(wafer, set);
    let mut steps: Vec<&Step> = program.steps().collect();
    let mut physical = BTreeMap::new();
    for step in &steps {
        for color in pattern::colors_of(step, program) {
            physical.insert(color, 0);
        }
    }
    let colors = physical.len() as u32;
    check_size("the number of names of colors", u64::from(colors), MOST_NAMES)?;
    for (index, place) in physical.values_mut().enumerate() {
        *place = index as u16;
    }
    steps.retain(|step| step.region.elements() > 0);
    let fabric = (wafer.figure(Key::Columns).value as u64, wafer.figure(Key::Rows).value as u64);
    let all = || steps.iter().map(|step| step.region).chain(std::iter::once(program.region));
    let origin = (all().map(|region| region.x).min().unwrap_or(0), all().map(|region| region.y).min().unwrap_or(0));
    let mut lowering = Lowering {
        program,
        timing,
        physical,
        wanted,
        fabric,
        origin,
        work_cycles,
        operator: 0u32,
        next_step: 0,
        around: Around::default(),
        stages: Vec::new(),
    };
    let mut end = (0, 0);
    for region in all() {
        let area = lowering.area(region, &program.name)?;
        end = (end.0.max(area.x + area.columns), end.1.max(area.y + area.rows));
    }
    let mut operators: Vec<Cow<'static, str>> = Vec::new();
    let mut schedule = Vec::new();
    for node in &program.body {
        let name = match node {
            Node::Operator { name, .. } => name.clone(),
            _ => Cow::Borrowed("other"),
        };
        let known = operators.iter().position(|known| *known == name);
        lowering.operator = known.unwrap_or_else(|| {
            operators.push(name.clone());
            operators.len() - 1
        }) as u32;
        let part = lowering.node(node, &name)?;
        check_steps(schedule.len() as u64 + part.len() as u64)?;
        schedule.extend(part);
    }
    let schedule = if wanted.detail.has_operations() { lowering.set_up_after_compute(schedule) } else { schedule };
    let rounds = schedule.iter().map(|place| place.round.unwrap_or(0)).collect();
    let schedule = schedule.into_iter().map(|place| place.stage).collect();
    let (columns, rows) = end;
    let stages = lowering.stages;
    Ok(Lowered { columns, rows, origin, timing, stages, schedule, rounds, operators, colors })
}

fn check_steps(steps: u64) -> Result<(), CircuitError> {
    check_size("the number of unrolled steps", steps, MOST_STEPS)
}

fn check_size(what: &'static str, value: u64, largest: u64) -> Result<(), CircuitError> {
    if value > largest { Err(CircuitError::TooLarge { what, value, largest }) } else { Ok(()) }
}

/// A place of the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct At {
    stage: u32,
    /// Round of the innermost loop; nothing outside of loops.
    round: Option<u32>,
}

/// The innermost loop around a step.
#[derive(Debug, Clone, Copy, Default)]
struct Around {
    round: u64,
    systolic: bool,
}

struct Lowering<'a> {
    program: &'a Program,
    timing: Timing,
    physical: BTreeMap<Color, u16>,
    wanted: Wanted<'a>,
    fabric: (u64, u64),
    origin: (u64, u64),
    work_cycles: WorkCycles<'a>,
    operator: u32,
    /// Number of the next step in the text of the program.
    next_step: u32,
    around: Around,
    stages: Vec<Stage>,
}

impl Lowering<'_> {
    /// A region of the program as an area of the simulated mesh.
    fn area(&self, region: Region, operator: &str) -> Result<Area, CircuitError> {
        let (columns, rows) = self.fabric;
        let (right, bottom) = (region.x.saturating_add(region.columns), region.y.saturating_add(region.rows));
        if right > columns || bottom > rows || region.columns == 0 || region.rows == 0 {
            let (column, row) = (right.saturating_sub(1), bottom.saturating_sub(1));
            return Err(CircuitError::OutsideFabric { operator: operator.into(), column, row, columns, rows });
        }
        Ok(Area {
            x: (region.x - self.origin.0) as u32,
            y: (region.y - self.origin.1) as u32,
            columns: region.columns as u32,
            rows: region.rows as u32,
        })
    }

    fn stage(&mut self, parts: Vec<Part>, steps: Vec<u32>) -> u32 {
        self.stages.push(Stage { operator: self.operator, parts, steps });
        self.stages.len() as u32 - 1
    }

    /// The schedule of a node.
    fn node(&mut self, node: &Node, operator: &str) -> Result<Vec<At>, CircuitError> {
        match node {
            Node::Step(step) => self.steps(std::slice::from_ref(step), operator),
            Node::Operator { body, .. } | Node::Sequence(body) => {
                let mut schedule = Vec::new();
                for part in body {
                    schedule.extend(self.node(part, operator)?);
                    check_steps(schedule.len() as u64)?;
                }
                Ok(schedule)
            }
            Node::Parallel(branches) => {
                let branches = branches.iter().map(|branch| self.node(branch, operator)).collect::<Result<_, _>>()?;
                self.side_by_side(branches, operator)
            }
            Node::Systolic { times, compute, transfers, after } => {
                let steps = transfers.iter().chain(after);
                let follows = steps.clone().any(|step| self.follows_rounds(step, true));
                self.rounds(*times, (true, follows), |lowering| {
                    let mut branches = vec![lowering.node(compute, operator)?];
                    for transfer in transfers {
                        branches.push(lowering.steps(std::slice::from_ref(transfer), operator)?);
                    }
                    let mut round = lowering.side_by_side(branches, operator)?;
                    round.extend(lowering.steps(after, operator)?);
                    Ok(round)
                })
            }
            Node::Repeat { times, body } => {
                let mut follows = false;
                body.visit(1, &mut |step, _| follows |= self.follows_rounds(step, false));
                self.rounds(*times, (false, follows), |lowering| lowering.node(body, operator))
            }
        }
    }

    /// Whether a step is another one in each round of the loop around it: where its layouts say so.
    fn follows_rounds(&self, step: &Step, systolic: bool) -> bool {
        match &step.action {
            Action::Shift(shift) => !systolic && laid::ring(self.program, shift).is_some(),
            Action::ChainReduce(chain) => chain.root == Root::Rotating && laid::has_layout(self.program, chain.payload),
            _ => false,
        }
    }

    /// A loop: its body `times` times, lowered once, or for each round where it `follows` them.
    fn rounds(
        &mut self,
        times: u64,
        (systolic, follows): (bool, bool),
        mut body: impl FnMut(&mut Self) -> Result<Vec<At>, CircuitError>,
    ) -> Result<Vec<At>, CircuitError> {
        let (outer, first) = (self.around, self.next_step);
        let in_round = |places: Vec<At>, round: u64| {
            let round = u32::try_from(round).unwrap_or(u32::MAX);
            places.into_iter().map(move |place| At { round: place.round.or(Some(round)), ..place })
        };
        let mut schedule = Vec::new();
        if follows {
            check_steps(times)?;
            for round in 0..times {
                self.next_step = first;
                self.around = Around { round, systolic };
                schedule.extend(in_round(body(self)?, round));
                check_steps(schedule.len() as u64)?;
            }
        }
        if !follows || times == 0 {
            self.around = Around { round: 0, systolic };
            let once = body(self)?;
            check_steps(times.saturating_mul(once.len() as u64))?;
            let times = if once.is_empty() { 0 } else { times };
            schedule = (0..times).flat_map(|round| in_round(once.clone(), round)).collect();
        }
        self.around = outer;
        Ok(schedule)
    }

    /// One stage for each step that does something.
    fn steps(&mut self, steps: &[Step], operator: &str) -> Result<Vec<At>, CircuitError> {
        let mut schedule = Vec::new();
        for step in steps {
            let number = self.next_step;
            self.next_step += 1;
            let parts = self.parts(step, operator)?;
            if !parts.is_empty() {
                let steps = vec![number; parts.len()];
                schedule.push(At { stage: self.stage(parts, steps), round: None });
            }
        }
        Ok(schedule)
    }

    /// The n-th stages of all branches become one; a meeting of neighbours stays for itself, before it.
    fn side_by_side(&mut self, branches: Vec<Vec<At>>, operator: &str) -> Result<Vec<At>, CircuitError> {
        let mut schedule = Vec::new();
        let mut known: BTreeMap<Vec<u32>, Vec<u32>> = BTreeMap::new();
        for index in 0..branches.iter().map(Vec::len).max().unwrap_or(0) {
            let mut together = Vec::new();
            let mut round = None;
            for &place in branches.iter().filter_map(|branch| branch.get(index)) {
                let parts = &self.stages[place.stage as usize].parts;
                let alone = parts.iter().any(|part| matches!(part, Part::Meet { .. }));
                round = round.or(place.round);
                if alone { schedule.push(place) } else { together.push(place.stage) }
            }
            if !known.contains_key(&together) {
                let joined = self.joined(&together, operator)?;
                known.insert(together.clone(), joined);
            }
            let joined = known.get(&together).into_iter().flatten();
            schedule.extend(joined.map(|&stage| At { stage, round }));
        }
        Ok(schedule)
    }

    /// Stages side by side as one. Owners that send in turn on one color do so one stage after the other: the switch
    /// positions of their routers advance between them as well.
    fn joined(&mut self, stages: &[u32], operator: &str) -> Result<Vec<u32>, CircuitError> {
        if let [] | [_] = stages {
            return Ok(stages.to_vec());
        }
        let mut groups: Vec<(Vec<Part>, Vec<u32>)> = Vec::new();
        for stage in stages.iter().filter_map(|&stage| self.stages.get(stage as usize)) {
            let (parts, steps) = groups.last().cloned().unwrap_or_default();
            let parts = [parts.as_slice(), &stage.parts].concat();
            let steps = [steps.as_slice(), &stage.steps].concat();
            let color = check::shared_color(&parts);
            let in_turn = |part: &Part| matches!(part, Part::Carry(lines) if lines.switched);
            match color {
                Some(_) if stage.parts.iter().any(in_turn) => groups.push((stage.parts.clone(), stage.steps.clone())),
                Some(color) => {
                    let color = self.program_color(color);
                    return Err(CircuitError::SharedColor { operator: operator.into(), color });
                }
                None => match groups.last_mut() {
                    Some(last) => *last = (parts, steps),
                    None => groups.push((parts, steps)),
                },
            }
        }
        Ok(groups.into_iter().map(|(parts, steps)| self.stage(parts, steps)).collect())
    }

    fn program_color(&self, physical: u16) -> u32 {
        self.physical.iter().find(|(_, place)| **place == physical).map_or(0, |(color, _)| color.0)
    }

    /// A step as parts of a stage; none where nothing happens. What only the contents of memories would notice takes no
    /// time.
    fn parts(&self, step: &Step, operator: &str) -> Result<Vec<Part>, CircuitError> {
        let area = self.area(step.region, operator)?;
        let timing = &self.timing;
        let busy =
            |time: Tick, noticed: bool| Vec::from_iter((time > 0 || noticed).then_some(Part::Busy { area, time }));
        match &step.action {
            Action::Compute(compute) => {
                let time = ticks(compute.work.iter().map(|work| (self.work_cycles)(work)).sum());
                return Ok(busy(time, compute.formula.is_some()));
            }
            Action::RouteChange(change) => {
                let changes = change.changes.min(MOST_WAVELETS);
                return Ok(busy(changes.saturating_mul(timing.route_change.min(1 << 24)), false));
            }
            Action::Synchronise(wait) => {
                let hops = wait.hops.min(LONGEST_LINE) as u32;
                return Ok(vec![Part::Meet {
                    area,
                    hops,
                    before: timing.setup + timing.issue,
                    way: timing.ramp_out + timing.ramp_in + timing.hop * u64::from(hops),
                    after: timing.completion + timing.task * wait.completions.min(MOST_WAVELETS >> 8),
                }]);
            }
            Action::ChainReduce(chain) => {
                check_size("the members of a chain", chain.count, LONGEST_LINE)?;
                check_size("the hops of a chain", chain.stride.max(chain.offset), LONGEST_LINE)?;
                self.check_wavelets(self.program.buffer_of(chain.payload).wavelets())?;
            }
            Action::Multicast(cast) => self.check_wavelets(self.program.buffer_of(cast.payload).wavelets())?,
            Action::Broadcast(cast) => self.check_wavelets(self.program.buffer_of(cast.payload).wavelets())?,
            Action::ReduceScatter(ReduceScatter { pieces, .. }) | Action::AllGather(AllGather { pieces }) => {
                check_size("the members of a segment", pieces.count, LONGEST_LINE)?;
                check_size("the hops of a segment", pieces.stride.max(pieces.offset), LONGEST_LINE)?;
                for buffer in [pieces.source, pieces.target] {
                    self.check_wavelets(self.program.buffer_of(buffer).wavelets())?;
                }
            }
            Action::Shift(shift) => self.check_wavelets(self.program.buffer_of(shift.payload).wavelets())?,
            Action::Relayout(moved) => self.check_wavelets(moved.wavelets)?,
        }
        let physical = |color: Color| self.physical.get(&color).copied().unwrap_or(0);
        let Wanted { detail, movements } = self.wanted;
        let context = Context { program: self.program, timing, area, physical: &physical, detail, movements };
        let colors = pattern::colors_of(step, self.program);
        let parts = match laid::parts(step, &colors, &context, (self.around.round, self.around.systolic)) {
            Some(Ok(parts)) => parts,
            Some(Err(problem)) => return Err(CircuitError::Movement { operator: operator.into(), problem }),
            None => match pattern::lines(step, &colors, &context) {
                Some(lines) => vec![Part::Carry(lines)],
                None => busy(0, laid::moves_contents(step, self.program)),
            },
        };
        for part in &parts {
            let Part::Carry(lines) = part else { continue };
            let Some((color, position)) = check::meeting_of_sources(lines) else { continue };
            let (x, y) = match lines.axis {
                Axis::X => (position, 0),
                Axis::Y => (0, position),
            };
            return Err(CircuitError::TwoSources {
                operator: operator.into(),
                color: self.program_color(color),
                column: self.origin.0 + u64::from(lines.area.x + x),
                row: self.origin.1 + u64::from(lines.area.y + y),
            });
        }
        Ok(parts)
    }

    fn check_wavelets(&self, wavelets: u64) -> Result<(), CircuitError> {
        check_size("the number of wavelets of an operation", wavelets, MOST_WAVELETS)
    }

    /// A fabric operation that follows vector work is set up inside the running task (or in a task of its own where
    /// that is the cheaper way); one that follows another fabric operation is the first of the task which that one's
    /// completion activates, and its set-up is part of the activation (`software.task_activation`: activating a task
    /// and starting its first operation).
    fn set_up_after_compute(&mut self, mut schedule: Vec<At>) -> Vec<At> {
        let busy = |stage: &Stage| stage.parts.iter().all(|part| matches!(part, Part::Busy { .. }));
        let mut variants: BTreeMap<u32, u32> = BTreeMap::new();
        let mut after_compute = false;
        for place in &mut schedule {
            let stage = &self.stages[place.stage as usize];
            let now_busy = busy(stage);
            let no_time = |part: &Part| matches!(part, Part::Busy { time: 0, .. });
            if stage.parts.iter().all(no_time) {
                continue;
            }
            let one_step = stage.steps.iter().all(|step| Some(step) == stage.steps.first());
            let carries = |part: &Part| matches!(part, Part::Carry(_)) || no_time(part);
            if after_compute && one_step && stage.parts.iter().all(carries) {
                let variant = match variants.get(&place.stage) {
                    Some(known) => *known,
                    None => {
                        let mut variant = stage.clone();
                        for part in &mut variant.parts {
                            if let Part::Carry(lines) = part {
                                lines.launch += self.timing.setup.min(self.timing.completion);
                            }
                        }
                        self.stages.push(variant);
                        self.stages.len() as u32 - 1
                    }
                };
                variants.insert(place.stage, variant);
                place.stage = variant;
            }
            after_compute = now_busy;
        }
        schedule
    }
}

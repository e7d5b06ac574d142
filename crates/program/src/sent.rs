//! How much a relayout moves, from whom to whom: what its time and its routes need of a [`Movement`](crate::Movement).
//!
//! The elements of a place are few runs of neighbours, however many they are: what is held along a line cuts the
//! elements into stretches that the same places hold, and what is wanted is looked up stretch by stretch.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use crate::layout::{Field, Layout};
use crate::movement::movement;
use crate::program::Program;
use crate::region::{Axis, Region};
use crate::runs::{Run, Runs};
use crate::step::Relayout;

/// What an owner sends along a line in one direction: a [`Piece`](crate::Piece) by its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sent {
    /// Index of the owner along the line.
    pub from: u64,
    /// Index of the farthest place that wants a part of it.
    pub to: u64,
    /// How many elements.
    pub elements: u64,
}

/// Neighbouring lines of a region on which the same is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinesAlike {
    /// Index of the first line.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// What is sent along each, in the order of [`Movement::pieces`](crate::Movement::pieces).
    pub sent: Vec<Sent>,
}

/// The movements of a relayout along all lines of its region; nothing where one of its buffers has no layout. Lines on
/// which the layouts cannot differ are worked out once, and neighbours that move the same are put together.
///
/// # Errors
/// As [`movement`].
pub fn movements(program: &Program, region: Region, moved: &Relayout) -> Option<Result<Vec<LinesAlike>, String>> {
    let across = moved.axis.across();
    let lines = region.along(across);
    let layouts = [moved.source, moved.target].map(|buffer| program.buffer_of(buffer).layout.as_ref());
    let [Some(source), Some(target)] = layouts else { return None };
    let start = |region: Region| if across == Axis::X { region.x } else { region.y };
    // Lines where a layout begins or ends, or where it differs from line to line.
    let mut begins: BTreeSet<u64> = BTreeSet::from([0]);
    for layout in [source, target] {
        let first = start(layout.region).saturating_sub(start(region));
        let end = (start(layout.region) + layout.region.along(across)).saturating_sub(start(region));
        begins.extend([first, end]);
        if layout.fields.iter().any(|field| field.differs_along(across)) {
            begins.extend(first..end.min(lines));
        }
    }
    let begins: Vec<u64> = begins.into_iter().filter(|line| *line < lines).collect();
    let kinds: Vec<Option<Vec<usize>>> =
        begins.iter().map(|line| kind_of_line(moved, [source, target], region, *line)).collect();
    // Of lines of a kind the first is worked out.
    let mut first_of_kind: BTreeMap<&[usize], usize> = BTreeMap::new();
    let stands_for: Vec<usize> = (0..)
        .zip(&kinds)
        .map(|(index, kind)| kind.as_ref().map_or(index, |kind| *first_of_kind.entry(kind).or_insert(index)))
        .collect();
    let worked_out: Vec<Option<Result<Vec<Sent>, String>>> = (0..begins.len())
        .into_par_iter()
        .map(|index| (stands_for[index] == index).then(|| sent_along(program, region, moved, begins[index])).flatten())
        .collect();
    let ends = begins.iter().skip(1).copied().chain([lines]);
    let mut all: Vec<LinesAlike> = Vec::new();
    for ((first, end), stands_for) in begins.iter().copied().zip(ends).zip(stands_for) {
        let sent = match worked_out.get(stands_for)?.as_ref()? {
            Ok(sent) => sent,
            Err(problem) => return Some(Err(problem.clone())),
        };
        match all.last_mut() {
            Some(known) if known.sent == *sent => known.count += end - first,
            _ => all.push(LinesAlike { first, count: end - first, sent: sent.clone() }),
        }
    }
    Some(Ok(all))
}

/// Movements that have been worked out, for who asks about many programs that have relayouts in common: the last ones.
#[derive(Debug, Default)]
pub struct KnownMovements(Mutex<VecDeque<KnownMovement>>);

/// A movement, and all that it depends on.
#[derive(Debug)]
struct KnownMovement {
    region: Region,
    axis: Axis,
    accumulate: bool,
    layouts: [Layout; 2],
    lines: Arc<Vec<LinesAlike>>,
}

impl KnownMovements {
    /// How many are kept.
    const KEPT: usize = 256;

    /// As [`movements`].
    ///
    /// # Errors
    /// As [`movement`].
    pub fn of(
        &self,
        program: &Program,
        region: Region,
        moved: &Relayout,
    ) -> Option<Result<Arc<Vec<LinesAlike>>, String>> {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [source, target] = [moved.source, moved.target].map(|buffer| program.buffer_of(buffer).layout.as_ref());
        let (source, target) = (source?, target?);
        let is_it = |one: &&KnownMovement| {
            (one.region, one.axis, one.accumulate) == (region, moved.axis, moved.accumulate)
                && one.layouts[0] == *source
                && one.layouts[1] == *target
        };
        if let Some(found) = known().iter().find(is_it) {
            return Some(Ok(Arc::clone(&found.lines)));
        }
        // Not under the lock: who waits for it could be who works for it.
        let lines = match movements(program, region, moved)? {
            Ok(lines) => Arc::new(lines),
            Err(problem) => return Some(Err(problem)),
        };
        let layouts = [source.clone(), target.clone()];
        let (axis, accumulate) = (moved.axis, moved.accumulate);
        let mut all = known();
        if all.len() >= Self::KEPT {
            all.pop_front();
        }
        all.push_back(KnownMovement { region, axis, accumulate, layouts, lines: Arc::clone(&lines) });
        Some(Ok(lines))
    }
}

/// What decides the pieces of a line where all its places have the same rows, in the source as in the target: whether
/// the line is in each layout, and how many rows of each field it has. Nothing where lines differ in another way.
fn kind_of_line(moved: &Relayout, layouts: [&Layout; 2], region: Region, line: u64) -> Option<Vec<usize>> {
    let [source, target] = layouts;
    let across = moved.axis.across();
    let start = |region: Region| if across == Axis::X { region.x } else { region.y };
    let same_lines =
        start(source.region) == start(target.region) && source.region.along(across) == target.region.along(across);
    let at = start(region) + line;
    let is_in = |layout: &Layout| at >= start(layout.region) && at < start(layout.region) + layout.region.along(across);
    let mut kind = vec![usize::from(is_in(source)), usize::from(is_in(target))];
    for (index, field) in target.fields.iter().enumerate() {
        for (_, from) in moved.sources(source, target, index) {
            if !field.differs_along(across) && !from.differs_along(across) {
                continue;
            }
            let rows = &field.rows.spread;
            let by_rows_alone = |field: &Field| {
                !field.inner.iter().any(|dimension| dimension.spread.differs_along(across))
                    && !field.shares.iter().any(|digit| digit.axis == across)
            };
            let is_alike = same_lines
                && field.rows == from.rows
                && !rows.differs_along(moved.axis)
                && by_rows_alone(field)
                && by_rows_alone(from);
            if !is_alike {
                return None;
            }
            let (x, y) = match moved.axis {
                Axis::X => (target.region.x, at),
                Axis::Y => (at, target.region.y),
            };
            kind.push(target.place(x, y).map_or(0, |place| field.rows_at(place).len()));
        }
    }
    Some(kind)
}

/// What is sent along a line; nothing where a buffer has no layout.
///
/// # Errors
/// As [`movement`].
pub fn sent_along(program: &Program, region: Region, moved: &Relayout, line: u64) -> Option<Result<Vec<Sent>, String>> {
    let [source, target] = [moved.source, moved.target].map(|buffer| program.buffer_of(buffer).layout.as_ref());
    let along = Line { region, moved, line, source: source?, target: target? };
    let Some(on_way) = along.on_way() else {
        // Rows that a place holds more than once, or something that nobody holds: element by element.
        let known = movement(program, region, moved, line)?;
        let size =
            |piece: &crate::Piece| Sent { from: piece.from, to: piece.to, elements: piece.elements.len() as u64 };
        return Some(known.map(|known| known.pieces.iter().map(size).collect()));
    };
    Some(Ok(sizes(on_way)))
}

/// A line of a relayout.
struct Line<'a> {
    region: Region,
    moved: &'a Relayout,
    line: u64,
    source: &'a Layout,
    target: &'a Layout,
}

/// A stretch of a field of the source on its way from its owner to a place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct OnWay {
    from: u64,
    is_up: bool,
    field: u32,
    stretch: Run,
    to: u64,
    /// How many rows it stands for.
    rows: u64,
}

/// What a place holds of a field: for each of its rows the same runs.
struct Held {
    member: u64,
    rows: Vec<u64>,
    inner: Runs,
}

/// A field of the target: what is held of the fields that serve it, by their number, and what is wanted.
struct Moved {
    held: Vec<(u32, Vec<Held>)>,
    wanted: Vec<Held>,
}

impl Moved {
    /// Whether all places have the same rows: then one row stands for all.
    fn is_alike(&self) -> bool {
        let mut all = self.held.iter().flat_map(|(_, held)| held).chain(&self.wanted);
        let rows = all.next().map(|held| &held.rows);
        all.all(|held| Some(&held.rows) == rows)
    }
}

/// Stretches of elements, and for each of them who holds it: members in rising order, field by field.
struct Owners {
    /// Where stretches begin; the last one ends.
    begins: Vec<u64>,
    of: Vec<Vec<Owner>>,
}

#[derive(Clone, Copy)]
struct Owner {
    member: u64,
    field: u32,
}

impl Line<'_> {
    fn place(&self, layout: &Layout, member: u64) -> Option<(u64, u64)> {
        match self.moved.axis {
            Axis::X => layout.place(self.region.x + member, self.region.y + self.line),
            Axis::Y => layout.place(self.region.x + self.line, self.region.y + member),
        }
    }

    /// What the places of the line hold of a field; nothing where a row comes twice in one of them.
    fn held(&self, layout: &Layout, field: &Field) -> Option<Vec<Held>> {
        let rows_differ = field.rows.spread.differs_along(self.moved.axis);
        let mut known: Option<Vec<u64>> = None;
        let mut all = Vec::new();
        for member in 0..self.region.along(self.moved.axis) {
            let Some(place) = self.place(layout, member) else { continue };
            let rows = match &known {
                Some(rows) if !rows_differ => rows.clone(),
                _ => field.rows_at(place),
            };
            if !rows.is_sorted_by(|one, two| one < two) {
                return None;
            }
            known.get_or_insert_with(|| rows.clone());
            let inner = if rows.is_empty() { Runs::default() } else { field.inner_runs(place) };
            if !inner.is_empty() {
                all.push(Held { member, rows, inner });
            }
        }
        Some(all)
    }

    /// Everything that has to go somewhere; nothing where that cannot be said in runs, or where somebody wants what
    /// nobody holds.
    fn on_way(&self) -> Option<Vec<OnWay>> {
        let mut fields = Vec::with_capacity(self.target.fields.len());
        for (index, field) in self.target.fields.iter().enumerate() {
            let sources = self.moved.sources(self.source, self.target, index);
            if sources.is_empty() {
                return None;
            }
            let held = sources.into_iter().map(|(number, from)| Some((number, self.held(self.source, from)?)));
            fields.push(Moved { held: held.collect::<Option<_>>()?, wanted: self.held(self.target, field)? });
        }
        let both = self.source.fields.iter().chain(&self.target.fields);
        let row_size = both.map(Field::row_size).max().unwrap_or(1);
        let keyed = Keyed { row_size, is_alike: fields.iter().all(Moved::is_alike) };
        let mut on_way = Vec::new();
        for Moved { held, wanted } in &fields {
            let owners = Owners::new(held, keyed);
            for wanted in wanted {
                let rows = if keyed.is_alike { wanted.rows.len() as u64 } else { 1 };
                let mut is_held = true;
                keyed.each(wanted, &mut |run| {
                    is_held &= owners.each(run, &mut |stretch, owners| {
                        let mut send = |owner: Owner| {
                            if owner.member != wanted.member {
                                let (from, to) = (owner.member, wanted.member);
                                on_way.push(OnWay { from, is_up: to > from, field: owner.field, stretch, to, rows });
                            }
                        };
                        if self.moved.accumulate {
                            owners.iter().for_each(|owner| send(*owner));
                        } else if let Some(owner) = nearest(owners, wanted.member) {
                            send(owner);
                        }
                    });
                });
                if !is_held && !self.moved.accumulate {
                    return None;
                }
            }
        }
        Some(on_way)
    }
}

/// Of members in rising order the nearest to a place, the former of two as near.
fn nearest(owners: &[Owner], member: u64) -> Option<Owner> {
    let from_it = owners.partition_point(|owner| owner.member < member);
    let (before, behind) = (from_it.checked_sub(1).and_then(|at| owners.get(at)), owners.get(from_it));
    match (before, behind) {
        (Some(one), Some(two)) if one.member.abs_diff(member) <= two.member.abs_diff(member) => Some(*one),
        (one, two) => two.or(one).copied(),
    }
}

/// Rows and what is in them as one line of numbers.
#[derive(Clone, Copy)]
struct Keyed {
    row_size: u64,
    /// All rows are held and wanted alike: the first stands for all.
    is_alike: bool,
}

impl Keyed {
    fn each(self, held: &Held, found: &mut dyn FnMut(Run)) {
        let one = [0];
        let rows = if self.is_alike { &one[..] } else { &held.rows };
        for row in rows {
            held.inner.iter().for_each(|run| found(run.after(row * self.row_size)));
        }
    }
}

impl Owners {
    fn new(held: &[(u32, Vec<Held>)], keyed: Keyed) -> Self {
        let mut begins = Vec::new();
        for held in held.iter().flat_map(|(_, held)| held) {
            keyed.each(held, &mut |run| begins.extend([run.first, run.end]));
        }
        begins.sort_unstable();
        begins.dedup();
        let mut of: Vec<Vec<Owner>> = vec![Vec::new(); begins.len()];
        for (field, held) in held {
            for held in held {
                keyed.each(held, &mut |run| {
                    let (first, end) = (begins.partition_point(|at| *at < run.first), run.end);
                    let stretches = begins.iter().zip(&mut of).skip(first).take_while(|(begin, _)| **begin < end);
                    stretches.for_each(|(_, owners)| owners.push(Owner { member: held.member, field: *field }));
                });
            }
        }
        Self { begins, of }
    }

    /// The stretches of a run with those who hold them; whether each has somebody.
    fn each(&self, run: Run, found: &mut dyn FnMut(Run, &[Owner])) -> bool {
        let mut covered = 0;
        let first = self.begins.partition_point(|begin| *begin <= run.first).saturating_sub(1);
        let ends = self.begins.iter().skip(first + 1);
        for ((begin, owners), end) in self.begins.iter().zip(&self.of).skip(first).zip(ends) {
            if *begin >= run.end {
                break;
            }
            let stretch = Run::new(*begin, *end).common(run);
            if !owners.is_empty() {
                found(stretch, owners);
                covered += stretch.length();
            }
        }
        covered == run.length()
    }
}

/// How much each owner sends up and down, in the order in which places on the way take it.
fn sizes(mut on_way: Vec<OnWay>) -> Vec<Sent> {
    on_way.sort_unstable();
    let of_owner = on_way.chunk_by(|one, two| (one.from, one.is_up) == (two.from, two.is_up));
    let all: Vec<Sent> = of_owner
        .filter_map(|sent| {
            let from = sent.first()?.from;
            let to = sent.iter().map(|sent| sent.to).max_by_key(|to| to.abs_diff(from))?;
            // What several places want is sent once.
            let mut elements = 0;
            for of_field in sent.chunk_by(|one, two| one.field == two.field) {
                let mut end = 0;
                for OnWay { stretch, rows, .. } in of_field {
                    elements += Run::new(stretch.first.max(end), stretch.end).length() * rows;
                    end = end.max(stretch.end);
                }
            }
            Some(Sent { from, to, elements })
        })
        .collect();
    let (up, down): (Vec<Sent>, Vec<Sent>) = all.into_iter().partition(|sent| sent.to > sent.from);
    up.into_iter().rev().chain(down).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wafersim_spec::DataType;

    use super::*;
    use crate::layout::{Cached, Digit, Dimension, RowOrder, Spread};

    /// Ways in which a dimension may lie along a row of `length` places.
    fn spread(length: u64) -> impl Strategy<Value = Spread> {
        let blocks = (1..=length).prop_map(move |width| Digit::blocks(Axis::X, width, length.div_ceil(width)));
        let inside = (1..=length).prop_map(|width| Digit::inside(Axis::X, width));
        let digit = prop_oneof![Just(Digit::line(Axis::X, length)), blocks, inside].boxed();
        prop_oneof![
            Just(Spread::Whole),
            digit.clone().prop_map(Spread::Split),
            digit.clone().prop_map(Spread::Pairs),
            digit.clone().prop_map(|digit| Spread::LeadingPairs { digit, leading: 4 }),
            digit.clone().prop_map(|digit| Spread::At { digit, number: 0 }),
            (digit.clone(), digit)
                .prop_map(|(inner, digit)| { Spread::Shared { spread: Box::new(Spread::Split(inner)), digit } }),
        ]
    }

    fn rows(length: u64) -> impl Strategy<Value = Spread> {
        let groups = Digit::line(Axis::X, length);
        let cached = Cached { first: 0, users: 1, rows: 1, groups, order: RowOrder::Level };
        prop_oneof![
            3 => Just(Spread::Whole),
            1 => Just(Spread::Cached(cached)),
            1 => Just(Spread::Listed(vec![2, 0, 2])),
            1 => Just(Spread::Split(groups)),
        ]
    }

    fn field(length: u64) -> impl Strategy<Value = Field> {
        let share =
            prop_oneof![3 => Just(None), 1 => (1..=length).prop_map(|width| Some(Digit::inside(Axis::X, width)))];
        (rows(length), spread(length), spread(length), share).prop_map(|(rows, outer, inner, share)| {
            let inner = vec![Dimension { size: 3, spread: outer }, Dimension { size: 16, spread: inner }];
            let field = Field::new("x", Dimension { size: 3, spread: rows }, inner);
            match share {
                Some(digit) => field.shared(digit),
                None => field,
            }
        })
    }

    proptest! {
        /// By runs as element by element.
        #[test]
        fn sizes_are_those_of_the_movement(
            (length, source, target) in (1u64..9).prop_flat_map(|length| (Just(length), field(length), field(length))),
            accumulate in any::<bool>(),
        ) {
            let region = Region::new(2, 1, length, 1);
            for column in 0..length {
                let mut runs: Vec<u64> = source.inner_runs((column, 0)).indices().collect();
                let mut list = source.inner_at((column, 0));
                runs.sort_unstable();
                list.sort_unstable();
                prop_assert_eq!(runs, list);
            }
            let mut program = Program::new("relayout", region);
            let mut lay = |field: Field| program.laid_buffer("x", DataType::Fp16, Layout { region, fields: vec![field] });
            let [source, target] = [source, target].map(&mut lay);
            let (axis, hops, wavelets, others, colors) = (Axis::X, 0, 0, Vec::new(), Vec::new());
            let farthest = crate::End::First;
            let moved = Relayout { axis, hops, wavelets, others, farthest, source, target, accumulate, colors };
            let known = movement(&program, region, &moved, 0).unwrap().map(|known| {
                let size = |piece: &crate::Piece| (piece.from, piece.to, piece.elements.len() as u64);
                known.pieces.iter().map(size).collect::<Vec<_>>()
            });
            let sent = sent_along(&program, region, &moved, 0).unwrap();
            let sent = sent.map(|sent| sent.iter().map(|sent| (sent.from, sent.to, sent.elements)).collect::<Vec<_>>());
            prop_assert_eq!(sent, known);
            // What is known is what is worked out, whatever was asked before.
            let known = KnownMovements::default();
            let other = Relayout { accumulate: !accumulate, ..moved.clone() };
            let back = Relayout { source: target, target: source, ..moved.clone() };
            for moved in [&moved, &other, &back, &moved] {
                let of = known.of(&program, region, moved).unwrap().map(|lines| lines.to_vec());
                prop_assert_eq!(of, movements(&program, region, moved).unwrap());
            }
        }
    }
}

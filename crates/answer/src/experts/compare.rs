//! Every strategy in every division of the wafer and of the regions, and which is fastest.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use rayon::prelude::*;
use wafersim_mapping::{Mapped, MappingError};
use wafersim_place::experts::annealed::anneal;
use wafersim_place::experts::assignment::Assignment;
use wafersim_place::experts::demand::{Demand, PlaceLoad, Price};
use wafersim_place::experts::room::{Room, room, shapes};
use wafersim_place::experts::strategies::{STRATEGIES, Strategy, Task};
use wafersim_place::{Item, Placement};
use wafersim_spec::model::FeedForward;
use wafersim_spec::scenario::{ExpertPlacement, WaferCount};
use wafersim_spec::{Bytes, Cycles};

use super::price::{LayerPrice, Reader};
use super::{Comparison, Geometry, HeldRegion, NAMES, StrategyName, StrategyOutcome};
use crate::chosen::{Chosen, Source};
use crate::error::AnswerError;
use crate::question::Question;
use crate::stage::{LayerReading, StageTimes};
use crate::written::{Flow, Written};

/// How many times as many rectangles as a single copy of each expert needs are tried for copies.
const MORE_RECTANGLES: [f64; 5] = [1.0, 1.125, 1.25, 1.5, 2.0];

/// A placement with what it takes besides layers with experts.
struct Way<'a> {
    mapped: Mapped,
    reading: &'a LayerReading,
    /// Cycles.
    rest: f64,
}

/// A layer with experts: its number in the model and its layout.
#[derive(Debug, Clone, Copy)]
struct MoeLayer {
    number: u64,
    layout: usize,
}

/// A strategy in one division, judged by both demands.
struct Trial {
    outcome: StrategyOutcome,
    rooms: BTreeMap<usize, Room>,
    assignments: Vec<Assignment>,
    way: usize,
}

/// Compares strategies. `question.scenario.users` should be the batch: their KV caches must fit.
///
/// # Errors
/// Where the model does not fit, has no routed experts or others than the demand, or no strategy has room.
pub fn compare(question: &Question, comparison: &Comparison<'_>) -> Result<Vec<StrategyOutcome>, AnswerError> {
    check(question, comparison)?;
    check_names(comparison)?;
    let reading = LayerReading::new(question, question.scenario.profile);
    let ways = ways(question, comparison.batch, &reading)?;
    let mut trials: Vec<Trial> = Vec::new();
    let mut outcomes = Vec::new();
    // Of the built-in ones the optimiser starts from the best of all others.
    for name in NAMES.into_iter().filter(|name| *name != OPTIMISER && comparison.strategies.contains(name)) {
        trials.extend(built_in(question, comparison, &ways, name)?);
    }
    for strategy in comparison.own {
        trials.extend(best_of(question, comparison, &ways, &**strategy, Cow::Owned(strategy.id()))?);
    }
    if comparison.strategies.contains(&OPTIMISER) {
        trials.extend(annealed(question, comparison, &ways, &trials));
    }
    let own: Vec<String> = comparison.own.iter().map(|own| own.id()).collect();
    for name in comparison.strategies.iter().copied().chain(own.iter().map(String::as_str)) {
        outcomes.extend(trials.iter().find(|trial| trial.outcome.strategy == name).map(|trial| trial.outcome.clone()));
    }
    Ok(outcomes)
}

/// The strategy that improves what others have dealt.
const OPTIMISER: &str = "annealed";

/// A built-in strategy that needs no other.
fn built_in(
    question: &Question,
    comparison: &Comparison<'_>,
    ways: &[Way<'_>],
    name: &'static str,
) -> Result<Option<Trial>, AnswerError> {
    match STRATEGIES.iter().find(|strategy| strategy.name() == name) {
        Some(strategy) => best_of(question, comparison, ways, *strategy, name.into()),
        None if name == "clustered" => {
            let alone = Comparison { sharing: &[1], ..comparison.clone() };
            best_of(question, &alone, ways, STRATEGIES[0], name.into())
        }
        None => {
            let trials = (0..ways.len()).filter_map(|index| spread(question, comparison, ways, index));
            Ok(fastest(trials.collect()))
        }
    }
}

/// Whether all names are those of strategies, and no own one has the name of another.
fn check_names(comparison: &Comparison<'_>) -> Result<(), AnswerError> {
    let refuse = |id: &str, problem: &str, allowed: String| {
        let (kind, id, problem) = ("strategy", id.to_owned(), problem.to_owned());
        Err(AnswerError::Mapping(MappingError::Own { kind, id, problem, allowed }))
    };
    if let Some(unknown) = comparison.strategies.iter().find(|name| !NAMES.contains(name)) {
        return refuse(unknown, "is not built in", NAMES.join(", "));
    }
    let mut ids: Vec<String> = Vec::new();
    for id in comparison.own.iter().map(|own| own.id()) {
        if NAMES.contains(&id.as_str()) || ids.contains(&id) {
            return refuse(&id, "has the id of another", "an id of its own".into());
        }
        ids.push(id);
    }
    Ok(())
}

/// Whether the demands are of this model.
fn check(question: &Question, comparison: &Comparison<'_>) -> Result<(), AnswerError> {
    let experts: Vec<u64> = question
        .model
        .layers
        .iter()
        .filter_map(|layer| match &layer.feed_forward {
            FeedForward::Moe(moe) => Some(moe.experts),
            FeedForward::Dense { .. } => None,
        })
        .collect();
    let fits = |demands: &[Demand]| {
        demands.len() == experts.len()
            && demands.iter().zip(&experts).all(|(demand, &experts)| demand.experts() as u64 == experts)
    };
    if !experts.is_empty() && fits(comparison.past) && fits(comparison.future) {
        return Ok(());
    }
    let shape = |demands: &[Demand]| {
        format!("{} layers of {} experts", demands.len(), demands.first().map_or(0, Demand::experts))
    };
    Err(AnswerError::Demand {
        model: question.model.name.clone(),
        layers: experts.len(),
        experts: experts.first().copied().unwrap_or(0),
        demand: shape(comparison.past),
    })
}

/// The ways worth trying, for spread experts and for clustered ones: in each division the fastest. All strategies work
/// on the same wafers: as many as the one needs that needs most.
fn ways<'a>(question: &Question, batch: u64, reading: &'a LayerReading) -> Result<Vec<Way<'a>>, AnswerError> {
    let source = Source::main(question, question.scenario.profile);
    let kinds = [ExpertPlacement::Spread, ExpertPlacement::Clustered];
    let asked = kinds.map(|experts| {
        let mut asked = question.clone();
        (asked.scenario.placement, asked.scenario.default_placement) = (experts, false);
        asked
    });
    let users = question.scenario.users;
    let mut wafers = 0;
    for asked in &asked {
        let first = Chosen::new(asked, source)?.smallest(question.scenario.wafers, None, batch, users)?;
        wafers = wafers.max(first.placement.wafers);
    }
    let mut fastest: Vec<(f64, Way<'a>)> = Vec::new();
    for asked in &asked {
        let chosen = Chosen::new(asked, source)?;
        let first = chosen.smallest(WaferCount::Exactly(wafers), None, batch, users)?;
        for mapped in chosen.shapes(first) {
            let (whole, way) = timed(asked, chosen.name(), mapped, batch, reading)?;
            let same = |known: &(f64, Way<'a>)| {
                let (one, other) = (&known.1.mapped.placement, &way.mapped.placement);
                (one.settings.experts, one.arrangement) == (other.settings.experts, other.arrangement)
            };
            match fastest.iter_mut().find(|known| same(known)) {
                Some(known) if whole < known.0 => *known = (whole, way),
                Some(_) => {}
                None => fastest.push((whole, way)),
            }
        }
    }
    Ok(fastest.into_iter().map(|(_, way)| way).collect())
}

/// A mapping with its time, and what it takes besides layers with experts.
fn timed<'a>(
    asked: &Question,
    mapping: &str,
    mapped: Mapped,
    batch: u64,
    reading: &'a LayerReading,
) -> Result<(f64, Way<'a>), AnswerError> {
    let flow = Flow::Decode { tokens: batch, users: batch, context: asked.scenario.context };
    let written = Written::new(asked, &mapped, flow);
    written.check(mapping)?;
    let whole = StageTimes::read(asked, &mapped.placement, &written, reading).latency.total().0;
    let layouts = written.layouts.iter().zip(&mapped.placement.layouts);
    let experts = layouts.filter(|(_, layout)| layout.experts.is_some());
    let experts: f64 = experts.map(|(program, layout)| reading.read(program).total().0 * layout.layers as f64).sum();
    Ok((whole, Way { mapped, reading, rest: whole - experts }))
}

fn moe_layers(placement: &Placement) -> Vec<MoeLayer> {
    (0..placement.layers())
        .filter_map(|layer| {
            let layout = placement.layout_index(layer)?;
            placement.layouts.get(layout)?.experts.as_ref()?;
            Some(MoeLayer { number: layer as u64, layout })
        })
        .collect()
}

fn top_k(comparison: &Comparison<'_>) -> u64 {
    let pairs = comparison.past.first().map_or(1, Demand::pairs) as u64;
    (pairs / comparison.batch.max(1)).max(1)
}

/// The trial that was fastest on what was learned from; of equals the first.
fn fastest(trials: Vec<Trial>) -> Option<Trial> {
    trials.into_iter().reduce(
        |best, trial| {
            if trial.outcome.learned_time_us < best.outcome.learned_time_us { trial } else { best }
        },
    )
}

/// A strategy at its best over ways and numbers of rectangles.
fn best_of(
    question: &Question,
    comparison: &Comparison<'_>,
    ways: &[Way<'_>],
    strategy: &dyn Strategy,
    name: StrategyName,
) -> Result<Option<Trial>, AnswerError> {
    let experts = comparison.past.first().map_or(0, Demand::experts) as u64;
    let mut divisions: Vec<(u64, u64)> = Vec::new();
    for &sharing in comparison.sharing.iter().filter(|sharing| **sharing >= 1 && **sharing <= experts) {
        let fewest = experts.div_ceil(sharing);
        if strategy.makes_copies() {
            for more in MORE_RECTANGLES {
                let cells = (fewest as f64 * more).ceil() as u64;
                divisions.extend([(cells, sharing), (cells, sharing + 1)]);
            }
            divisions.retain(|(cells, room)| cells * room > experts);
        } else {
            divisions.push((fewest, sharing));
        }
    }
    // Rectangles are numbered in 16 bit.
    divisions.retain(|(cells, _)| *cells <= u64::from(u16::MAX));
    divisions.dedup();
    struct Point {
        way: usize,
        cells: u64,
        copies: u64,
    }
    let of_way = |way| divisions.iter().map(move |&(cells, copies)| Point { way, cells, copies });
    let points: Vec<Point> = (0..ways.len()).flat_map(of_way).collect();
    // Nothing where there is no room; the assignment where it is not valid.
    let deal = |&Point { way, cells, copies }: &Point| -> Option<Result<Deal, Assignment>> {
        let rooms = rooms(question, comparison, &ways[way], cells, copies)?;
        let prices = prices(question, comparison, &ways[way], &rooms);
        let layers = moe_layers(&ways[way].mapped.placement);
        let (cells, room) = (usize::try_from(cells).ok()?, usize::try_from(copies).ok()?);
        let mut learned = ways[way].rest;
        let mut assignments = Vec::with_capacity(layers.len());
        for (layer, demand) in layers.iter().zip(comparison.past) {
            let price = &prices.get(&layer.layout)?.whole;
            let assignment = strategy.assign(&Task { demand, cells, room, price });
            if assignment.cells != cells || !assignment.is_valid(demand.experts(), room) {
                return Some(Err(assignment));
            }
            learned += assignment.judge(demand, price).price;
            assignments.push(assignment);
        }
        Some(Ok(Deal { way, rooms, prices, assignments, learned }))
    };
    let deals: Vec<Result<Deal, Assignment>> = points.par_iter().filter_map(deal).collect();
    let deals: Vec<Deal> = deals.into_iter().collect::<Result<_, Assignment>>().map_err(|wrong| {
        let most = wrong.copies_in_cells().into_iter().max().unwrap_or(0);
        let (dealt, cells) = (wrong.homes.len(), wrong.cells);
        AnswerError::Mapping(MappingError::Own {
            kind: "strategy",
            id: strategy.id(),
            problem: format!("dealt {dealt} experts to {cells} rectangles, at most {most} to one"),
            allowed: format!(
                "each of {experts} experts in one or more different rectangles, as many as there is room for"
            ),
        })
    })?;
    let best = deals.into_iter().reduce(|best, deal| if deal.learned < best.learned { deal } else { best });
    Ok(best.map(|best| judged(question, comparison, ways, name, best)))
}

/// Experts dealt in one division, with the time of a pass on the past demand, in cycles.
struct Deal {
    way: usize,
    rooms: BTreeMap<usize, Room>,
    prices: BTreeMap<usize, LayerPrice>,
    assignments: Vec<Assignment>,
    learned: f64,
}

/// Rooms of all layouts with experts: of all grids that fit, the one that is fastest with a load somewhat above the
/// mean.
fn rooms(
    question: &Question,
    comparison: &Comparison<'_>,
    way: &Way<'_>,
    cells: u64,
    copies: u64,
) -> Option<BTreeMap<usize, Room>> {
    let placement = &way.mapped.placement;
    let pairs = comparison.past.first().map_or(1, Demand::pairs) as u64;
    let typical = (3 * pairs).div_ceil(2 * cells.max(1));
    let mut rooms = BTreeMap::new();
    for (index, layout) in placement.layouts.iter().enumerate().filter(|(_, layout)| layout.experts.is_some()) {
        let mapping = way.mapped.layers.get(index)?;
        let reader = Reader { question, layout, reading: way.reading, mapping, batch: comparison.batch };
        let fits = shapes(layout.columns, layout.rows, cells)
            .into_iter()
            .filter_map(|shape| room(layout, &placement.settings, shape, cells, copies))
            .filter(|room| placement.has_room(index, room.more))
            .map(|room| (reader.with_busiest(&room, top_k(comparison), typical), room));
        let best = fits.reduce(|best, other| if other.0 < best.0 { other } else { best })?;
        rooms.insert(index, best.1);
    }
    Some(rooms)
}

fn prices(
    question: &Question,
    comparison: &Comparison<'_>,
    way: &Way<'_>,
    rooms: &BTreeMap<usize, Room>,
) -> BTreeMap<usize, LayerPrice> {
    let read = |(&index, room): (&usize, &Room)| {
        let layout = way.mapped.placement.layouts.get(index)?;
        let mapping = way.mapped.layers.get(index)?;
        let reader = Reader { question, layout, reading: way.reading, mapping, batch: comparison.batch };
        Some((index, reader.clustered(room, top_k(comparison))))
    };
    rooms.iter().filter_map(read).collect()
}

/// The best of the trials so far, annealed in its own division.
fn annealed(question: &Question, comparison: &Comparison<'_>, ways: &[Way<'_>], trials: &[Trial]) -> Option<Trial> {
    let dealt = trials.iter().filter(|trial| !trial.assignments.is_empty());
    let start =
        dealt.reduce(
            |best, trial| {
                if trial.outcome.learned_time_us < best.outcome.learned_time_us { trial } else { best }
            },
        )?;
    let way = &ways[start.way];
    let prices = prices(question, comparison, way, &start.rooms);
    let assignments = moe_layers(&way.mapped.placement)
        .par_iter()
        .zip(comparison.past)
        .zip(&start.assignments)
        .map(|((layer, demand), assignment)| {
            let room = start.rooms.get(&layer.layout)?;
            let price = &prices.get(&layer.layout)?.whole;
            let task = Task { demand, cells: assignment.cells, room: room.copies_in_a_cell as usize, price };
            Some(anneal(&task, assignment, comparison.annealing))
        })
        .collect::<Option<Vec<_>>>()?;
    let deal = Deal { way: start.way, rooms: start.rooms.clone(), prices, assignments, learned: 0.0 };
    Some(judged(question, comparison, ways, OPTIMISER.into(), deal))
}

/// Means over batches of a layer: whole, experts, moving, busiest pairs, imbalance.
fn layer_means(assignment: &Assignment, demand: &Demand, price: &LayerPrice) -> [f64; 5] {
    let whole = assignment.judge(demand, &price.whole);
    let part = |price: &Price| assignment.judge(demand, price).price;
    [whole.price, part(&price.experts), part(&price.moving), whole.busiest_pairs, whole.imbalance]
}

/// A deal with all its figures, on the past demand and on the future one.
fn judged(
    question: &Question,
    comparison: &Comparison<'_>,
    ways: &[Way<'_>],
    strategy: StrategyName,
    deal: Deal,
) -> Trial {
    let Deal { way, rooms, prices, assignments, .. } = deal;
    let placement = &ways[way].mapped.placement;
    let layers = moe_layers(placement);
    let mean = |demands: &[Demand]| {
        let mut sums = [0.0; 5];
        for ((layer, assignment), demand) in layers.iter().zip(&assignments).zip(demands) {
            let Some(price) = prices.get(&layer.layout) else { continue };
            let means = layer_means(assignment, demand, price);
            sums.iter_mut().zip(means).for_each(|(sum, value)| *sum += value);
        }
        sums
    };
    let copies: usize =
        assignments.iter().map(|assignment| assignment.copies().saturating_sub(assignment.homes.len())).sum();
    let some_room = rooms.values().next().copied();
    let filled = assignments.first().map_or(0, |assignment| assignment.cells as u64);
    let figures = Figures {
        past: mean(comparison.past),
        future: mean(comparison.future),
        colors: prices.values().map(|price| price.colors).max().unwrap_or(0),
        copies: copies as f64 / layers.len().max(1) as f64,
        rectangles: filled,
        experts_in_a_rectangle: some_room.map_or(0, |room| room.copies_in_a_cell),
        rectangle: some_room.map_or((0, 0), |room| {
            let cell = room.grid.rectangle(0);
            (cell.columns, cell.rows)
        }),
        idle_pes: some_room.map_or(0, |room| room.grid.idle_pes(filled)),
    };
    let homes = layers.iter().map(|layer| layer.number).zip(assignments.iter().cloned()).collect();
    let outcome = figures.outcome(question, comparison, &ways[way], strategy, rooms.clone(), homes);
    Trial { outcome, rooms, assignments, way }
}

/// Spread experts: all pairs in one place, and a price by distinct experts.
fn spread(question: &Question, comparison: &Comparison<'_>, ways: &[Way<'_>], way: usize) -> Option<Trial> {
    let placement = &ways[way].mapped.placement;
    if placement.settings.experts != ExpertPlacement::Spread {
        // There is another way in the same slots for them, where they fit.
        return None;
    }
    let layers = moe_layers(placement);
    let mut prices = BTreeMap::new();
    for layer in &layers {
        if let Entry::Vacant(unread) = prices.entry(layer.layout) {
            let layout = placement.layouts.get(layer.layout)?;
            let mapping = ways[way].mapped.layers.get(layer.layout)?;
            let reader = Reader { question, layout, reading: ways[way].reading, mapping, batch: comparison.batch };
            let experts = reader.moe()?.experts;
            let most = experts.min(comparison.batch.saturating_mul(top_k(comparison)));
            unread.insert(reader.spread(top_k(comparison), most));
        }
    }
    let mean = |demands: &[Demand]| {
        let mut sums = [0.0; 5];
        for (layer, demand) in layers.iter().zip(demands) {
            let Some(price) = prices.get(&layer.layout) else { continue };
            let distinct = distinct(demand);
            let batches = distinct.len().max(1) as f64;
            let of = |price: &Price| {
                distinct.iter().map(|&pairs| price.of(PlaceLoad { pairs, distinct: 0 })).sum::<f64>() / batches
            };
            sums[0] += of(&price.whole);
            sums[1] += of(&price.experts);
            sums[3] += demand.pairs() as f64;
            sums[4] += 1.0;
        }
        sums
    };
    let region = placement.layouts.iter().find(|layout| layout.experts.is_some())?;
    let figures = Figures {
        past: mean(comparison.past),
        future: mean(comparison.future),
        colors: prices.values().map(|price| price.colors).max().unwrap_or(0),
        copies: 0.0,
        rectangles: 1,
        experts_in_a_rectangle: comparison.past.first()?.experts() as u64,
        rectangle: (region.columns, region.rows),
        idle_pes: 0,
    };
    let outcome = figures.outcome(question, comparison, &ways[way], "spread".into(), BTreeMap::new(), BTreeMap::new());
    Some(Trial { outcome, rooms: BTreeMap::new(), assignments: Vec::new(), way })
}

/// Distinct experts of each batch.
fn distinct(demand: &Demand) -> Vec<u16> {
    let mut distinct = vec![0u16; demand.batches()];
    for expert in 0..demand.experts() {
        for &(batch, _) in demand.wanted(expert) {
            distinct[batch as usize] += 1;
        }
    }
    distinct
}

/// What a trial comes to; sums over layers of: whole, experts, moving, busiest pairs, imbalance.
struct Figures {
    past: [f64; 5],
    future: [f64; 5],
    colors: u32,
    copies: f64,
    rectangles: u64,
    experts_in_a_rectangle: u64,
    rectangle: (u64, u64),
    idle_pes: u64,
}

impl Figures {
    fn outcome(
        self,
        question: &Question,
        comparison: &Comparison<'_>,
        way: &Way<'_>,
        strategy: StrategyName,
        rooms: BTreeMap<usize, Room>,
        homes: BTreeMap<u64, Assignment>,
    ) -> StrategyOutcome {
        let microseconds = |cycles: f64| Cycles(cycles).microseconds(question.clock());
        let rest = way.rest;
        let layers = comparison.future.len().max(1) as f64;
        let all: f64 = comparison
            .future
            .iter()
            .map(|demand| {
                let distinct = distinct(demand);
                distinct.iter().map(|&count| f64::from(count)).sum::<f64>() / distinct.len().max(1) as f64
            })
            .sum();
        StrategyOutcome {
            strategy,
            time_per_output_token_us: microseconds(rest + self.future[0]),
            learned_time_us: microseconds(rest + self.past[0]),
            experts_us: microseconds(self.future[1]),
            dispatch_combine_us: microseconds(self.future[2]),
            busiest_pairs: self.future[3] / layers,
            imbalance: self.future[4] / layers,
            distinct: all / layers,
            rectangles: self.rectangles,
            experts_in_a_rectangle: self.experts_in_a_rectangle,
            rectangle: self.rectangle,
            copies: self.copies,
            idle_bytes: idle_bytes(&way.mapped.placement, self.copies * layers),
            idle_pes: self.idle_pes,
            colors: self.colors,
            geometry: geometry(&way.mapped.placement, rooms, homes),
        }
    }
}

/// Free memory of the wafers that are used, less everything that lives there.
fn idle_bytes(placement: &Placement, copies: f64) -> Bytes {
    let machine = &placement.settings.machine;
    let pes = machine.pes().saturating_mul(u64::from(placement.wafers_used));
    let all = pes.saturating_mul(machine.free_memory.0);
    let totals = placement.ledger.totals;
    let held = totals.lasting() + totals.passing();
    let expert = placement.layouts.iter().find_map(|layout| layout.experts.as_ref()).map_or(0, |experts| {
        let bytes: u64 = experts.matrices.iter().map(|matrix| matrix.bytes.0).sum();
        bytes / experts.experts.max(1)
    });
    Bytes(all.saturating_sub(held.0).saturating_sub((copies * expert as f64) as u64))
}

fn geometry(placement: &Placement, rooms: BTreeMap<usize, Room>, homes: BTreeMap<u64, Assignment>) -> Geometry {
    let machine = &placement.settings.machine;
    let regions = placement
        .slots
        .iter()
        .zip(&placement.ledger.slots)
        .map(|(slot, ledger)| HeldRegion {
            wafer: slot.wafer,
            rectangle: slot.region,
            holds: slot.items.iter().map(ToString::to_string).collect(),
            layers: slot
                .items
                .iter()
                .filter_map(|item| match item {
                    Item::Layer(layer) => {
                        let number = *layer as usize;
                        Some((number as u64, placement.layout_index(number)?))
                    }
                    Item::Embedding(_) | Item::LmHead(_) => None,
                })
                .collect(),
            weight_bytes: ledger.worst_pe.weights + ledger.worst_pe.replicated,
            kv_bytes: ledger.worst_pe.kv_cache,
            spare_bytes: ledger.spare,
        })
        .collect();
    Geometry {
        wafers: placement.wafers_used,
        wafer_size: (machine.columns, machine.rows),
        pe_memory: machine.memory,
        regions,
        rooms,
        homes,
    }
}

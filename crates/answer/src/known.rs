//! Programs that have been written, each with what was found about it, for questions that have them in common: points
//! of a plan differ in users and context, and most of their programs in neither.
//!
//! What a program is kept under is all that it depends on. Whoever has code from outside keeps to himself.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use wafersim_cost::{ProgramCost, Rates, cost};
use wafersim_fabric::circuit::CircuitError;
use wafersim_lower::{ExpertLoad, LowerError};
use wafersim_mapping::{ExpertMapping, LayerMapping};
use wafersim_program::{Peak, Program};
use wafersim_spec::model::Layer;
use wafersim_spec::scenario::RoutingModel;
use wafersim_spec::wafer::Key;
use wafersim_spec::{Bytes, DataType, Precision, Wafer};

use crate::memory::{formed_bytes, peak};
use crate::routers::KnownRouters;

/// A program, and what was found about it.
#[derive(Debug)]
pub struct Lowered {
    program: Program,
    peak: OnceLock<Peak>,
    formed: OnceLock<Bytes>,
    /// What it takes, for the rates that were asked for last, oldest first.
    costs: Mutex<Vec<(Rates, Arc<ProgramCost>)>>,
    routers: Mutex<Option<(Machine, Result<(), CircuitError>)>>,
}

/// What of a wafer decides whether its routers do: colors, columns, rows.
type Machine = [u64; 3];

/// Rates whose costs are kept with a program: those of three profiles.
const RATES: usize = 3;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl From<Program> for Lowered {
    fn from(program: Program) -> Self {
        let (costs, routers) = (Mutex::default(), Mutex::default());
        Self { program, peak: OnceLock::new(), formed: OnceLock::new(), costs, routers }
    }
}

impl Deref for Lowered {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.program
    }
}

impl Lowered {
    /// What it takes.
    pub(crate) fn cost(&self, rates: &Rates) -> Arc<ProgramCost> {
        if let Some((_, known)) = locked(&self.costs).iter().rev().find(|(known, _)| known == rates) {
            return Arc::clone(known);
        }
        let found = Arc::new(cost(&self.program, rates));
        let mut costs = locked(&self.costs);
        if costs.len() >= RATES {
            costs.remove(0);
        }
        costs.push((*rates, Arc::clone(&found)));
        found
    }

    /// What it keeps at its fullest moment, beside the cache.
    pub(crate) fn peak(&self) -> &Peak {
        self.peak.get_or_init(|| peak(&self.program))
    }

    /// Bytes of the matrices that its rewrites have formed.
    pub(crate) fn formed(&self) -> Bytes {
        *self.formed.get_or_init(|| formed_bytes(&self.program))
    }

    /// Whether routers have colors enough for it.
    pub(crate) fn fits_in_routers(&self, wafer: &Wafer, routers: &KnownRouters) -> Result<(), CircuitError> {
        let machine = [Key::Colors, Key::Columns, Key::Rows].map(|key| wafer.figure(key).value.to_bits());
        if let Some((_, known)) = locked(&self.routers).as_ref().filter(|(known, _)| *known == machine) {
            return known.clone();
        }
        let fits = routers.fit(&self.program, wafer);
        *locked(&self.routers) = Some((machine, fits.clone()));
        fits
    }
}

/// A program, or why there is none.
pub(crate) type Known = Result<Arc<Lowered>, LowerError>;

/// What a program does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Work {
    /// A layer, by the programs of decode.
    Layer {
        /// Tokens, of so many users, that see so many.
        tokens: u64,
        users: u64,
        context: u64,
        load: ExpertLoad,
        /// Words of an input queue.
        queue: u64,
    },
    /// A part of a table.
    Table { is_head: bool, entries: u64, data_type: DataType, tokens: u64, is_prefill: bool },
}

/// Everything that a program depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) work: Work,
    /// The layer; nothing for tables.
    pub(crate) layer: Option<&'a Layer>,
    pub(crate) mapping: &'a LayerMapping,
    pub(crate) hidden: u64,
    pub(crate) norm_epsilon: f64,
    pub(crate) precision: Precision,
}

impl Asked<'_> {
    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.mapping.hash(&mut hasher);
        match self.work {
            Work::Layer { tokens, users, context, load, .. } => {
                (tokens, users, context, load.pairs, load.distinct).hash(&mut hasher);
            }
            Work::Table { is_head, entries, tokens, is_prefill, .. } => {
                (is_head, entries, tokens, is_prefill).hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

/// What the load of experts depends on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LoadOf {
    pub(crate) experts: u64,
    pub(crate) top_k: u64,
    pub(crate) tokens: u64,
    pub(crate) routing: RoutingModel,
    /// Where they live, unless they are spread.
    pub(crate) places: Option<ExpertMapping>,
}

/// Programs and loads of experts that questions have in common.
#[derive(Debug, Default)]
pub(crate) struct KnownPrograms(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    /// Layers of those that are known.
    layers: Vec<Arc<Layer>>,
    /// Those that were wanted last, and those of before.
    young: Programs,
    old: Programs,
    loads: Vec<(LoadOf, ExpertLoad)>,
}

/// Programs by a hash of what they depend on. Nothing goes through them in their order.
#[derive(Debug, Default)]
struct Programs {
    by_hash: BTreeMap<u64, Vec<Entry>>,
    count: usize,
}

#[derive(Debug, Clone)]
struct Entry {
    work: Work,
    layer: Option<Arc<Layer>>,
    mapping: Arc<LayerMapping>,
    hidden: u64,
    norm_epsilon: f64,
    precision: Precision,
    program: Known,
}

impl Entry {
    fn is(&self, asked: &Asked<'_>) -> bool {
        self.work == asked.work
            && (self.hidden, self.norm_epsilon) == (asked.hidden, asked.norm_epsilon)
            && self.precision == asked.precision
            && self.layer.as_deref() == asked.layer
            && *self.mapping == *asked.mapping
    }
}

impl Programs {
    fn get(&self, hash: u64, asked: &Asked<'_>) -> Option<&Entry> {
        self.by_hash.get(&hash)?.iter().find(|entry| entry.is(asked))
    }
}

impl KnownPrograms {
    /// Programs that are kept at least, of those that were wanted last.
    const PROGRAMS: usize = 256;
    /// Loads that are kept.
    const LOADS: usize = 256;
    /// Layers that are known as one.
    const LAYERS: usize = 64;

    /// The program for what is asked; `write` makes it where it is not known.
    pub(crate) fn program(&self, asked: &Asked<'_>, write: impl FnOnce() -> Known) -> Known {
        let hash = asked.hash();
        if let Some(known) = locked(&self.0).program(hash, asked) {
            return known;
        }
        // Not under the lock: who waits for it could be who works for it.
        let program = write();
        let all = &mut *locked(&self.0);
        let Asked { work, mapping, hidden, norm_epsilon, precision, .. } = *asked;
        let (layer, mapping) = (asked.layer.map(|layer| all.layer(layer)), Arc::new(mapping.clone()));
        all.keep(hash, Entry { work, layer, mapping, hidden, norm_epsilon, precision, program: program.clone() });
        program
    }

    /// The load of experts; `find` finds it where it is not known.
    pub(crate) fn load(&self, of: LoadOf, find: impl FnOnce() -> ExpertLoad) -> ExpertLoad {
        if let Some((_, known)) = locked(&self.0).loads.iter().rev().find(|(known, _)| *known == of) {
            return *known;
        }
        let load = find();
        let loads = &mut locked(&self.0).loads;
        if loads.len() >= Self::LOADS {
            loads.clear();
        }
        loads.push((of, load));
        load
    }
}

impl All {
    fn layer(&mut self, layer: &Layer) -> Arc<Layer> {
        if let Some(known) = self.layers.iter().find(|known| ***known == *layer) {
            return Arc::clone(known);
        }
        if self.layers.len() >= KnownPrograms::LAYERS {
            self.layers.clear();
        }
        let layer = Arc::new(layer.clone());
        self.layers.push(Arc::clone(&layer));
        layer
    }

    fn program(&mut self, hash: u64, asked: &Asked<'_>) -> Option<Known> {
        if let Some(known) = self.young.get(hash, asked) {
            return Some(known.program.clone());
        }
        let known = self.old.get(hash, asked)?.clone();
        let program = known.program.clone();
        self.keep(hash, known);
        Some(program)
    }

    fn keep(&mut self, hash: u64, entry: Entry) {
        if self.young.count >= KnownPrograms::PROGRAMS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.by_hash.entry(hash).or_default().push(entry);
        self.young.count += 1;
    }
}

//! A model on a grid: the exact programs of its layers, one after the other, and what they leave behind.
//!
//! Each layer has a region of the grid's size to itself, as on a wafer; between two programs the residual stream goes from the
//! last region to the next as it lies. A prompt goes through the programs of prefill as one chunk, or through those of decode
//! token by token.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wafersim_kernels::feed_forward::ExpertLoad;
use wafersim_kernels::{
    Exact, ExactError, ExpertShape, KvShape, LayerShape, Options, exact_cache_handover, exact_decode_layer,
    exact_prefill_embedding, exact_prefill_layer, exact_turn, head,
};
use wafersim_place::{CellGrid, KvLayout, KvLayoutChoice};
use wafersim_program::{BufferId, Operand, Program, Region};
use wafersim_spec::model::{Attention, FeedForward, Layer};
use wafersim_spec::scenario::ExpertPlacement;
use wafersim_spec::{Bytes, Precision};

use crate::checkpoint::{Checkpoint, grouped};
use crate::error::ValuesError;
use crate::machine::{MeshState, Prepared, Tile, Tiles, execute};
use crate::plain::check_prompt;
use crate::record::{Record, Recorded};

/// How a model lies on a grid, and in which formats it is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setup {
    /// Columns of the region of a layer.
    pub columns: u64,
    /// Rows of it.
    pub rows: u64,
    /// Where experts lie.
    pub experts: ExpertPlacement,
    /// Columns of a head's block that share its width; the others share the sequence. At most the block: the published layout.
    pub kv: KvLayoutChoice,
    /// Which programs the prompt goes through.
    pub prefill: Prefill,
    /// Data types.
    pub precision: Precision,
    /// Whose kernels.
    pub options: Options,
}

/// Which programs a prompt goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefill {
    /// Those of prefill, all tokens at once.
    Chunk,
    /// Those of decode, token by token.
    Tokens,
}

/// A prompt of random tokens.
pub fn random_prompt(vocabulary: u64, tokens: u64, seed: u64) -> Vec<u64> {
    /// The stream of prompts.
    const STREAM: u64 = 1;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(STREAM);
    (0..tokens).map(|_| random.random_range(0..vocabulary.max(1))).collect()
}

/// Keys and values of a layer, by processing element.
type Cache = Vec<Vec<Tile>>;

/// A program that a run has executed from its start to its end, with what the processing elements held before and after.
#[derive(Debug)]
pub struct Executed<'a> {
    /// The program.
    pub prepared: &'a Prepared,
    /// Before; matrices that the program moves are not in place yet ([`crate::machine::residents`]).
    pub before: &'a MeshState,
    /// After.
    pub after: &'a MeshState,
    /// Weights, all that the program has used.
    pub tiles: &'a Tiles<'a>,
    /// The layer.
    pub layer: usize,
}

/// Who looks at every program that was executed.
type Observer<'o> = dyn FnMut(&Executed<'_>) + 'o;

/// Runs the prompt and `steps` greedy decode steps as placed. Where `follow` is given, decode steps take in its tokens instead of
/// the run's own choices, which are recorded all the same: then two runs stay comparable after a choice that differs. `progress` is told how many tokens are done, of how many.
///
/// # Errors
/// Where the prompt is wrong, or the model or its layout has no exact program.
pub fn run(
    checkpoint: &Checkpoint,
    setup: &Setup,
    prompt: &[u64],
    steps: u64,
    follow: Option<&[u64]>,
    progress: impl FnMut(u64, u64),
) -> Result<Record, ValuesError> {
    run_of(checkpoint, setup, (prompt, steps, follow), progress, None)
}

/// Runs as [`run`] does; `observe` sees every program that was executed, with its processing elements before and after.
///
/// # Errors
/// As [`run`].
pub fn run_observed(
    checkpoint: &Checkpoint,
    setup: &Setup,
    (prompt, steps, follow): (&[u64], u64, Option<&[u64]>),
    progress: impl FnMut(u64, u64),
    observe: &mut Observer<'_>,
) -> Result<Record, ValuesError> {
    run_of(checkpoint, setup, (prompt, steps, follow), progress, Some(observe))
}

fn run_of<'a>(
    checkpoint: &'a Checkpoint,
    setup: &'a Setup,
    (prompt, steps, follow): (&[u64], u64, Option<&[u64]>),
    mut progress: impl FnMut(u64, u64),
    observer: Option<&'a mut Observer<'a>>,
) -> Result<Record, ValuesError> {
    check_prompt(checkpoint, prompt, steps)?;
    if let Some(follow) = follow {
        check_prompt(checkpoint, &[prompt, follow].concat(), 0)?;
    }
    let mut placed = Placed::new(checkpoint, setup, observer)?;
    let mut record = Record { prompt: prompt.to_vec(), ..Record::default() };
    let all = prompt.len() as u64 + steps;
    let mut next = 0;
    match setup.prefill {
        Prefill::Chunk => next = placed.chunk(prompt, &mut record)?,
        Prefill::Tokens => {
            for (position, token) in (0u64..).zip(prompt) {
                progress(position, all);
                next = placed.token(*token, position, "prefill", &mut record)?;
            }
        }
    }
    for layer in 0..checkpoint.model.layers.len() {
        placed.record_cache(layer, prompt.len() as u64, &mut record)?;
    }
    for step in 0..steps {
        let position = prompt.len() as u64 + step;
        progress(position, all);
        record.generated.push(next);
        let token = follow.and_then(|follow| follow.get(step as usize).copied()).unwrap_or(next);
        next = placed.token(token, position, "decode", &mut record)?;
    }
    Ok(record)
}

struct Placed<'a> {
    checkpoint: &'a Checkpoint,
    setup: &'a Setup,
    tiles: Tiles<'a>,
    kv: Vec<KvShape>,
    cells: Vec<Vec<Region>>,
    caches: Vec<Cache>,
    head: Prepared,
    /// The program of the last layer, for layers that are like it.
    last: Option<(Layer, u64, Prepared)>,
    observer: Option<&'a mut Observer<'a>>,
}

fn kv_shape(setup: &Setup, attention: &Attention) -> KvShape {
    let shape = wafersim_place::KvContents::new(attention);
    let layout = KvLayout::choose(shape, (setup.columns, setup.rows), setup.kv, |_| Bytes(0));
    KvShape {
        heads_per_block: layout.heads_per_block,
        columns_per_head: layout.columns_per_head,
        dimension_split: layout.dimension_split,
        sequence_split: layout.sequence_split,
    }
}

/// The rectangles of clustered experts: as many cells as there are experts, as near to squares as the region allows.
fn cells(setup: &Setup, experts: u64) -> Vec<Region> {
    let (columns, rows) = (setup.columns, setup.rows);
    let mut best: Option<(u64, CellGrid)> = None;
    for across in 1..=experts.min(columns) {
        let down = experts.div_ceil(across);
        let grid = CellGrid::new(columns, rows, across, down);
        let (width, height) = grid.smallest_cell();
        // As many cells as there are experts, or as the region has room for; of those the squarest.
        let missing = experts.min(columns * rows).saturating_sub(grid.cells());
        let score = missing * 1_000_000 + width.abs_diff(height) * 1000 + grid.cells();
        if best.is_none_or(|(known, _)| score < known) {
            best = Some((score, grid));
        }
    }
    let grid = best.map_or_else(|| CellGrid::whole(columns, rows), |(_, grid)| grid);
    let region = |cell: u64| {
        let rectangle = grid.rectangle(cell);
        Region::new(rectangle.x, rectangle.y, rectangle.columns, rectangle.rows)
    };
    (0..grid.cells()).map(region).collect()
}

impl<'a> Placed<'a> {
    fn new(
        checkpoint: &'a Checkpoint,
        setup: &'a Setup,
        observer: Option<&'a mut Observer<'a>>,
    ) -> Result<Self, ValuesError> {
        let model = &checkpoint.model;
        let region = Region::new(0, 0, setup.columns, setup.rows);
        let program = head::exact_lm_head(
            region,
            model.hidden,
            model.vocabulary,
            1,
            setup.precision,
            (setup.options, model.norm_epsilon),
        )?;
        let cells = model.layers.iter().map(|layer| match &layer.feed_forward {
            FeedForward::Moe(moe) if setup.experts == ExpertPlacement::Clustered => cells(setup, moe.experts),
            _ => Vec::new(),
        });
        Ok(Self {
            checkpoint,
            setup,
            tiles: Tiles::new(checkpoint, setup.precision.weights, setup.precision.small_weights),
            kv: model.layers.iter().map(|layer| kv_shape(setup, &layer.attention)).collect(),
            cells: cells.collect(),
            caches: vec![Vec::new(); model.layers.len()],
            head: Prepared::new(program),
            last: None,
            observer,
        })
    }

    /// The exact program of a layer for the token at `position`.
    fn program(&self, layer: usize, position: u64, chosen: Vec<Vec<u64>>) -> Result<Program, ValuesError> {
        Ok(exact_decode_layer(&self.shape(layer, 1, position + 1), &self.exact(layer, chosen))?)
    }

    /// The shape of a layer for `tokens` tokens, the last of which sees `context` tokens before the first.
    fn shape(&self, layer: usize, tokens: u64, context: u64) -> LayerShape<'a> {
        let first = self.cells[layer].first().copied();
        LayerShape {
            layer: &self.checkpoint.model.layers[layer],
            hidden: self.checkpoint.model.hidden,
            region: self.region(),
            kv: self.kv[layer],
            experts: first
                .map_or(ExpertShape::Spread, |cell| ExpertShape::Clustered { columns: cell.columns, rows: cell.rows }),
            precision: self.setup.precision,
            tokens,
            context,
            key_block: u64::MAX,
            load: ExpertLoad { pairs: 1, distinct: 1, busiest: 1 },
            options: self.setup.options,
        }
    }

    fn exact(&self, layer: usize, chosen: Vec<Vec<u64>>) -> Exact {
        Exact { norm_epsilon: self.checkpoint.model.norm_epsilon, cells: self.cells[layer].clone(), chosen }
    }

    /// The processing elements as they are, where somebody will want to compare.
    fn before(&self, machine: &MeshState) -> Option<MeshState> {
        self.observer.is_some().then(|| machine.clone())
    }

    fn observe(&mut self, prepared: &Prepared, before: Option<MeshState>, after: &MeshState, layer: usize) {
        if let (Some(observe), Some(before)) = (&mut self.observer, before) {
            observe(&Executed { prepared, before: &before, after, tiles: &self.tiles, layer });
        }
    }

    fn region(&self) -> Region {
        Region::new(0, 0, self.setup.columns, self.setup.rows)
    }

    /// A whole prompt through the programs of prefill. Returns the next token.
    fn chunk(&mut self, prompt: &[u64], record: &mut Record) -> Result<u64, ValuesError> {
        let model = &self.checkpoint.model;
        let (region, precision, options) = (self.region(), self.setup.precision, self.setup.options);
        let tokens = prompt.len() as u64;
        let (hidden, vocabulary) = (model.hidden, model.vocabulary);
        let program = exact_prefill_embedding(region, hidden, vocabulary, prompt, precision, options);
        let (prepared, machine) = self.whole(program, 0, Vec::new())?;
        let tap = Tap { prepared: &prepared, machine: &machine };
        tap.rows(record, "prefill.embed", "residual", 0)?;
        let mut stream = tap.tiles("residual")?;
        for layer in 0..model.layers.len() {
            stream = self.prefill_layer(layer, tokens, stream, record)?;
        }
        let program = exact_turn(region, hidden, tokens, precision, options);
        let (prepared, machine) = self.whole(program, 0, vec![("residual", stream)])?;
        let x = Tap { prepared: &prepared, machine: &machine }.tiles("head.x")?;
        let norm = (options, model.norm_epsilon);
        let program = head::exact_lm_head(region, hidden, vocabulary, tokens, precision, norm)?;
        let (prepared, machine) = self.whole(program, 0, vec![("head.x", x)])?;
        let tap = Tap { prepared: &prepared, machine: &machine };
        tap.rows(record, "prefill.final_norm", "head.normed", 0)?;
        tap.rows(record, "prefill.logits", "head.logits", 0)?;
        Ok(tap.of("sampling.best", 0)?.last().map_or(0, |number| *number as u64))
    }

    /// A program from its start to its end.
    fn whole(
        &mut self,
        program: Program,
        layer: usize,
        inputs: Vec<(&str, Vec<Vec<Tile>>)>,
    ) -> Result<(Prepared, MeshState), ValuesError> {
        let prepared = Prepared::new(program);
        let mut machine = MeshState::new(&prepared);
        for (name, tiles) in inputs {
            fill(&prepared, &mut machine, name, tiles)?;
        }
        let before = self.before(&machine);
        execute(&prepared, &mut machine, &mut self.tiles, layer, 0..usize::MAX)?;
        self.observe(&prepared, before, &machine, layer);
        Ok((prepared, machine))
    }

    fn prefill_layer(
        &mut self,
        layer: usize,
        tokens: u64,
        stream: Vec<Vec<Tile>>,
        record: &mut Record,
    ) -> Result<Vec<Vec<Tile>>, ValuesError> {
        let is_moe = matches!(self.checkpoint.model.layers[layer].feed_forward, FeedForward::Moe(_));
        let program = exact_prefill_layer(&self.shape(layer, tokens, 0), &self.exact(layer, Vec::new()))?;
        let (prepared, machine) = if self.cells[layer].is_empty() {
            self.whole(program, layer, vec![("residual", stream)])?
        } else {
            let before = Prepared::new(program);
            let mut machine = MeshState::new(&before);
            fill(&before, &mut machine, "residual", stream)?;
            let write = |placed: &Self, chosen: Vec<Vec<u64>>| {
                exact_prefill_layer(&placed.shape(layer, tokens, 0), &placed.exact(layer, chosen))
            };
            let after = self.routed(layer, before, &mut machine, write)?;
            (after, machine)
        };
        let tap = Tap { prepared: &prepared, machine: &machine };
        let name = |kind: &str| format!("prefill.layer{layer}.{kind}");
        tap.rows(record, &name("attn_out"), "attention.projected", 0)?;
        tap.rows(record, &name("moe_in"), "feed_forward.normed", 0)?;
        if is_moe {
            tap.rows(record, &name("router_logits"), "router.all_scores", 0)?;
            tap.rows(record, &name("router_experts"), "router.choice", 0)?;
            tap.rows(record, &name("router_weights"), "router.choice", 1)?;
        }
        tap.rows(record, &name("moe_out"), if is_moe { "experts.returned" } else { "feed_forward.output" }, 0)?;
        tap.rows(record, &name("out"), "residual", 0)?;
        let stream = tap.tiles("residual")?;

        let inputs = ["attention.key", "attention.value"].map(|name| tap.tiles(name).map(|tiles| (name, tiles)));
        let inputs = inputs.into_iter().collect::<Result<Vec<_>, _>>()?;
        let program = exact_cache_handover(&self.shape(layer, tokens, 0), &self.exact(layer, Vec::new()))?;
        let (prepared, machine) = self.whole(program, layer, inputs)?;
        let tap = Tap { prepared: &prepared, machine: &machine };
        let (keys, values) = (tap.tiles("kv.keys")?, tap.tiles("kv.values")?);
        self.caches[layer] = keys.into_iter().zip(values).map(|(keys, values)| [keys, values].concat()).collect();
        Ok(stream)
    }

    /// One token through the model. Returns the next one.
    fn token(&mut self, token: u64, position: u64, phase: &str, record: &mut Record) -> Result<u64, ValuesError> {
        let model = &self.checkpoint.model;
        let region = Region::new(0, 0, self.setup.columns, self.setup.rows);
        let (precision, options) = (self.setup.precision, self.setup.options);
        let embedding =
            Prepared::new(head::exact_embedding(region, model.hidden, model.vocabulary, token, precision, options));
        let mut machine = MeshState::new(&embedding);
        let before = self.before(&machine);
        execute(&embedding, &mut machine, &mut self.tiles, 0, 0..usize::MAX)?;
        self.observe(&embedding, before, &machine, 0);
        let row = Tap { prepared: &embedding, machine: &machine };
        record.push_row(format!("{phase}.embed"), row.of("embedding.row", 0)?);
        let mut stream = row.tiles("embedding.row")?;
        for layer in 0..model.layers.len() {
            stream = self.layer(layer, position, stream, phase, record)?;
        }
        let mut machine = MeshState::new(&self.head);
        fill(&self.head, &mut machine, "head.x", stream)?;
        let before = self.before(&machine);
        execute(&self.head, &mut machine, &mut self.tiles, 0, 0..usize::MAX)?;
        if let (Some(observe), Some(before)) = (&mut self.observer, before) {
            let (prepared, tiles) = (&self.head, &self.tiles);
            observe(&Executed { prepared, before: &before, after: &machine, tiles, layer: 0 });
        }
        let tap = Tap { prepared: &self.head, machine: &machine };
        record.push_row(format!("{phase}.final_norm"), tap.of("head.normed", 0)?);
        record.push_row(format!("{phase}.logits"), tap.of("head.logits", 0)?);
        let best = tap.of("sampling.best", 0)?;
        Ok(best.get(1).map_or(0, |number| *number as u64))
    }

    fn layer(
        &mut self,
        layer: usize,
        position: u64,
        stream: Vec<Vec<Tile>>,
        phase: &str,
        record: &mut Record,
    ) -> Result<Vec<Vec<Tile>>, ValuesError> {
        let model = &self.checkpoint.model;
        let clustered = !self.cells[layer].is_empty();
        let alike = |last: &(Layer, u64, Prepared)| last.0 == model.layers[layer] && last.1 == position && !clustered;
        let prepared = match self.last.take() {
            Some(last) if alike(&last) => last.2,
            _ => Prepared::new(self.program(layer, position, Vec::new())?),
        };
        let mut machine = MeshState::new(&prepared);
        fill(&prepared, &mut machine, "residual", stream)?;
        let cache = std::mem::take(&mut self.caches[layer]);
        if position == 0 {
            for field in 0..2 {
                let before = Operand::new(buffer(&prepared, "kv.before")?, field);
                machine.scatter(&prepared, before, &[]).map_err(|problem| bug(&prepared, problem))?;
            }
        } else {
            fill(&prepared, &mut machine, "kv.before", cache)?;
        }
        let prepared = if clustered {
            let write = |placed: &Self, chosen: Vec<Vec<u64>>| {
                exact_decode_layer(&placed.shape(layer, 1, position + 1), &placed.exact(layer, chosen))
            };
            self.routed(layer, prepared, &mut machine, write)?
        } else {
            let before = self.before(&machine);
            execute(&prepared, &mut machine, &mut self.tiles, layer, 0..usize::MAX)?;
            self.observe(&prepared, before, &machine, layer);
            prepared
        };
        let tap = Tap { prepared: &prepared, machine: &machine };
        let mut note = |kind: &str, row: Vec<f64>| record.push_row(format!("{phase}.layer{layer}.{kind}"), row);
        note("attn_out", tap.of("attention.projected", 0)?);
        note("moe_in", tap.of("feed_forward.normed", 0)?);
        if matches!(model.layers[layer].feed_forward, FeedForward::Moe(_)) {
            note("router_logits", tap.of("router.all_scores", 0)?);
            note("router_experts", tap.of("router.choice", 0)?);
            note("router_weights", tap.of("router.choice", 1)?);
        }
        note("moe_out", tap.of(if clustered { "expert.output" } else { "feed_forward.output" }, 0)?);
        note("out", tap.of("residual", 0)?);
        let stream = tap.tiles("residual")?;
        self.caches[layer] = tap.tiles("kv.cache")?;
        self.last = Some((model.layers[layer].clone(), position, prepared));
        Ok(stream)
    }

    /// Experts in rectangles: where the token goes is known when the router has chosen. The program is written without that,
    /// run up to its router, and written again with the choice; both must be the same up to there.
    fn routed(
        &mut self,
        layer: usize,
        before: Prepared,
        machine: &mut MeshState,
        write: impl Fn(&Self, Vec<Vec<u64>>) -> Result<Program, ExactError>,
    ) -> Result<Prepared, ValuesError> {
        let is_router = |node: &wafersim_program::Node| matches!(node, wafersim_program::Node::Operator { name, .. } if name == "router");
        let Some(router) = before.program.body.iter().position(is_router) else {
            return Err(bug(&before, "there is no router".into()));
        };
        let mut untouched = self.before(machine);
        execute(&before, machine, &mut self.tiles, layer, 0..router + 1)?;
        let choice = Operand::new(buffer(&before, "router.choice")?, 0);
        let width = before.field(choice).map_err(|problem| bug(&before, problem))?.row_size().max(1) as usize;
        let experts = Tap { prepared: &before, machine }.of("router.choice", 0)?;
        let of_token = |row: &[f64]| row.iter().map(|expert| *expert as u64).collect();
        let after = Prepared::new(write(self, experts.chunks(width).map(of_token).collect())?);
        let known = buffer(&before, "router.choice")?.0 as usize;
        if before.program.body.get(..=router) != after.program.body.get(..=router)
            || before.program.buffers.get(..=known) != after.program.buffers.get(..=known)
        {
            return Err(bug(&after, "the choice of experts changes what comes before it".into()));
        }
        for pe in untouched.iter_mut().chain([&mut *machine]).flat_map(|machine| &mut machine.pes) {
            pe.buffers.resize(after.program.buffers.len(), Vec::new());
        }
        execute(&after, machine, &mut self.tiles, layer, router + 1..usize::MAX)?;
        self.observe(&after, untouched, machine, layer);
        Ok(after)
    }

    fn record_cache(&self, layer: usize, tokens: u64, record: &mut Record) -> Result<(), ValuesError> {
        let attention = grouped(&self.checkpoint.model, layer)?;
        let (heads, width) = (attention.kv_heads as usize, attention.head_dim as usize);
        for (field, kind) in ["k_cache", "v_cache"].into_iter().enumerate() {
            let shape = vec![heads, tokens as usize, width];
            let mut values = vec![f64::NAN; heads * tokens as usize * width];
            for tile in self.caches[layer].iter().filter_map(|tiles| tiles.get(field)) {
                for (row, token) in tile.rows.iter().enumerate() {
                    for (value, element) in tile.row(row).iter().zip(tile.inner.iter()) {
                        let (head, dim) = (*element as usize / width, *element as usize % width);
                        if let Some(place) = values.get_mut((head * tokens as usize + *token as usize) * width + dim) {
                            *place = f64::from(*value);
                        }
                    }
                }
            }
            record.tensors.insert(format!("prefill.layer{layer}.{kind}"), Recorded { shape, values });
        }
        Ok(())
    }
}

fn bug(prepared: &Prepared, problem: String) -> ValuesError {
    ValuesError::Program { program: prepared.program.name.clone(), operator: "between operators".into(), problem }
}

fn buffer(prepared: &Prepared, name: &str) -> Result<BufferId, ValuesError> {
    prepared.program.find(name).ok_or_else(|| bug(prepared, format!("there is no buffer '{name}'")))
}

/// Hands tiles to a program, which must be those that its layout says.
fn fill(prepared: &Prepared, machine: &mut MeshState, name: &str, tiles: Vec<Vec<Tile>>) -> Result<(), ValuesError> {
    let buffer = buffer(prepared, name)?;
    for (index, (pe, tiles)) in machine.pes.iter_mut().zip(tiles).enumerate() {
        for (field, tile) in (0..).zip(tiles) {
            let operand = Operand::new(buffer, field);
            match prepared.held(operand, index) {
                Some((rows, inner)) if tile.is_like(rows, inner) => pe.put(operand, tile),
                _ => return Err(bug(prepared, format!("'{name}' is handed over in another layout"))),
            }
        }
    }
    Ok(())
}

/// What a program has left behind.
struct Tap<'a> {
    prepared: &'a Prepared,
    machine: &'a MeshState,
}

impl Tap<'_> {
    fn of(&self, name: &str, field: u32) -> Result<Vec<f64>, ValuesError> {
        let operand = Operand::new(buffer(self.prepared, name)?, field);
        let tensor = self.machine.gather(self.prepared, operand).map_err(|problem| bug(self.prepared, problem))?;
        Ok(tensor.into_iter().map(f64::from).collect())
    }

    /// Records the rows of a tensor.
    fn rows(&self, record: &mut Record, kind: &str, name: &str, field: u32) -> Result<(), ValuesError> {
        let operand = Operand::new(buffer(self.prepared, name)?, field);
        let width = self.prepared.field(operand).map_err(|problem| bug(self.prepared, problem))?.row_size().max(1);
        for row in self.of(name, field)?.chunks(width as usize) {
            record.push_row(kind.to_owned(), row.iter().copied());
        }
        Ok(())
    }

    fn tiles(&self, name: &str) -> Result<Vec<Vec<Tile>>, ValuesError> {
        let buffer = buffer(self.prepared, name)?;
        Ok(self.machine.pes.iter().map(|pe| pe.buffer(buffer).to_vec()).collect())
    }
}

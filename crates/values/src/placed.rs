//! A model on a grid: the programs of its layers, one after the other, and what they leave behind.
//!
//! Each layer has a region of the grid's size to itself, as on a wafer; between two programs the residual stream goes from the
//! last region to the next as it lies. A prompt goes through the programs of prefill as one chunk, or through those of decode
//! token by token. Decode layers are written as their mappings say; prefill has the published programs.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wafersim_kernels::{
    Exact, ExpertShape, KvShape, LayerShape, Options, exact_prefill_embedding, exact_prefill_layer, exact_turn,
    feed_forward, head, prefill_cache_fields,
};
use wafersim_lower::{ExpertLoad, LayerRequest, Routed, Scope, cache_handover, decode_layer};
use wafersim_mapping::{LayerMapping, RegionSize, Routes};
use wafersim_place::CellGrid;
use wafersim_program::{Action, BufferId, Formula, Operand, Program, Region};
use wafersim_spec::Precision;
use wafersim_spec::model::{FeedForward, Layer};

use crate::checkpoint::{Checkpoint, check_prefill, grouped};
use crate::error::ValuesError;
use crate::machine::{Machine, Prepared, Tile, Tiles, execute};
use crate::plain::check_prompt;
use crate::record::{Record, Recorded};

/// How a model lies on a grid, and in which formats it is computed.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// Every decision: a mapping for each layer in order, or one for all. All on regions of one size.
    pub mappings: Vec<LayerMapping>,
    /// Which programs the prompt goes through.
    pub prefill: Prefill,
    /// Data types.
    pub precision: Precision,
}

impl Setup {
    /// The mapping of each layer and the size of their regions.
    fn of_layers(&self, layers: usize) -> Result<(Vec<&LayerMapping>, RegionSize), ValuesError> {
        let all: Vec<&LayerMapping> = match self.mappings.as_slice() {
            [one] => vec![one; layers],
            each => each.iter().collect(),
        };
        let sizes = all.iter().map(|mapping| mapping.region);
        match all.first().map(|mapping| mapping.region) {
            Some(region) if all.len() == layers && sizes.into_iter().all(|size| size == region) => Ok((all, region)),
            _ => Err(ValuesError::Mappings { layers, mappings: self.mappings.len() }),
        }
    }
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
    pub before: &'a Machine,
    /// After.
    pub after: &'a Machine,
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
    check_prompt(checkpoint, prompt)?;
    if let Some(follow) = follow {
        check_prompt(checkpoint, &[prompt, follow].concat())?;
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
    mappings: Vec<&'a LayerMapping>,
    region: Region,
    tiles: Tiles<'a>,
    cells: Vec<Vec<Region>>,
    caches: Vec<Cache>,
    head: Prepared,
    /// The program of the last layer, for layers that are like it.
    last: Option<Last<'a>>,
    observer: Option<&'a mut Observer<'a>>,
}

/// A program and what it was written for.
struct Last<'a> {
    layer: &'a Layer,
    mapping: &'a LayerMapping,
    position: u64,
    prepared: Prepared,
}

/// The rectangles of experts that do not lie over the whole region.
fn cells(mapping: &LayerMapping, layer: &Layer) -> Vec<Region> {
    let experts = mapping.experts.as_ref().filter(|experts| !experts.is_spread());
    let (FeedForward::Moe(_), Some(experts)) = (&layer.feed_forward, experts) else { return Vec::new() };
    let grid = CellGrid::new(mapping.region.columns, mapping.region.rows, experts.across, experts.down);
    let region = |cell: u64| {
        let rectangle = grid.rectangle(cell);
        Region::new(rectangle.x, rectangle.y, rectangle.columns, rectangle.rows)
    };
    (0..grid.cells()).map(region).collect()
}

/// Programs that a mapping does not reach yet: prefill, and the ends of the model.
const fn options(mapping: &LayerMapping) -> Options {
    Options { static_routes: matches!(mapping.routes, Routes::Static), ..Options::PUBLISHED }
}

impl<'a> Placed<'a> {
    fn new(
        checkpoint: &'a Checkpoint,
        setup: &'a Setup,
        observer: Option<&'a mut Observer<'a>>,
    ) -> Result<Self, ValuesError> {
        let model = &checkpoint.model;
        let (mappings, size) = setup.of_layers(model.layers.len())?;
        let region = Region::new(0, 0, size.columns, size.rows);
        let program = head::exact_lm_head(
            region,
            model.hidden,
            model.vocabulary,
            1,
            setup.precision,
            (Options::PUBLISHED, model.norm_epsilon),
        )?;
        let cells = mappings.iter().zip(&model.layers).map(|(mapping, layer)| cells(mapping, layer)).collect();
        Ok(Self {
            checkpoint,
            setup,
            mappings,
            region,
            tiles: Tiles::new(checkpoint, setup.precision.weights, setup.precision.small_weights),
            cells,
            caches: vec![Vec::new(); model.layers.len()],
            head: Prepared::new(program),
            last: None,
            observer,
        })
    }

    /// The program of a layer for the token at `position`. `chosen`: the experts that the router has chosen, once that is
    /// known; only experts in rectangles need it.
    fn decode_program(
        &self,
        layer: usize,
        position: u64,
        chosen: Option<Vec<Vec<u64>>>,
    ) -> Result<Program, ValuesError> {
        Ok(decode_layer(&self.request(layer, position, chosen))?)
    }

    fn request(&self, layer: usize, position: u64, chosen: Option<Vec<Vec<u64>>>) -> LayerRequest<'a> {
        let model = &self.checkpoint.model;
        let top_k = match &model.layers[layer].feed_forward {
            FeedForward::Moe(moe) => moe.top_k,
            FeedForward::Dense { .. } => 1,
        };
        let load = ExpertLoad::spread(top_k, top_k);
        LayerRequest {
            layer: &model.layers[layer],
            hidden: model.hidden,
            norm_epsilon: model.norm_epsilon,
            mapping: self.mappings[layer],
            precision: self.setup.precision,
            tokens: 1,
            context: position + 1,
            routed: chosen.map_or(Routed::Expected(load), Routed::Chosen),
            scope: Scope::Model,
            queue: 4,
        }
    }

    /// The shape of a layer for `tokens` tokens, the last of which sees `context` tokens before the first.
    fn shape(&self, layer: usize, tokens: u64, context: u64) -> LayerShape<'a> {
        let first = self.cells[layer].first().copied();
        let kv = self.mappings[layer].kv;
        LayerShape {
            layer: &self.checkpoint.model.layers[layer],
            hidden: self.checkpoint.model.hidden,
            region: self.region,
            kv: KvShape {
                heads_per_block: kv.heads_per_block,
                columns_per_head: kv.columns_per_head,
                dimension_split: kv.dimension_split,
                sequence_split: kv.sequence_split,
            },
            experts: first
                .map_or(ExpertShape::Spread, |cell| ExpertShape::Clustered { columns: cell.columns, rows: cell.rows }),
            precision: self.setup.precision,
            tokens,
            context,
            key_block: u64::MAX,
            load: feed_forward::ExpertLoad { pairs: 1, distinct: 1, busiest: 1 },
            options: options(self.mappings[layer]),
        }
    }

    fn exact(&self, layer: usize, chosen: Vec<Vec<u64>>) -> Exact {
        Exact { norm_epsilon: self.checkpoint.model.norm_epsilon, cells: self.cells[layer].clone(), chosen }
    }

    /// The shape of a layer in prefill, where the width of a head lies over all columns of its block.
    fn prefill_shape(&self, layer: usize, tokens: u64) -> LayerShape<'a> {
        let shape = self.shape(layer, tokens, 0);
        let kv = KvShape { dimension_split: shape.kv.columns_per_head, sequence_split: 1, ..shape.kv };
        LayerShape { kv, ..shape }
    }

    /// The processing elements as they are, where somebody will want to compare.
    fn before(&self, machine: &Machine) -> Option<Machine> {
        self.observer.is_some().then(|| machine.clone())
    }

    fn observe(&mut self, prepared: &Prepared, before: Option<Machine>, after: &Machine, layer: usize) {
        if let (Some(observe), Some(before)) = (&mut self.observer, before) {
            observe(&Executed { prepared, before: &before, after, tiles: &self.tiles, layer });
        }
    }

    /// A whole prompt through the programs of prefill. Returns the next token.
    fn chunk(&mut self, prompt: &[u64], record: &mut Record) -> Result<u64, ValuesError> {
        let model = &self.checkpoint.model;
        let (region, precision, options) = (self.region, self.setup.precision, Options::PUBLISHED);
        let tokens = prompt.len() as u64;
        check_prefill(model, tokens)?;
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
    ) -> Result<(Prepared, Machine), ValuesError> {
        let prepared = Prepared::new(program);
        let mut machine = Machine::new(&prepared);
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
        let shape = self.prefill_shape(layer, tokens);
        let program = exact_prefill_layer(&shape, &self.exact(layer, Vec::new()))?;
        let (prepared, machine) = if self.cells[layer].is_empty() {
            self.whole(program, layer, vec![("residual", stream)])?
        } else {
            let before = Prepared::new(program);
            let mut machine = Machine::new(&before);
            fill(&before, &mut machine, "residual", stream)?;
            let write = |placed: &Self, chosen: Vec<Vec<u64>>| {
                Ok(exact_prefill_layer(&placed.prefill_shape(layer, tokens), &placed.exact(layer, chosen))?)
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
        let program = cache_handover(&self.request(layer, tokens - 1, None), prefill_cache_fields(&shape)?)?;
        let (prepared, machine) = self.whole(program, layer, inputs)?;
        let tap = Tap { prepared: &prepared, machine: &machine };
        let (keys, values) = (tap.tiles("kv.keys")?, tap.tiles("kv.values")?);
        self.caches[layer] = keys.into_iter().zip(values).map(|(keys, values)| [keys, values].concat()).collect();
        Ok(stream)
    }

    /// One token through the model. Returns the next one.
    fn token(&mut self, token: u64, position: u64, phase: &str, record: &mut Record) -> Result<u64, ValuesError> {
        let model = &self.checkpoint.model;
        let (region, precision, options) = (self.region, self.setup.precision, Options::PUBLISHED);
        let embedding =
            Prepared::new(head::exact_embedding(region, model.hidden, model.vocabulary, token, precision, options));
        let mut machine = Machine::new(&embedding);
        let before = self.before(&machine);
        execute(&embedding, &mut machine, &mut self.tiles, 0, 0..usize::MAX)?;
        self.observe(&embedding, before, &machine, 0);
        let row = Tap { prepared: &embedding, machine: &machine };
        record.push_row(format!("{phase}.embed"), row.of("embedding.row", 0)?);
        let mut stream = row.tiles("embedding.row")?;
        for layer in 0..model.layers.len() {
            stream = self.layer(layer, position, stream, phase, record)?;
        }
        let mut machine = Machine::new(&self.head);
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
        let (description, mapping) = (&model.layers[layer], self.mappings[layer]);
        let alike = |last: &Last<'_>| {
            !clustered && last.position == position && last.layer == description && last.mapping == mapping
        };
        let prepared = match self.last.take() {
            Some(last) if alike(&last) => last.prepared,
            _ => Prepared::new(self.decode_program(layer, position, None)?),
        };
        let mut machine = Machine::new(&prepared);
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
            let write = |placed: &Self, chosen: Vec<Vec<u64>>| placed.decode_program(layer, position, Some(chosen));
            self.routed(layer, prepared, &mut machine, write)?
        } else {
            let before = self.before(&machine);
            execute(&prepared, &mut machine, &mut self.tiles, layer, 0..usize::MAX)?;
            self.observe(&prepared, before, &machine, layer);
            prepared
        };
        let tap = Tap { prepared: &prepared, machine: &machine };
        let mut note = |kind: &str, row: Option<Vec<f64>>| {
            let name = format!("{phase}.layer{layer}.{kind}");
            match row {
                Some(row) => record.push_row(name, row),
                None => {
                    record.not_formed.insert(name);
                }
            }
        };
        note("attn_out", Some(tap.of("attention.projected", 0)?));
        note("moe_in", tap.normed("feed_forward.normed")?);
        if let FeedForward::Moe(moe) = &description.feed_forward {
            let scores = prepared.program.find("router.all_scores").filter(|_| moe.selection.follows_logits());
            note("router_logits", scores.map(|_| tap.of("router.all_scores", 0)).transpose()?);
            note("router_experts", Some(tap.of("router.choice", 0)?));
            note("router_weights", Some(tap.of("router.choice", 1)?));
        }
        note("moe_out", Some(tap.added_last()?));
        note("out", Some(tap.of("residual", 0)?));
        let stream = tap.tiles("residual")?;
        self.caches[layer] = tap.tiles("kv.cache")?;
        self.last = Some(Last { layer: description, mapping, position, prepared });
        Ok(stream)
    }

    /// Experts in rectangles: where the token goes is known when the router has chosen. The program is written without that,
    /// run up to its router, and written again with the choice; both must be the same up to there.
    fn routed(
        &mut self,
        layer: usize,
        before: Prepared,
        machine: &mut Machine,
        write: impl Fn(&Self, Vec<Vec<u64>>) -> Result<Program, ValuesError>,
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
            // What no query will see again is not kept.
            let oldest = attention.reach.oldest(tokens);
            let kept = (tokens - oldest) as usize;
            let shape = vec![heads, kept, width];
            let mut values = vec![f64::NAN; heads * kept * width];
            for tile in self.caches[layer].iter().filter_map(|tiles| tiles.get(field)) {
                for (row, token) in tile.rows.iter().enumerate() {
                    let Some(number) = u64::from(*token).checked_sub(oldest) else { continue };
                    for (value, element) in tile.row(row).iter().zip(tile.inner.iter()) {
                        let (head, dim) = (*element as usize / width, *element as usize % width);
                        if let Some(place) = values.get_mut((head * kept + number as usize) * width + dim) {
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
fn fill(prepared: &Prepared, machine: &mut Machine, name: &str, tiles: Vec<Vec<Tile>>) -> Result<(), ValuesError> {
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
    machine: &'a Machine,
}

impl Tap<'_> {
    fn of(&self, name: &str, field: u32) -> Result<Vec<f64>, ValuesError> {
        let operand = Operand::new(buffer(self.prepared, name)?, field);
        let tensor = self.machine.gather(self.prepared, operand).map_err(|problem| bug(self.prepared, problem))?;
        Ok(tensor.into_iter().map(f64::from).collect())
    }

    /// A tensor that a norm has made, unless it has its gain alone and what is made from it gets the scale.
    fn normed(&self, name: &str) -> Result<Option<Vec<f64>>, ValuesError> {
        let buffer = buffer(self.prepared, name)?;
        let scales = |formula: &Formula| match formula {
            Formula::RmsScale { y, .. } => y.buffer == buffer,
            Formula::Rescale { operands, .. } => operands.iter().any(|scaled| scaled.operand.buffer == buffer),
            Formula::Times { operands, .. } => operands.iter().any(|operand| operand.buffer == buffer),
            _ => false,
        };
        self.formulas().any(scales).then(|| self.of(name, 0)).transpose()
    }

    /// What was added to the residual stream after the attention: the outputs of all networks.
    fn added_last(&self) -> Result<Vec<f64>, ValuesError> {
        let stream = Operand::new(buffer(self.prepared, "residual")?, 0);
        let added = self.formulas().filter_map(|formula| match formula {
            Formula::Add { x, y } if *x == stream => Some(*y),
            _ => None,
        });
        let mut sum: Vec<f64> = Vec::new();
        for operand in added.skip(1) {
            let tensor = self.machine.gather(self.prepared, operand).map_err(|problem| bug(self.prepared, problem))?;
            sum.resize(tensor.len(), 0.0);
            sum.iter_mut().zip(tensor).for_each(|(sum, value)| *sum += f64::from(value));
        }
        Ok(sum)
    }

    fn formulas(&self) -> impl Iterator<Item = &Formula> {
        self.prepared.program.steps().filter_map(|step| match &step.action {
            Action::Compute(compute) => compute.formula.as_ref(),
            _ => None,
        })
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

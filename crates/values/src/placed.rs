//! A model on a grid: the programs of its layers, one after the other, and what they leave behind.
//!
//! Each layer has a region of the grid's size to itself, as on a wafer; between two programs the residual stream goes
//! from the last region to the next as it lies. A prompt goes through the programs of prefill as one chunk, or through
//! those of decode token by token. Layers are written as their mappings say.

mod tap;

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wafersim_lower::{
    EndRequest, ExpertLoad, LayerGraphs, LayerRequest, Routed, Scope, cache_handover, decode_layer_with, embedding,
    handed_over, lm_head, prefill_embedding, prefill_layer_with, turn_to_head,
};
use wafersim_mapping::{LayerMapping, OwnRewrites};
use wafersim_program::{BufferId, Operand, Program};
use wafersim_spec::Precision;
use wafersim_spec::model::{Attention, FeedForward, Layer};

use self::tap::Tap;
use crate::checkpoint::{Checkpoint, check_prefill};
use crate::error::ValuesError;
use crate::interpreter::{MeshState, Prepared, Tile, Tiles, execute, residents};
use crate::plain::check_prompt;
use crate::record::Record;

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
    /// The mapping of each layer, all on regions of one size.
    fn of_layers(&self, layers: usize) -> Result<Vec<&LayerMapping>, ValuesError> {
        let all: Vec<&LayerMapping> = match self.mappings.as_slice() {
            [one] => vec![one; layers],
            each => each.iter().collect(),
        };
        let sizes = all.iter().map(|mapping| mapping.region);
        match all.first().map(|mapping| mapping.region) {
            Some(region) if all.len() == layers && sizes.into_iter().all(|size| size == region) => Ok(all),
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
    /// Those of decode, so many tokens in a step as if they were a draft that is verified; those that are left at the
    /// end together.
    Drafts(u64),
}

/// What a run takes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunInput<'a> {
    /// The tokens of the prompt.
    pub prompt: &'a [u64],
    /// Greedy decode steps after it.
    pub steps: u64,
    /// Tokens that decode steps take in instead of the run's own choices, which are recorded all the same: then two
    /// runs stay comparable after a choice that differs.
    pub follow: Option<&'a [u64]>,
    /// Rewrites from outside, which the layers of decode get after those of their mappings.
    pub rewrites: Option<&'a OwnRewrites>,
}

impl<'a> RunInput<'a> {
    /// A prompt and steps that take in their own choices.
    pub const fn new(prompt: &'a [u64], steps: u64) -> Self {
        Self { prompt, steps, follow: None, rewrites: None }
    }

    /// The same with rewrites from outside.
    #[must_use]
    pub const fn rewritten(self, rewrites: &'a OwnRewrites) -> Self {
        Self { rewrites: Some(rewrites), ..self }
    }
}

/// Tokens that go through the model together, as in [`LayerRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    /// Tokens of all users.
    tokens: u64,
    /// Users.
    users: u64,
    /// Position of the first one of each user.
    position: u64,
}

impl Step {
    /// Tokens that the last one sees, itself included.
    const fn context(self) -> u64 {
        self.position + self.tokens / self.users
    }
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

/// A program that a run has executed from its start to its end, with what the processing elements held before and
/// after.
#[derive(Debug)]
pub struct Executed<'a> {
    /// The program.
    pub prepared: &'a Prepared,
    /// Before; matrices that the program moves are not in place yet ([`crate::interpreter::residents`]).
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

/// Runs a prompt and greedy decode steps as placed. `progress` is told how many tokens are done, of how many.
///
/// # Errors
/// Where the prompt is wrong, or the model or its layout has no exact program.
pub fn run(
    checkpoint: &Checkpoint,
    setup: &Setup,
    input: RunInput<'_>,
    progress: impl FnMut(u64, u64),
) -> Result<Record, ValuesError> {
    run_of(checkpoint, setup, input, progress, None)
}

/// Runs as [`run`] does; `observe` sees every program that was executed, with its processing elements before and after.
///
/// # Errors
/// As [`run`].
pub fn run_observed(
    checkpoint: &Checkpoint,
    setup: &Setup,
    input: RunInput<'_>,
    progress: impl FnMut(u64, u64),
    observe: &mut Observer<'_>,
) -> Result<Record, ValuesError> {
    run_of(checkpoint, setup, input, progress, Some(observe))
}

fn run_of<'a>(
    checkpoint: &'a Checkpoint,
    setup: &'a Setup,
    RunInput { prompt, steps, follow, rewrites }: RunInput<'_>,
    mut progress: impl FnMut(u64, u64),
    observer: Option<&'a mut Observer<'a>>,
) -> Result<Record, ValuesError> {
    check_prompt(checkpoint, prompt)?;
    if let Some(follow) = follow {
        check_prompt(checkpoint, &[prompt, follow].concat())?;
    }
    let mut placed = Placed::new(checkpoint, setup, observer)?;
    placed.rewrites = rewrites.cloned().unwrap_or_default();
    let mut records = [Record { prompt: prompt.to_vec(), ..Record::default() }];
    let all = prompt.len() as u64 + steps;
    let mut next = 0;
    match setup.prefill {
        Prefill::Chunk => next = placed.chunk(prompt, &mut records)?,
        Prefill::Tokens | Prefill::Drafts(_) => {
            let together = if let Prefill::Drafts(tokens) = setup.prefill { tokens.max(1) } else { 1 };
            let mut position = 0;
            for tokens in prompt.chunks(together as usize) {
                progress(position, all);
                let step = Step { tokens: tokens.len() as u64, users: 1, position };
                next = placed.step(step, tokens, "prefill", &mut records)?.last().copied().unwrap_or(0);
                position += step.tokens;
            }
        }
    }
    placed.record_caches(prompt.len() as u64, &mut records)?;
    for number in 0..steps {
        let position = prompt.len() as u64 + number;
        progress(position, all);
        records[0].generated.push(next);
        let token = follow.and_then(|follow| follow.get(number as usize).copied()).unwrap_or(next);
        let step = Step { tokens: 1, users: 1, position };
        next = placed.step(step, &[token], "decode", &mut records)?.last().copied().unwrap_or(0);
    }
    let [record] = records;
    Ok(record)
}

/// Runs several users together: a prompt of each, all of one length, token by token through the programs of decode
/// whatever [`Setup::prefill`] says, then `steps` greedy decode steps. Each user has a cache of its own.
///
/// # Errors
/// Where prompts are wrong or of different lengths, or the model or its layout has no program.
pub fn run_users(
    checkpoint: &Checkpoint,
    setup: &Setup,
    prompts: &[Vec<u64>],
    steps: u64,
) -> Result<Vec<Record>, ValuesError> {
    run_users_rewritten(checkpoint, setup, prompts, steps, &OwnRewrites::NONE)
}

/// Runs as [`run_users`] does, with rewrites from outside.
///
/// # Errors
/// As [`run_users`], and where a rewrite refuses.
pub fn run_users_rewritten(
    checkpoint: &Checkpoint,
    setup: &Setup,
    prompts: &[Vec<u64>],
    steps: u64,
    rewrites: &OwnRewrites,
) -> Result<Vec<Record>, ValuesError> {
    let length = prompts.first().map_or(0, Vec::len);
    for prompt in prompts {
        check_prompt(checkpoint, prompt)?;
        if prompt.len() != length {
            return Err(ValuesError::Prompt("is not as long as those of the other users".into()));
        }
    }
    let mut placed = Placed::new(checkpoint, setup, None)?;
    placed.rewrites = rewrites.clone();
    let mut records: Vec<Record> =
        prompts.iter().map(|prompt| Record { prompt: prompt.clone(), ..Record::default() }).collect();
    let users = prompts.len() as u64;
    let mut next = vec![0; prompts.len()];
    for position in 0..length {
        let tokens: Vec<u64> = prompts.iter().map(|prompt| prompt[position]).collect();
        let step = Step { tokens: users, users, position: position as u64 };
        next = placed.step(step, &tokens, "prefill", &mut records)?;
    }
    placed.record_caches(length as u64, &mut records)?;
    for number in 0..steps {
        records.iter_mut().zip(&next).for_each(|(record, token)| record.generated.push(*token));
        let step = Step { tokens: users, users, position: length as u64 + number };
        next = placed.step(step, &next, "decode", &mut records)?;
    }
    Ok(records)
}

struct Placed<'a> {
    checkpoint: &'a Checkpoint,
    setup: &'a Setup,
    mappings: Vec<&'a LayerMapping>,
    ends: EndRequest<'a>,
    tiles: Tiles<'a>,
    /// Layers whose experts lie in rectangles.
    clustered: Vec<bool>,
    caches: Vec<Cache>,
    /// LM heads by the number of tokens.
    heads: BTreeMap<u64, Prepared>,
    /// The program of the last layer, for layers that are like it.
    last: Option<Last<'a>>,
    /// Rewrites from outside.
    rewrites: OwnRewrites,
    observer: Option<&'a mut Observer<'a>>,
}

/// A program and what it was written for.
struct Last<'a> {
    layer: &'a Layer,
    mapping: &'a LayerMapping,
    step: Step,
    prepared: Prepared,
}

/// Whether a layer's experts lie in rectangles, whose programs wait for the choice.
fn in_rectangles(mapping: &LayerMapping, layer: &Layer) -> bool {
    matches!(layer.feed_forward, FeedForward::Moe(_))
        && mapping.experts.as_ref().is_some_and(|experts| !experts.is_spread())
}

impl<'a> Placed<'a> {
    fn new(
        checkpoint: &'a Checkpoint,
        setup: &'a Setup,
        observer: Option<&'a mut Observer<'a>>,
    ) -> Result<Self, ValuesError> {
        let model = &checkpoint.model;
        let mappings = setup.of_layers(model.layers.len())?;
        let ends = EndRequest {
            hidden: model.hidden,
            vocabulary: model.vocabulary,
            norm_epsilon: model.norm_epsilon,
            mapping: mappings.first().ok_or(ValuesError::Mappings { layers: 0, mappings: 0 })?,
            precision: setup.precision,
        };
        let clustered = mappings.iter().zip(&model.layers);
        let clustered = clustered.map(|(mapping, layer)| in_rectangles(mapping, layer)).collect();
        Ok(Self {
            checkpoint,
            setup,
            mappings,
            ends,
            tiles: Tiles::new(checkpoint, setup.precision.weights, setup.precision.small_weights),
            clustered,
            caches: vec![Vec::new(); model.layers.len()],
            heads: BTreeMap::new(),
            last: None,
            rewrites: OwnRewrites::NONE,
            observer,
        })
    }

    /// The program of a layer for a step. `chosen`: the experts that the router has chosen, once that is known; only
    /// experts in rectangles need it.
    fn decode_program(&self, layer: usize, step: Step, chosen: Option<Vec<Vec<u64>>>) -> Result<Program, ValuesError> {
        let mut graphs = LayerGraphs::with_own(self.rewrites.clone());
        Ok(decode_layer_with(&self.request(layer, step, chosen), &mut graphs)?)
    }

    /// The program of a layer for a prompt of `tokens` tokens.
    fn prefill_program(
        &self,
        layer: usize,
        tokens: u64,
        chosen: Option<Vec<Vec<u64>>>,
    ) -> Result<Program, ValuesError> {
        let request = self.request(layer, Step { tokens, users: 1, position: 0 }, chosen);
        Ok(prefill_layer_with(&request, u64::MAX, &self.rewrites)?)
    }

    fn request(&self, layer: usize, step: Step, chosen: Option<Vec<Vec<u64>>>) -> LayerRequest<'a> {
        let model = &self.checkpoint.model;
        let top_k = match &model.layers[layer].feed_forward {
            FeedForward::Moe(moe) => moe.top_k,
            FeedForward::Dense { .. } => 1,
        };
        let load = ExpertLoad::spread(step.tokens * top_k, top_k);
        LayerRequest {
            layer: &model.layers[layer],
            hidden: model.hidden,
            norm_epsilon: model.norm_epsilon,
            mapping: self.mappings[layer],
            precision: self.setup.precision,
            tokens: step.tokens,
            users: step.users,
            context: step.context(),
            routed: chosen.map_or(Routed::Expected(load), Routed::Chosen),
            scope: Scope::Model,
            queue: 4,
        }
    }

    /// The processing elements as they are, where somebody will want to compare.
    fn before(&self, mesh: &MeshState) -> Option<MeshState> {
        self.observer.is_some().then(|| mesh.clone())
    }

    fn observe(&mut self, prepared: &Prepared, before: Option<MeshState>, after: &MeshState, layer: usize) {
        if let (Some(observe), Some(before)) = (&mut self.observer, before) {
            observe(&Executed { prepared, before: &before, after, tiles: &self.tiles, layer });
        }
    }

    /// A whole prompt through the programs of prefill. Returns the next token.
    fn chunk(&mut self, prompt: &[u64], records: &mut [Record]) -> Result<u64, ValuesError> {
        let model = &self.checkpoint.model;
        let tokens = prompt.len() as u64;
        check_prefill(&self.checkpoint.model, prompt.len() as u64)?;
        let program = prefill_embedding(&self.ends, prompt)?;
        let (prepared, mesh) = self.whole(program, 0, Vec::new())?;
        let tap = Tap { prepared: &prepared, mesh: &mesh };
        tap.rows(records, "prefill.embed", "residual", 0)?;
        let mut stream = tap.tiles("residual")?;
        for layer in 0..model.layers.len() {
            stream = self.prefill_layer(layer, tokens, stream, records)?;
        }
        let program = turn_to_head(&self.ends, tokens);
        let (prepared, mesh) = self.whole(program, 0, vec![("residual", stream)])?;
        let x = Tap { prepared: &prepared, mesh: &mesh }.tiles("head.x")?;
        let program = lm_head(&self.ends, tokens)?;
        let (prepared, mesh) = self.whole(program, 0, vec![("head.x", x)])?;
        let tap = Tap { prepared: &prepared, mesh: &mesh };
        tap.head(records, "prefill", self.ends.mapping)?;
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
        let mesh = self.execute_whole(&prepared, layer, inputs)?;
        Ok((prepared, mesh))
    }

    fn execute_whole(
        &mut self,
        prepared: &Prepared,
        layer: usize,
        inputs: Vec<(&str, Vec<Vec<Tile>>)>,
    ) -> Result<MeshState, ValuesError> {
        let mut mesh = MeshState::new(prepared);
        for (name, tiles) in inputs {
            fill(prepared, &mut mesh, name, tiles)?;
        }
        let before = self.before(&mesh);
        execute(prepared, &mut mesh, &mut self.tiles, layer, 0..usize::MAX)?;
        self.observe(prepared, before, &mesh, layer);
        Ok(mesh)
    }

    fn prefill_layer(
        &mut self,
        layer: usize,
        tokens: u64,
        stream: Vec<Vec<Tile>>,
        records: &mut [Record],
    ) -> Result<Vec<Vec<Tile>>, ValuesError> {
        let program = self.prefill_program(layer, tokens, None)?;
        let (prepared, mesh) = if !self.clustered[layer] {
            self.whole(program, layer, vec![("residual", stream)])?
        } else {
            let before = Prepared::new(program);
            let mut mesh = MeshState::new(&before);
            fill(&before, &mut mesh, "residual", stream)?;
            let write = |placed: &Self, chosen: Vec<Vec<u64>>| placed.prefill_program(layer, tokens, Some(chosen));
            let after = self.routed(layer, before, &mut mesh, write)?;
            (after, mesh)
        };
        let tap = Tap { prepared: &prepared, mesh: &mesh };
        tap.layer(records, &format!("prefill.layer{layer}"), &self.checkpoint.model.layers[layer])?;
        let stream = tap.tiles("residual")?;

        let names = handed_over(&self.checkpoint.model.layers[layer].attention);
        let inputs = names.map(|name| tap.tiles(name).map(|tiles| (name, tiles)));
        let inputs = inputs.into_iter().collect::<Result<Vec<_>, _>>()?;
        let program = cache_handover(&self.request(layer, Step { tokens, users: 1, position: 0 }, None))?;
        let (prepared, mesh) = self.whole(program, layer, inputs)?;
        let tap = Tap { prepared: &prepared, mesh: &mesh };
        let (keys, values) = (tap.tiles("kv.keys")?, tap.tiles("kv.values")?);
        self.caches[layer] = keys.into_iter().zip(values).map(|(keys, values)| [keys, values].concat()).collect();
        Ok(stream)
    }

    /// The tokens of a step through the model. Returns the choice after each of them.
    fn step(
        &mut self,
        step: Step,
        tokens: &[u64],
        phase: &str,
        records: &mut [Record],
    ) -> Result<Vec<u64>, ValuesError> {
        let (prepared, mesh) = self.whole(embedding(&self.ends, tokens)?, 0, Vec::new())?;
        let tap = Tap { prepared: &prepared, mesh: &mesh };
        tap.rows(records, &format!("{phase}.embed"), "embedding.row", 0)?;
        let mut stream = tap.tiles("embedding.row")?;
        for layer in 0..self.checkpoint.model.layers.len() {
            stream = self.layer(layer, step, stream, phase, records)?;
        }
        let head = match self.heads.remove(&step.tokens) {
            Some(head) => head,
            None => Prepared::new(lm_head(&self.ends, step.tokens)?),
        };
        let mesh = self.execute_whole(&head, 0, vec![("head.x", stream)])?;
        let tap = Tap { prepared: &head, mesh: &mesh };
        tap.head(records, phase, self.ends.mapping)?;
        let best =
            tap.of("sampling.best", 0)?.chunks(2).map(|best| best.last().map_or(0, |number| *number as u64)).collect();
        self.heads.insert(step.tokens, head);
        Ok(best)
    }

    fn layer(
        &mut self,
        layer: usize,
        step: Step,
        stream: Vec<Vec<Tile>>,
        phase: &str,
        records: &mut [Record],
    ) -> Result<Vec<Vec<Tile>>, ValuesError> {
        let clustered = self.clustered[layer];
        let (description, mapping) = (&self.checkpoint.model.layers[layer], self.mappings[layer]);
        let alike =
            |last: &Last<'_>| !clustered && last.step == step && last.layer == description && last.mapping == mapping;
        let prepared = match self.last.take() {
            Some(last) if alike(&last) => last.prepared,
            _ => Prepared::new(self.decode_program(layer, step, None)?),
        };
        let mut mesh = MeshState::new(&prepared);
        fill(&prepared, &mut mesh, "residual", stream)?;
        let cache = std::mem::take(&mut self.caches[layer]);
        let keeps_state = matches!(description.attention, Attention::Linear(_));
        if keeps_state {
            remember(&prepared, &mut mesh, (step.position > 0).then_some(cache))?;
        } else if step.position == 0 {
            let id = buffer(&prepared, "kv.before")?;
            for field in 0..prepared.fields_of(id) {
                let before = Operand::new(id, field);
                mesh.scatter(&prepared, before, &[]).map_err(|problem| bug(&prepared, problem))?;
            }
        } else {
            fill(&prepared, &mut mesh, "kv.before", cache)?;
        }
        let prepared = if clustered {
            let write = |placed: &Self, chosen: Vec<Vec<u64>>| placed.decode_program(layer, step, Some(chosen));
            self.routed(layer, prepared, &mut mesh, write)?
        } else {
            let before = self.before(&mesh);
            execute(&prepared, &mut mesh, &mut self.tiles, layer, 0..usize::MAX)?;
            self.observe(&prepared, before, &mesh, layer);
            prepared
        };
        let tap = Tap { prepared: &prepared, mesh: &mesh };
        tap.layer(records, &format!("{phase}.layer{layer}"), description)?;
        let stream = tap.tiles("residual")?;
        self.caches[layer] = if keeps_state {
            let (state, tail) = (tap.tiles("state")?, tap.tiles("tail")?);
            state.into_iter().zip(tail).map(|(state, tail)| [state, tail].concat()).collect()
        } else {
            tap.tiles("kv.cache")?
        };
        self.last = Some(Last { layer: description, mapping, step, prepared });
        Ok(stream)
    }

    /// Experts in rectangles: where the token goes is known when the router has chosen. The program is written without
    /// that, run up to its router, and written again with the choice; both must be the same up to there.
    fn routed(
        &mut self,
        layer: usize,
        before: Prepared,
        mesh: &mut MeshState,
        write: impl Fn(&Self, Vec<Vec<u64>>) -> Result<Program, ValuesError>,
    ) -> Result<Prepared, ValuesError> {
        let is_router = |node: &wafersim_program::Node| matches!(node, wafersim_program::Node::Operator { name, .. } if name == "router");
        let Some(router) = before.program.body.iter().position(is_router) else {
            return Err(bug(&before, "there is no router".into()));
        };
        let mut untouched = self.before(mesh);
        execute(&before, mesh, &mut self.tiles, layer, 0..router + 1)?;
        let choice = Operand::new(buffer(&before, "router.choice")?, 0);
        let width = before.field(choice).map_err(|problem| bug(&before, problem))?.row_size().max(1) as usize;
        let experts = Tap { prepared: &before, mesh }.of("router.choice", 0)?;
        let of_token = |row: &[f64]| row.iter().map(|expert| *expert as u64).collect();
        let after = Prepared::new(write(self, experts.chunks(width).map(of_token).collect())?);
        let known = buffer(&before, "router.choice")?.index();
        if before.program.body.get(..=router) != after.program.body.get(..=router)
            || before.program.buffers.get(..=known) != after.program.buffers.get(..=known)
        {
            return Err(bug(&after, "the choice of experts changes what comes before it".into()));
        }
        for pe in untouched.iter_mut().chain([&mut *mesh]).flat_map(|mesh| &mut mesh.pes) {
            // What comes after the choice is another program's.
            pe.buffers.truncate(known + 1);
            pe.buffers.resize(after.program.buffers.len(), Vec::new());
        }
        residents(&after, mesh, &self.tiles, layer, known + 1)?;
        execute(&after, mesh, &mut self.tiles, layer, router + 1..usize::MAX)?;
        self.observe(&after, untouched, mesh, layer);
        Ok(after)
    }
}

/// Puts states and the last inputs of convolutions where a program has them, or zeros where there are none yet.
fn remember(prepared: &Prepared, mesh: &mut MeshState, kept: Option<Cache>) -> Result<(), ValuesError> {
    let Some(kept) = kept else {
        for name in ["state", "tail"] {
            let id = buffer(prepared, name)?;
            for field in 0..prepared.fields_of(id) {
                let operand = Operand::new(id, field);
                for (index, pe) in mesh.pes.iter_mut().enumerate() {
                    if prepared.held(operand, index).is_some() {
                        let zeros = prepared.fresh(operand, index, 0.0).map_err(|problem| bug(prepared, problem))?;
                        pe.put(operand, zeros);
                    }
                }
            }
        }
        return Ok(());
    };
    let parts = kept.into_iter().map(|mut tiles| {
        let tail = tiles.split_off(1.min(tiles.len()));
        (tiles, tail)
    });
    let (states, tails): (Vec<Vec<Tile>>, Vec<Vec<Tile>>) = parts.unzip();
    fill(prepared, mesh, "state", states)?;
    fill(prepared, mesh, "tail", tails)
}

fn bug(prepared: &Prepared, problem: String) -> ValuesError {
    ValuesError::Program { program: prepared.program.name.clone(), operator: "between operators".into(), problem }
}

fn buffer(prepared: &Prepared, name: &str) -> Result<BufferId, ValuesError> {
    prepared.program.find(name).ok_or_else(|| bug(prepared, format!("there is no buffer '{name}'")))
}

/// Hands tiles to a program, which must be those that its layout says.
fn fill(prepared: &Prepared, mesh: &mut MeshState, name: &str, tiles: Vec<Vec<Tile>>) -> Result<(), ValuesError> {
    let buffer = buffer(prepared, name)?;
    for (index, (pe, tiles)) in mesh.pes.iter_mut().zip(tiles).enumerate() {
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

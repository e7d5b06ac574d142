//! The programs of a model, written, run and handed on to the next one.

use std::collections::BTreeMap;

use rayon::prelude::*;
use wafersim_lower::{
    EndRequest, ExpertLoad, LayerGraphs, LayerRequest, Routed, Scope, cache_handover, decode_layer_with, embedding,
    handed_over, lm_head, prefill_embedding, prefill_layer_with, turn_to_head,
};
use wafersim_mapping::{LayerMapping, OwnRewrites};
use wafersim_program::{BufferId, Node, Operand, Program};
use wafersim_spec::model::{Attention, FeedForward, Layer};

use super::tap::Tap;
use super::{Executed, Observer, Setup, Step};
use crate::checkpoint::{Checkpoint, check_prefill};
use crate::error::ValuesError;
use crate::interpreter::{MeshState, Prepared, Tile, Tiles, execute, residents};
use crate::record::Record;

/// Tiles of one buffer, or of several one behind the other, by processing element: what a program hands on, or a
/// layer keeps.
pub(super) type Held = Vec<Vec<Tile>>;

pub(super) struct Placed<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    setup: &'a Setup,
    mappings: Vec<&'a LayerMapping>,
    ends: EndRequest<'a>,
    tiles: Tiles<'a>,
    /// Layers whose experts lie in rectangles.
    clustered: Vec<bool>,
    /// Keys and values, or states, of each layer.
    pub(super) caches: Vec<Held>,
    /// LM heads by the number of tokens.
    heads: BTreeMap<u64, Prepared>,
    /// The program of the last layer, for layers that are like it.
    last: Option<Last<'a>>,
    /// The processing elements of the last layer, whose memory the next one uses again.
    mesh: Option<MeshState>,
    /// Rewrites from outside.
    pub(super) rewrites: OwnRewrites,
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
    pub(super) fn new(
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
            mesh: None,
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
    pub(super) fn chunk(&mut self, prompt: &[u64], records: &mut [Record]) -> Result<u64, ValuesError> {
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
        inputs: Vec<(&str, Held)>,
    ) -> Result<(Prepared, MeshState), ValuesError> {
        let prepared = Prepared::new(program);
        let mesh = self.execute_whole(&prepared, layer, inputs)?;
        Ok((prepared, mesh))
    }

    fn execute_whole(
        &mut self,
        prepared: &Prepared,
        layer: usize,
        inputs: Vec<(&str, Held)>,
    ) -> Result<MeshState, ValuesError> {
        let mut mesh = MeshState::new(prepared);
        for (name, tiles) in inputs {
            fill(prepared, &mut mesh, name, &tiles)?;
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
        stream: Held,
        records: &mut [Record],
    ) -> Result<Held, ValuesError> {
        let program = self.prefill_program(layer, tokens, None)?;
        let (prepared, mesh) = if !self.clustered[layer] {
            self.whole(program, layer, vec![("residual", stream)])?
        } else {
            let before = Prepared::new(program);
            let mut mesh = MeshState::new(&before);
            fill(&before, &mut mesh, "residual", &stream)?;
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
        tap.keep(&["kv.keys", "kv.values"], &mut self.caches[layer])?;
        Ok(stream)
    }

    /// The tokens of a step through the model. Returns the choice after each of them.
    pub(super) fn step(
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
        mut stream: Held,
        phase: &str,
        records: &mut [Record],
    ) -> Result<Held, ValuesError> {
        let clustered = self.clustered[layer];
        let (description, mapping) = (&self.checkpoint.model.layers[layer], self.mappings[layer]);
        let alike =
            |last: &Last<'_>| !clustered && last.step == step && last.layer == description && last.mapping == mapping;
        let prepared = match self.last.take() {
            Some(last) if alike(&last) => last.prepared,
            _ => Prepared::new(self.decode_program(layer, step, None)?),
        };
        let mut mesh = match self.mesh.take() {
            Some(mesh) => mesh.emptied(&prepared),
            None => MeshState::new(&prepared),
        };
        fill(&prepared, &mut mesh, "residual", &stream)?;
        let mut cache = std::mem::take(&mut self.caches[layer]);
        let keeps_state = matches!(description.attention, Attention::Linear(_));
        if keeps_state {
            remember(&prepared, &mut mesh, (step.position > 0).then_some(&cache))?;
        } else if step.position == 0 {
            let id = buffer(&prepared, "kv.before")?;
            for field in 0..prepared.fields_of(id) {
                let before = Operand::new(id, field);
                mesh.scatter(&prepared, before, &[]).map_err(|problem| bug(&prepared, problem))?;
            }
        } else {
            fill(&prepared, &mut mesh, "kv.before", &cache)?;
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
        tap.keep(&["residual"], &mut stream)?;
        tap.keep(if keeps_state { &["state", "tail"] } else { &["kv.cache"] }, &mut cache)?;
        self.caches[layer] = cache;
        self.mesh = Some(mesh);
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
        let is_router = |node: &Node| matches!(node, Node::Operator { name, .. } if name == "router");
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
fn remember(prepared: &Prepared, mesh: &mut MeshState, kept: Option<&Held>) -> Result<(), ValuesError> {
    let Some(kept) = kept else {
        for name in ["state", "tail"] {
            let id = buffer(prepared, name)?;
            for field in 0..prepared.fields_of(id) {
                let operand = Operand::new(id, field);
                for (index, pe) in mesh.pes.iter_mut().enumerate() {
                    if prepared.held(operand, index).is_some() {
                        let zeros = pe.fresh(prepared, operand, 0.0).map_err(|problem| bug(prepared, problem))?;
                        pe.put(operand, zeros);
                    }
                }
            }
        }
        return Ok(());
    };
    let parts = |part: fn(&[Tile]) -> &[Tile]| kept.iter().map(|tiles| part(tiles).to_vec()).collect::<Held>();
    fill(prepared, mesh, "state", &parts(|tiles| tiles.get(..1).unwrap_or(&[])))?;
    fill(prepared, mesh, "tail", &parts(|tiles| tiles.get(1..).unwrap_or(&[])))
}

pub(super) fn bug(prepared: &Prepared, problem: String) -> ValuesError {
    ValuesError::Program { program: prepared.program.name.clone(), operator: "between operators".into(), problem }
}

pub(super) fn buffer(prepared: &Prepared, name: &str) -> Result<BufferId, ValuesError> {
    prepared.program.find(name).ok_or_else(|| bug(prepared, format!("there is no buffer '{name}'")))
}

/// Hands copies of tiles to a program, which must be those that its layout says.
fn fill(prepared: &Prepared, mesh: &mut MeshState, name: &str, tiles: &Held) -> Result<(), ValuesError> {
    let buffer = buffer(prepared, name)?;
    let laid = mesh.pes.par_iter_mut().zip(tiles).try_for_each(|(pe, tiles)| pe.lay(prepared, buffer, tiles));
    laid.map_err(|problem| bug(prepared, problem))
}

//! A program with numbers, run by the numeric reading and by wavelets; and what may be done to the wavelets on their
//! way.

#![allow(dead_code, reason = "each test takes what it needs")]

use proptest::prelude::*;
use wafersim_carried::{Agreement, CarriedError, Carrying, Device, compare};
use wafersim_cost::{Rates, View, formula};
use wafersim_fabric::circuit::{self, Contents, Core, Lowered, Outcome, StreamId};
use wafersim_program::{Operand, Program};
use wafersim_spec::wafer::RateSet;
use wafersim_spec::{DataType, Precision, Wafer};
use wafersim_values::interpreter::{MeshState, Prepared, Rounding, Tiles, execute, residents};
use wafersim_values::{Checkpoint, Tensors};

/// A checkpoint whose gate matrix is `k x n`, of numbers that the seed makes.
pub fn matrix(k: u64, n: u64, seed: u64) -> Checkpoint {
    let config = format!(
        r#"{{"model_type": "llama", "hidden_size": {k}, "num_hidden_layers": 1, "num_attention_heads": 1,
        "num_key_value_heads": 1, "head_dim": 2, "vocab_size": 2, "max_position_embeddings": 4,
        "intermediate_size": {n}, "rms_norm_eps": 1e-6}}"#
    );
    let shapes = [
        ("model.embed_tokens.weight", vec![2, k]),
        ("model.norm.weight", vec![k]),
        ("lm_head.weight", vec![2, k]),
        ("model.layers.0.input_layernorm.weight", vec![k]),
        ("model.layers.0.post_attention_layernorm.weight", vec![k]),
        ("model.layers.0.self_attn.q_proj.weight", vec![2, k]),
        ("model.layers.0.self_attn.k_proj.weight", vec![2, k]),
        ("model.layers.0.self_attn.v_proj.weight", vec![2, k]),
        ("model.layers.0.self_attn.o_proj.weight", vec![k, 2]),
        ("model.layers.0.mlp.gate_proj.weight", vec![n, k]),
        ("model.layers.0.mlp.up_proj.weight", vec![n, k]),
        ("model.layers.0.mlp.down_proj.weight", vec![k, n]),
    ];
    let (mut header, mut data) = (Vec::new(), Vec::new());
    for (name, shape) in shapes {
        let begin = data.len();
        for value in numbers(shape.iter().product(), seed + begin as u64) {
            data.extend(value.to_le_bytes());
        }
        header.push(format!(r#""{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{begin},{}]}}"#, data.len()));
    }
    let mut header = format!("{{{}}}", header.join(","));
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let file = [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes(), &data].concat();
    Checkpoint::new(&config, "config.json", Tensors::read(vec![("model.safetensors".into(), file)]).unwrap()).unwrap()
}

/// Numbers between -1 and 1.
pub fn numbers(count: u64, seed: u64) -> Vec<f32> {
    wafersim_values::random_prompt(2001, count, seed).into_iter().map(|id| id as f32 / 1000.0 - 1.0).collect()
}

pub fn precision(data_type: DataType) -> Precision {
    Precision {
        weights: data_type,
        small_weights: data_type,
        kv_cache: data_type,
        activations: data_type,
        ..Precision::default()
    }
}

pub fn with_device<T>(run: impl FnOnce(&Device<'_>) -> T) -> T {
    let wafer = Wafer::builtin("wse3").unwrap();
    let rates = Rates::new(&wafer, RateSet::Silicon, View::Achieved);
    run(&Device { wafer: &wafer, set: RateSet::Silicon, work_cycles: &|work| formula::work(work, &rates) })
}

/// A program with the numbers of one buffer, ready to be run both ways.
pub struct Case {
    pub prepared: Prepared,
    pub before: MeshState,
    checkpoint: Checkpoint,
    data_type: DataType,
}

impl Case {
    pub fn new(program: Program, input: &str, data_type: DataType, checkpoint: Checkpoint, seed: u64) -> Self {
        let prepared = Prepared::new(program);
        let mut before = MeshState::new(&prepared);
        let operand = Operand::new(prepared.program.find(input).unwrap(), 0);
        let field = prepared.field(operand).unwrap();
        let rounding = Rounding::of(data_type);
        let mut values = numbers(field.rows.size * field.row_size(), seed);
        rounding.round_all(&mut values);
        before.scatter(&prepared, operand, &values).unwrap();
        Self { prepared, before, checkpoint, data_type }
    }

    /// Every processing element begins with numbers of its own: partial results of a reduction.
    pub fn with_partials(mut self, seed: u64) -> Self {
        for (index, pe) in self.before.pes.iter_mut().enumerate() {
            for tile in pe.buffers.iter_mut().flatten() {
                tile.values = numbers(tile.values.len() as u64, seed + index as u64);
                Rounding::of(self.data_type).round_all(&mut tile.values);
            }
        }
        self
    }

    /// Runs both ways, the contents of wavelets seen and changed by `fault`, the lowered program changed by `route`.
    pub fn run(
        &self,
        route: impl FnOnce(&mut Lowered),
        fault: impl FnMut(Core, u32, StreamId, u32, u32) -> u32,
    ) -> Result<(Agreement, Outcome), CarriedError> {
        let mut tiles = Tiles::new(&self.checkpoint, self.data_type, self.data_type);
        let mut wanted = self.before.clone();
        execute(&self.prepared, &mut wanted, &mut tiles, 0, 0..usize::MAX).unwrap();
        let mut mesh = self.before.clone();
        residents(&self.prepared, &mut mesh, &tiles, 0, 0).unwrap();
        let mut lowered = with_device(|device| device.lower(&self.prepared.program))?;
        route(&mut lowered);
        let carrying = Carrying::new(&self.prepared, &lowered, (&tiles, 0), mesh);
        let mut faulty = Faulty { carrying, fault };
        let outcome = circuit::run_carrying(&lowered, &mut faulty, |_| ())?;
        // What is carried takes no time, and the engine of streams knows the switch positions too.
        assert_eq!(circuit::run(&lowered, |_| ())?.cycles, outcome.cycles);
        let carried = faulty.carrying.finish()?;
        Ok((compare(&self.prepared.program, &wanted, &carried), outcome))
    }

    /// What the numeric reading leaves.
    pub fn numbers(&self) -> MeshState {
        let mut tiles = Tiles::new(&self.checkpoint, self.data_type, self.data_type);
        let mut mesh = self.before.clone();
        execute(&self.prepared, &mut mesh, &mut tiles, 0, 0..usize::MAX).unwrap();
        mesh
    }

    pub fn agreement(&self) -> Result<Agreement, TestCaseError> {
        let result = self.run(|_| (), |_, _, _, _, word| word);
        result.map(|(agreement, _)| agreement).map_err(|error| TestCaseError::fail(error.to_string()))
    }
}

/// Contents of which `fault` may change what is sent.
pub struct Faulty<'a, F> {
    carrying: Carrying<'a>,
    fault: F,
}

impl<F: FnMut(Core, u32, StreamId, u32, u32) -> u32> Contents for Faulty<'_, F> {
    type Word = u32;

    fn enter(&mut self, core: Core, at: u32) {
        self.carrying.enter(core, at);
    }

    fn send(&mut self, core: Core, at: u32, stream: StreamId, index: u32) -> u32 {
        let word = self.carrying.send(core, at, stream, index);
        (self.fault)(core, at, stream, index, word)
    }

    fn forward(&mut self, core: Core, at: u32, streams: (StreamId, StreamId), index: u32, word: u32) -> u32 {
        self.carrying.forward(core, at, streams, index, word)
    }

    fn take(&mut self, core: Core, at: u32, stream: StreamId, index: u32, word: u32) {
        self.carrying.take(core, at, stream, index, word);
    }

    fn leave(&mut self, core: Core, at: u32) {
        self.carrying.leave(core, at);
    }
}

pub fn data_types() -> impl Strategy<Value = DataType> {
    prop::sample::select(vec![DataType::Fp32, DataType::Fp16, DataType::Bf16])
}

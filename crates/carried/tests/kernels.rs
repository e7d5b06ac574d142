//! Kernels by themselves, any shape on any grid: what wavelets have carried is what the numeric reading says, bit for bit. And
//! faults are noticed: a bit that flips, wavelets that change places, a route that leads elsewhere.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use wafersim_carried::{Agreement, CarriedError, Carrying, Device, compare};
use wafersim_cost::{Rates, View, formula};
use wafersim_fabric::circuit::{self, Contents, Core, Direction, Lowered, Outcome, Part, StreamId};
use wafersim_kernels::{Options, gemm, gemv};
use wafersim_program::{
    Action, Axis, BufferId, Dimension, End, Field, Layout, Multicast, Operand, Program, ReduceOperator, Region,
    Relayout, Shift, Spread, Style, collective, formula::along, movement,
};
use wafersim_spec::model::Role;
use wafersim_spec::wafer::RateSet;
use wafersim_spec::{DataType, Precision, Wafer};
use wafersim_values::machine::{MeshState, Prepared, Rounding, Tiles, execute, residents};
use wafersim_values::{Checkpoint, Tensors};

/// A checkpoint whose gate matrix is `k x n`, of numbers that the seed makes.
fn matrix(k: u64, n: u64, seed: u64) -> Checkpoint {
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
fn numbers(count: u64, seed: u64) -> Vec<f32> {
    wafersim_values::random_prompt(2001, count, seed).into_iter().map(|id| id as f32 / 1000.0 - 1.0).collect()
}

fn precision(data_type: DataType) -> Precision {
    Precision { weights: data_type, small_weights: data_type, kv_cache: data_type, activations: data_type }
}

fn with_device<T>(run: impl FnOnce(&Device<'_>) -> T) -> T {
    let wafer = Wafer::builtin("wse3").unwrap();
    let rates = Rates::new(&wafer, RateSet::Silicon, View::Achieved);
    run(&Device { wafer: &wafer, set: RateSet::Silicon, work_cycles: &|work| formula::work(work, &rates) })
}

/// A program with the numbers of one buffer, ready to be run both ways.
struct Case {
    prepared: Prepared,
    before: MeshState,
    checkpoint: Checkpoint,
    data_type: DataType,
}

impl Case {
    fn new(program: Program, input: &str, data_type: DataType, checkpoint: Checkpoint, seed: u64) -> Self {
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
    fn with_partials(mut self, seed: u64) -> Self {
        for (index, pe) in self.before.pes.iter_mut().enumerate() {
            for tile in pe.buffers.iter_mut().flatten() {
                tile.values = numbers(tile.values.len() as u64, seed + index as u64);
                Rounding::of(self.data_type).round_all(&mut tile.values);
            }
        }
        self
    }

    /// Runs both ways, the contents of wavelets seen and changed by `fault`, the lowered program changed by `route`.
    fn run(
        &self,
        route: impl FnOnce(&mut Lowered),
        fault: impl FnMut(Core, u32, StreamId, u32, u32) -> u32,
    ) -> Result<(Agreement, Outcome), CarriedError> {
        let mut tiles = Tiles::new(&self.checkpoint, self.data_type, self.data_type);
        let mut wanted = self.before.clone();
        execute(&self.prepared, &mut wanted, &mut tiles, 0, 0..usize::MAX).unwrap();
        let mut machine = self.before.clone();
        residents(&self.prepared, &mut machine, &tiles, 0).unwrap();
        let mut lowered = with_device(|device| device.lower(&self.prepared.program))?;
        route(&mut lowered);
        let carrying = Carrying::new(&self.prepared, &lowered, (&tiles, 0), machine);
        let mut faulty = Faulty { carrying, fault };
        let outcome = circuit::run_carrying(&lowered, &mut faulty, |_| ())?;
        // What is carried takes no time, and the engine of streams knows the switch positions too.
        assert_eq!(circuit::run(&lowered, |_| ())?.cycles, outcome.cycles);
        let carried = faulty.carrying.finish()?;
        Ok((compare(&self.prepared.program, &wanted, &carried), outcome))
    }

    fn agreement(&self) -> Result<Agreement, TestCaseError> {
        let result = self.run(|_| (), |_, _, _, _, word| word);
        result.map(|(agreement, _)| agreement).map_err(|error| TestCaseError::fail(error.to_string()))
    }
}

/// Contents of which `fault` may change what is sent.
struct Faulty<'a, F> {
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

fn gemv_case(grid: (u64, u64), (k, n): (u64, u64), axis: Axis, library: bool, data_type: DataType, seed: u64) -> Case {
    let region = Region::new(0, 0, grid.0, grid.1);
    let program = gemv::exact_gemv(region, (k, n), axis, (Role::Gate, precision(data_type)), library);
    Case::new(program, "x", data_type, matrix(k, n, seed), seed)
}

fn data_types() -> impl Strategy<Value = DataType> {
    prop::sample::select(vec![DataType::Fp32, DataType::Fp16, DataType::Bf16])
}

/// A program of one buffer that a collective works on.
fn collective_case(
    (columns, rows): (u64, u64),
    (axis, width): (Axis, u64),
    kind: u64,
    from: u64,
    data_type: DataType,
    seed: u64,
) -> Case {
    let region = Region::new(2, 1, columns, rows);
    let mut program = Program::new("collective", region);
    let field = Field::new("payload", Dimension::whole(2), vec![Dimension::whole(width)]);
    let payload = program.laid_buffer("payload", data_type, Layout { region, fields: vec![field] });
    let line = region.along(axis);
    let groups = collective::default_groups(line);
    let nodes = match kind {
        0 => collective::all_reduce(&mut program, axis, groups, payload, ReduceOperator::Add),
        1 => collective::all_reduce(&mut program, axis, groups, payload, ReduceOperator::Max),
        2 => collective::library_all_reduce(&mut program, axis, payload, ReduceOperator::Add),
        3 => collective::chain_all_reduce(&mut program, axis, line, payload, ReduceOperator::Max),
        4 => {
            let colors = program.new_colors(2);
            let shift = Shift { axis, ring: false, payload, colors };
            vec![program.step(Action::Shift(shift))]
        }
        _ => {
            let (colors, style) = (program.new_colors(2), Style::Streaming);
            let cast = Multicast { axis, from: from % line, span: line, style, payload, colors };
            vec![program.step(Action::Multicast(cast))]
        }
    };
    program.push("collective", nodes);
    Case::new(program, "payload", data_type, matrix(2, 2, 1), seed).with_partials(seed)
}

/// A relayout between two ways to share a vector out along a line, or from everybody's copy to sums.
fn relayout_case(
    (columns, rows): (u64, u64),
    (axis, width): (Axis, u64),
    (spread_to_whole, accumulate): (bool, bool),
    data_type: DataType,
    seed: u64,
) -> Case {
    let region = Region::new(0, 0, columns, rows);
    let mut program = Program::new("relayout", region);
    let shared = || Field::new("x", Dimension::whole(2), vec![along(width, axis, region)]);
    let backwards = || {
        let indices = (0..width).rev().step_by(2).collect();
        Field::new("x", Dimension::whole(2), vec![Dimension { size: width, spread: Spread::Listed(indices) }])
    };
    let whole = || Field::new("x", Dimension::whole(2), vec![Dimension::whole(width)]);
    let (from, to) = match (accumulate, spread_to_whole) {
        (true, _) => (whole(), shared()),
        (false, true) => (shared(), backwards()),
        (false, false) => (shared(), whole()),
    };
    let mut buffer = |name: &'static str, field: Field| -> BufferId {
        program.laid_buffer(name, data_type, Layout { region, fields: vec![field] })
    };
    let (source, target) = (buffer("source", from), buffer("target", to));
    let (hops, wavelets) = (region.along(axis), data_type.wavelets(2 * width));
    let colors = collective::transit_colors(&mut program, axis);
    let moved = Relayout { axis, hops, wavelets, farthest: End::First, source, target, accumulate, colors };
    let node = program.step(Action::Relayout(moved));
    program.push("relayout", vec![node]);
    let case = Case::new(program, "source", data_type, matrix(2, 2, 1), seed);
    if accumulate { case.with_partials(seed) } else { case }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn gemv_is_carried(
        columns in 1u64..11, rows in 1u64..11, k in 1u64..50, n in 1u64..50,
        along_x in any::<bool>(), library in any::<bool>(), data_type in data_types(), seed in 0u64..100,
    ) {
        let axis = if along_x { Axis::X } else { Axis::Y };
        let agreement = gemv_case((columns, rows), (k, n), axis, library, data_type, seed).agreement()?;
        prop_assert!(agreement.is_whole(), "{:#?}", agreement.first);
    }

    #[test]
    fn mesh_gemm_is_carried(
        columns in 1u64..9, rows in 1u64..9, m in 1u64..20, k in 1u64..24, n in 1u64..20,
        data_type in data_types(), seed in 0u64..100,
    ) {
        let region = Region::new(0, 0, columns, rows);
        let program = gemm::exact_mesh_gemm(region, (m, k, n), Role::Gate, precision(data_type), Options::PUBLISHED);
        let agreement = Case::new(program, "gemm.input", data_type, matrix(k, n, seed), seed).agreement()?;
        prop_assert!(agreement.is_whole(), "{:#?}", agreement.first);
    }

    #[test]
    fn collectives_are_carried(
        columns in 1u64..14, rows in 1u64..14, along_x in any::<bool>(), width in 1u64..9, kind in 0u64..6,
        from in 0u64..14, data_type in data_types(), seed in 0u64..100,
    ) {
        let axis = if along_x { Axis::X } else { Axis::Y };
        let agreement = collective_case((columns, rows), (axis, width), kind, from, data_type, seed).agreement()?;
        prop_assert!(agreement.is_whole() && agreement.elements > 0, "{:#?}", agreement.first);
    }

    #[test]
    fn relayouts_are_carried_by_their_owners(
        columns in 1u64..10, rows in 1u64..10, along_x in any::<bool>(), width in 1u64..30,
        some in any::<bool>(), accumulate in any::<bool>(), data_type in data_types(), seed in 0u64..100,
    ) {
        let axis = if along_x { Axis::X } else { Axis::Y };
        let case = relayout_case((columns, rows), (axis, width), (some, accumulate), data_type, seed);
        let (agreement, outcome) =
            case.run(|_| (), |_, _, _, _, word| word).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(agreement.is_whole() && agreement.elements > 0, "{:#?}", agreement.first);
        let program = &case.prepared.program;
        let step = program.steps().next().unwrap();
        let Action::Relayout(moved) = &step.action else { panic!("a relayout is one") };
        let known = movement(program, step.region, moved, 0).unwrap().unwrap();
        let (up, down) = known.busiest_link(|elements| data_type.wavelets(elements));
        let most = |direction: Direction| outcome.maps.links[direction as usize].iter().copied().max().unwrap_or(0);
        prop_assert_eq!(u64::from(most(Direction::along(axis, true))), up);
        prop_assert_eq!(u64::from(most(Direction::along(axis, false))), down);
    }
}

fn cases() -> BTreeMap<&'static str, Case> {
    let region = Region::new(0, 0, 5, 4);
    let precision = precision(DataType::Fp32);
    let gemm = gemm::exact_mesh_gemm(region, (9, 20, 9), Role::Gate, precision, Options::PUBLISHED);
    BTreeMap::from([
        ("gemv", gemv_case((5, 4), (20, 15), Axis::Y, false, DataType::Fp32, 1)),
        ("gemm", Case::new(gemm, "gemm.input", DataType::Fp32, matrix(20, 9, 2), 3)),
        ("all-reduce", collective_case((5, 4), (Axis::X, 3), 0, 0, DataType::Fp32, 4)),
        ("shift", collective_case((5, 4), (Axis::Y, 3), 4, 0, DataType::Fp16, 4)),
        ("multicast", collective_case((5, 4), (Axis::Y, 3), 5, 2, DataType::Fp32, 4)),
        ("relayout", relayout_case((5, 4), (Axis::X, 15), (false, false), DataType::Bf16, 4)),
    ])
}

/// One bit of one word, wherever that is sent.
#[test]
fn a_flipped_bit_is_noticed() {
    for (name, case) in cases() {
        let mut sent = 0u64;
        let (agreement, _) = case
            .run(
                |_| (),
                |_, _, _, _, word| {
                    sent += 1;
                    word
                },
            )
            .unwrap();
        assert!(agreement.is_whole() && sent > 8, "{name}: {sent} words");
        // The last words of a ring may only fill its payload up.
        for chosen in [1, sent / 3, sent / 2] {
            let mut count = 0;
            let (agreement, _) = case
                .run(
                    |_| (),
                    |_, _, _, _, word| {
                        count += 1;
                        if count == chosen { word ^ 1 << 13 } else { word }
                    },
                )
                .unwrap();
            assert!(!agreement.is_whole(), "{name}: word {chosen} of {sent}");
        }
    }
}

/// Two words of a stream in each other's place.
#[test]
fn words_out_of_order_are_noticed() {
    for (name, case) in cases() {
        let mut held = BTreeMap::new();
        let result = case.run(
            |_| (),
            |core, at, stream, index, word| {
                // Each word arrives in the place of the next one.
                held.insert((core, at, stream), word).filter(|_| index > 0).unwrap_or(word)
            },
        );
        let (agreement, _) = result.unwrap();
        assert!(!agreement.is_whole(), "{name}");
    }
}

/// A sender's stream that reaches one place less, or goes to another: refused, stuck or wrong, never right.
#[test]
fn another_route_is_noticed() {
    for (name, case) in cases() {
        let streams = with_device(|device| device.lower(&case.prepared.program)).unwrap();
        let count: usize = streams.stages.iter().flat_map(|stage| &stage.parts).map(streams_of).sum();
        for chosen in 0..count {
            let shorten = |lowered: &mut Lowered| {
                let mut left = chosen;
                for part in lowered.stages.iter_mut().flat_map(|stage| &mut stage.parts) {
                    let Part::Carry(lines) = part else { continue };
                    match lines.streams.get_mut(left) {
                        Some(stream) if stream.high > stream.source => stream.high -= 1,
                        Some(stream) => stream.low += 1,
                        None => {
                            left -= lines.streams.len();
                            continue;
                        }
                    }
                    return;
                }
            };
            let mut used = true;
            let result = case.run(
                |lowered| {
                    shorten(lowered);
                    used = is_used(lowered, chosen);
                },
                |_, _, _, _, word| word,
            );
            let right = result.is_ok_and(|(agreement, _)| agreement.is_whole());
            assert!(!right || !used, "{name}: stream {chosen} of {count}");
        }
    }
}

fn streams_of(part: &Part) -> usize {
    match part {
        Part::Carry(lines) => lines.streams.len(),
        _ => 0,
    }
}

/// Whether the stage of a stream is in the schedule: some stages are written and then replaced by variants.
fn is_used(lowered: &Lowered, chosen: usize) -> bool {
    let mut left = chosen;
    for (index, stage) in lowered.stages.iter().enumerate() {
        let here: usize = stage.parts.iter().map(streams_of).sum();
        if left < here {
            return lowered.schedule.contains(&(index as u32));
        }
        left -= here;
    }
    false
}

//! The program that each measured kernel is, and its closed-form reading.

use wafersim_cost::{Rates, View, cost, formula};
use wafersim_kernels::Groups;
use wafersim_kernels::collectives::{self, At, Collective, Payload, Phase, Sharing};
use wafersim_kernels::gemm::{self, Broadcast, Gemm};
use wafersim_kernels::gemv::{self, Gemv};
use wafersim_lower::{ExpertLoad, LayerRequest, Routed, Scope};
use wafersim_mapping::reduction;
use wafersim_mapping::{KvMapping, LayerMapping, Reduction, Reductions, Tree};
use wafersim_program::{Axis, Operation, Program, Region, Work, collective};
use wafersim_spec::model::{Attention, FeedForward, GroupedAttention, HeadValues, Layer, Reach};
use wafersim_spec::wafer::Key;
use wafersim_spec::{DataType, Wafer};

use crate::measurements::Measurement;

/// The program of a row, with what its cycles are divided by to be in the row's unit.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasuredProgram {
    /// The program, with its first element at the origin.
    pub program: Program,
    /// Rounds of the program that the row's value is for one of; 1 where it is for all.
    pub rounds: u64,
}

/// The predicted value of a row, in the row's own unit.
///
/// # Errors
/// Where the kernel, metric or a parameter is not known: why, in words.
pub fn predict(row: &Measurement, wafer: &Wafer) -> Result<f64, String> {
    let rates = Rates::new(wafer, row.rate_set(), View::Achieved);
    let value = match (row.kernel.as_str(), row.metric.as_str()) {
        ("stream_rate", "cycles_per_wavelet") => rates.wavelet,
        ("relay_chain", "cycles") => formula::relay_chain(whole(row, "stages")?, whole(row, "words")?, &rates),
        ("vector_op", "elements_per_cycle") => {
            // The rate of a long operation, its set-up taken off, as it was measured.
            const LENGTH: u64 = 1 << 20;
            let work = Work::new(operation(row)?, data_type(row)?, LENGTH, 1);
            LENGTH as f64 / (formula::work(&work, &rates) - rates.setup)
        }
        ("vector_op", "completion_cycles") => {
            formula::vector_completion(operation(row)?, data_type(row)?, whole(row, "len")?, &rates)
        }
        _ => {
            let measured = measured_program(row, wafer)?;
            cost(&measured.program, &rates).total().0 / measured.rounds as f64
        }
    };
    if value.is_finite() && value > 0.0 {
        Ok(value)
    } else {
        Err(format!("the prediction {value} is no positive number"))
    }
}

/// The program of a row that measured one: a message, a product, a layer.
///
/// # Errors
/// Where the kernel, metric or a parameter is not known: why, in words.
pub fn measured_program(row: &Measurement, wafer: &Wafer) -> Result<MeasuredProgram, String> {
    let region = Region::new(0, 0, row.grid_x, row.grid_y);
    let mut rounds = 1;
    let program = match (row.kernel.as_str(), row.metric.as_str()) {
        ("message", "cycles") => message(whole(row, "hops")?, whole(row, "words")?),
        ("pe_gemv", "cycles") => gemv::local_gemv(whole(row, "rows")?, whole(row, "cols")?, data_type(row)?),
        ("mesh_gemv", "cycles") => {
            fp16_only(row)?;
            gemv::mesh_gemv(&Gemv::fp16(region, whole(row, "rows")?, whole(row, "cols")?, Axis::Y), groups(row)?)
        }
        ("chain_gemv", "cycles") => {
            fp16_only(row)?;
            gemv::chain_gemv(&Gemv::fp16(region, whole(row, "rows")?, whole(row, "cols")?, Axis::Y))
        }
        ("mesh_gemm", metric @ ("cycles" | "cycles_per_step")) => {
            fp16_only(row)?;
            let aligned = metric == "cycles";
            if !aligned {
                rounds = row.grid_x.max(row.grid_y);
            }
            gemm::mesh_gemm(&product(row)?, aligned)
        }
        ("summa_gemm", "cycles") => {
            fp16_only(row)?;
            let broadcast = match text(row, "broadcast")? {
                "async" => Broadcast::Asynchronous,
                "sdk-collectives" => Broadcast::Library,
                other => return Err(format!("broadcast '{other}' is not known (async, sdk-collectives)")),
            };
            gemm::summa(&product(row)?, broadcast)
        }
        ("reduce_chain", "cycles") => collectives::reduce_chain(&reduced(row)?),
        ("reduce_two_phase", "cycles") => collectives::reduce_two_phase(&reduced(row)?, whole(row, "group_size")?),
        ("broadcast", "cycles") => {
            let from_middle = match row.parameters.get("root").map_or("first", String::as_str) {
                "first" => false,
                "middle" => true,
                other => return Err(format!("root '{other}' is not known (first, middle)")),
            };
            collectives::broadcast(&payload(row)?, from_middle)
        }
        ("reduce_scatter" | "all_gather", "cycles") => {
            let sharing = if row.kernel == "all_gather" { Sharing::AllGather } else { Sharing::ReduceScatter };
            collectives::shared(&payload(row)?, sharing, wafer.figure(Key::InputQueue).value as u64)
        }
        ("library_round", "cycles") => {
            let payload = Payload { region, elements: whole(row, "words")?, data_type: DataType::Fp32 };
            collectives::library_round(&payload, &phases(row)?)
        }
        ("decode_layer", "cycles_per_layer") => layer(row, wafer, whole(row, "kv_length")?, true)?,
        ("prefill_layer", "cycles_per_layer") => layer(row, wafer, whole(row, "tokens")?, false)?,
        (kernel, metric) => return Err(format!("no model of kernel '{kernel}' with metric '{metric}'")),
    };
    Ok(MeasuredProgram { program, rounds })
}

/// The matrix product of a row.
fn product(row: &Measurement) -> Result<Gemm, String> {
    let region = Region::new(0, 0, row.grid_x, row.grid_y);
    Ok(Gemm { region, m: whole(row, "m")?, k: whole(row, "k")?, n: whole(row, "n")? })
}

/// What a reduction over lines reduces: to its first member, the only root that such a kernel is known with.
fn reduced(row: &Measurement) -> Result<Payload, String> {
    match row.parameters.get("root").map_or("first", String::as_str) {
        "first" => (),
        other => return Err(format!("root '{other}' is not known (first)")),
    }
    payload(row)
}

/// What a collective moves.
fn payload(row: &Measurement) -> Result<Payload, String> {
    let region = Region::new(0, 0, row.grid_x, row.grid_y);
    Ok(Payload { region, elements: whole(row, "words")?, data_type: data_type(row)? })
}

/// The phases of a round, such as `xb(diag)` (a broadcast along x from the diagonal) or `yr(mid)`; the published round
/// where a row names none.
fn phases(row: &Measurement) -> Result<Vec<Phase>, String> {
    let Some(written) = row.parameters.get("phases") else { return Ok(Phase::TRAVERSAL.to_vec()) };
    let phase = |text: &str| {
        let (what, at) = text.strip_suffix(')').and_then(|text| text.split_once('('))?;
        let (axis, collective) = match what {
            "xb" => (Axis::X, Collective::Broadcast),
            "yb" => (Axis::Y, Collective::Broadcast),
            "xr" => (Axis::X, Collective::Reduce),
            "yr" => (Axis::Y, Collective::Reduce),
            _ => return None,
        };
        let at = match at {
            "diag" => At::Diagonal,
            "diag->mid" => At::DiagonalForTheMiddle,
            "mid" => At::Middle,
            "first" => At::First,
            _ => return None,
        };
        Some(Phase { axis, collective, at })
    };
    let known = |text: &str| {
        phase(text).ok_or_else(|| {
            format!("phase '{text}' is not known (xb, yb, xr or yr, then (diag), (diag->mid), (mid) or (first))")
        })
    };
    written.split_whitespace().map(known).collect()
}

/// One message of 32-bit words over a number of hops.
fn message(hops: u64, words: u64) -> Program {
    let mut program = Program::new("message", Region::new(0, 0, hops + 1, 1));
    let payload = program.buffer("payload", words, DataType::Fp32);
    let node = collective::multicast(&mut program, Axis::X, 0, payload);
    program.push("message", vec![node]);
    program
}

/// The published layer as it ran: the same kernels as for any model, less what its source leaves unfinished, with the
/// heads of the row and fp16 throughout.
fn layer(row: &Measurement, wafer: &Wafer, tokens: u64, decode: bool) -> Result<Program, String> {
    fp16_only(row)?;
    let hidden = whole(row, "hidden")?;
    let heads = optional(row, "heads")?.unwrap_or(1);
    let kv_heads = optional(row, "kv_heads")?.unwrap_or(heads);
    if heads % kv_heads != 0 || hidden % heads != 0 {
        return Err(format!("hidden {hidden}, heads {heads} and kv_heads {kv_heads} do not divide"));
    }
    let head_dim = hidden / heads;
    let layer = Layer {
        attention: Attention::Grouped(GroupedAttention {
            heads,
            kv_heads,
            head_dim,
            qkv_bias: false,
            output_bias: false,
            qk_norm: wafersim_spec::model::QkNorm::None,
            sinks: false,
            output_gate: false,
            head_gate: false,
            rotary_dim: head_dim,
            reach: Reach::Full,
            query_rank: None,
            values: HeadValues::Plain,
        }),
        feed_forward: FeedForward::Dense { width: whole(row, "ffn")?, bias: false },
        norms: 2,
    };
    let kv = KvMapping {
        heads_per_block: kv_heads.div_ceil(row.grid_x),
        ..KvMapping::published((row.grid_x / kv_heads).max(1))
    };
    let groups = match groups(row)? {
        Groups::SquareRoot => reduction::Groups::SquareRoot,
        Groups::Count(count) => reduction::Groups::Count(count),
    };
    let reduction = Reduction::Tree(Tree { groups, ..Tree::PUBLISHED });
    let reductions = Reductions::all(&reduction);
    let mapping = LayerMapping { kv, reductions, ..LayerMapping::published(row.grid_x, row.grid_y) };
    let request = LayerRequest {
        layer: &layer,
        hidden,
        norm_epsilon: 1e-5,
        mapping: &mapping,
        precision: gemv::fp16(),
        tokens: if decode { 1 } else { tokens },
        users: 1,
        context: tokens,
        routed: Routed::Expected(ExpertLoad::spread(1, 1)),
        scope: Scope::Measured,
        queue: wafer.figure(Key::InputQueue).value as u64,
    };
    let program =
        if decode { wafersim_lower::decode_layer(&request) } else { wafersim_lower::prefill_layer(&request, u64::MAX) };
    program.map_err(|error| error.to_string())
}

fn text<'a>(row: &'a Measurement, key: &str) -> Result<&'a str, String> {
    row.parameters.get(key).map(String::as_str).ok_or_else(|| format!("parameter '{key}' is missing"))
}

fn whole(row: &Measurement, key: &str) -> Result<u64, String> {
    let written = text(row, key)?;
    match written.parse::<u64>() {
        Ok(number) if (1..=1 << 32).contains(&number) => Ok(number),
        _ => Err(format!("parameter '{key}' is '{written}', not a whole number from 1 to 2^32")),
    }
}

fn optional(row: &Measurement, key: &str) -> Result<Option<u64>, String> {
    if row.parameters.contains_key(key) { whole(row, key).map(Some) } else { Ok(None) }
}

fn data_type(row: &Measurement) -> Result<DataType, String> {
    text(row, "dtype")?.parse().map_err(|error: wafersim_spec::data_type::DataTypeError| error.to_string())
}

fn fp16_only(row: &Measurement) -> Result<(), String> {
    match data_type(row)? {
        DataType::Fp16 | DataType::Bf16 => Ok(()),
        other => Err(format!("dtype '{other}': the published kernel computes in 16 bit")),
    }
}

fn operation(row: &Measurement) -> Result<Operation, String> {
    match text(row, "op")? {
        "copy" => Ok(Operation::Copy),
        "fma" => Ok(Operation::Fma),
        "add" | "sub" => Ok(Operation::Add),
        "mul" => Ok(Operation::Multiply),
        other => Err(format!("operation '{other}' is not known (copy, fma, add, sub, mul)")),
    }
}

/// `groups` is the number of groups along an axis, `group_size` the members of one.
fn groups(row: &Measurement) -> Result<Groups, String> {
    if let Some(groups) = optional(row, "groups")? {
        return Ok(Groups::Count(groups));
    }
    Ok(match optional(row, "group_size")? {
        Some(size) => Groups::Count(row.grid_y.div_ceil(size)),
        None => Groups::SquareRoot,
    })
}

//! The closed form: one point, its parts, and a plan of a thousand points.
//!
//! Peers take from seconds to minutes for one point; here a point with its placement should stay well under 5 ms on one
//! core, and a plan of 1,000 points under 2 s on two.

#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mimalloc::MiMalloc;
use wafersim_answer::plan::{Axes, PlanRow, plan};
use wafersim_answer::rows::Rows;
use wafersim_answer::{AnswerError, Question, Ranges, answer, answer_without_ranges};
use wafersim_check::measurements::{BUILTIN_MEASUREMENTS, read_table};
use wafersim_check::validate::validate;
use wafersim_cost::{Rates, View, cost};
use wafersim_kernels::Groups;
use wafersim_kernels::gemv::{Gemv, mesh_gemv};
use wafersim_place::{Machine, Request, place};
use wafersim_program::{Axis, Region};
use wafersim_spec::scenario::{Profile, WaferCount};
use wafersim_spec::wafer::RateSet;
use wafersim_spec::{Model, Scenario, Wafer};

/// What `simctl` takes memory from.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn qwen3_coder() -> Model {
    Model::builtin("qwen3-coder-480b-a35b").expect("a built-in model")
}

fn wse3() -> Wafer {
    Wafer::builtin("wse3").expect("a built-in wafer")
}

fn points(criterion: &mut Criterion) {
    let question = Question::new(Scenario::default(), qwen3_coder(), wse3()).expect("the default scenario");
    let mut group = criterion.benchmark_group("point");
    group.bench_function("qwen3-coder, placement included", |bench| {
        bench.iter(|| answer_without_ranges(black_box(&question)));
    });
    group.bench_function("qwen3-coder, with ranges and known errors", |bench| {
        bench.iter(|| answer(black_box(&question)))
    });
    let (model, machine) = (qwen3_coder(), Machine::from(&wse3()));
    group.bench_function("placement alone", |bench| {
        bench.iter(|| place(black_box(&Request { context: 32_768, ..Request::new(&model, machine) })));
    });
    let rates = Rates::new(&wse3(), RateSet::Silicon, View::Achieved);
    group.bench_function("one MeshGEMV, written and read", |bench| {
        bench.iter(|| {
            let region = Region::new(0, 0, 660, 660);
            let gemv = Gemv::fp16(region, 4620, 4620, Axis::Y);
            cost(&mesh_gemv(&gemv, Groups::SquareRoot), black_box(&rates))
        });
    });
    group.finish();
}

fn plans(criterion: &mut Criterion) {
    let base = Scenario::default();
    let axes = Axes {
        wafers: vec![WaferCount::Auto, WaferCount::Exactly(24)],
        profiles: Profile::ALL.to_vec(),
        contexts: (1..=8).map(|step| step * 4096).collect(),
        users: (1..=21).collect(),
        ..Axes::of(&base)
    };
    let base = Question::new(base, qwen3_coder(), wse3()).expect("the default question");
    let mut group = criterion.benchmark_group("plan");
    group.sample_size(10);
    group.throughput(Throughput::Elements(axes.points() as u64));
    group.bench_function(format!("{} points", axes.points()), |bench| {
        let rows = Rows::none_known(&|_, _: &PlanRow| Ok::<(), AnswerError>(()));
        bench.iter(|| plan(&base, black_box(&axes), Ranges::None, &rows));
    });
    group.finish();
}

fn validation(criterion: &mut Criterion) {
    let rows = read_table(BUILTIN_MEASUREMENTS, "built-in").expect("the built-in table");
    let wafers = ["wse2", "wse3"].map(|name| (name.to_owned(), Wafer::builtin(name).expect("a built-in wafer"))).into();
    let mut group = criterion.benchmark_group("validation");
    group.throughput(Throughput::Elements(rows.len() as u64));
    group.bench_function("all built-in rows", |bench| bench.iter(|| validate(black_box(&rows), &wafers)));
    group.finish();
}

criterion_group!(benches, points, plans, validation);
criterion_main!(benches);

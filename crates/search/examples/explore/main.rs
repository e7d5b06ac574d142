//! Experiment: where a pass goes.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]
mod pass;
mod price;
use price::Pricer;
use std::time::Instant;
use wafersim_cost::{Cause, Rates, View};
use wafersim_mapping::*;
use wafersim_search::*;
use wafersim_spec::scenario::{RoutingModel, WaferCount};
use wafersim_spec::wafer::RateSet;
use wafersim_spec::{DataType, Model, Precision, Wafer};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let get = |key: &str, or: &str| {
        args.iter().find_map(|a| a.strip_prefix(&format!("{key}=")).map(String::from)).unwrap_or(or.into())
    };
    let mut wafer = Wafer::builtin("wse3").unwrap();
    wafer.set("pe.free_memory", get("free", "44976").parse().unwrap()).unwrap();
    let model = Model::builtin(&get("model", "qwen3-coder-480b-a35b")).unwrap();
    let precision = Precision { weights: DataType::Fp8, ..Precision::default() };
    let load = Load {
        wafers: WaferCount::Exactly(get("wafers", "16").parse().unwrap()),
        users: 1,
        context: get("ctx", "32768").parse().unwrap(),
        tokens_per_step: 1,
        precision,
        routing: RoutingModel::Skewed,
    };
    let inputs = Inputs { model: &model, wafer: &wafer, load };
    let pricer = Pricer { inputs, rates: Rates::new(&wafer, RateSet::Silicon, View::Achieved) };
    let clock = wafer.clock();
    let mut recipe = Recipe::builtin("best").unwrap();
    if let Some(file) = args.iter().find(|a| a.ends_with(".toml")) {
        recipe = Recipe::read(std::path::Path::new(file)).unwrap();
    }
    let show = |recipe: &Recipe| -> Option<f64> {
        let began = Instant::now();
        let mapped = match Mapper::new(recipe, inputs).smallest(load.wafers, Verification::Faster, 1) {
            Ok(m) => m,
            Err(e) => {
                println!("{e}");
                return None;
            }
        };
        let placed = began.elapsed();
        let priced = match pricer.price(&mapped) {
            Ok(m) => m,
            Err(e) => {
                println!("{e}");
                return None;
            }
        };
        let all = began.elapsed();
        println!(
            "placed {placed:?} all {all:?}; {} slots of {:?} {:?} kv {:?}",
            mapped.placement.slots.len(),
            mapped.placement.arrangement,
            mapped.layers[0].region,
            mapped.layers[0].kv
        );
        for layout in &priced.layouts {
            for op in &layout.operators {
                let c = |cause| op.cost.cause(cause).0;
                println!(
                    "  {:30} {:8.0} | comp {:6.0} hops {:6.0} payl {:6.0} stg {:6.0}",
                    op.name,
                    op.cost.total().0,
                    c(Cause::Compute),
                    c(Cause::Hops),
                    c(Cause::Payload),
                    c(Cause::Stages)
                );
            }
            let c = layout.cost();
            println!(
                "  {:30} {:8.0} | comp {:6.0} hops {:6.0} payl {:6.0} stg {:6.0} colors {}",
                "layer",
                c.total().0,
                c.cause(Cause::Compute).0,
                c.cause(Cause::Hops).0,
                c.cause(Cause::Payload).0,
                c.cause(Cause::Stages).0,
                layout.colors
            );
        }
        let us = |c: wafersim_cost::Cost| c.total().seconds(clock) * 1e6;
        println!(
            "pass {:.1} us = {:.1} tok/s; regions {:.1} links {:.1} tables {:.1}",
            us(priced.pass.latency),
            1e6 / us(priced.pass.latency),
            us(priced.pass.regions),
            us(priced.pass.links),
            us(priced.pass.tables)
        );
        let began = Instant::now();
        for (layout, mapping) in mapped.placement.layouts.iter().zip(&mapped.layers) {
            println!("physical colors {:?}", pricer.colors_of(layout, mapping));
        }
        println!(
            "colors took {:?}; peak {} fits {}",
            began.elapsed(),
            pricer.peak(&mapped, 0),
            pricer.fits_memory(&mapped)
        );
        let began = Instant::now();
        for _ in 0..200 {
            let _ = pricer.judge(&mapped);
        }
        println!("200 judged in {:?}", began.elapsed());
        let began = Instant::now();
        for _ in 0..200 {
            let _ = Mapper::new(recipe, inputs).smallest(load.wafers, Verification::Faster, 1);
        }
        println!("200 mapped in {:?}", began.elapsed());
        println!("fullest {:?} of {:?}", mapped.placement.ledger.worst.worst_pe, mapped.placement.ledger.limit);
        Some(priced.pass.latency.total().0)
    };
    if args.iter().any(|a| a == "search") {
        let effort = match get("effort", "quick").as_str() {
            "quick" => Effort::Quick,
            "normal" => Effort::Normal,
            _ => Effort::Thorough,
        };
        let WaferCount::Exactly(wafers) = load.wafers else { return };
        let space = Space { inputs, fewest: wafers, wafers, pins: Pins::default() };
        let search = Search { space: space.clone(), effort, seed: 1 };
        let start = Point { recipe: space::start(), wafers, micro_batch: 1, draft: Verification::Faster };
        let began = Instant::now();
        let Some(found) = explore(&search, start, &pricer) else {
            println!("nothing");
            return;
        };
        let took = began.elapsed();
        println!(
            "{} evaluations in {took:?}: {:.0}/s",
            found.evaluations,
            found.evaluations as f64 / took.as_secs_f64()
        );
        recipe = found.point.recipe.clone();
        for ablated in ablate(&space, &found, &pricer) {
            println!(
                "   without {:45} {:+.1} us",
                ablated.decision.to_string(),
                (ablated.time.unwrap_or(f64::NAN) - found.judged.time) / 1100.0
            );
        }
        println!("{}", recipe.to_toml());
        for (layout, mapping) in found.mapped.placement.layouts.iter().zip(&found.mapped.layers) {
            println!("physical colors {:?}, peak {}", pricer.colors(layout, mapping), pricer.peak(&found.mapped, 0));
        }
    }
    show(&recipe);
}

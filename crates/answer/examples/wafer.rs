//! A whole wafer at once: the layers of Qwen3-Coder-480B that live on one WSE-3, one token each, and one of them
//! alone: `cargo run --release -p wafersim-answer --example wafer`.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::time::Instant;

use wafersim_answer::Question;
use wafersim_answer::expert_load::expert_load;
use wafersim_cost::{Rates, View, formula};
use wafersim_fabric::circuit::{self, Lowered};
use wafersim_lower::{ExpertLoad, LayerRequest, Routed, Scope, decode_layer};
use wafersim_mapping::{LayerMapping, Mapper, Recipe};
use wafersim_place::{Item, LayerLayout};
use wafersim_spec::Scenario;
use wafersim_spec::model::FeedForward;
use wafersim_spec::scenario::Verification;
use wafersim_spec::wafer::{Key, RateSet};

fn lowered(
    question: &Question,
    layout: &LayerLayout,
    mapping: &LayerMapping,
) -> Result<Lowered, Box<dyn std::error::Error>> {
    let Question { scenario, model, wafer, .. } = question;
    let load = match &layout.layer.feed_forward {
        FeedForward::Dense { .. } => ExpertLoad::spread(1, 1),
        FeedForward::Moe(moe) => expert_load(moe, 1, scenario.routing),
    };
    let program = decode_layer(&LayerRequest {
        layer: &layout.layer,
        hidden: layout.hidden,
        norm_epsilon: model.norm_epsilon,
        mapping,
        precision: scenario.precision,
        tokens: 1,
        users: 1,
        context: scenario.context,
        routed: Routed::Expected(load),
        scope: Scope::Model,
        queue: wafer.figure(Key::InputQueue).value as u64,
    })?;
    let rates = Rates::new(wafer, RateSet::Silicon, View::Achieved);
    Ok(circuit::lower(&program, wafer, RateSet::Silicon, &|work| formula::work(work, &rates))?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let question = Question::load(Scenario::default())?;
    // A wafer in the middle of the pipeline: a layer in every slot, no table.
    let recipe = Recipe::published();
    let mapper = Mapper::new(&recipe, question.inputs());
    let mapped = mapper.smallest(question.scenario.wafers, Verification::Faster, 1)?;
    let placement = &mapped.placement;
    let mut programs = Vec::new();
    for slot in placement.slots.iter().filter(|slot| slot.wafer == 1) {
        let region = slot.region;
        let layers = slot.items.iter().filter_map(|item| match item {
            Item::Layer(layer) => Some(*layer),
            _ => None,
        });
        for layer in layers {
            let Some(index) = placement.layout_index(layer as usize) else { continue };
            println!("layer {layer}: {} x {} from column {}, row {}", region.columns, region.rows, region.x, region.y);
            let lowered = lowered(&question, &placement.layouts[index], &mapped.layers[index])?;
            programs.push(lowered.placed_at(region.x, region.y));
        }
    }
    let began = Instant::now();
    let one = circuit::run(&programs[0], |_| ())?;
    println!("one layer: {:.0} cycles, {:.2} s, {:?}", one.cycles.0, began.elapsed().as_secs_f64(), one.engine);
    let began = Instant::now();
    let outcomes = circuit::run_all(&programs, |_, _| ())?;
    let seconds = began.elapsed().as_secs_f64();
    let Some(all) = circuit::side_by_side(&outcomes)? else { return Ok(()) };
    println!(
        "{} layers at once on {} x {}: {:.0} cycles, {:.1} million wavelet-hops, {seconds:.2} s, {:.1} Mhops/s, peak {} MB",
        outcomes.len(),
        all.columns,
        all.rows,
        all.cycles.0,
        all.tally.wavelet_hops as f64 / 1e6,
        all.tally.wavelet_hops as f64 / 1e6 / seconds,
        peak_megabytes(),
    );
    Ok(())
}

/// The process's peak so far, where the system tells.
fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

//! `simctl cost`: what an answer costs, beside services and GPUs.

use clap::Args;
use wafersim::answer::{Provenance, answer_without_ranges};
use wafersim::decide::cost::{AGENT_CACHED, AGENT_OUTPUT, Load, of_answer};
use wafersim::decide::services::TokenMix;
use wafersim::mapping::hash;
use wafersim::report;

use crate::asked::{Asked, signed};
use crate::economics_flags::EconomicsFlags;
use crate::failure::Failure;
use crate::load_flags::LoadFlags;
use crate::out_flags::{Forms, HasPicture, OutFlags};
use crate::pages;

/// Flags of `cost`.
#[derive(Debug, Args)]
pub struct CostFlags {
    #[command(flatten)]
    load: LoadFlags,
    #[command(flatten)]
    economics: EconomicsFlags,
    /// Machines of as many wafers, each with as many users.
    #[arg(long, value_name = "MACHINES", default_value_t = 1, value_parser = machines())]
    machines: u32,
    /// Tokens of prompts for each token of an answer, for what services charge [default: the context over 214, as
    /// coding agents ask].
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true)]
    input_per_output: Option<f64>,
    /// Part of them that a prefix cache knows [default: 0.957, of coding agents].
    #[arg(long, value_name = "0..1", allow_negative_numbers = true)]
    cached: Option<f64>,
    #[command(flatten)]
    output: OutFlags,
}

fn machines() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=100_000)
}

/// Prices the answer.
pub fn execute(flags: &CostFlags, asked: &Asked) -> Result<(), Failure> {
    let out = flags.output.open(HasPicture::No)?;
    let economics = flags.economics.economics()?;
    let cached = within("--cached", flags.cached, 1.0)?.unwrap_or(AGENT_CACHED);
    let input_per_output = within("--input-per-output", flags.input_per_output, 1e9)?;
    let question = flags.load.question()?;
    let mut answer = answer_without_ranges(&question)?;
    let mix = TokenMix { input_per_output: input_per_output.unwrap_or(answer.context as f64 / AGENT_OUTPUT), cached };
    let load = Load {
        systems: u64::from(answer.systems()) * u64::from(flags.machines),
        tokens_per_second_per_user: answer.tokens_per_second_per_user,
        tokens_per_second_total: answer.tokens_per_second_total * f64::from(flags.machines),
        mix,
    };
    let cost = of_answer(&question, &answer, load, economics)?;
    // Money is in no hash of an answer, and in that of a price.
    let input_hash = hash::of(&(&answer.provenance.input_hash, question.wafer.system(), &cost.load, economics));
    let head = asked.question(&question).with_input_hash(input_hash.clone());
    answer.provenance = signed(Provenance { input_hash, ..answer.provenance });
    let (text, json) = (|| Ok(report::cost::text(&answer, &cost)), || Ok(report::cost::json(&answer, &cost)?));
    let page = |data| Ok(pages::cost(data, head.text(report::cost::text(&answer, &cost))));
    out.write(Forms::new("cost", &text, &json).asked(&head).document(&page))
}

fn within(flag: &str, value: Option<f64>, most: f64) -> Result<Option<f64>, Failure> {
    match value {
        Some(value) if !(0.0..=most).contains(&value) => Err(Failure::Flag {
            flag: flag.into(),
            problem: format!("is {value}"),
            allowed: format!("a number from 0 to {most}"),
        }),
        value => Ok(value),
    }
}

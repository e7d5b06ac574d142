//! How many points of a plan a second one core answers with given mappings: the published one and the recipe `best`,
//! without a search: `cargo run --release -p wafersim-answer --example points`.
//!
//! The grid is 17 contexts from 1k to 128k by 7 numbers of users from 1 to 64; `grid=plan` asks 1,000 points, ten
//! contexts by ten numbers of users by 17 to 26 wafers, and `grid=bench` those of the bench `plan`. `model=NAME` and
//! `wafers=N` ask something else; `mapping=NAME|FILE` gives a mapping; `repeat=N` answers it so many times, each time
//! anew; `rows=yes` prints the rows as JSON. The digest is over all rows: a change that only makes this faster leaves
//! it as it is.

#![allow(clippy::print_stdout, reason = "an example prints")]

mod clock;

use std::hash::{DefaultHasher, Hash, Hasher};

use clock::Clock;
use mimalloc::MiMalloc;
use rayon::ThreadPoolBuilder;
use wafersim_answer::plan::{Axes, plan};
use wafersim_answer::rows::Rows;
use wafersim_answer::{AnswerError, Question, Ranges};
use wafersim_mapping::Mapping;
use wafersim_spec::Scenario;
use wafersim_spec::scenario::{Profile, WaferCount};

/// What `simctl` takes memory from.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// In units of 1,024 tokens.
const CONTEXTS: [u64; 17] = [1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128];
const USERS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];
const PLAN_CONTEXTS: [u64; 10] = [1, 2, 4, 8, 12, 16, 24, 32, 48, 64];
const PLAN_USERS: [u64; 10] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let get = |key: &str| arguments.iter().find_map(|argument| argument.strip_prefix(key)?.strip_prefix('='));
    let mut scenario = Scenario::default();
    if let Some(model) = get("model") {
        scenario.model = model.to_owned();
    }
    if let Some(wafers) = get("wafers") {
        scenario.wafers = WaferCount::Exactly(wafers.parse()?);
    }
    let repeat: u32 = get("repeat").map_or(Ok(1), str::parse)?;
    let mapping = get("mapping").map(Mapping::from_name_or_path).transpose()?;
    let question = Question::load(scenario)?.with_mapping(mapping);
    let contexts = CONTEXTS.map(|context| context * 1024).to_vec();
    let mut axes = Axes { contexts, users: USERS.to_vec(), ..Axes::of(&question.scenario) };
    match get("grid") {
        Some("plan") => {
            axes.contexts = PLAN_CONTEXTS.map(|context| context * 1024).to_vec();
            axes.users = PLAN_USERS.to_vec();
            axes.wafers = (17..=26).map(WaferCount::Exactly).collect();
        }
        Some("bench") => {
            axes.contexts = (1..=8).map(|step| step * 4096).collect();
            axes.users = (1..=21).collect();
            axes.wafers = vec![WaferCount::Auto, WaferCount::Exactly(24)];
            axes.profiles = Profile::ALL.to_vec();
        }
        _ => {}
    }
    let one_core = ThreadPoolBuilder::new().num_threads(1).build()?;
    for _ in 0..repeat {
        let asked = Question::load(question.scenario.clone())?.with_mapping(question.mapping.clone());
        let answered = one_core.install(|| {
            let clock = Clock::now();
            let rows = plan(&asked, &axes, Ranges::None, &Rows::<_, AnswerError>::none_known(&|_, _| Ok(())));
            rows.map(|plan| (plan, clock.elapsed()))
        });
        let (plan, took) = answered?;
        let mut digest = DefaultHasher::new();
        serde_json::to_string(&plan)?.hash(&mut digest);
        if get("rows").is_some() {
            println!("{}", serde_json::to_string(&plan.rows)?);
        }
        let count = plan.rows.len() as f64;
        println!(
            "{count} points, {:.0} a second, each {:.3} ms; digest {:016x}",
            count / took.as_secs_f64(),
            took.as_secs_f64() * 1e3 / count,
            digest.finish()
        );
    }
    Ok(())
}

//! LLM inference on wafer-scale machines: from a model file to a verdict, from physics that meets silicon.
//!
//! This crate is the door to all others; each is a module here. The data goes one way:
//!
//! ```text
//! config.json ─┐
//! wafer.toml  ─┼─> spec ─> graph, place ─> mapping ─> lower ─> program ─> cost ─> answer ─> report
//! scenario    ─┘
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`spec`] | what the user gave: models, wafers, data types, scenarios, units |
//! | [`graph`] | the transformer as a graph of operators with shapes, parameters, multiply-accumulates |
//! | [`place`] | where every byte lives, and how many wafers that takes |
//! | [`program`] | the dataflow language that kernels are written in |
//! | [`mapping`] | who does which part where, as data: recipes and resolved mappings |
//! | [`lower`] | the one writer: a layer and its mapping as a program |
//! | [`kernels`] | single kernels that were measured by themselves |
//! | [`cost`] | programs read in closed form: cycles by cause |
//! | [`search`] | the space of mappings and its exploration |
//! | [`answer`] | verdicts, plans, the best mapping found |
//! | [`bound`] | what no mapping beats |
//! | [`check`] | predictions against measurements, closed form against fabric |
//! | [`certify`] | what can be shown of a mapping |
//! | [`fabric`] | programs wavelet by wavelet; packet traffic |
//! | [`report`] | answers as text, Markdown, CSV, JSON, pictures, timelines |
//! | [`page`] | results as pages, spreadsheets, Markdown and CSV |
//! | [`picture`] | heat maps as PNG; wafer maps and charts as SVG and PNG |
//! | [`timeline`] | Perfetto traces |
//! | [`requests`] | traces of requests, in every published format |
//! | [`store`] | rows of long runs, kept in a file as they end |
//! | [`values`], [`carried`] | programs computed with real numbers; the same with their numbers in wavelets |
//! | [`routing`] | which experts each token chose |
//! | [`stream`] | many users on one machine: discrete events over the closed form |
//! | [`decide`] | what a target needs, how many machines, what they cost |
//!
//! # Features
//!
//! | feature | brings |
//! |---|---|
//! | `fabric` | [`fabric`], [`check`], [`kernels`]; errors against measurements in answers |
//! | `operator-graph` | [`graph::OperatorGraph`] |
//! | `picture` | [`picture`], [`timeline`] |
//! | `report` | [`report`], [`page`], [`store`], and all of the others but the last two |
//! | `stream` | [`stream`], [`requests`], [`routing`], [`decide`] |
//! | `values` | [`values`], [`carried`], [`certify`], with `fabric` |
//! | `serve`, off by default | `serve`, `explore` |
//! | `parquet`, off by default | Parquet files of `page` |
//!
//! Without any (`default-features = false`) a question is answered in closed form, with fewer than 40 crates from elsewhere.
//!
//! The program `simctl` is a thin shell around this crate. What follows is a tutorial; every example runs as a test.
//! Longer ones are in `crates/wafersim/examples`; `examples/outside` there is a crate of its own that extends this one.
//!
//! # A question and its answer
//!
//! How fast does Qwen3-Coder-480B answer one user on Cerebras WSE-3, and are 2000 tokens per second within reach?
//!
//! ```
//! use wafersim::prelude::*;
//!
//! let model = Model::builtin("qwen3-coder-480b-a35b")?; // or Model::read(Path::new("config.json"))
//! let wafer = Wafer::builtin("wse3")?; // or Wafer::read(Path::new("my-wafer.toml"))
//! let scenario = Scenario { users: 1, context: 32_768, prompt: 32_768, target: 2000.0, ..Scenario::default() };
//! let question = Question::new(scenario, model, wafer)?;
//!
//! let answer = answer(&question)?; // places the model, writes its layers' programs, reads them in closed form
//!
//! println!("{}", wafersim::report::answer::verdict(&answer, &question.wafer));
//! assert!(answer.wafers >= 12, "480 GB of weights do not fit 11 wafers of 40 GiB");
//! assert_eq!(answer.verdict.state.is_reached(), answer.tokens_per_second_per_user >= 2000.0);
//! let speed = |profile| answer.profiles[&profile].tokens_per_second_per_user;
//! assert!(speed(Profile::Ideal) >= speed(Profile::Best));
//! assert!(speed(Profile::Best) >= speed(Profile::Published), "published kernels are the slowest");
//! # Ok::<(), wafersim::answer::AnswerError>(())
//! ```
//!
//! The answer also has one token's time by operator and cause ([`Answer::breakdown`](answer::Answer::breakdown)), the
//! bytes of the fullest processing element ([`Answer::memory`](answer::Answer::memory)), and how far it moves with what
//! is not known ([`Answer::uncertainty`](answer::Answer::uncertainty)). [`report::answer::text`] writes all of it for
//! people, [`report::answer::json`] for programs.
//!
//! # A program by hand
//!
//! A kernel is a function that returns a [`program::Program`]. Here is a small one: every row of 64 processing elements
//! holds partial sums of 8 values, which are added up along the row and given back to all. It is read for WSE-3 as
//! measured, in groups of 8 and in one long chain.
//!
//! ```
//! use wafersim::prelude::*;
//!
//! let row_sums = |groups: u64| {
//!     let mut program = Program::new("row sums", Region::new(0, 0, 64, 16));
//!     let sums = program.buffer("sums", 8, DataType::Fp16);
//!     let work = vec![Work::new(Operation::Add, DataType::Fp16, 8, 1)];
//!     let local = program.compute(Math::Add, &[sums], sums, work);
//!     program.push("local sums", vec![local]);
//!     let reduce = collective::all_reduce(&mut program, Axis::X, groups, sums, ReduceOperator::Add);
//!     program.push("all-reduce", reduce);
//!     program
//! };
//! let rates = Rates::new(&Wafer::builtin("wse3")?, RateSet::Silicon, View::Achieved);
//! let cycles = |groups: u64| cost(&row_sums(groups), &rates).total();
//!
//! assert!(cycles(8) < cycles(1), "for a short payload two short levels beat one long chain");
//! for operator in cost(&row_sums(8), &rates).operators {
//!     println!("{:12} {}", operator.name, operator.cost.total());
//! }
//! # Ok::<(), wafersim::spec::SpecError>(())
//! ```
//!
//! # Placement alone
//!
//! [`place::place`] answers what fits where, without any notion of time. What does not fit says by how much, and how
//! many wafers would do.
//!
//! ```
//! use wafersim::prelude::*;
//!
//! let model = Model::builtin("llama-3.3-70b")?;
//! let machine = Machine::from(&Wafer::builtin("wse3")?);
//! let request = Request { users: 4, context: 32_768, ..Request::new(&model, machine) };
//!
//! let placement = place(&request)?;
//! let worst = &placement.ledger.worst;
//! println!("{} wafers; the fullest PE has {} to spare", placement.wafers, worst.spare);
//! assert!(worst.worst_pe.sum() <= placement.ledger.limit);
//! assert!(placement.max_users(32_768) >= 4);
//!
//! let one_wafer = Request { wafers: WaferCount::Exactly(1), ..request };
//! let refusal = place(&one_wafer).unwrap_err();
//! assert!(refusal.to_string().contains("wafers would do"), "{refusal}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A wafer of one's own
//!
//! A file may start from a built-in one (`base = "wse3"`); in code a parameter has a key.
//!
//! ```
//! use wafersim::prelude::*;
//! use wafersim::spec::wafer::Key;
//!
//! let mut wafer = Wafer::builtin("wse3")?;
//! wafer.set_key(Key::LinkLatency, 1.0)?; // microseconds; low and high widen to it
//! assert!(wafer.set_key(Key::ClockGigahertz, 0.0).unwrap_err().to_string().contains("clock.frequency"));
//! # Ok::<(), SpecError>(())
//! ```
//!
//! # A mapping of one's own
//!
//! A recipe is data and fits any model. What it says is kept, or refused with numbers.
//!
//! ```
//! use wafersim::mapping::{Mapping, Recipe};
//! use wafersim::prelude::*;
//! use wafersim::spec::Size;
//!
//! let mut recipe = Recipe { name: "mine".into(), ..Recipe::builtin("best")? };
//! recipe.kv.dimension_split = Size::Exactly(2); // two columns share the width of a head
//! let scenario = Scenario { context: 4096, prompt: 4096, ..Scenario::default() };
//! let question = Question::new(scenario, Model::builtin("llama-3.1-8b")?, Wafer::builtin("wse3")?)?;
//! let mine = question.with_mapping(Some(Mapping::Recipe(Box::new(recipe))));
//! let answer = answer_without_ranges(&mine)?;
//! println!("{:.0} tok/s", answer.tokens_per_second_per_user);
//! # Ok::<(), wafersim::answer::AnswerError>(())
//! ```
//!
//! # Code of one's own
//!
//! Placements of experts, routing models, collectives, kernels, objectives and moves of a search, policies of a stream
//! are traits. What is given stands in the answer under its id, and in the hash of its inputs.
//!
//! ```
//! use std::sync::Arc;
//!
//! use wafersim::mapping::{OwnExperts, RoutingWeights};
//! use wafersim::place::experts::assignment::Assignment;
//! use wafersim::place::experts::strategies::{Strategy, Task};
//! use wafersim::prelude::*;
//! use wafersim::spec::Size;
//!
//! /// Experts dealt in turn, the most wanted first.
//! struct HottestFirst;
//!
//! impl Strategy for HottestFirst {
//!     fn name(&self) -> &str {
//!         "hottest-first"
//!     }
//!
//!     fn assign(&self, task: &Task<'_>) -> Assignment {
//!         let mut homes = vec![0; task.demand.experts()];
//!         for (turn, expert) in task.demand.hottest_first().into_iter().enumerate() {
//!             homes[expert] = turn % task.cells;
//!         }
//!         Assignment::single(task.cells, |expert| homes[expert], homes.len())
//!     }
//! }
//!
//! /// Experts half as popular as the one before, down to a hundredth.
//! struct Halving;
//!
//! impl RoutingWeights for Halving {
//!     fn id(&self) -> String {
//!         "halving to 0.01".into()
//!     }
//!
//!     fn weights(&self, experts: u64, _top_k: u64) -> Vec<f64> {
//!         (0..experts).map(|rank| 0.5_f64.powf(rank as f64).max(0.01)).collect()
//!     }
//! }
//!
//! let scenario = Scenario { users: 8, context: 2048, prompt: 2048, ..Scenario::default() };
//! let question = Question::new(scenario, Model::builtin("qwen3-30b-a3b")?, Wafer::builtin("wse3")?)?;
//! let own = OwnExperts::new(HottestFirst).sharing(Size::Exactly(8));
//! let answer = answer_without_ranges(&question.with_experts(own).with_routing(Arc::new(Halving))?)?;
//! assert_eq!(answer.load.extensions, ["experts: hottest-first", "routing: halving to 0.01"]);
//! # Ok::<(), wafersim::answer::AnswerError>(())
//! ```
//!
//! A collective is composed of words that the closed form, the fabric and the numeric reading know:
//!
//! ```
//! use wafersim::mapping::{Collective, Lines, Own, Recipe, Reduction};
//! use wafersim::prelude::*;
//! use wafersim::program::collective::{Along, Tree, segment_tree_all_reduce};
//!
//! /// One chain to the middle, which sends the sum back.
//! struct OneChain;
//!
//! impl Collective for OneChain {
//!     fn id(&self) -> String {
//!         "one chain".into()
//!     }
//!
//!     fn all_reduce(&self, program: &mut Program, lines: Lines, along: Along) -> Result<Vec<Node>, String> {
//!         let tree = Tree::of_sizes(lines.members, &[lines.members]).map_err(|error| error.to_string())?;
//!         Ok(segment_tree_all_reduce(program, &tree, lines.stride, along))
//!     }
//! }
//!
//! let mut recipe = Recipe::builtin("best")?;
//! recipe.reductions.y = Reduction::Own(Own::collective(OneChain));
//! assert!(recipe.to_toml().contains("one chain"), "a file holds its id");
//! # Ok::<(), wafersim::mapping::MappingError>(())
//! ```
//!
//! # Many questions, and a search
//!
//! Answers depend on their question alone: ask in parallel with rayon (`examples/sweep.rs`), or give
//! [`answer::plan::plan`] a grid. A search takes an objective and moves of one's own (`examples/own_objective.rs`):
//!
//! ```
//! use std::sync::Arc;
//!
//! use wafersim::answer::map::{How, MappingTimes, OwnObjective};
//!
//! /// Speed, but every wafer must be worth it.
//! struct PerWafer;
//!
//! impl OwnObjective for PerWafer {
//!     fn id(&self) -> String {
//!         "per wafer".into()
//!     }
//!
//!     fn value(&self, times: &MappingTimes<'_>) -> Option<f64> {
//!         Some(times.seconds_per_token() * f64::from(times.mapped.placement.wafers_used))
//!     }
//! }
//!
//! let how = How { own: Some(Arc::new(PerWafer)), ..How::default() };
//! assert_eq!(how.own.map(|own| own.id()), Some("per wafer".into())); // `answer::map::map_on` takes it
//! ```
//!
//! # Many users
//!
//! ```
//! use wafersim::stream::own::StreamExtensions;
//! use wafersim::stream::policy::{Choice, Policy, Waiting};
//! use wafersim::stream::run::Server;
//! use wafersim::stream::scenario::StreamFile;
//!
//! /// Prompts before everything, in small chunks.
//! #[derive(Debug)]
//! struct Eager;
//!
//! impl Policy for Eager {
//!     fn choose(&mut self, waiting: &Waiting) -> Choice {
//!         if waiting.prefill > 0 { Choice::Prefill { most: 128 } } else { Choice::Decode }
//!     }
//! }
//!
//! let scenario = "
//!     [machine]
//!     model = 'llama-3.1-8b'
//!     context = 2048
//!     users = 4
//!     [load]
//!     users = 4
//!     prompt = { median = 300 }
//!     output = { median = 30 }
//!     [run]
//!     window = 0.2
//! ";
//! let server = Server::new(StreamFile::parse(scenario, "example")?.check("example")?, None)?;
//! let point = server.with(StreamExtensions::default().policy("eager", |_seed| Box::new(Eager))).point("", |_| ());
//! assert_eq!(point.machine.extensions, ["policy: eager"]);
//! # Ok::<(), wafersim::stream::StreamError>(())
//! ```
//!
//! # Traces of routing
//!
//! ```
//! use wafersim::routing::{SyntheticSettings, generate, statistics::inspect};
//!
//! let settings = SyntheticSettings { layers: 2, tokens: 200, users: 4, ..SyntheticSettings::qwen3_30b() };
//! assert!(inspect(&mut generate(&settings)?)?.mean.gini > 0.3, "some experts are popular");
//! # Ok::<(), wafersim::routing::RoutingError>(())
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

#[doc(inline)]
pub use wafersim_answer as answer;
#[doc(inline)]
pub use wafersim_bound as bound;
#[cfg(feature = "values")]
#[cfg_attr(docsrs, doc(cfg(feature = "values")))]
#[doc(inline)]
pub use wafersim_carried as carried;
#[cfg(feature = "values")]
#[cfg_attr(docsrs, doc(cfg(feature = "values")))]
#[doc(inline)]
pub use wafersim_certify as certify;
#[cfg(feature = "fabric")]
#[cfg_attr(docsrs, doc(cfg(feature = "fabric")))]
#[doc(inline)]
pub use wafersim_check as check;
#[doc(inline)]
pub use wafersim_cost as cost;
#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
#[doc(inline)]
pub use wafersim_decide as decide;
#[cfg(feature = "serve")]
#[cfg_attr(docsrs, doc(cfg(feature = "serve")))]
#[doc(inline)]
pub use wafersim_explore as explore;
#[cfg(feature = "fabric")]
#[cfg_attr(docsrs, doc(cfg(feature = "fabric")))]
#[doc(inline)]
pub use wafersim_fabric as fabric;
#[doc(inline)]
pub use wafersim_graph as graph;
#[cfg(feature = "fabric")]
#[cfg_attr(docsrs, doc(cfg(feature = "fabric")))]
#[doc(inline)]
pub use wafersim_kernels as kernels;
#[doc(inline)]
pub use wafersim_lower as lower;
#[doc(inline)]
pub use wafersim_mapping as mapping;
#[cfg(feature = "report")]
#[cfg_attr(docsrs, doc(cfg(feature = "report")))]
#[doc(inline)]
pub use wafersim_page as page;
#[cfg(feature = "picture")]
#[cfg_attr(docsrs, doc(cfg(feature = "picture")))]
#[doc(inline)]
pub use wafersim_picture as picture;
#[doc(inline)]
pub use wafersim_place as place;
#[doc(inline)]
pub use wafersim_program as program;
#[cfg(feature = "report")]
#[cfg_attr(docsrs, doc(cfg(feature = "report")))]
#[doc(inline)]
pub use wafersim_report as report;
#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
#[doc(inline)]
pub use wafersim_requests as requests;
#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
#[doc(inline)]
pub use wafersim_routing as routing;
#[doc(inline)]
pub use wafersim_search as search;
#[cfg(feature = "serve")]
#[cfg_attr(docsrs, doc(cfg(feature = "serve")))]
#[doc(inline)]
pub use wafersim_serve as serve;
#[doc(inline)]
pub use wafersim_spec as spec;
#[cfg(feature = "report")]
#[cfg_attr(docsrs, doc(cfg(feature = "report")))]
#[doc(inline)]
pub use wafersim_store as store;
#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
#[doc(inline)]
pub use wafersim_stream as stream;
#[cfg(feature = "picture")]
#[cfg_attr(docsrs, doc(cfg(feature = "picture")))]
#[doc(inline)]
pub use wafersim_timeline as timeline;
#[cfg(feature = "values")]
#[cfg_attr(docsrs, doc(cfg(feature = "values")))]
#[doc(inline)]
pub use wafersim_values as values;

pub mod prelude;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

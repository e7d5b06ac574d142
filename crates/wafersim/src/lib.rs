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

//! Answers for people and for programs: text, Markdown, CSV, JSON.
//!
//! Every function here takes a result and returns a `String` (bytes for pictures and timelines); none prints, writes,
//! reads a clock or decides anything. Text fits 100 columns, has no colour and no character beyond ASCII (names that a
//! user gave aside), so it means the same in a terminal, a file and a mail.
//!
//! | module | renders |
//! |---|---|
//! | [`answer`] | the verdict and what it rests on |
//! | [`bound`] | what no mapping beats, term by term |
//! | [`certificate`] | what has been shown of a mapping |
//! | [`goal`] | what must be true for a target |
//! | [`size`], [`size_sweep`] | how many machines a load needs; a table of such answers |
//! | [`cost`] | what an answer costs |
//! | [`several`] | several machines beside an answer, one with streamed weights |
//! | [`plan`] | the capacity-planning table |
//! | [`validation`] | predicted against measured |
//! | [`production`] | what services were seen to do |
//! | [`values`] | a placed run against a reference |
//! | [`fabric`] | the verdict with layers that ran on the fabric |
//! | [`crosscheck`] | closed form against fabric |
//! | [`picture`] | what ran on the fabric: heat maps |
//! | [`timeline`] | Perfetto traces of runs on the fabric and under load |
//! | [`wafer_map`] | placements and strategies as rectangles on wafers |
//! | [`traffic`] | packet traffic on a mesh |
//! | [`stream`], [`stream_chart`] | users, queues and speeds of a run under load; its charts |
//! | [`steady`] | the verdict with its users event by event |
//! | [`wafer`], [`model`], [`setting`] | what can be named and set: reference tables |
//! | [`number`] | figures for people |

pub mod answer;
pub mod bound;
pub mod certificate;
pub mod compare;
pub mod cost;
pub mod crosscheck;
mod error;
pub mod explain;
pub mod explain_task;
pub mod fabric;
pub mod goal;
mod grid;
pub mod head;
mod json;
pub mod model;
pub mod number;
mod paragraph;
mod prefill;
pub use paragraph::set_page_width;
pub mod picture;
pub mod plan;
pub mod production;
mod records;
pub mod requests;
pub mod results;
pub mod results_diff;
pub mod setting;
pub mod several;
pub mod size;
pub mod size_sweep;
pub mod steady;
pub mod stream;
pub mod stream_chart;
mod stream_clients;
mod stream_tasks;
pub mod timeline;
pub mod traffic;
pub mod validation;
pub mod values;
pub mod wafer;
pub mod wafer_map;
pub mod waterfall;

pub use error::ReportError;

//! Request traces as people have them: Azure, BurstGPT, Bailian, Mooncake, TraceLab, LLMServingSim, Vidur,
//! splitwise-sim, ServeGen, AIPerf, ShareGPT, and a plain CSV of our own.
//!
//! One reader of CSV and one of JSON, both told by a row of a table ([`format`](mod@format)) which key means what, in
//! which unit. The format is found by content where nothing is said. Requests come out one by one, in memory that does
//! not grow with the file, except where a format must be put in order first. Times count from the first request.
//!
//! **What is absent.** No file is opened here, and nothing is simulated: bytes in, requests out. Formats are described
//! in `docs/src/request-traces.md`.
//!
//! | module | owns |
//! |---|---|
//! | [`format`](mod@format) | the table of formats: keys, units, order |
//! | [`settings`] | what a user may say of a file |
//! | `input`, `number` | bytes: compression, lines; numbers and dates |
//! | `detect` | which row of the table a file is, and what it is instead |
//! | `csv`, `json`, `servegen` | a row at a time |
//! | [`reader`] | rows to requests: origin, sessions, what is left out |
//! | [`summary`] | what a trace says of its load |
//! | [`cut`], [`mod@write`] | part of a trace; a trace in another format |
//!
//! ```
//! use wafersim_requests::{Reader, Settings, TraceRequest};
//!
//! let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
//!             2024-05-13 09:00:00+00:00,640,12\n2024-05-13 09:00:00.500250+00:00,2048,1\n";
//! let mut reader = Reader::open(text.as_bytes(), "week.csv", &Settings::default())?;
//! assert_eq!(reader.seen().name, "Azure LLM inference 2024");
//! let mut request = TraceRequest::default();
//! while reader.read(&mut request)? {}
//! assert_eq!((request.start.picoseconds(), request.prompt), (500_250_000_000, 2048));
//! # Ok::<(), wafersim_requests::RequestError>(())
//! ```

mod csv;
pub mod cut;
mod detect;
mod error;
pub mod format;
mod input;
mod json;
mod number;
pub mod reader;
mod row;
mod servegen;
pub mod settings;
pub mod summary;
pub mod write;

pub use error::RequestError;
pub use format::Format;
pub use reader::{LeftOut, Reader, Seen, Start, TraceRequest};
pub use settings::{Columns, History, Settings, TimeUnit};
pub use summary::{Summary, summarise};

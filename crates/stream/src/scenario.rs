//! The question to a run: machine, service, load, length; as a user wrote it ([`StreamFile`]), and checked
//! ([`StreamScenario`]).
//!
//! The table `[machine]` is what other scenario files hold: see `wafersim_spec::scenario`. Its `context` is the longest
//! that a request may become, prompt and answer, and `users` of such length is what the wafers are made to hold.

mod check;
mod file;
mod settings;

pub use check::{GeneratorScenario, LoadScenario, ReplicaScenario, RoutingScenario, StreamScenario, TraceScenario};
pub use file::{
    AdmissionKind, ClientsFile, ExpertKind, LengthFile, LoadFile, LoadKind, Origin, PolicyKind, RoutingFile, RunFile,
    ServiceFile, SideFile, StreamFile, SubAgentsFile, WorkKind,
};
pub use settings::{StreamSetting, settings};

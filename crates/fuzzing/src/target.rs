//! The table of targets: a name, which is also the folder of its corpus, and what is done with bytes.

use crate::{asked, inputs, loads, routes};

/// What a reader made of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// They were read.
    Read,
    /// They were refused, with this message.
    Refused(String),
}

impl Outcome {
    /// What a result says.
    pub(crate) fn of<T, E: std::fmt::Display>(result: Result<T, E>) -> Self {
        result.map_or_else(|error| Self::Refused(error.to_string()), |_| Self::Read)
    }
}

/// A reader of foreign bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder in `fuzz/corpus`.
    pub name: &'static str,
    read: fn(&[u8]) -> Outcome,
    /// How many others take as long as one of it: where it has so many times fewer cases, it takes as long.
    pub weight: u64,
}

impl Target {
    /// Reads bytes.
    ///
    /// # Panics
    /// Where a reader panics, a law is broken, or a refusal says nothing.
    pub fn run(&self, bytes: &[u8]) -> Outcome {
        let outcome = (self.read)(bytes);
        if let Outcome::Refused(reason) = &outcome {
            assert!(!reason.trim().is_empty(), "{}: a refusal without a reason", self.name);
        }
        outcome
    }
}

/// The target of a name.
pub fn named(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

macro_rules! targets {
    ($($name:literal: $read:path $(, weighs $weight:literal)?;)*) => {
        /// All of them.
        pub const TARGETS: &[Target] =
            &[$(Target { name: $name, read: $read, weight: 1 $(- 1 + $weight)? }),*];
    };
}

targets! {
    "config_json": inputs::config_json;
    "checkpoint": inputs::checkpoint;
    "scenario": inputs::scenario;
    "answer": asked::answer, weighs 100;
    "wafer": inputs::wafer;
    "mapping": inputs::mapping;
    "mapping_resolved": inputs::mapping_resolved;
    "stream_scenario": loads::stream_scenario;
    "service_plan": loads::service_plan;
    "request_trace": loads::request_trace, weighs 4;
    "servegen": loads::servegen;
    "chat_request": loads::chat_request;
    "answer_script": loads::answer_script;
    "keys": loads::keys;
    "routing_jsonl": routes::routing_jsonl;
    "routing_binary": routes::routing_binary;
    "routing_import": routes::routing_import;
    "safetensors": routes::safetensors;
    "measurements": routes::measurements;
    "production": routes::production;
    "store": routes::store;
    "packet_trace": routes::packet_trace;
}

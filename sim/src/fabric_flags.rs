//! Flags of `run` that put layers on the fabric, and what is written beside the answer.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use wafersim::answer::Ranges;
use wafersim::answer::fabric::{FabricRequest, Phase};
use wafersim::report::number::whole;
use wafersim::report::timeline::record_for;
use wafersim::spec::Bytes;
use wafersim::timeline::Written;

use crate::failure::Failure;
use crate::output::{Destination, Folder, say};

/// How an answer is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fidelity {
    /// Formulas: milliseconds.
    ClosedForm,
    /// Every wavelet through every router: seconds and more.
    Fabric,
    /// Formulas for a pass, and every user's tokens event by event: who waits for whom.
    Stream,
}

/// Which layers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Phases {
    /// Those of a decoding token: the time per output token.
    Decode,
    /// Those of the prompt: the time to first token. Takes minutes for long prompts.
    Prefill,
}

/// Flags of the fabric.
#[derive(Debug, Args)]
pub struct FabricFlags {
    /// How the answer is made.
    #[arg(long, value_enum, default_value_t = Fidelity::ClosedForm)]
    fidelity: Fidelity,
    /// With --fidelity fabric: which layers run [default: decode].
    #[arg(long, value_enum)]
    phase: Option<Phases>,
    /// With --fidelity fabric: neighbouring layers of the first wafer that run, each on its true region [default: 1].
    #[arg(long, value_name = "LAYERS", allow_negative_numbers = true)]
    layers: Option<String>,
    /// With --fidelity fabric: folder for heat maps of link use, busy cores and stalls over the wafer, as PNG.
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    /// With --fidelity fabric: file for the first layer's run as a Perfetto trace (open it in ui.perfetto.dev).
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Largest size of the trace; slices beyond it are counted and left out [default: 32MiB].
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    trace_limit: Option<String>,
}

/// Most bytes that a trace may have: more than Perfetto's page opens.
const LARGEST_TRACE: u64 = 2 << 30;
const DEFAULT_TRACE: u64 = 32 << 20;

/// What is asked of the fabric, with the files beside the answer opened.
#[derive(Debug)]
pub struct FabricAsked {
    /// Which layers.
    pub request: FabricRequest,
    /// Where pictures go.
    pub pictures: Option<Folder>,
    /// Where the trace goes, and how large it may be.
    pub trace: Option<(Destination, usize)>,
}

impl FabricFlags {
    /// How the answer is made.
    pub const fn fidelity(&self) -> Fidelity {
        self.fidelity
    }

    /// What is asked of the fabric, with the ranges of the answer; nothing in closed form.
    pub fn asked(&self, ranges: Ranges) -> Result<Option<FabricAsked>, Failure> {
        if self.fidelity != Fidelity::Fabric {
            let given = [
                ("--phase", self.phase.is_some()),
                ("--layers", self.layers.is_some()),
                ("--pictures", self.pictures.is_some()),
                ("--trace", self.trace.is_some()),
                ("--trace-limit", self.trace_limit.is_some()),
            ];
            return match given.into_iter().find(|(_, is_given)| *is_given) {
                None => Ok(None),
                Some((flag, _)) => Err(Failure::Flag {
                    flag: flag.into(),
                    problem: "says something of the fabric, which does not run".into(),
                    allowed: "with --fidelity fabric".into(),
                }),
            };
        }
        let layers = match &self.layers {
            None => 1,
            Some(text) => text.trim().parse().ok().filter(|layers| *layers >= 1).ok_or_else(|| Failure::Flag {
                flag: "--layers".into(),
                problem: format!("is '{text}'"),
                allowed: "a whole number from 1".into(),
            })?,
        };
        let phase = match self.phase {
            None | Some(Phases::Decode) => Phase::Decode,
            Some(Phases::Prefill) => Phase::Prefill,
        };
        let limit = trace_limit(self.trace_limit.as_deref())?;
        let pictures = self.pictures.as_deref().map(|folder| Folder::open_for("--pictures", folder)).transpose()?;
        let trace = self.trace.as_deref().map(|file| Destination::open_for("--trace", file)).transpose()?;
        let record = trace.is_some().then(|| record_for(limit));
        Ok(Some(FabricAsked {
            request: FabricRequest { phase, layers, record, ranges },
            pictures,
            trace: trace.map(|file| (file, limit)),
        }))
    }
}

/// The largest size of a trace: the value of `--trace-limit`, or the usual one.
pub fn trace_limit(text: Option<&str>) -> Result<usize, Failure> {
    let Some(text) = text else { return Ok(DEFAULT_TRACE as usize) };
    let bytes = text.parse::<Bytes>().ok().filter(|bytes| (1000..=LARGEST_TRACE).contains(&bytes.0));
    bytes.and_then(|bytes| usize::try_from(bytes.0).ok()).ok_or_else(|| Failure::Flag {
        flag: "--trace-limit".into(),
        problem: format!("is '{text}'"),
        allowed: "1kB to 2GiB, for example 64MiB".into(),
    })
}

/// Says what a limit has cut off from a trace.
pub fn say_what_is_left_out(trace: &Written) {
    if trace.left_out > 0 {
        say(&format!(
            "note: the trace has {} slices; {} slices and samples beyond its limit are left out (--trace-limit)",
            whole(trace.slices),
            whole(trace.left_out)
        ));
    }
}

//! Flags of `run` that put layers on the fabric, and what is written beside the answer.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use wafersim::answer::fabric::{FabricRequest, Phase};

use crate::failure::Failure;

/// How a layer is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fidelity {
    /// Formulas: milliseconds.
    ClosedForm,
    /// Every wavelet through every router: seconds and more.
    Fabric,
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
    /// How layers are timed.
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
}

impl FabricFlags {
    /// What is asked of the fabric; nothing in closed form.
    pub fn request(&self) -> Result<Option<FabricRequest>, Failure> {
        if self.fidelity == Fidelity::ClosedForm {
            let given = [
                ("--phase", self.phase.is_some()),
                ("--layers", self.layers.is_some()),
                ("--pictures", self.pictures.is_some()),
            ];
            return match given.into_iter().find(|(_, is_given)| *is_given) {
                None => Ok(None),
                Some((flag, _)) => Err(Failure::Flag {
                    flag: flag.into(),
                    problem: "says something of the fabric, which the closed form does not run".into(),
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
        Ok(Some(FabricRequest { phase, layers }))
    }
}

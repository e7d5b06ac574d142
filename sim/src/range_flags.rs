//! `--ranges`, `--samples` and `--seed`: how sure an answer is.

use clap::{Args, ValueEnum};
use wafersim::answer::{Ranges, Sampling};

use crate::commands::routing::number;
use crate::failure::Failure;

/// Which ranges are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RangesFlag {
    /// None.
    None,
    /// Everything that is not known at its slow end, and at its fast end.
    Corner,
    /// Many draws of all that is not known: p5, p50, p95, how probable it is that the target is reached, and what
    /// causes the variance.
    Sampled,
}

/// Flags of ranges.
#[derive(Debug, Args)]
pub struct RangeFlags {
    /// How sure it is: rates, links, clock, acceptance and cost of drafts, routing.
    // Commands say otherwise where one answer is asked for.
    #[arg(long, value_enum, default_value_t = RangesFlag::None)]
    ranges: RangesFlag,
    /// With --ranges sampled: how many draws, from 20 to 100,000 [default: 200].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    samples: Option<String>,
    /// With --ranges sampled: seed of the draws [default: 1].
    #[arg(long, value_name = "SEED", allow_negative_numbers = true)]
    seed: Option<String>,
}

impl RangeFlags {
    /// What is asked for.
    pub fn ranges(&self) -> Result<Ranges, Failure> {
        let asked = self.ranges;
        if asked != RangesFlag::Sampled {
            let given = [("--samples", self.samples.is_some()), ("--seed", self.seed.is_some())];
            if let Some((flag, _)) = given.into_iter().find(|(_, is_given)| *is_given) {
                return Err(Failure::Flag {
                    flag: flag.into(),
                    problem: "says something of draws, and nothing is drawn".into(),
                    allowed: "with --ranges sampled".into(),
                });
            }
        }
        Ok(match asked {
            RangesFlag::None => Ranges::None,
            RangesFlag::Corner => Ranges::Corner,
            RangesFlag::Sampled => Ranges::Sampled(self.sampling()?),
        })
    }

    fn sampling(&self) -> Result<Sampling, Failure> {
        let usual = Sampling::default();
        let samples = match &self.samples {
            None => usual.samples,
            Some(text) => {
                let given = number("--samples", text).ok().filter(|samples| Sampling::ALLOWED.contains(samples));
                given.ok_or_else(|| Failure::Flag {
                    flag: "--samples".into(),
                    problem: format!("is '{text}'"),
                    allowed: format!(
                        "a whole number from {} to {}",
                        Sampling::ALLOWED.start(),
                        Sampling::ALLOWED.end()
                    ),
                })?
            }
        };
        let seed = self.seed.as_deref().map_or(Ok(usual.seed), |text| number("--seed", text))?;
        Ok(Sampling { samples, seed })
    }
}

//! Flags whose values are words from a list.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command, ValueEnum};
use wafersim::spec::DataType;
use wafersim::spec::scenario::{ExpertPlacement, Profile, Verification};

/// What a single result can be written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ObjectFormat {
    /// For people.
    Text,
    /// One object, for programs.
    Json,
}

/// The word for the whole list.
pub const ALL: &str = "all";

/// Names of profiles; words of earlier versions are refused with their new name.
#[derive(Debug, Clone)]
pub struct ProfileParser {
    allowed: Vec<&'static str>,
}

impl TypedValueParser for ProfileParser {
    type Value = String;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        if Profile::RENAMED.iter().any(|(old, _)| value == *old)
            && let Some(Err(renamed)) = value.to_str().map(str::parse::<Profile>)
        {
            let message = format!("--profile: {renamed}\n");
            return Err(clap::Error::raw(ErrorKind::InvalidValue, message).with_cmd(command));
        }
        PossibleValuesParser::new(self.allowed.iter().copied()).parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.allowed.iter().map(|name| PossibleValue::new(*name))))
    }
}

/// Profiles.
pub fn profiles() -> ProfileParser {
    ProfileParser { allowed: Profile::NAMES.to_vec() }
}

/// Profiles whose programs exist on a real machine.
pub fn real_profiles() -> ProfileParser {
    ProfileParser { allowed: [Profile::Published, Profile::Best].map(Profile::name).to_vec() }
}

/// Profiles, or all of them.
pub fn profiles_or_all() -> ProfileParser {
    ProfileParser { allowed: Profile::NAMES.iter().copied().chain([ALL]).collect() }
}

/// Placements of experts.
pub fn placements() -> PossibleValuesParser {
    PossibleValuesParser::new(ExpertPlacement::NAMES)
}

/// Placements of experts, or all of them.
pub fn placements_or_all() -> PossibleValuesParser {
    PossibleValuesParser::new(ExpertPlacement::NAMES.iter().copied().chain([ALL]))
}

/// RoutingModel models.
/// Ways to verify a draft.
pub fn verifications() -> PossibleValuesParser {
    PossibleValuesParser::new(Verification::NAMES)
}

/// Data types that a tensor can be stored in.
pub fn data_types() -> PossibleValuesParser {
    PossibleValuesParser::new(
        DataType::ALL.into_iter().map(DataType::name).chain(DataType::ALIASES.iter().map(|(alias, _)| *alias)),
    )
}

/// Data types that can be computed in.
pub fn arithmetic_types() -> PossibleValuesParser {
    PossibleValuesParser::new(
        DataType::ALL.into_iter().filter(|data_type| data_type.is_arithmetic()).map(DataType::name),
    )
}

//! `--mapping` and `--save-mapping`: the mapping of the profiles `best` and `ideal`, given and saved.

use std::path::PathBuf;

use clap::Args;
use wafersim::mapping::{Mapping, Resolved};

use crate::failure::Failure;
use crate::output::Destination;

/// The mapping, where one is given, and the file to save it to.
#[derive(Debug, Args)]
pub struct MappingFlags {
    /// Mapping of the profiles `best` and `ideal`: a built-in recipe (see `simctl mappings`), or path of a recipe or a
    /// resolved mapping.
    #[arg(long, value_name = "NAME|FILE")]
    mapping: Option<String>,
    /// File for the mapping that the answer rests on, with every number.
    #[arg(long, value_name = "FILE")]
    save_mapping: Option<PathBuf>,
}

impl MappingFlags {
    /// Reads the mapping.
    pub fn mapping(&self) -> Result<Option<Mapping>, Failure> {
        Ok(self.mapping.as_deref().map(Mapping::from_name_or_path).transpose()?)
    }

    /// Whether one is given.
    pub const fn is_given(&self) -> bool {
        self.mapping.is_some()
    }

    /// Opens the file to save to, so that a wrong path is known at once.
    pub fn open(&self) -> Result<SaveMapping, Failure> {
        let file = self.save_mapping.as_deref();
        Ok(SaveMapping(file.map(|path| Destination::open_for("--save-mapping", path)).transpose()?))
    }

    /// Whether it is to be saved.
    pub const fn is_saved(&self) -> bool {
        self.save_mapping.is_some()
    }
}

/// The open file of `--save-mapping`, if there is one.
#[derive(Debug)]
pub struct SaveMapping(Option<Destination>);

impl SaveMapping {
    /// Writes the mapping, which is made only where it is wanted.
    pub fn write(self, resolved: impl FnOnce() -> Result<Resolved, Failure>) -> Result<(), Failure> {
        self.0.map_or(Ok(()), |file| file.write(&resolved()?.to_toml()))
    }
}

//! `--mapping` and `--save-mapping`: the mapping of the profiles `best` and `ideal`, given and saved.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use wafersim::answer::Question;
use wafersim::mapping::{Mapping, Resolved, hash};
use wafersim::search::Effort;

use crate::cache;
use crate::failure::Failure;
use crate::files;
use crate::output::Destination;

/// How much is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SearchFlag {
    /// The recipes that are built in, and no others.
    None,
    /// All divisions of the wafers, and for each number of wafers up to 1,500 mappings after that.
    Quick,
    /// Up to 12,000.
    Normal,
    /// Up to 150,000.
    Thorough,
}

impl SearchFlag {
    /// The effort; nothing where nothing is searched.
    pub const fn effort(self) -> Option<Effort> {
        match self {
            Self::None => None,
            Self::Quick => Some(Effort::Quick),
            Self::Normal => Some(Effort::Normal),
            Self::Thorough => Some(Effort::Thorough),
        }
    }
}

/// The mapping, where one is given, and the file to save it to.
#[derive(Debug, Args)]
pub struct MappingFlags {
    /// Mapping of the profiles `best` and `ideal`: a built-in recipe (see `simctl mappings`), or path of a recipe or a
    /// resolved mapping.
    #[arg(long, value_name = "NAME|FILE")]
    mapping: Option<String>,
    /// How much is tried to find a mapping of the profiles `best` and `ideal` where none is given.
    #[arg(long, value_enum, default_value_t = SearchFlag::Quick)]
    search: SearchFlag,
    /// Neither reads nor writes the mappings that earlier searches have found.
    #[arg(long)]
    no_cache: bool,
    /// File for the mapping that the answer rests on, with every number.
    #[arg(long, value_name = "FILE")]
    save_mapping: Option<PathBuf>,
}

impl MappingFlags {
    /// Reads the mapping.
    pub fn mapping(&self) -> Result<Option<Mapping>, Failure> {
        let Some(name) = &self.mapping else { return Ok(None) };
        files::reads_named("--mapping", name)?;
        Ok(Some(Mapping::from_name_or_path(name)?))
    }

    /// The mapping, or how one is found.
    pub fn wanted(&self) -> Result<Wanted, Failure> {
        Ok(Wanted { mapping: self.mapping()?, search: self.search.effort() })
    }

    /// The question with what is said of its mapping.
    pub fn ask(&self, question: Question) -> Result<Question, Failure> {
        Ok(self.known(self.ask_many(question)?))
    }

    /// The question with what is found for it, from the cache where that is not refused.
    pub fn known(&self, question: Question) -> Question {
        let uses_cache = question.search.is_some() && question.mapping.is_none() && !self.no_cache;
        if uses_cache { cache::searched(question) } else { question }
    }

    /// The same for a question that stands for many others, each with a search of its own.
    pub fn ask_many(&self, question: Question) -> Result<Question, Failure> {
        let Wanted { mapping, search } = self.wanted()?;
        Ok(question.with_mapping(mapping).searching(search))
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

/// The mapping of the profiles `best` and `ideal`.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The one that is given.
    pub mapping: Option<Mapping>,
    /// How much is tried to find one where none is.
    pub search: Option<Effort>,
}

impl Wanted {
    /// Hash of the mapping that is given.
    pub fn hash(&self) -> Option<String> {
        self.mapping.as_ref().map(|mapping| hash::of(&mapping.to_toml()))
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

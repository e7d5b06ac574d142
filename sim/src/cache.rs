//! What a search has found, kept for the next run: in `$XDG_CACHE_HOME/wafersim`, or `~/.cache/wafersim`.
//!
//! A file's name is a hash of everything that the search depends on: the question, how much is tried, and the program
//! itself (its version, and the size and time of its file). What cannot be read is searched anew, what cannot be
//! written is not kept: nothing but time depends on the cache.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use wafersim::answer::{Considered, Question, Searched};
use wafersim::mapping::{Recipe, hash};
use wafersim_packed::{pack, unpack};

use crate::part::Part;

/// Largest file of the cache in bytes: a recipe, and a few numbers of wafers.
const LARGEST: u64 = 1 << 20;

/// A mapping as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    recipe: String,
    wafers: u32,
    micro_batch: u64,
    mappings: u64,
    /// Wafers and speed.
    considered: Vec<(u32, f64)>,
    most: u32,
}

impl Kept {
    fn of(searched: &Searched) -> Self {
        let Searched { recipe, wafers, micro_batch, mappings, considered, most } = searched;
        let considered = considered.iter().map(|one| (one.wafers, one.tokens_per_second_per_user)).collect();
        let (wafers, micro_batch, mappings, most) = (*wafers, *micro_batch, *mappings, *most);
        Self { recipe: recipe.to_toml(), wafers, micro_batch, mappings, considered, most }
    }

    fn open(self) -> Option<Searched> {
        let Self { recipe, wafers, micro_batch, mappings, considered, most } = self;
        let recipe = Recipe::parse(&recipe, "the cache").ok()?;
        let considered = considered
            .into_iter()
            .map(|(wafers, tokens_per_second_per_user)| Considered { wafers, tokens_per_second_per_user })
            .collect();
        Some(Searched { recipe, wafers, micro_batch, mappings, considered, most })
    }
}

/// The question with what is found for it, searched or from the cache.
pub fn searched(question: Question) -> Question {
    let file = folder().zip(key(&question)).map(|(folder, key)| folder.join(format!("{key}.found")));
    let Some(file) = file else { return question };
    if let Some(known) = read(&file) {
        return question.with_searched(known);
    }
    let kept: Option<Kept> = question.searched().map(Kept::of);
    write(&file, &kept);
    question
}

/// Nothing where there is no such file, or it is no mapping; else what was found, if anything was.
fn read(file: &Path) -> Option<Option<Searched>> {
    let mut bytes = Vec::new();
    File::open(file).ok()?.take(LARGEST + 1).read_to_end(&mut bytes).ok()?;
    match unpack::<Option<Kept>>(&bytes, LARGEST).ok()? {
        Some(kept) => kept.open().map(Some),
        None => Some(None),
    }
}

/// Whole or not at all: another run may read it at this moment.
fn write(file: &Path, kept: &Option<Kept>) {
    let write = || -> Option<()> {
        let folder = file.parent()?;
        std::fs::create_dir_all(folder).ok()?;
        let mut fresh = Part::new(folder, None).ok()?;
        fresh.write_all(&pack(kept, LARGEST).ok()?).ok()?;
        fresh.persist(file).ok().map(|_| ())
    };
    let _not_kept = write();
}

fn folder() -> Option<PathBuf> {
    let given = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    given.or_else(home).map(|cache| cache.join("wafersim"))
}

fn key(question: &Question) -> Option<String> {
    let program = std::env::current_exe().ok()?.metadata().ok()?;
    let changed = program.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let program = (env!("CARGO_PKG_VERSION"), program.len(), changed.as_nanos().to_string());
    // A mapping has its way with a placement that nobody asked for.
    Some(hash::of(&(program, question.input_hash(), question.scenario.default_placement)))
}

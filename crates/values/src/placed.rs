//! A model on a grid: the programs of its layers, one after the other, and what they leave behind.
//!
//! Each layer has a region of the grid's size to itself, as on a wafer; between two programs the residual stream goes
//! from the last region to the next as it lies. A prompt goes through the programs of prefill as one chunk, or through
//! those of decode token by token. Layers are written as their mappings say.

mod programs;
mod tap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wafersim_mapping::{LayerMapping, OwnRewrites};
use wafersim_spec::Precision;

use self::programs::Placed;
use crate::checkpoint::Checkpoint;
use crate::error::ValuesError;
use crate::interpreter::{MeshState, Prepared, Tiles};
use crate::plain::check_prompt;
use crate::record::Record;

/// How a model lies on a grid, and in which formats it is computed.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// Every decision: a mapping for each layer in order, or one for all. All on regions of one size.
    pub mappings: Vec<LayerMapping>,
    /// Which programs the prompt goes through.
    pub prefill: Prefill,
    /// Data types.
    pub precision: Precision,
}

impl Setup {
    /// The mapping of each layer, all on regions of one size.
    fn of_layers(&self, layers: usize) -> Result<Vec<&LayerMapping>, ValuesError> {
        let all: Vec<&LayerMapping> = match self.mappings.as_slice() {
            [one] => vec![one; layers],
            each => each.iter().collect(),
        };
        let sizes = all.iter().map(|mapping| mapping.region);
        match all.first().map(|mapping| mapping.region) {
            Some(region) if all.len() == layers && sizes.into_iter().all(|size| size == region) => Ok(all),
            _ => Err(ValuesError::Mappings { layers, mappings: self.mappings.len() }),
        }
    }
}

/// Which programs a prompt goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefill {
    /// Those of prefill, all tokens at once.
    Chunk,
    /// Those of decode, token by token.
    Tokens,
    /// Those of decode, so many tokens in a step as if they were a draft that is verified; those that are left at the
    /// end together.
    Drafts(u64),
}

/// What a run takes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunInput<'a> {
    /// The tokens of the prompt.
    pub prompt: &'a [u64],
    /// Greedy decode steps after it.
    pub steps: u64,
    /// Tokens that decode steps take in instead of the run's own choices, which are recorded all the same: then two
    /// runs stay comparable after a choice that differs.
    pub follow: Option<&'a [u64]>,
    /// Rewrites from outside, which the layers of decode get after those of their mappings.
    pub rewrites: Option<&'a OwnRewrites>,
}

impl<'a> RunInput<'a> {
    /// A prompt and steps that take in their own choices.
    pub const fn new(prompt: &'a [u64], steps: u64) -> Self {
        Self { prompt, steps, follow: None, rewrites: None }
    }

    /// The same with rewrites from outside.
    #[must_use]
    pub const fn rewritten(self, rewrites: &'a OwnRewrites) -> Self {
        Self { rewrites: Some(rewrites), ..self }
    }
}

/// Tokens that go through the model together, as in [`LayerRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    /// Tokens of all users.
    tokens: u64,
    /// Users.
    users: u64,
    /// Position of the first one of each user.
    position: u64,
}

impl Step {
    /// Tokens that the last one sees, itself included.
    const fn context(self) -> u64 {
        self.position + self.tokens / self.users
    }
}

/// A prompt of random tokens.
pub fn random_prompt(vocabulary: u64, tokens: u64, seed: u64) -> Vec<u64> {
    /// The stream of prompts.
    const STREAM: u64 = 1;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(STREAM);
    (0..tokens).map(|_| random.random_range(0..vocabulary.max(1))).collect()
}

/// A program that a run has executed from its start to its end, with what the processing elements held before and
/// after.
#[derive(Debug)]
pub struct Executed<'a> {
    /// The program.
    pub prepared: &'a Prepared,
    /// Before; matrices that the program moves are not in place yet ([`crate::interpreter::residents`]).
    pub before: &'a MeshState,
    /// After.
    pub after: &'a MeshState,
    /// Weights, all that the program has used.
    pub tiles: &'a Tiles<'a>,
    /// The layer.
    pub layer: usize,
}

/// Who looks at every program that was executed.
type Observer<'o> = dyn FnMut(&Executed<'_>) + 'o;

/// Runs a prompt and greedy decode steps as placed. `progress` is told how many tokens are done, of how many.
///
/// # Errors
/// Where the prompt is wrong, or the model or its layout has no exact program.
pub fn run(
    checkpoint: &Checkpoint,
    setup: &Setup,
    input: RunInput<'_>,
    progress: impl FnMut(u64, u64),
) -> Result<Record, ValuesError> {
    run_of(checkpoint, setup, input, progress, None)
}

/// Runs as [`run`] does; `observe` sees every program that was executed, with its processing elements before and after.
///
/// # Errors
/// As [`run`].
pub fn run_observed(
    checkpoint: &Checkpoint,
    setup: &Setup,
    input: RunInput<'_>,
    progress: impl FnMut(u64, u64),
    observe: &mut Observer<'_>,
) -> Result<Record, ValuesError> {
    run_of(checkpoint, setup, input, progress, Some(observe))
}

fn run_of<'a>(
    checkpoint: &'a Checkpoint,
    setup: &'a Setup,
    RunInput { prompt, steps, follow, rewrites }: RunInput<'_>,
    mut progress: impl FnMut(u64, u64),
    observer: Option<&'a mut Observer<'a>>,
) -> Result<Record, ValuesError> {
    check_prompt(checkpoint, prompt)?;
    if let Some(follow) = follow {
        check_prompt(checkpoint, &[prompt, follow].concat())?;
    }
    let mut placed = Placed::new(checkpoint, setup, observer)?;
    placed.rewrites = rewrites.cloned().unwrap_or_default();
    let mut records = [Record { prompt: prompt.to_vec(), ..Record::default() }];
    let all = prompt.len() as u64 + steps;
    let mut next = 0;
    match setup.prefill {
        Prefill::Chunk => next = placed.chunk(prompt, &mut records)?,
        Prefill::Tokens | Prefill::Drafts(_) => {
            let together = if let Prefill::Drafts(tokens) = setup.prefill { tokens.max(1) } else { 1 };
            let mut position = 0;
            for tokens in prompt.chunks(together as usize) {
                progress(position, all);
                let step = Step { tokens: tokens.len() as u64, users: 1, position };
                next = placed.step(step, tokens, "prefill", &mut records)?.last().copied().unwrap_or(0);
                position += step.tokens;
            }
        }
    }
    placed.record_caches(prompt.len() as u64, &mut records)?;
    for number in 0..steps {
        let position = prompt.len() as u64 + number;
        progress(position, all);
        records[0].generated.push(next);
        let token = follow.and_then(|follow| follow.get(number as usize).copied()).unwrap_or(next);
        let step = Step { tokens: 1, users: 1, position };
        next = placed.step(step, &[token], "decode", &mut records)?.last().copied().unwrap_or(0);
    }
    let [record] = records;
    Ok(record)
}

/// Runs several users together: a prompt of each, all of one length, token by token through the programs of decode
/// whatever [`Setup::prefill`] says, then `steps` greedy decode steps. Each user has a cache of its own.
///
/// # Errors
/// Where prompts are wrong or of different lengths, or the model or its layout has no program.
pub fn run_users(
    checkpoint: &Checkpoint,
    setup: &Setup,
    prompts: &[Vec<u64>],
    steps: u64,
) -> Result<Vec<Record>, ValuesError> {
    run_users_rewritten(checkpoint, setup, prompts, steps, &OwnRewrites::NONE)
}

/// Runs as [`run_users`] does, with rewrites from outside.
///
/// # Errors
/// As [`run_users`], and where a rewrite refuses.
pub fn run_users_rewritten(
    checkpoint: &Checkpoint,
    setup: &Setup,
    prompts: &[Vec<u64>],
    steps: u64,
    rewrites: &OwnRewrites,
) -> Result<Vec<Record>, ValuesError> {
    let length = prompts.first().map_or(0, Vec::len);
    for prompt in prompts {
        check_prompt(checkpoint, prompt)?;
        if prompt.len() != length {
            return Err(ValuesError::Prompt("is not as long as those of the other users".into()));
        }
    }
    let mut placed = Placed::new(checkpoint, setup, None)?;
    placed.rewrites = rewrites.clone();
    let mut records: Vec<Record> =
        prompts.iter().map(|prompt| Record { prompt: prompt.clone(), ..Record::default() }).collect();
    let users = prompts.len() as u64;
    let mut next = vec![0; prompts.len()];
    for position in 0..length {
        let tokens: Vec<u64> = prompts.iter().map(|prompt| prompt[position]).collect();
        let step = Step { tokens: users, users, position: position as u64 };
        next = placed.step(step, &tokens, "prefill", &mut records)?;
    }
    placed.record_caches(length as u64, &mut records)?;
    for number in 0..steps {
        records.iter_mut().zip(&next).for_each(|(record, token)| record.generated.push(*token));
        let step = Step { tokens: users, users, position: length as u64 + number };
        next = placed.step(step, &next, "decode", &mut records)?;
    }
    Ok(records)
}

//! What goes wrong: a wrong file, a model that is not computed, a program that does not say what its numbers should be.

use thiserror::Error;
use wafersim_lower::LowerError;
use wafersim_spec::SpecError;

/// Why there are no values.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ValuesError {
    /// A file is wrong.
    #[error("{file}: {problem}")]
    File {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The config is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A tensor of the checkpoint is missing, has another shape or format.
    #[error("tensor '{name}' {problem}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The model has a part that is not computed.
    #[error("{what} is not computed with numbers; {hint}")]
    Unsupported {
        /// The part.
        what: String,
        /// What is.
        hint: String,
    },
    /// The prompt is wrong.
    #[error("the prompt {0}")]
    Prompt(String),
    /// A layer cannot be written as its mapping says.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// Not as many mappings as layers.
    #[error("{mappings} mappings for {layers} layers; allowed: one for all, or one for each, on regions of one size")]
    Mappings {
        /// Layers of the model.
        layers: usize,
        /// Mappings that were given.
        mappings: usize,
    },
    /// The program cannot be executed as it is written. A bug in wafersim.
    #[error("a bug in the program '{program}', operator '{operator}': {problem}")]
    Program {
        /// The program.
        program: String,
        /// The operator.
        operator: String,
        /// What does not fit.
        problem: String,
    },
}

impl ValuesError {
    /// Whether the fault is in wafersim, and not in what was given.
    pub const fn is_bug(&self) -> bool {
        matches!(self, Self::Program { .. })
    }
}

//! Why the program stops: wrong input (exit code 2), a bug or a failure while writing (1), a certificate that fails
//! (3).

use thiserror::Error;
use wafersim::answer::AnswerError;
use wafersim::carried::CarriedError;
use wafersim::check::measurements::TableError;
use wafersim::decide::DecideError;
use wafersim::fabric::packet::TrafficError;
use wafersim::graph::GraphError;
use wafersim::mapping::MappingError;
use wafersim::page::PageError;
use wafersim::report::ReportError;
use wafersim::report::compare::NoAnswer;
use wafersim::requests::RequestError;
use wafersim::routing::RoutingError;
use wafersim::spec::SpecError;
use wafersim::store::StoreError;
use wafersim::stream::StreamError;
use wafersim::values::ValuesError;
use wafersim_serve::ServeError;

/// Why the program stops. The text names the flag, file or field, what is there, and what is allowed.
#[derive(Debug, Error)]
pub enum Failure {
    /// A file, a setting or a name is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The question has no answer.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// A mapping is wrong, or does not fit.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// The table of measurements is wrong.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The model has no such graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The traffic cannot be run.
    #[error(transparent)]
    Traffic(#[from] TrafficError),
    /// The checkpoint cannot be computed.
    #[error(transparent)]
    Values(#[from] ValuesError),
    /// A comparison has failed; the table says where.
    #[error("a tensor is out of its tolerance")]
    OutOfTolerance,
    /// None of the mappings that were tried passes.
    #[error("no mapping passes its certificate; as an answer, profile best falls back to the published mapping")]
    NotCertified,
    /// The run cannot be made.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The endpoint cannot be started.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// What is to be compared is no answer.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    /// There is no decision.
    #[error(transparent)]
    Decide(#[from] DecideError),
    /// A trace of requests is wrong.
    #[error(transparent)]
    Requests(#[from] RequestError),
    /// A routing trace cannot be made or written.
    #[error(transparent)]
    Routing(#[from] RoutingError),
    /// A routing trace is wrong.
    #[error("{file}: {reason}")]
    Trace {
        /// The file.
        file: String,
        /// Which part of it is wrong, and how.
        reason: String,
    },
    /// Wavelets have brought other numbers than the numeric reading has.
    #[error("numbers on the fabric differ from the numeric reading")]
    Different,
    /// A program could not be run with numbers in its wavelets.
    #[error("--on-fabric: {program}: {error}")]
    Carried {
        /// Its name.
        program: String,
        /// Why not.
        error: CarriedError,
    },
    /// The value of a flag is wrong.
    #[error("{flag}: {problem}; allowed: {allowed}")]
    Flag {
        /// The flag, with its dashes.
        flag: String,
        /// What is wrong.
        problem: String,
        /// What would be accepted.
        allowed: String,
    },
    /// The file of a flag cannot be written to.
    #[error("{flag}: {file}: {reason}; allowed: a file in an existing folder that may be written to")]
    OutFile {
        /// The flag, with its dashes.
        flag: &'static str,
        /// The path as given.
        file: String,
        /// Why not.
        reason: String,
    },
    /// The folder of a flag cannot be written to.
    #[error("{flag}: {folder}: {reason}; allowed: a folder that may be written to, or a new one in an existing folder")]
    OutFolder {
        /// The flag, with its dashes.
        flag: &'static str,
        /// The path as given.
        folder: String,
        /// Why not.
        reason: String,
    },
    /// Writing failed.
    #[error("{file}: could not be written: {reason}")]
    Write {
        /// Where to.
        file: String,
        /// What the operating system said.
        reason: String,
    },
    /// The store of results cannot be used.
    #[error("--store: {0}")]
    Store(#[from] StoreError),
    /// A store of results cannot be read or merged.
    #[error(transparent)]
    Results(StoreError),
    /// A bug.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A page or a spreadsheet cannot be made: a bug, or a sheet that is full.
    #[error(transparent)]
    Page(#[from] PageError),
}

impl Failure {
    /// 2 for what the user can mend, 1 for what not, 3 where no mapping passes its certificate.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Write { .. }
            | Self::Routing(RoutingError::Write { .. })
            | Self::Report(_)
            | Self::Page(_)
            | Self::OutOfTolerance
            | Self::Different
            | Self::Carried { error: CarriedError::Step { .. } | CarriedError::Values(_), .. }
            | Self::Values(ValuesError::Program { .. })
            | Self::Graph(GraphError::TensorMismatch { .. })
            | Self::Traffic(TrafficError::Stuck { .. } | TrafficError::Conservation { .. }) => 1,
            Self::Decide(DecideError::Table { .. } | DecideError::Graph(GraphError::TensorMismatch { .. })) => 1,
            Self::Store(error) | Self::Results(error) if !error.is_wrong_input() => 1,
            Self::NotCertified => 3,
            Self::Spec(_)
            | Self::Answer(_)
            | Self::Mapping(_)
            | Self::Table(_)
            | Self::Graph(_)
            | Self::Traffic(_)
            | Self::Values(_)
            | Self::Stream(_)
            | Self::Serve(_)
            | Self::Decide(_)
            | Self::NoAnswer(_)
            | Self::Requests(_)
            | Self::Routing(_)
            | Self::Trace { .. }
            | Self::Store(_)
            | Self::Results(_)
            | Self::Carried { .. }
            | Self::Flag { .. }
            | Self::OutFile { .. }
            | Self::OutFolder { .. } => 2,
        }
    }
}

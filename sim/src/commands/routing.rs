//! `simctl routing`: traces of which experts each token chose: inspect, generate, convert.

mod inspection;

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum};
use wafersim::routing::ahead::ahead;
use wafersim::routing::binary::{self, Binary};
use wafersim::routing::jsonl::{self, JsonLines};
use wafersim::routing::statistics::inspect;
use wafersim::routing::{
    Header, RoutingError, RoutingParameters, SyntheticSettings, Token, TokenSource, Workload, generate,
};
use wafersim::spec::Model;
use wafersim::spec::model::FeedForward;
use wafersim::spec::scenario::without_suffix;

use crate::failure::Failure;
use crate::files;
use crate::out_flags::{Forms, HasPicture, OutFlags};
use crate::output::Destination;
use crate::progress::Tokens;

/// Flags of `routing`.
#[derive(Debug, Args)]
pub struct RoutingFlags {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// What a trace says of its experts, layer by layer.
    Inspect(InspectFlags),
    /// Make a synthetic trace after the published figures of Qwen3-30B-A3B.
    Generate(GenerateFlags),
    /// Write a trace in the other form: JSON Lines or binary.
    Convert(ConvertFlags),
}

/// The form of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// JSON Lines, to exchange.
    Jsonl,
    /// The binary form, for speed.
    Binary,
}

#[derive(Debug, Args)]
struct InspectFlags {
    /// A routing trace in either form.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    output: OutFlags,
}

#[derive(Debug, Args)]
struct GenerateFlags {
    #[command(flatten)]
    synthetic: SyntheticFlags,
    /// Form of the trace.
    #[arg(long, value_enum, default_value_t = Form::Jsonl)]
    form: Form,
    /// File to write to instead of stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ConvertFlags {
    /// A routing trace in either form.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Form to write; the other one where left out.
    #[arg(long, value_enum)]
    form: Option<Form>,
    /// File to write to instead of stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Flags that say which synthetic trace is wanted.
#[derive(Debug, Args)]
pub struct SyntheticFlags {
    /// Built-in model (see `simctl models`), or path of a Hugging Face config.json: gives layers, experts and top-k.
    #[arg(long, value_name = "NAME|PATH", default_value = "qwen3-coder-480b-a35b")]
    pub model: String,
    /// Layers with routed experts; all of the model's where left out.
    #[arg(long, value_name = "LAYERS", allow_negative_numbers = true)]
    layers: Option<String>,
    /// Tokens in all, dealt to the users in turn.
    #[arg(long, value_name = "TOKENS", default_value = "1000", allow_negative_numbers = true)]
    tokens: String,
    /// Users.
    #[arg(long, value_name = "USERS", default_value = "1", allow_negative_numbers = true)]
    users: String,
    /// Kinds of work with different hot experts, dealt to the users in turn.
    #[arg(long, value_name = "KINDS", default_value = "1", allow_negative_numbers = true)]
    kinds_of_work: String,
    /// Whose stickiness: all published prompts, or the coding prompts.
    #[arg(long, value_name = "WORK", default_value = "mixed", value_parser = PossibleValuesParser::new(Workload::NAMES))]
    work: String,
    /// Seed of the random streams.
    #[arg(long, value_name = "SEED", default_value = "1", allow_negative_numbers = true)]
    seed: String,
}

impl SyntheticFlags {
    /// The settings of the generator.
    pub fn settings(&self) -> Result<SyntheticSettings, Failure> {
        let model = Model::from_name_or_path(&self.model)?;
        let shape = experts_of(&model)?;
        Ok(SyntheticSettings {
            layers: match &self.layers {
                Some(text) => number("--layers", text)?,
                None => shape.layers,
            },
            experts: shape.experts,
            top_k: shape.top_k,
            tokens: number("--tokens", &self.tokens)?,
            users: number("--users", &self.users)?,
            kinds_of_work: number("--kinds-of-work", &self.kinds_of_work)?,
            work: if self.work == "coding" { Workload::Coding } else { Workload::Mixed },
            seed: number("--seed", &self.seed)?,
            parameters: RoutingParameters::QWEN3_30B,
            model: model.name,
        })
    }
}

/// The routed experts of a model.
pub struct ExpertShape {
    /// Layers with routed experts.
    pub layers: u32,
    /// Experts of each.
    pub experts: u32,
    /// Experts of a token.
    pub top_k: u32,
}

/// Layers, experts and top-k of a model.
pub fn experts_of(model: &Model) -> Result<ExpertShape, Failure> {
    let shapes: Vec<(u64, u64)> = model
        .layers
        .iter()
        .filter_map(|layer| match &layer.feed_forward {
            FeedForward::Moe(moe) => Some((moe.experts, moe.top_k)),
            FeedForward::Dense { .. } => None,
        })
        .collect();
    let refused = |problem: &str| Failure::Flag {
        flag: "--model".into(),
        problem: format!("'{}' {problem}", model.name),
        allowed: "a model with the same routed experts in every layer that has any".into(),
    };
    let &(experts, top_k) = shapes.first().ok_or_else(|| refused("has no routed experts"))?;
    if shapes.iter().any(|shape| *shape != (experts, top_k)) {
        return Err(refused("has layers with different experts"));
    }
    let small = |value: u64| u32::try_from(value).map_err(|_| refused("has more experts than a trace can name"));
    Ok(ExpertShape { layers: shapes.len() as u32, experts: small(experts)?, top_k: small(top_k)? })
}

/// A whole number of a flag, with an optional suffix.
pub fn number<T: std::str::FromStr>(flag: &str, text: &str) -> Result<T, Failure> {
    without_suffix(text.trim()).parse().map_err(|_| Failure::Flag {
        flag: flag.to_owned(),
        problem: format!("is '{text}'"),
        allowed: format!("a whole number from 0 to {}", u64::MAX >> (64 - 8 * size_of::<T>().clamp(1, 8))),
    })
}

/// Does what was asked.
pub fn execute(flags: &RoutingFlags) -> Result<(), Failure> {
    match &flags.action {
        Action::Inspect(flags) => {
            let out = flags.output.open(HasPicture::No)?;
            let (mut source, _) = open("FILE", &flags.file)?;
            let said =
                ahead(source.as_mut(), |tokens| inspect(&mut Watched::new(tokens))).map_err(of_file(&flags.file))?;
            let (text, json) = (|| Ok(inspection::text(&said)), || inspection::json(&said));
            out.write(Forms::new("routing inspect", &text, &json).csv(&|| Ok(inspection::csv(&said))))
        }
        Action::Generate(flags) => {
            let destination = Destination::open(flags.out.as_deref())?;
            let mut source = generate(&flags.synthetic.settings()?)?;
            ahead(&mut source, |tokens| write(&mut Watched::new(tokens), flags.form, destination, |error| error.into()))
        }
        Action::Convert(flags) => {
            let destination = Destination::open(flags.out.as_deref())?;
            let (mut source, form) = open("FILE", &flags.file)?;
            let other = if form == Form::Jsonl { Form::Binary } else { Form::Jsonl };
            let form = flags.form.unwrap_or(other);
            ahead(source.as_mut(), |tokens| write(&mut Watched::new(tokens), form, destination, of_file(&flags.file)))
        }
    }
}

fn write(
    source: &mut dyn TokenSource,
    form: Form,
    destination: Destination,
    failure: impl FnOnce(RoutingError) -> Failure,
) -> Result<(), Failure> {
    destination.fill(|output| match form {
        Form::Jsonl => jsonl::write(source, output).map_err(failure),
        Form::Binary => binary::write(source, output).map_err(failure),
    })
}

/// Opens a trace in either form: its first bytes tell which.
fn open(by: &'static str, file: &Path) -> Result<(Box<dyn TokenSource + Send>, Form), Failure> {
    let refuse = |reason: String| Failure::Trace { file: file.display().to_string(), reason };
    if file.is_dir() {
        return Err(refuse("is a directory".into()));
    }
    files::reads(by, file)?;
    let mut input = File::open(file).map_err(|error| refuse(error.to_string()))?;
    let mut first = Vec::new();
    let read = (&mut input).take(binary::MAGIC.len() as u64).read_to_end(&mut first);
    read.and_then(|_| input.seek(SeekFrom::Start(0))).map_err(|error| refuse(error.to_string()))?;
    let input = BufReader::with_capacity(1 << 18, input);
    if first == binary::MAGIC {
        Ok((Box::new(Binary::open(input).map_err(of_file(file))?), Form::Binary))
    } else {
        Ok((Box::new(JsonLines::open(input).map_err(of_file(file))?), Form::Jsonl))
    }
}

/// A whole trace in memory, for commands that draw from it.
pub fn read_trace(by: &'static str, file: &Path) -> Result<wafersim::routing::Trace, Failure> {
    let (mut source, _) = open(by, file)?;
    wafersim::routing::Trace::read(&mut Watched::new(source.as_mut())).map_err(of_file(file))
}

/// Names the file of what was wrong.
fn of_file(file: &Path) -> impl Fn(RoutingError) -> Failure + use<> {
    let file = file.display().to_string();
    move |error| match error {
        RoutingError::Write { .. } => error.into(),
        _ => Failure::Trace { file: file.clone(), reason: error.to_string() },
    }
}

/// A source whose tokens are counted on stderr when it takes long.
struct Watched<'a> {
    source: &'a mut dyn TokenSource,
    progress: Tokens,
}

impl<'a> Watched<'a> {
    fn new(source: &'a mut dyn TokenSource) -> Self {
        let progress = Tokens::start(source.header().tokens);
        Self { source, progress }
    }
}

impl TokenSource for Watched<'_> {
    fn header(&self) -> &Header {
        self.source.header()
    }

    fn next_token(&mut self) -> Result<Option<Token<'_>>, RoutingError> {
        self.progress.advance();
        self.source.next_token()
    }
}

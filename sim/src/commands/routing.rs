//! `simctl routing`: traces of which experts each token chose: inspect, generate, convert.

mod inspection;

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum};
use wafersim::routing::ahead::ahead;
use wafersim::routing::binary::{self, Binary};
use wafersim::routing::export;
use wafersim::routing::header::FORMAT;
use wafersim::routing::import::{Imported, Shape, import};
use wafersim::routing::jsonl::{self, JsonLines};
use wafersim::routing::statistics::inspect;
use wafersim::routing::token::OwnedSource;
use wafersim::routing::{
    Counts, Header, RoutingError, RoutingParameters, SyntheticSettings, Token, TokenSource, Trace, Workload, generate,
};
use wafersim::spec::Model;
use wafersim::spec::model::FeedForward;
use wafersim::spec::scenario::without_suffix;

use crate::asked::Asked;
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
    /// Write a trace in another form; also of what vLLM, SGLang, EPLB, llama.cpp, Megatron and NumPy have written.
    Convert(ConvertFlags),
}

/// The form of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// JSON Lines, to exchange.
    Jsonl,
    /// The binary form, for speed.
    Binary,
    /// How often each expert was chosen: the logical_count that SGLang and EPLB take.
    Counts,
    /// The routed_experts of vLLM, in JSON.
    Vllm,
    /// A NumPy array [token, layer, choice].
    Npy,
}

/// Flags that say what a file of another program does not.
#[derive(Debug, Args)]
struct ImportFlags {
    /// Built-in model (see `simctl models`), or path of a Hugging Face config.json, whose router chose: checks the
    /// file, and says what it leaves out.
    #[arg(long, value_name = "NAME|PATH")]
    model: Option<String>,
    /// Experts that each token chooses, for files that say only how often each was chosen.
    #[arg(long, value_name = "EXPERTS", allow_negative_numbers = true)]
    top_k: Option<String>,
    /// Tokens that are drawn from such files.
    #[arg(long, value_name = "TOKENS", default_value = "4096", allow_negative_numbers = true)]
    tokens: String,
    /// Seed of what is drawn.
    #[arg(long, value_name = "SEED", default_value = "1", allow_negative_numbers = true)]
    seed: String,
}

#[derive(Debug, Args)]
struct InspectFlags {
    #[command(flatten)]
    import: ImportFlags,
    /// A routing trace in either form, or a file of another program: vLLM, SGLang, EPLB, llama.cpp, Megatron, NumPy.
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
    #[command(flatten)]
    import: ImportFlags,
    /// A routing trace in either form, or a file of another program: vLLM, SGLang, EPLB, llama.cpp, Megatron, NumPy.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Form to write; the other one where left out, JSON Lines for files of other programs.
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
pub fn execute(flags: &RoutingFlags, asked: &Asked) -> Result<(), Failure> {
    let head = asked.head();
    match &flags.action {
        Action::Inspect(flags) => {
            let out = flags.output.open(HasPicture::No)?;
            let mut source = match open("FILE", &flags.file, &flags.import.shape()?)? {
                Opened::Tokens(source, _) => source,
                Opened::Counts(counts) => {
                    let name = flags.file.display().to_string();
                    let (text, json) =
                        (|| Ok(inspection::counts_text(&counts, &name)), || inspection::counts_json(&counts));
                    let csv = || Ok(inspection::counts_csv(&counts));
                    return out.write(Forms::new("routing inspect", &text, &json).asked(&head).bare_text().csv(&csv));
                }
            };
            let said =
                ahead(source.as_mut(), |tokens| inspect(&mut Watched::new(tokens))).map_err(of_file(&flags.file))?;
            let (text, json) = (|| Ok(inspection::text(&said)), || inspection::json(&said));
            let csv = || Ok(inspection::csv(&said));
            out.write(Forms::new("routing inspect", &text, &json).asked(&head).bare_text().csv(&csv))
        }
        Action::Generate(flags) => {
            let destination = Destination::open(flags.out.as_deref())?;
            let mut source = generate(&flags.synthetic.settings()?)?;
            ahead(&mut source, |tokens| write(&mut Watched::new(tokens), flags.form, destination, |error| error.into()))
        }
        Action::Convert(flags) => {
            let destination = Destination::open(flags.out.as_deref())?;
            let (mut source, form) = match open("FILE", &flags.file, &flags.import.shape()?)? {
                Opened::Tokens(source, form) => (source, form),
                Opened::Counts(counts) if flags.form == Some(Form::Counts) => {
                    return destination.fill(|output| Ok(export::logical_count(&counts, output)?));
                }
                Opened::Counts(counts) => (flags.import.drawn("FILE", &flags.file, &counts)?, None),
            };
            let other = if form == Some(Form::Jsonl) { Form::Binary } else { Form::Jsonl };
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
        Form::Counts | Form::Vllm | Form::Npy => {
            let mut write = |trace: &Trace| match form {
                Form::Counts => export::logical_count(&Counts::of(trace), output),
                Form::Npy => export::npy(trace, output),
                _ => export::routed_experts(trace, output),
            };
            Trace::read(source).and_then(|trace| write(&trace)).map_err(failure)
        }
    })
}

/// What a file holds.
enum Opened {
    /// Tokens; the form where it is one of this program's.
    Tokens(Box<dyn TokenSource + Send>, Option<Form>),
    /// How often each expert was chosen.
    Counts(Counts),
}

impl ImportFlags {
    fn shape(&self) -> Result<Shape, Failure> {
        let top_k = self.top_k.as_deref().map(|text| number("--top-k", text)).transpose()?;
        let shape = match &self.model {
            Some(name) => shape_of(&Model::from_name_or_path(name)?)?,
            None => Shape::default(),
        };
        Ok(Shape { top_k: top_k.or(shape.top_k), ..shape })
    }

    /// Tokens drawn from counts.
    fn drawn(&self, by: &'static str, file: &Path, counts: &Counts) -> Result<Box<dyn TokenSource + Send>, Failure> {
        let Some(top_k) = self.shape()?.top_k else {
            return Err(Failure::Flag {
                flag: by.into(),
                problem: format!(
                    "{}: {}: it does not say how many experts a token chooses",
                    file.display(),
                    counts.note
                ),
                allowed: "with --model or --top-k tokens are drawn from it; or --form counts".into(),
            });
        };
        let (tokens, seed) = (number("--tokens", &self.tokens)?, number("--seed", &self.seed)?);
        let trace = counts.draw(top_k, tokens, seed).map_err(of_file(file))?;
        Ok(Box::new(OwnedSource::from(trace)))
    }
}

/// What a model says of its routing.
fn shape_of(model: &Model) -> Result<Shape, Failure> {
    let ExpertShape { layers, experts, top_k } = experts_of(model)?;
    Ok(Shape {
        model: model.name.clone(),
        layers: Some(layers),
        all_layers: Some(model.layers.len() as u32),
        experts: Some(experts),
        top_k: Some(top_k),
    })
}

/// Largest file of another program.
const LARGEST_IMPORT: u64 = 1 << 30;

/// Opens a trace in either form, or a file of another program: its first bytes tell which.
fn open(by: &'static str, file: &Path, shape: &Shape) -> Result<Opened, Failure> {
    let refuse = |reason: String| Failure::Trace { file: file.display().to_string(), reason };
    if file.is_dir() {
        return Err(refuse("is a directory".into()));
    }
    files::reads(by, file)?;
    let mut input = File::open(file).map_err(|error| refuse(error.to_string()))?;
    let mut first = Vec::new();
    let read = (&mut input).take(binary::MAGIC.len() as u64).read_to_end(&mut first);
    read.and_then(|_| input.seek(SeekFrom::Start(0))).map_err(|error| refuse(error.to_string()))?;
    if first == binary::MAGIC {
        let input = BufReader::with_capacity(1 << 18, input);
        return Ok(Opened::Tokens(Box::new(Binary::open(input).map_err(of_file(file))?), Some(Form::Binary)));
    }
    // A header names its format in the first line.
    let mut start = Vec::new();
    let read = (&mut input).take(4096).read_to_end(&mut start);
    read.and_then(|_| input.seek(SeekFrom::Start(0))).map_err(|error| refuse(error.to_string()))?;
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let named = |name: &[u8]| line.windows(name.len()).any(|bytes| bytes == name);
    if named(FORMAT.as_bytes()) || named(b"\"version\"") && named(b"\"top_k\"") {
        let input = BufReader::with_capacity(1 << 18, input);
        return Ok(Opened::Tokens(Box::new(JsonLines::open(input).map_err(of_file(file))?), Some(Form::Jsonl)));
    }
    let mut bytes = Vec::new();
    input.take(LARGEST_IMPORT + 1).read_to_end(&mut bytes).map_err(|error| refuse(error.to_string()))?;
    if bytes.len() as u64 > LARGEST_IMPORT {
        return Err(refuse("is larger than 1 GiB and no wafersim-routing trace".into()));
    }
    Ok(match import(&bytes, shape).map_err(of_file(file))? {
        Imported::Tokens(trace) => Opened::Tokens(Box::new(OwnedSource::from(trace)), None),
        Imported::Counts(counts) => Opened::Counts(counts),
    })
}

/// Tokens that are drawn from counts where a command wants a trace, and their seed.
const DRAWN: (u64, u64) = (4096, 1);

/// A whole trace in memory, for commands that draw from it. Of a file that says only how often each expert of the model
/// was chosen, tokens that are drawn from that.
pub fn read_trace(by: &'static str, file: &Path, model: &Model) -> Result<Trace, Failure> {
    // A model without experts is refused by what reads the trace.
    let shape = shape_of(model).unwrap_or_default();
    match open(by, file, &shape)? {
        Opened::Tokens(mut source, _) => Trace::read(&mut Watched::new(source.as_mut())).map_err(of_file(file)),
        Opened::Counts(counts) => {
            let (layers, experts) = (counts.layers.len() as u32, counts.experts);
            if (Some(layers), Some(experts)) != (shape.layers, shape.experts) {
                return Err(Failure::Trace {
                    file: file.display().to_string(),
                    reason: format!(
                        "{}: {layers} layers of {experts} experts, and {} has {} of {}",
                        counts.note,
                        model.name,
                        shape.layers.unwrap_or(0),
                        shape.experts.unwrap_or(0)
                    ),
                });
            }
            let (tokens, seed) = DRAWN;
            counts.draw(shape.top_k.unwrap_or(1), tokens, seed).map_err(of_file(file))
        }
    }
}

/// How often each expert of a model was chosen, from a file of either kind.
pub fn read_counts(by: &'static str, file: &Path, model: &Model) -> Result<Counts, Failure> {
    let shape = shape_of(model)?;
    let counts = match open(by, file, &shape)? {
        Opened::Tokens(mut source, _) => {
            Counts::of(&Trace::read(&mut Watched::new(source.as_mut())).map_err(of_file(file))?)
        }
        Opened::Counts(counts) => counts,
    };
    let (layers, experts) = (counts.layers.len() as u32, counts.experts);
    if (Some(layers), Some(experts)) == (shape.layers, shape.experts) {
        return Ok(counts);
    }
    let (of_layers, of_experts) = (shape.layers.unwrap_or(0), shape.experts.unwrap_or(0));
    Err(Failure::Trace {
        file: file.display().to_string(),
        reason: format!("{layers} layers of {experts} experts, and {} has {of_layers} of {of_experts}", model.name),
    })
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

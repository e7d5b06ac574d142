//! `simctl run`: one question, one answer.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use wafersim::answer::fabric::{FabricReading, answer_on_fabric};
use wafersim::answer::plan::{Axes, Base, PlanRow, sweep};
use wafersim::answer::rows::Rows;
use wafersim::answer::{Answer, Question, Ranges, answer_with, fewer_at_once, resolved_mapping};
use wafersim::certify::Trials;
use wafersim::decide::money::Economics;
use wafersim::decide::several::{OneMachine, Several};
use wafersim::decide::weight_streaming::{WeightStreaming, weight_streaming};
use wafersim::mapping::hash;
use wafersim::report;
use wafersim::spec::{Scenario, Wafer};
use wafersim::stream::steady::{Steady, steady};

use crate::asked::{Asked, signed};
use crate::certify::certified;
use crate::commands::plan;
use crate::fabric_flags::{FabricAsked, FabricFlags, Fidelity, say_what_is_left_out};
use crate::failure::Failure;
use crate::layers::Layers;
use crate::load_flags::LoadFlags;
use crate::out_flags::{Form, Forms, HasPicture, Out, OutFlags};
use crate::pages::{self, Shown};
use crate::progress::{Draws, Progress, Runs};
use crate::range_flags::RangeFlags;
use crate::store_flags::{InRows, ShardFlags, StoreFlags, row_key};
use crate::sweep_flags::SweepFlags;
use crate::wafer_map_flag::WaferMapFile;

/// Flags of `run`.
#[derive(Debug, Args)]
#[command(mut_arg("ranges", |ranges| ranges.default_value("corner")))]
pub struct RunFlags {
    #[command(flatten)]
    load: LoadFlags,
    /// Look at the mapping of profile `best`: memory, colors, every kind of layer on the fabric, numbers. If a part
    /// fails the next best is tried, at most five; where none passes, `best` is answered by the published mapping and
    /// the exit code is 3.
    #[arg(long)]
    certify: bool,
    #[command(flatten)]
    fabric: FabricFlags,
    #[command(flatten)]
    ranges: RangeFlags,
    #[command(flatten)]
    sweep: SweepFlags,
    #[command(flatten)]
    store: StoreFlags,
    #[command(flatten)]
    shard: ShardFlags,
    /// File for a map of the wafers: what lives where; SVG or PNG by its ending.
    #[arg(long, value_name = "FILE")]
    wafer_map: Option<PathBuf>,
    /// So many machines, each as answered: users, tokens, power and money of all (`simctl cost` has more).
    #[arg(long, value_name = "MACHINES", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    machines: Option<u32>,
    /// Beside the answer one wafer whose weights come from outside while it computes, at so many GB/s [default: those
    /// of a link between wafers].
    #[arg(long, value_name = "GB/S", num_args = 0..=1, default_missing_value = "link", allow_negative_numbers = true)]
    weight_streaming: Option<String>,
    /// Ten lines instead of the whole answer.
    #[arg(long, conflicts_with = "format")]
    brief: bool,
    #[command(flatten)]
    output: OutFlags,
}

/// Seed of a run event by event: it draws accepted drafts only.
pub const STREAM_SEED: u64 = 1;

/// Answers the question.
pub fn execute(flags: &RunFlags, asked: &Asked) -> Result<(), Failure> {
    let out = flags.output.open(HasPicture::Yes)?;
    if flags.brief && out.form != Form::Text {
        return Err(Failure::Flag {
            flag: "--brief".into(),
            problem: "is of the answer as text".into(),
            allowed: "without --out, or with a file whose name ends in .txt".into(),
        });
    }
    let wafer_map = WaferMapFile::open(flags.wafer_map.as_deref())?;
    let ranges = flags.ranges.ranges()?;
    let on_the_fabric = flags.fabric.asked(ranges)?;
    let layers = flags.load.layers()?;
    if flags.sweep.is_given() {
        return swept(flags, asked, &layers, ranges, out);
    }
    if flags.store.is_given() {
        let (problem, allowed) = ("keeps the rows of a table".into(), "with --sweep".into());
        return Err(Failure::Flag { flag: "--store".into(), problem, allowed });
    }
    let saved = flags.load.mapping.open()?;
    let question = flags.load.mapping.ask(Question::load(layers.check()?)?)?;
    let (question, looked_at) = match flags.certify {
        true => certified(question).map(|(question, outcome)| (question, Some(outcome)))?,
        false => (question, None),
    };
    let tried = looked_at.as_ref().and_then(Trials::of_answer);
    let finished = |mut answer: Answer| {
        if let Some(tried) = tried {
            answer.certificate = tried.certificate.clone();
        }
        answer.provenance = signed(answer.provenance);
        answer
    };
    let answer = |question: &Question| {
        let draws = Draws::start();
        answer_with(question, ranges, &|done, all| draws.at(done, all)).map(finished)
    };
    let result = match on_the_fabric {
        Some(asked) => on_fabric(&question, asked, finished)?,
        None => {
            let mut answer = answer(&question)?;
            answer.fewer_at_once = fewer_at_once(&question, &answer, &|asked| flags.load.mapping.known(asked));
            let run = (flags.fabric.fidelity() == Fidelity::Stream).then(|| steady(question.clone(), STREAM_SEED));
            Answered { answer, beside: run.transpose()?.map_or(Beside::Nothing, |run| Beside::Stream(Box::new(run))) }
        }
    };
    if let Some(file) = wafer_map {
        file.write(&question)?;
    }
    saved.write(|| match tried {
        Some(tried) => Ok(tried.resolved.clone()),
        None => Ok(resolved_mapping(&question)?),
    })?;
    let head = asked.question(&question);
    let beside = Sections::of(flags, &question, &result.answer)?;
    let json = || beside.json(result.json()?);
    let text = || {
        Ok(match flags.brief {
            true => report::answer::brief(&result.answer),
            false => beside.text(result.text(&question.wafer)),
        })
    };
    let page = |data| {
        let (answer, text) = (&result.answer, head.text(beside.text(result.text(&question.wafer))));
        let frontier = pages::frontier_told(&question, answer)?;
        pages::answer(&Shown { question: &question, answer, frontier: Some(&frontier), text }, data)
    };
    let drawn = |kind| pages::answer_picture(&result.answer, kind);
    let forms = Forms::new("run", &text, &json).asked(&head).document(&page).picture(&drawn);
    out.write(if flags.brief { forms.bare_text() } else { forms })?;
    match looked_at {
        Some(outcome) if outcome.passed().is_none() => Err(Failure::NotCertified),
        _ => Ok(()),
    }
}

/// Answers for every combination of swept values: a table.
fn swept(flags: &RunFlags, asked: &Asked, layers: &Layers, ranges: Ranges, out: Out) -> Result<(), Failure> {
    let alone = [
        ("--machines", flags.machines.is_some()),
        ("--weight-streaming", flags.weight_streaming.is_some()),
        ("--certify", flags.certify),
        ("--brief", flags.brief),
        ("--wafer-map", flags.wafer_map.is_some()),
        ("--save-mapping", flags.load.mapping.is_saved()),
        ("--fidelity", flags.fabric.fidelity() != Fidelity::ClosedForm),
    ];
    if let Some((flag, _)) = alone.into_iter().find(|(_, is_given)| *is_given) {
        let (problem, allowed) = ("is of one answer".into(), "without --sweep".into());
        return Err(Failure::Flag { flag: flag.into(), problem, allowed });
    }
    let question = flags.load.mapping.ask_many(Question::load(layers.check()?)?)?;
    let own = |_: &Layers, scenario: &Scenario| Ok(Axes { prompt: Some(scenario.prompt), ..Axes::of(scenario) });
    let bases = flags.sweep.bases(layers, own)?;
    let shard = flags.shard.shard()?;
    let store = flags.store.open(|| in_rows(flags, &question, &bases, ranges))?;
    let kept = store.part::<PlanRow>(0..bases.len())?;
    let is_wanted = |place: usize| shard.is_none_or(|shard| shard.has(place));
    let progress = Progress::start(kept.missing_of(is_wanted));
    let finished = |place: usize, row: &PlanRow| {
        kept.keep(place, row)?;
        progress.advance();
        Ok::<_, Failure>(())
    };
    let known = |place| kept.known(place);
    let table = sweep(&question, &bases, ranges, &Rows::new(&known, &finished).only(&is_wanted));
    let table = table.inspect_err(|_| progress.clear())?;
    progress.finish();
    if let Some(shard) = shard {
        return shard.done(store, table.rows.len(), bases.len());
    }
    store.close()?;
    let wafer = Some(&question.wafer).filter(|_| flags.sweep.keeps_prices());
    plan::written(&table, wafer, &[], &asked.question(&question), out)
}

/// A row for each combination.
fn in_rows(flags: &RunFlags, question: &Question, bases: &[Base], ranges: Ranges) -> Result<InRows, Failure> {
    let mut keys = Vec::with_capacity(bases.len());
    for Base { scenario, mapping, .. } in bases {
        let mut one = flags.load.mapping.ask_many(Question::load(scenario.clone())?)?;
        if let Some(mapping) = mapping {
            one = one.with_mapping(Some(mapping.clone()));
        }
        keys.push(row_key(&(one.input_hash(), one.search, ranges), scenario));
    }
    let mapping = question.mapping.as_ref().map(|mapping| hash::of(&mapping.to_toml()));
    let words = json!({
        "scenario": question.scenario,
        "sweep": flags.sweep.texts(),
        "mapping": mapping,
        "search": question.search,
        "ranges": ranges,
    });
    Ok(InRows { command: "run", words, keys })
}

/// What was asked for beside an answer.
struct Sections {
    machines: Option<Several>,
    streaming: Option<WeightStreaming>,
}

impl Sections {
    fn of(flags: &RunFlags, question: &Question, answer: &Answer) -> Result<Self, Failure> {
        let each = OneMachine {
            wafers: answer.systems().into(),
            users: answer.users,
            tokens_per_second: answer.tokens_per_second_total,
        };
        let several = |machines| Several::of(&question.wafer, &Economics::default(), each, u64::from(machines));
        let streamed = |bandwidth: &String| {
            let bandwidth = match bandwidth.as_str() {
                "link" => None,
                number => Some(number.trim().parse().map_err(|_| Failure::Flag {
                    flag: "--weight-streaming".into(),
                    problem: format!("is '{number}'"),
                    allowed: "a number of GB/s above 0, or nothing".into(),
                })?),
            };
            Ok::<_, Failure>(weight_streaming(question, answer, bandwidth)?)
        };
        Ok(Self {
            machines: flags.machines.map(several),
            streaming: flags.weight_streaming.as_ref().map(streamed).transpose()?,
        })
    }

    fn text(&self, mut body: String) -> String {
        if let Some(several) = &self.machines {
            body.push_str(&report::several::machines(std::slice::from_ref(several)));
        }
        if let Some(streaming) = &self.streaming {
            body.push_str(&report::several::weight_streaming(streaming));
        }
        body
    }

    fn json(&self, mut body: String) -> Result<String, Failure> {
        if let Some(several) = &self.machines {
            body = report::several::with_key(&body, "machines", several)?;
        }
        if let Some(streaming) = &self.streaming {
            body = report::several::with_key(&body, "weight_streaming", streaming)?;
        }
        Ok(body)
    }
}

/// The answer, and what another reading says beside it.
struct Answered {
    answer: Answer,
    beside: Beside,
}

enum Beside {
    Nothing,
    Stream(Box<Steady>),
    Fabric(Box<FabricReading>),
}

impl Answered {
    fn text(&self, wafer: &Wafer) -> String {
        match &self.beside {
            Beside::Nothing => report::answer::text(&self.answer, wafer),
            Beside::Stream(run) => report::steady::text(&self.answer, run, wafer),
            Beside::Fabric(reading) => report::fabric::text(&self.answer, reading, wafer),
        }
    }

    fn json(&self) -> Result<String, Failure> {
        Ok(match &self.beside {
            Beside::Nothing => report::answer::json(&self.answer)?,
            Beside::Stream(run) => report::steady::json(&self.answer, run)?,
            Beside::Fabric(reading) => report::fabric::json(&self.answer, reading)?,
        })
    }
}

/// Answers with layers on the fabric; pictures and the trace are written here.
fn on_fabric(
    question: &Question,
    asked: FabricAsked,
    finished: impl Fn(Answer) -> Answer,
) -> Result<Answered, Failure> {
    let progress = Runs::start();
    let mut found = answer_on_fabric(question, &asked.request, &|moment| progress.at(&moment))?;
    found.answer = finished(found.answer);
    progress.finish(found.reading.cycles, found.reading.wavelet_hops);
    if let Some(folder) = &asked.pictures {
        for picture in report::picture::of_fabric(&found, &question.wafer)? {
            folder.write(picture.name, &picture.bytes)?;
        }
    }
    if let Some((file, limit)) = asked.trace
        && let Some(trace) = report::timeline::of_fabric(&found, limit)?
    {
        file.write_bytes(&trace.bytes)?;
        say_what_is_left_out(&trace);
    }
    Ok(Answered { answer: found.answer, beside: Beside::Fabric(Box::new(found.reading)) })
}

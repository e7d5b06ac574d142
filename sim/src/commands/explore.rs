//! `simctl explore`: the page of an answer, served to the browser on this machine, with controls that ask again.
//!
//! What a control is set to is a setting like any other: it lies on what the command line says, and is checked by the
//! same rules. Answers are those of `simctl run`. What was asked once is kept in memory, and the mappings that were
//! found in the cache of all commands.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clap::Args;
use wafersim::answer::{Question, Ranges, answer_with};
use wafersim::mapping::{Mapping, builtin};
use wafersim::page::Document;
use wafersim::page::document::Data;
use wafersim::page::html::{self, Choice, Control};
use wafersim::report;
use wafersim::spec::Scenario;
use wafersim::spec::scenario::{CONTEXT_BEYOND_POSITIONS, Profile, WaferCount};
use wafersim_explore::{Answerer, Asked, Parts, Said, serve};

use crate::asked::{self, signed};
use crate::cache;
use crate::failure::Failure;
use crate::layers::{Layers, set};
use crate::mapping_flags::SearchFlag;
use crate::out_flags::made;
use crate::output::{Destination, say};
use crate::pages::{self, Shown};
use crate::scenario_flags::ScenarioFlags;

/// Flags of `explore`.
#[derive(Debug, Args)]
pub struct ExploreFlags {
    #[command(flatten)]
    scenario: ScenarioFlags,
    /// Wafers to begin with: a number, `auto` or `fewest`.
    #[arg(long, value_name = "auto|fewest|N", allow_negative_numbers = true)]
    wafers: Option<String>,
    /// Users to begin with.
    #[arg(long, value_name = "USERS", allow_negative_numbers = true)]
    users: Option<String>,
    /// Tokens in each user's KV cache to begin with (32k is 32768).
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true)]
    context: Option<String>,
    /// How much is tried to find a mapping where the control says `found`.
    #[arg(long, value_enum, default_value_t = SearchFlag::Quick)]
    search: SearchFlag,
    /// Port on 127.0.0.1; 0 for any that is free.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
}

/// Answers that are kept at most; the first are forgotten first.
const MOST_KEPT: usize = 500;
/// What the control of the mapping says where one is looked for.
const FOUND: &str = "found";

/// Serves the page until the process is ended.
pub fn execute(flags: &ExploreFlags) -> Result<(), Failure> {
    let mut layers = flags.scenario.layers()?;
    for (flag, path, value) in [
        ("--wafers", "wafers", &flags.wafers),
        ("--users", "users", &flags.users),
        ("--context", "context", &flags.context),
    ] {
        layers.flag(flag, path, value.as_deref())?;
    }
    let base = Question::load(layers.check()?)?;
    let refuse = |reason: std::io::Error| Failure::Flag {
        flag: "--port".into(),
        problem: format!("is {}: {reason}", flags.port),
        allowed: "a port that no other program has, or 0 for any that is free".into(),
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, flags.port)).map_err(refuse)?;
    let port = listener.local_addr().map_err(refuse)?.port();
    let explorer = Explorer { base, layers, search: flags.search, kept: Mutex::default() };
    // A question that has no answer is refused before there is a page.
    explorer.said(&at_first(&explorer.base), Parts::Quick)?;
    say("the page is at the address below, for this machine only; Ctrl-C ends it");
    Destination::Stdout.write(&format!("http://127.0.0.1:{port}/\n"))?;
    serve(listener, Arc::new(explorer)).map_err(refuse)
}

/// The question as it began, and what was answered since.
struct Explorer {
    base: Question,
    layers: Layers,
    search: SearchFlag,
    kept: Mutex<Kept>,
}

/// Answers by what was asked, and the order in which they came.
#[derive(Debug, Default)]
struct Kept {
    said: BTreeMap<Asked, Said>,
    order: Vec<Asked>,
}

impl Explorer {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A map of finished answers is whole whatever another thread came to.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, asked: &Asked, said: &Said) {
        let mut kept = self.kept();
        if kept.said.insert(asked.clone(), said.clone()).is_none() {
            kept.order.push(asked.clone());
        }
        if kept.order.len() > MOST_KEPT {
            let first = kept.order.remove(0);
            kept.said.remove(&first);
        }
    }

    /// The question that controls ask. Those that stand as at first say nothing: what was left open stays open.
    fn question(&self, asked: &Asked) -> Result<Question, Failure> {
        let mut layers = self.layers.clone();
        let mut mapping = FOUND;
        let at_first = at_first(&self.base);
        for (name, value) in asked {
            match SETTINGS.iter().find(|(known, ..)| known == name) {
                Some(_) if at_first.get(name) == Some(value) => {}
                Some(("wafers", _, path)) if value.trim().is_empty() => set(&mut layers.sets, name, path, "auto")?,
                Some((_, _, path)) => set(&mut layers.sets, name, path, value)?,
                None if name == "mapping" => mapping = value,
                None => {
                    let allowed = SETTINGS.map(|(name, ..)| name).join(", ");
                    return Err(Failure::Flag { flag: name.clone(), problem: "is no control".into(), allowed });
                }
            }
        }
        let question = self.base.asking(layers.check()?)?;
        if mapping == FOUND {
            return Ok(cache::searched(question.searching(self.search.effort())));
        }
        // Names only: a page opens no files.
        let Some(name) = builtin::names().find(|name| *name == mapping) else {
            let allowed = std::iter::once(FOUND).chain(builtin::names()).collect::<Vec<_>>().join(", ");
            return Err(Failure::Flag { flag: "mapping".into(), problem: format!("is '{mapping}'"), allowed });
        };
        Ok(question.with_mapping(Some(Mapping::from_name_or_path(name)?)))
    }

    fn document(&self, asked: &Asked, parts: Parts) -> Result<Document, Failure> {
        let question = self.question(asked)?;
        let mut answer = answer_with(&question, Ranges::Corner, &|_, _| ())?;
        answer.provenance = signed(answer.provenance);
        let head = asked::Asked::bare("run").question(&question);
        let json = head.json(&report::answer::json(&answer)?)?;
        let data = Data { main: pages::value(&json)?, beside: Vec::new() };
        let frontier = match parts {
            Parts::Quick => None,
            Parts::All => Some(pages::frontier(&question, &answer, &|_| ())?),
        };
        let text = head.text(report::answer::text(&answer, &question.wafer));
        pages::answer(&Shown { question: &question, answer: &answer, frontier: frontier.as_ref(), text }, data)
    }

    fn said(&self, asked: &Asked, parts: Parts) -> Result<Said, Failure> {
        if let Some(known) = self.kept().said.get(asked).filter(|known| known.is_whole || parts == Parts::Quick) {
            return Ok(known.clone());
        }
        let html = html::main(&self.document(asked, parts)?)?;
        let said = Said { html: html.into(), is_whole: parts == Parts::All };
        self.keep(asked, &said);
        Ok(said)
    }
}

impl Answerer for Explorer {
    fn page(&self) -> Result<Said, String> {
        let page = || {
            let document = self.document(&at_first(&self.base), Parts::Quick)?;
            Ok::<_, Failure>(html::page_with(&document, &made(), &controls(&self.base))?)
        };
        page().map(|html| Said { html: html.into(), is_whole: false }).map_err(|failure| failure.to_string())
    }

    fn answer(&self, asked: &Asked, parts: Parts) -> Result<Said, String> {
        self.said(asked, parts).map_err(|failure| failure.to_string())
    }
}

/// What the controls say as the page is opened.
fn at_first(base: &Question) -> Asked {
    controls(base).into_iter().map(|control| (control.name.to_owned(), control.value)).collect()
}

/// Controls that are settings: name, label, path.
const SETTINGS: [(&str, &str, &str); 7] = [
    ("users", "Users", "users"),
    ("context", "Context, tokens", "context"),
    ("wafers", "Wafers (empty: auto)", "wafers"),
    ("target", "Target, tok/s", "target"),
    ("draft", "Draft, tokens", "speculation.draft_length"),
    ("acceptance", "Acceptance", "speculation.acceptance"),
    ("profile", "Profile", "profile"),
];

/// The controls, set as the page is opened.
fn controls(base: &Question) -> Vec<Control> {
    let Scenario { wafers, users, context, target, profile, speculation, .. } = &base.scenario;
    let choice = |value: &str, words: &str| Choice { value: value.into(), words: words.into() };
    let control = |name: &'static str, value: String, (min, max, step): (&str, &str, &str), choices: Vec<Choice>| {
        let label = SETTINGS.iter().find(|(known, ..)| *known == name).map_or("Mapping", |(_, label, _)| label);
        Control { name, label: label.into(), value, choices, min: min.into(), max: max.into(), step: step.into() }
    };
    let longest = base.model.max_positions.saturating_mul(CONTEXT_BEYOND_POSITIONS).min(1 << 24).to_string();
    let wafers = match wafers {
        WaferCount::Exactly(wafers) => wafers.to_string(),
        WaferCount::Auto => String::new(),
        WaferCount::Fewest => "fewest".into(),
    };
    let whole = |name, value: u64, max: &str| control(name, value.to_string(), ("1", max, "1"), Vec::new());
    let none = ("", "", "");
    let mappings = builtin::names().map(|name| choice(name, name));
    let mappings = std::iter::once(choice(FOUND, "found (best of a search)")).chain(mappings).collect();
    let profiles = Profile::NAMES.iter().map(|name| choice(name, name)).collect();
    let mut controls = vec![whole("users", *users, "1000000"), whole("context", *context, &longest)];
    controls.push(match wafers.as_str() {
        "fewest" => control("wafers", wafers, none, vec![choice("fewest", "fewest"), choice("auto", "auto")]),
        _ => control("wafers", wafers, ("1", "10000", "1"), Vec::new()),
    });
    controls.extend([
        control("target", target.to_string(), ("1", "10000000", "any"), Vec::new()),
        control("draft", speculation.draft_length.to_string(), ("0", "64", "1"), Vec::new()),
        control("acceptance", speculation.acceptance.to_string(), none, Vec::new()),
        control("profile", profile.to_string(), none, profiles),
        control("mapping", FOUND.into(), none, mappings),
    ]);
    controls
}

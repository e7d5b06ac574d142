//! Pages and pictures of results: what is shown beside the JSON of a command.

use std::sync::OnceLock;

use serde_json::Value;
use wafersim::answer::plan::{Axes, Plan, PlanRow, plan as planned};
use wafersim::answer::rows::Rows;
use wafersim::answer::{Answer, Question, Ranges};
use wafersim::decide::money::{Economics, Hourly};
use wafersim::mapping::Mapping;
use wafersim::page::answer::{ASKED, Extras, FRONTIER};
use wafersim::page::document::{Cell, Data, Picture, Planned, Tone};
use wafersim::page::generic::Heading;
use wafersim::page::unit::Unit;
use wafersim::page::{self, Document};
use wafersim::picture::{chart_png, chart_svg, wafer_map_svg, waterfall_png, waterfall_svg};
use wafersim::report;
use wafersim::report::ReportError;
use wafersim::report::explain::Explained;
use wafersim::report::stream_chart::ChartFile;
use wafersim::spec::Wafer;
use wafersim::spec::scenario::{Profile, WaferCount};

use crate::failure::Failure;
use crate::out_flags::{as_text, heading};
use crate::picture_file::{Kind, refused};
use crate::progress::Progress;
use crate::wafer_map_flag;

/// What the page of an answer shows.
pub struct Shown<'a> {
    /// The question.
    pub question: &'a Question,
    /// Its answer.
    pub answer: &'a Answer,
    /// The plan of [`frontier`].
    pub frontier: Option<&'a Plan>,
    /// The answer as it is printed.
    pub text: String,
}

/// The page of an answer: with it the wafers, and what other numbers of users would get, where that is there.
pub fn answer(shown: &Shown<'_>, data: Data) -> Result<Document, Failure> {
    let Shown { question, answer, frontier, text } = shown;
    let map = wafer_map_flag::drawn(question)?;
    let svg = wafer_map_svg(&map).map_err(|why| refused(&why))?;
    let wafer_map = Picture { description: format!("A map of the wafers: {}", map.title), svg };
    let asked = serde_json::to_value(&question.scenario).map_err(|error| no_json(&error))?;
    let mut beside = vec![(ASKED, asked)];
    if let Some(frontier) = frontier {
        beside.push((FRONTIER, value(&report::plan::json(frontier)?)?));
    }
    let verdict = one_line(&report::answer::verdict(answer, &question.wafer));
    let extras = Extras { verdict, wafer_map: Some(wafer_map), text: Some(text.clone()) };
    let mut document = page::answer::document(Data { beside, ..data }, extras);
    // Several machines that are asked about are to serve so many users.
    let users = Cell::at(&document.data, "/machines/users", Unit::Plain);
    document.planned = Planned { users, ..priced(&question.wafer) };
    Ok(document)
}

/// What a wafer costs an hour, as its file and `simctl cost` assume it.
fn priced(wafer: &Wafer) -> Planned {
    let economics = Economics::default();
    Planned::priced(Hourly::of(wafer, &economics).total.value, economics.occupancy.value)
}

/// JSON that a report has written, read.
pub fn value(json: &str) -> Result<Value, Failure> {
    serde_json::from_str(json).map_err(|error| no_json(&error))
}

fn no_json(error: &serde_json::Error) -> Failure {
    Failure::Report(ReportError::Format { format: "JSON", reason: error.to_string() })
}

/// Lines of a paragraph as one.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The plan for other numbers of users on the wafers of an answer, each with the best mapping that is found for it;
/// with the recipe of the question's mapping, where one was given.
///
/// `advanced` is called with the number of points as each of them ends.
pub fn frontier(question: &Question, answer: &Answer, advanced: &(dyn Fn(u64) + Sync)) -> Result<Plan, Failure> {
    let recipe = question.mapping.as_ref().map(|given| Mapping::Recipe(Box::new(given.recipe().clone())));
    let mut scenario = question.scenario.clone();
    scenario.wafers = WaferCount::Exactly(answer.wafers);
    let base = question.asking(scenario)?.with_mapping(recipe);
    let profiles = match answer.profile {
        Profile::Published => vec![Profile::Published, Profile::Best],
        profile => vec![Profile::Published, profile],
    };
    let axes = Axes { users: users(answer), profiles, ..Axes::of(&base.scenario) };
    let points = axes.points() as u64;
    let finished = |_: usize, _: &PlanRow| {
        advanced(points);
        Ok::<_, Failure>(())
    };
    planned(&base, &axes, Ranges::None, &Rows::none_known(&finished))
}

/// The same, with its progress on the terminal.
pub fn frontier_told(question: &Question, answer: &Answer) -> Result<Plan, Failure> {
    let progress: OnceLock<Progress> = OnceLock::new();
    let found = frontier(question, answer, &|points| progress.get_or_init(|| Progress::start(points)).advance());
    if let Some(progress) = progress.get() {
        progress.clear();
    }
    found
}

/// Powers of two up to what the wafers hold, with the users who are asked for and the most that are served at full
/// speed.
fn users(answer: &Answer) -> Vec<u64> {
    /// No load is asked for beyond so many users.
    const MOST: u64 = 4096;
    let most = answer.max_users.clamp(1, MOST);
    let powers = std::iter::successors(Some(1u64), |users| users.checked_mul(2)).take_while(|users| *users <= most);
    let mut users: Vec<u64> = powers.chain([answer.users, answer.users_at_full_speed.min(most), most]).collect();
    users.retain(|users| *users > 0);
    users.sort_unstable();
    users.dedup();
    users
}

/// The waterfall of an answer.
pub fn answer_picture(answer: &Answer, kind: Kind) -> Result<Vec<u8>, Failure> {
    let drawn = report::answer::waterfall(answer);
    match kind {
        Kind::Svg => waterfall_svg(&drawn).map(String::into_bytes),
        Kind::Png => waterfall_png(&drawn),
    }
    .map_err(|why| refused(&why))
}

/// The page of a plan, with what a wafer costs where all rows are of one.
pub fn plan(plan: &Plan, wafer: Option<&Wafer>, data: Data, text: String) -> Document {
    let mut document = page::plan::document(
        Heading {
            title: format!("Plan: {} on {}", plan.model, plan.wafer),
            verdict: last_paragraph_but_one(&text),
            tone: page::plan::tone(&data),
        },
        data,
    );
    document.planned = wafer.map(priced).unwrap_or_default();
    document.sections.push(as_text(text));
    document
}

/// The page of what an answer costs.
pub fn cost(data: Data, text: String) -> Document {
    let mut document = page::cost::document(heading("cost", &text), data);
    document.sections.push(as_text(text));
    document
}

/// What a plan says below its table, above its legend.
fn last_paragraph_but_one(text: &str) -> String {
    let mut paragraphs = text.trim_end().rsplit("\n\n");
    one_line(paragraphs.nth(1).unwrap_or_default())
}

/// The frontier of a plan.
pub fn plan_picture(plan: &Plan, kind: Kind) -> Result<Vec<u8>, Failure> {
    let Some(chart) = report::plan::chart(plan) else { return Err(nothing_drawn("no row fits")) };
    match kind {
        Kind::Svg => chart_svg(&chart).map(String::into_bytes),
        Kind::Png => chart_png(&chart),
    }
    .map_err(|why| refused(&why))
}

fn nothing_drawn(why: &str) -> Failure {
    Failure::Flag {
        flag: "--out".into(),
        problem: format!("asks for a picture, and there is nothing to draw: {why}"),
        allowed: "a file that ends in .html, .csv, .md, .json or .txt".into(),
    }
}

/// The page of a run under load.
pub fn stream_run(text: String, latencies: Vec<ChartFile>, data: Data) -> Document {
    let drawn = latencies.into_iter().filter(|chart| chart.name.ends_with(".svg"));
    let pictures = drawn.map(|chart| Picture {
        description: format!("How times are distributed: {}", chart.name.trim_end_matches(".svg").replace('-', " ")),
        svg: String::from_utf8_lossy(&chart.bytes).into_owned(),
    });
    let mut document = page::stream::run(data, pictures.collect());
    document.sections.push(as_text(text));
    document
}

/// The page of the way from what is advertised to what agents observe.
pub fn explained(all: &[Explained], data: Data) -> Result<Document, Failure> {
    let svg = waterfall_svg(&report::explain::waterfall(all)).map_err(|why| refused(&why))?;
    let description = "A waterfall for each agent: from what is advertised, step by step, to what it observes".into();
    let mut document = page::explain::gap(data, Picture { description, svg }, &report::explain::unknown());
    document.sections.push(as_text(report::explain::text(all)));
    Ok(document)
}

/// The same as a picture.
pub fn explained_picture(all: &[Explained], kind: Kind) -> Result<Vec<u8>, Failure> {
    let drawn = report::explain::waterfall(all);
    match kind {
        Kind::Svg => waterfall_svg(&drawn).map(String::into_bytes),
        Kind::Png => waterfall_png(&drawn),
    }
    .map_err(|why| refused(&why))
}

/// The page of the same tasks at several services.
pub fn compared_tasks(text: String, data: Data) -> Document {
    let mut document = page::explain::tasks(data);
    document.sections.push(as_text(text));
    document
}

/// The page of a sweep of runs under load.
pub fn stream_sweep(setting: &str, text: String, data: Data) -> Document {
    let title = format!("Under load: {setting} varied");
    let heading = Heading { title, verdict: String::new(), tone: Tone::Neutral };
    let mut document = page::stream::sweep(heading, data);
    document.sections.push(as_text(text));
    document
}

/// The first chart in a form.
pub fn first_chart(charts: Vec<ChartFile>, kind: Kind) -> Result<Vec<u8>, Failure> {
    let ending = match kind {
        Kind::Svg => ".svg",
        Kind::Png => ".png",
    };
    let found = charts.into_iter().find(|chart| chart.name.ends_with(ending));
    found.map(|chart| chart.bytes).ok_or_else(|| nothing_drawn("no answer ended in the window"))
}

//! `simctl explain`: from what is advertised to what coding agents observe.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use wafersim::report;
use wafersim::report::explain::Explained;
use wafersim::report::explain_task::{Compared, ServiceTasks};
use wafersim::stream::clients::ClientSettings;
use wafersim::stream::explain::task::{SERVICES, TasksDone, WAFER_SUCCESS, tasks_at};
use wafersim::stream::explain::{AGENTS, Agent, Gap, Side, at_side, decide, gap, scenario};
use wafersim::stream::load::TaskSettings;
use wafersim::stream::run::{Server, sweep};
use wafersim::stream::scenario::{LoadFile, LoadKind, LoadScenario, StreamFile};
use wafersim::stream::service::ServicePlan;

use crate::asked::Asked;
use crate::commands::stream::{Read, checked, find_beside, prepared, setting, wrong};
use crate::failure::Failure;
use crate::input::read_table_text;
use crate::mapping_flags::{MappingFlags, Wanted};
use crate::out_flags::{Forms, HasPicture, OutFlags};
use crate::pages;
use crate::progress::Progress;

/// The scenario where none is given.
const USUAL: (&str, &str) = ("explain.toml", include_str!("../../scenarios/stream/explain.toml"));

/// Coding agents by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AgentName {
    /// Short sessions, one at a time.
    Light,
    /// One session of some 96,000 tokens.
    Median,
    /// Four long sessions at once.
    Heavy,
}

/// Flags of `explain`.
#[derive(Debug, Args)]
pub struct ExplainFlags {
    /// Scenario of a stream, with a plan and clients [default: explain.toml]; its sessions are those of the agents.
    #[arg(value_name = "SCENARIO.toml")]
    scenario: Option<PathBuf>,
    /// Explains for this agent; may be repeated [default: all].
    #[arg(long = "agent", value_enum, value_name = "AGENT")]
    agents: Vec<AgentName>,
    /// Sets anything of the scenario, for example `service.plan=free`; may be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<String>,
    /// Compares the time and the cost of a finished coding task with other services instead: a load of kind tasks, the
    /// scenario's or the usual one.
    #[arg(long, conflicts_with = "agents")]
    task: bool,
    #[command(flatten)]
    mapping: MappingFlags,
    #[command(flatten)]
    output: OutFlags,
}

/// Explains.
pub fn execute(flags: &ExplainFlags, asked: &Asked) -> Result<(), Failure> {
    let out = flags.output.open(if flags.task { HasPicture::No } else { HasPicture::Yes })?;
    let (source, text) = match &flags.scenario {
        None => (USUAL.0.to_owned(), USUAL.1.to_owned()),
        Some(file) => (file.display().to_string(), read_table_text("SCENARIO.toml", file)?),
    };
    let mut file = StreamFile::parse(&text, &source)?;
    find_beside(&mut file, flags.scenario.as_deref().and_then(Path::parent));
    for set in &flags.sets {
        let (path, value) = setting("--set", set)?;
        file = file.with("--set", path, value)?;
    }
    let wanted = flags.mapping.wanted()?;
    if flags.task {
        let (compared, tasks) = compare_tasks(&file, &source, &wanted)?;
        let compared = Compared { tasks, services: &compared };
        let (text, json) =
            (|| Ok(report::explain_task::text(&compared)), || Ok(report::explain_task::json(&compared)?));
        let head = asked.head();
        let page = |data| Ok(pages::compared_tasks(report::explain_task::text(&compared), data));
        return out.write(Forms::new("explain", &text, &json).asked(&head).document(&page));
    }
    let agents: Vec<&Agent> = AGENTS.iter().filter(|agent| is_asked(&flags.agents, agent)).collect();
    let mut machines: Vec<(String, Server)> = Vec::with_capacity(agents.len() * Side::ALL.len());
    for agent in &agents {
        for side in Side::ALL {
            let mut scenario = checked(scenario(&file, agent, side), &source)?;
            decide(&mut scenario, side);
            machines.push((String::new(), prepared(scenario, wanted.clone(), &mut Read::default())?.place()?));
        }
    }
    let progress = Progress::start(machines.len() as u64);
    let points = sweep(&machines, |_, _| {
        progress.advance();
        Ok::<_, Failure>(())
    });
    let points = points.inspect_err(|_| progress.clear())?;
    progress.finish();
    let runs: Vec<_> = machines.iter().zip(&points).collect();
    let mut all = Vec::with_capacity(agents.len());
    for (agent, sides) in agents.into_iter().zip(runs.chunks(Side::ALL.len())) {
        let found: Result<Vec<Gap>, _> = sides
            .iter()
            .map(|((_, machine), point)| {
                gap(machine.pipeline().question().scenario.target, agent, machine, &point.outcome)
            })
            .collect();
        let mut found = found?.into_iter();
        if let (Some(low), Some(expected), Some(high)) = (found.next(), found.next(), found.next()) {
            all.push(Explained { agent: *agent, low, expected, high });
        }
    }
    let (text, json) = (|| Ok(report::explain::text(&all)), || Ok(report::explain::json(&all)?));
    let head = asked.head();
    let page = |data| pages::explained(&all, data);
    let drawn = |kind| pages::explained_picture(&all, kind);
    out.write(Forms::new("explain", &text, &json).asked(&head).document(&page).picture(&drawn))
}

/// Tasks of each agent, where nothing is said: with 2.4 million tokens each a day's work under the coding plan.
const TASKS_EACH: u64 = 8;
/// Seconds of a run that ends with its last task: as long as a run may be.
const LONGEST: f64 = 1e6;

/// What wafers and other services make of the same tasks.
fn compare_tasks(
    base: &StreamFile,
    source: &str,
    wanted: &Wanted,
) -> Result<(Vec<ServiceTasks>, TaskSettings), Failure> {
    let mut file = base.clone();
    if file.load.kind != Some(LoadKind::Tasks) {
        file.load = LoadFile { kind: Some(LoadKind::Tasks), users: file.load.users, ..LoadFile::default() };
    }
    let agents = u64::from(file.load.users.unwrap_or(1));
    file.load.tasks = file.load.tasks.or(Some(TASKS_EACH * agents));
    file.clients.organisations = file.clients.organisations.or(file.load.users);
    file.service.plan.get_or_insert_with(|| "none".to_owned());
    // All tasks count, and the run ends with the last.
    (file.run.warm_up, file.run.window) = (None, Some(LONGEST));
    let mut machines: Vec<(String, Server)> = Vec::with_capacity(Side::ALL.len());
    for side in Side::ALL {
        let mut scenario = checked(at_side(&file, side), source)?;
        decide(&mut scenario, side);
        if let LoadScenario::Tasks(tasks) = &mut scenario.load {
            *tasks = tasks_at(tasks, side, [1.0; 3], success(base, tasks));
        }
        machines.push((String::new(), prepared(scenario, wanted.clone(), &mut Read::default())?.place()?));
    }
    let expected = checked(file, source)?;
    let (LoadScenario::Tasks(tasks), Some(clients)) = (&expected.load, &expected.clients) else {
        return Err(wrong("--task", "has no tasks to compare".into(), "a load of kind tasks".into()));
    };
    let plan = &clients.plan;
    if !plan.limits.is_empty() {
        let free = ServicePlan { name: "none".into(), limits: Vec::new(), ..plan.clone() };
        let free: Vec<_> = machines.iter().map(|(name, server)| (name.clone(), server.behind(free.clone()))).collect();
        machines.extend(free);
    }
    let progress = Progress::start((machines.len() + SERVICES.len()) as u64);
    let points = sweep(&machines, |_, _| {
        progress.advance();
        Ok::<_, Failure>(())
    });
    let points = points.inspect_err(|_| progress.clear())?;
    let mut all = Vec::with_capacity(2 + SERVICES.len());
    for (points, name) in points.chunks(Side::ALL.len()).zip([format!("plan {}", plan.name), "no quota".into()]) {
        let done: Result<Vec<TasksDone>, _> =
            points.iter().map(|point| TasksDone::of(&point.outcome, plan.price)).collect();
        all.extend(sides(format!("wafers, {name}"), done?));
    }
    for service in &SERVICES {
        let done: Result<Vec<TasksDone>, _> =
            Side::ALL.iter().map(|side| service.run(tasks, &at(clients, *side), *side)).collect();
        all.extend(sides(service.name.to_owned(), done.inspect_err(|_| progress.clear())?));
        progress.advance();
    }
    progress.finish();
    Ok((all, *tasks))
}

/// Success of an attempt on wafers: the scenario's where it says one, at all sides.
fn success(base: &StreamFile, tasks: &TaskSettings) -> [f64; 3] {
    if base.load.success.is_some() { [tasks.success; 3] } else { WAFER_SUCCESS }
}

/// Clients of other services: as far away as those of wafers at this side.
fn at(clients: &ClientSettings, side: Side) -> ClientSettings {
    let network = match side {
        Side::Low => 0.2,
        Side::Expected => clients.network,
        Side::High => 0.01,
    };
    ClientSettings { network, ..clients.clone() }
}

fn sides(service: String, done: Vec<TasksDone>) -> Option<ServiceTasks> {
    let mut done = done.into_iter();
    Some(ServiceTasks { service, low: done.next()?, expected: done.next()?, high: done.next()? })
}

fn is_asked(asked: &[AgentName], agent: &Agent) -> bool {
    let name = |asked: &AgentName| match asked {
        AgentName::Light => "light",
        AgentName::Median => "median",
        AgentName::Heavy => "heavy",
    };
    asked.is_empty() || asked.iter().any(|asked| name(asked) == agent.name)
}

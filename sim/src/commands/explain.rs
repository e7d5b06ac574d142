//! `simctl explain`: from what is advertised to what coding agents observe.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use wafersim::report;
use wafersim::report::explain::Explained;
use wafersim::stream::explain::{AGENTS, Agent, Gap, Side, decide, gap, scenario};
use wafersim::stream::run::{Server, sweep};
use wafersim::stream::scenario::StreamFile;

use crate::asked::Asked;
use crate::commands::stream::{Read, checked, find_beside, prepared, setting};
use crate::failure::Failure;
use crate::input::read_table_text;
use crate::mapping_flags::MappingFlags;
use crate::out_flags::{Forms, HasPicture, OutFlags};
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
    #[command(flatten)]
    mapping: MappingFlags,
    #[command(flatten)]
    output: OutFlags,
}

/// Explains.
pub fn execute(flags: &ExplainFlags, asked: &Asked) -> Result<(), Failure> {
    let out = flags.output.open(HasPicture::No)?;
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
    out.write(Forms::new("explain", &text, &json).asked(&head))
}

fn is_asked(asked: &[AgentName], agent: &Agent) -> bool {
    let name = |asked: &AgentName| match asked {
        AgentName::Light => "light",
        AgentName::Median => "median",
        AgentName::Heavy => "heavy",
    };
    asked.is_empty() || asked.iter().any(|asked| name(asked) == agent.name)
}

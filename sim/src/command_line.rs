//! What can be asked on the command line: one variant per subcommand. The flags of each live with it.

use clap::{Parser, Subcommand};

use crate::commands::bound::BoundFlags;
use crate::commands::compare::CompareFlags;
use crate::commands::completions::CompletionsFlags;
use crate::commands::cost::CostFlags;
use crate::commands::crosscheck::CrosscheckFlags;
use crate::commands::explain::ExplainFlags;
use crate::commands::explore::ExploreFlags;
use crate::commands::goal::GoalFlags;
use crate::commands::graph::GraphFlags;
use crate::commands::map::MapFlags;
use crate::commands::mappings::MappingsFlags;
use crate::commands::models::ModelsFlags;
use crate::commands::place::PlaceFlags;
use crate::commands::plan::PlanFlags;
use crate::commands::results::ResultsFlags;
use crate::commands::routing::RoutingFlags;
use crate::commands::run::RunFlags;
use crate::commands::schema::SchemaFlags;
use crate::commands::serve::ServeFlags;
use crate::commands::settings::SettingsFlags;
use crate::commands::size::SizeFlags;
use crate::commands::stream::StreamFlags;
use crate::commands::trace::TraceFlags;
use crate::commands::traffic::TrafficFlags;
use crate::commands::validate::ValidateFlags;
use crate::commands::values::ValuesFlags;
use crate::commands::wafers::WafersFlags;

const AFTER_HELP: &str = "\
Data goes to stdout, words to stderr. Exit codes: 0 done, 1 a bug or a failure while writing, 2 wrong input, \
3 no mapping passes its certificate (--certify).";

/// LLM inference on wafer-scale machines: how fast, what limits it, how sure, and what it would take.
#[derive(Debug, Parser)]
#[command(name = "simctl", version = crate::asked::VERSION, after_help = AFTER_HELP, max_term_width = 200, arg_required_else_help = true)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer one question: does this model on this wafer reach the target, and what limits it?
    ///
    /// Without arguments: Qwen3-Coder-480B on WSE-3, one user, 32k context, 2000 tok/s.
    Run(RunFlags),
    /// Serve the page of an answer to the browser on this machine, with controls that ask again.
    Explore(ExploreFlags),
    /// Two answers beside each other: what differs in the figures, by operator, by cause, and in what was asked.
    Compare(CompareFlags),
    /// What no mapping of this model on this wafer beats, with every term.
    Bound(BoundFlags),
    /// What must be true for a target: the value of each parameter that reaches it, the cheapest pairs.
    Goal(GoalFlags),
    /// How many machines a load needs, of how many wafers, so that its users see what was promised.
    Size(SizeFlags),
    /// What an answer costs: power, energy, money, beside services and GPUs.
    Cost(CostFlags),
    /// Answer a table of questions: users x context x wafers x precisions x profiles x placements.
    Plan(PlanFlags),
    /// Run a load against a machine: users, queues, speeds, and where the time goes.
    Stream(StreamFlags),
    /// Why nobody sees what is advertised: from there to what coding agents observe, step by step.
    Explain(ExplainFlags),
    /// Answer real clients at the simulated speed: an endpoint of the OpenAI form.
    ///
    /// Until Ctrl-C, which is exit code 0.
    Serve(ServeFlags),
    /// Inspect, convert or cut traces of requests: Azure, Mooncake, BurstGPT, Bailian, TraceLab and others.
    Trace(TraceFlags),
    /// Predict every row of a table of measurements, and show the errors.
    Validate(ValidateFlags),
    /// Compute a checkpoint with real numbers as it is placed, and compare with a reference.
    ///
    /// Exit code 1 if a tensor is out of its tolerance.
    Values(ValuesFlags),
    /// Compare the closed form with the fabric: kernels x grids x wafers, cycles and deviations.
    Crosscheck(CrosscheckFlags),
    /// Run packet traffic on a mesh, cycle by cycle, and measure latency and throughput.
    Traffic(TrafficFlags),
    /// Compare where the experts of each layer may live, under the load of a routing trace.
    Place(PlaceFlags),
    /// List, show or merge the files that --store has made.
    Results(ResultsFlags),
    /// Inspect, make or convert traces of which experts each token chose.
    Routing(RoutingFlags),
    /// Write the model's operators, with shapes and dependencies, as DOT or JSON.
    Graph(GraphFlags),
    /// Look for the best mapping of a question: speed against wafers, and what each decision gives.
    Map(MapFlags),
    /// List the built-in mappings, or show and check one by name or file.
    Mappings(MappingsFlags),
    /// List the built-in models, or show those that are named.
    Models(ModelsFlags),
    /// List the built-in wafers, or show every parameter of those that are named.
    Wafers(WafersFlags),
    /// List everything that scenario files and `--set path=value` can set.
    Settings(SettingsFlags),
    /// Write the JSON Schema of a command's output, or list those that there are.
    Schema(SchemaFlags),
    /// Write a completion script for a shell.
    Completions(CompletionsFlags),
}

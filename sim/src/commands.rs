//! The subcommands, one file each: flags in, text out.

pub mod bound;
pub mod completions;
pub mod cost;
pub mod crosscheck;
pub mod goal;
pub mod graph;
pub mod map;
pub mod mappings;
pub mod models;
pub mod place;
pub mod plan;
pub mod results;
pub mod routing;
pub mod run;
pub mod settings;
pub mod size;
pub mod stream;
pub mod trace;
pub mod traffic;
pub mod validate;
pub mod values;
pub mod wafers;

use crate::command_line::Command;
use crate::failure::Failure;

/// Does what was asked.
pub fn execute(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(flags) => run::execute(&flags),
        Command::Bound(flags) => bound::execute(&flags),
        Command::Goal(flags) => goal::execute(&flags),
        Command::Size(flags) => size::execute(&flags),
        Command::Cost(flags) => cost::execute(&flags),
        Command::Plan(flags) => plan::execute(&flags),
        Command::Stream(flags) => stream::execute(&flags),
        Command::Validate(flags) => validate::execute(&flags),
        Command::Values(flags) => values::execute(&flags),
        Command::Crosscheck(flags) => crosscheck::execute(&flags),
        Command::Trace(flags) => trace::execute(&flags),
        Command::Traffic(flags) => traffic::execute(&flags),
        Command::Place(flags) => place::execute(&flags),
        Command::Results(flags) => results::execute(&flags),
        Command::Routing(flags) => routing::execute(&flags),
        Command::Graph(flags) => graph::execute(&flags),
        Command::Map(flags) => map::execute(&flags),
        Command::Mappings(flags) => mappings::execute(&flags),
        Command::Models(flags) => models::execute(&flags),
        Command::Wafers(flags) => wafers::execute(&flags),
        Command::Settings(flags) => settings::execute(&flags),
        Command::Completions(flags) => completions::execute(&flags),
    }
}

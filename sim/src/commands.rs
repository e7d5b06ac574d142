//! The subcommands, one file each: flags in, text out.

pub mod bound;
pub mod compare;
pub mod completions;
pub mod cost;
pub mod crosscheck;
pub mod explain;
pub mod explore;
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
pub mod schema;
pub mod serve;
pub mod settings;
pub mod size;
pub mod stream;
pub mod trace;
pub mod traffic;
pub mod validate;
pub mod values;
pub mod wafers;

use crate::asked::Asked;
use crate::command_line::Command;
use crate::failure::Failure;

/// Does what was asked.
pub fn execute(command: Command, asked: &Asked) -> Result<(), Failure> {
    match command {
        Command::Run(flags) => run::execute(&flags, asked),
        Command::Explore(flags) => explore::execute(&flags),
        Command::Compare(flags) => compare::execute(&flags, asked),
        Command::Bound(flags) => bound::execute(&flags, asked),
        Command::Goal(flags) => goal::execute(&flags, asked),
        Command::Size(flags) => size::execute(&flags, asked),
        Command::Cost(flags) => cost::execute(&flags, asked),
        Command::Plan(flags) => plan::execute(&flags, asked),
        Command::Stream(flags) => stream::execute(&flags, asked),
        Command::Validate(flags) => validate::execute(&flags, asked),
        Command::Values(flags) => values::execute(&flags, asked),
        Command::Crosscheck(flags) => crosscheck::execute(&flags, asked),
        Command::Trace(flags) => trace::execute(&flags, asked),
        Command::Traffic(flags) => traffic::execute(&flags, asked),
        Command::Place(flags) => place::execute(&flags, asked),
        Command::Explain(flags) => explain::execute(&flags, asked),
        Command::Serve(flags) => serve::execute(&flags),
        Command::Results(flags) => results::execute(&flags, asked),
        Command::Routing(flags) => routing::execute(&flags, asked),
        Command::Graph(flags) => graph::execute(&flags, asked),
        Command::Map(flags) => map::execute(&flags, asked),
        Command::Mappings(flags) => mappings::execute(&flags, asked),
        Command::Models(flags) => models::execute(&flags, asked),
        Command::Wafers(flags) => wafers::execute(&flags, asked),
        Command::Settings(flags) => settings::execute(&flags, asked),
        Command::Schema(flags) => schema::execute(&flags),
        Command::Completions(flags) => completions::execute(&flags),
    }
}

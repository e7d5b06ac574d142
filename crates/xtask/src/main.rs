//! `cargo xtask`: chores of the repository, each by one word.
//!
//! It owns the words and runs cargo and other programs; what is done stands in the library.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use xtask::{api, libraries, root};

/// Chores of the repository.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Asked {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Writes down what each crate offers to others: crates/*/api.txt
    Api,
    /// Writes all golden files anew: interfaces, snapshots, what README and book show (some minutes); read the diff
    Golden,
    /// Runs the benches, short unless criterion is told otherwise
    Bench {
        /// What goes to criterion, such as a filter
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        criterion: Vec<String>,
    },
    /// Builds the book into target/book (needs mdbook)
    Book,
    /// Builds the Python wheel into target/wheels (needs maturin)
    Wheel,
    /// Packs every crate as for a registry, and builds each from its package
    Package {
        /// Packs, builds nothing
        #[arg(long)]
        no_verify: bool,
    },
    /// Builds the crate outside against what `package` made, as from a registry, and runs it
    Outside,
    /// Builds simctl as it is shipped: small, without paths of this machine
    Dist,
}

fn main() -> ExitCode {
    match Asked::parse().chore.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Chore {
    fn run(self) -> Result<()> {
        match self {
            Self::Api => update_interfaces(),
            Self::Golden => {
                update_interfaces()?;
                cargo(&["test", "--workspace", "--exclude", "simctl", "--tests"], &[("INSTA_UPDATE", "always")])?;
                cargo(&["test", "-p", "simctl", "--test", "docs"], &[("TRYCMD", "overwrite")])
            }
            Self::Bench { criterion } => {
                let short = ["--warm-up-time", "0.5", "--measurement-time", "1", "--sample-size", "10"];
                let told = criterion.iter().map(String::as_str);
                let told: Vec<&str> = if criterion.is_empty() { short.to_vec() } else { told.collect() };
                cargo(&[&["bench", "--workspace", "--bench", "*", "--"], told.as_slice()].concat(), &[])
            }
            Self::Book => run("mdbook", &["build", "docs", "--dest-dir", "../target/book"], &[]),
            Self::Wheel => {
                run("maturin", &["build", "--release", "-m", "python/Cargo.toml", "-o", "target/wheels"], &[])
            }
            Self::Package { no_verify } => {
                let mut arguments = vec!["package", "--workspace", "--allow-dirty"];
                // What is not published.
                arguments.extend(
                    ["wafersim-benches", "wafersim-fuzzing", "xtask"].iter().flat_map(|one| ["--exclude", one]),
                );
                arguments.extend(no_verify.then_some("--no-verify"));
                cargo(&arguments, &[])
            }
            Self::Outside => xtask::outside::run(),
            Self::Dist => xtask::dist::build(),
        }
    }
}

fn update_interfaces() -> Result<()> {
    for library in libraries()? {
        if api::update(&library)? {
            eprintln!("crates/{}/api.txt: written", library.name);
        }
    }
    Ok(())
}

fn cargo(arguments: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    run(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()), arguments, variables)
}

fn run(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).envs(variables.iter().copied()).current_dir(root());
    let status = command.status().with_context(|| format!("{program} cannot be started"))?;
    if !status.success() {
        bail!("{program} {}: {status}", arguments.join(" "));
    }
    Ok(())
}

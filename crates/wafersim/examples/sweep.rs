//! Many questions at once with rayon: `cargo run -p wafersim --example sweep`. [`wafersim::answer::plan`] does this for
//! grids of a scenario's settings; here the wafer varies too.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;

use rayon::prelude::*;
use wafersim::prelude::*;
use wafersim::spec::wafer::Key;

fn main() -> Result<(), Box<dyn Error>> {
    run().map(|_| ())
}

/// A point of the sweep.
pub struct Row {
    /// One way between neighbouring wafers, in microseconds.
    pub latency: f64,
    /// Users.
    pub users: u64,
    /// Tokens per second of each user.
    pub speed: f64,
}

/// Speed by latency of the links and by users.
pub fn run() -> Result<Vec<Row>, Box<dyn Error>> {
    let (model, wafer) = (Model::builtin("llama-3.3-70b")?, Wafer::builtin("wse3")?);
    let points: Vec<(f64, u64)> =
        [0.5, 2.0, 8.0].into_iter().flat_map(|latency| [1, 8].map(|users| (latency, users))).collect();
    // An answer depends on its question alone: any number of threads gives the same rows in the same order.
    let rows: Result<Vec<Row>, AnswerError> = points
        .into_par_iter()
        .map(|(latency, users)| {
            let mut wafer = wafer.clone();
            wafer.set_key(Key::LinkLatency, latency)?;
            let scenario = Scenario { users, context: 4096, prompt: 4096, ..Scenario::default() };
            let question = Question::new(scenario, model.clone(), wafer)?;
            // Ranges take longer than the answer: a sweep leaves them out.
            let speed = answer_without_ranges(&question)?.tokens_per_second_per_user;
            Ok(Row { latency, users, speed })
        })
        .collect();
    let rows = rows?;
    println!("link us  users  tok/s per user");
    for Row { latency, users, speed } in &rows {
        println!("{latency:>7}  {users:>5}  {speed:>14.0}");
    }
    Ok(rows)
}

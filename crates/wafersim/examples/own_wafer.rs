//! A machine that nobody has built: `cargo run -p wafersim --example own_wafer`.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;

use wafersim::prelude::*;
use wafersim::spec::wafer::Key;

/// WSE-3 with twice the memory in each processing element. A wafer file says so with `base`: what it leaves out is the
/// base's, what it gives has a source, and a guess has a low and a high.
const MINE: &str = r#"
base = "wse3"
title = "WSE-3 with 96 KiB"

[pe.memory]
value = 98304
unit = "bytes"
low = 65536
high = 98304
evidence = "guess"
source = "what if"

[pe.free_memory]
value = 91136
unit = "bytes"
low = 86016
high = 94128
evidence = "guess"
source = "what if: code and runtime as they are"
"#;

fn main() -> Result<(), Box<dyn Error>> {
    run().map(|_| ())
}

/// The answers on WSE-3, with more memory, and with a faster clock as well.
pub fn run() -> Result<[Answer; 3], Box<dyn Error>> {
    let usual = Wafer::builtin("wse3")?;
    let large = Wafer::parse(MINE, "mine", "mine.toml")?;
    // A single parameter needs no file: Key names all there are, and low and high widen to the value.
    let mut fast = large.clone();
    fast.set_key(Key::ClockGigahertz, 1.4)?;

    let asked = |wafer: Wafer| -> Result<Answer, Box<dyn Error>> {
        let scenario = Scenario { context: 8192, prompt: 8192, ..Scenario::default() };
        Ok(answer_without_ranges(&Question::new(scenario, Model::builtin("llama-3.3-70b")?, wafer)?)?)
    };
    let answers = [asked(usual)?, asked(large)?, asked(fast)?];
    for (name, answer) in ["as it is", "twice the memory", "and 1.4 GHz"].into_iter().zip(&answers) {
        // Fewer wafers hold the model, and each processing element works on more of it.
        println!("{name:18} {:>7.0} tok/s on {} wafer(s)", answer.tokens_per_second_per_user, answer.wafers);
    }
    Ok(answers)
}

//! Prints the corpus file `mapping_resolved/resolved.toml`, for when the format of resolved mappings changes.

#![allow(clippy::print_stdout, reason = "an example")]

use wafersim_fuzzing::tiny_inputs;
use wafersim_mapping::{Mapping, resolve};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let inputs = tiny_inputs().ok_or("no tiny model")?;
    print!("{}", resolve(Mapping::from_name_or_path("published")?.recipe(), inputs)?.to_toml());
    Ok(())
}

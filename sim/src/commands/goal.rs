//! `simctl goal`: what must be true for a target.

use std::path::PathBuf;

use clap::Args;
use wafersim::decide::goal::{Asked as Levers, goal};
use wafersim::picture::{tornado_png, tornado_svg};
use wafersim::report;

use crate::asked::{Asked, signed};
use crate::failure::Failure;
use crate::load_flags::LoadFlags;
use crate::out_flags::{Forms, HasPicture, OutFlags};
use crate::output::say;
use crate::picture_file::{Kind, PictureFile};
use crate::progress::Draws;

/// Flags of `goal`.
#[derive(Debug, Args)]
pub struct GoalFlags {
    #[command(flatten)]
    load: LoadFlags,
    /// Parameters that are varied, or their beginnings, for example `wafer.link,users`; all where left out.
    #[arg(long, value_name = "PATH,...", value_delimiter = ',')]
    vary: Vec<String>,
    /// Parameters that stay as they are.
    #[arg(long, value_name = "PATH,...", value_delimiter = ',')]
    fix: Vec<String>,
    /// File for a picture of what each lever gives, and where the target lies: .svg or .png.
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    #[command(flatten)]
    output: OutFlags,
}

/// Seeks the goal.
pub fn execute(flags: &GoalFlags, asked: &Asked) -> Result<(), Failure> {
    let out = flags.output.open(HasPicture::No)?;
    let picture = flags.picture.as_deref().map(|path| PictureFile::open("--picture", path)).transpose()?;
    let question = flags.load.question()?;
    let levers = Levers { vary: flags.vary.clone(), fix: flags.fix.clone() };
    let progress = Draws::of("levers");
    let mut found = goal(&question, &levers, &|done, all| progress.at(done, all))?;
    found.provenance = signed(found.provenance);
    if let Some(file) = picture {
        match report::goal::tornado(&found) {
            Some(drawn) => file.write(|kind| match kind {
                Kind::Svg => tornado_svg(&drawn).map(String::into_bytes),
                Kind::Png => tornado_png(&drawn),
            })?,
            None => say("note: no lever changes anything, so there is nothing to draw"),
        }
    }
    let head = asked.question(&question);
    let (text, json) = (|| Ok(report::goal::text(&found)), || Ok(report::goal::json(&found)?));
    out.write(Forms::new("goal", &text, &json).asked(&head))
}

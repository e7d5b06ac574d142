//! `--wafer-map FILE` of `simctl run`: where the model lies, as a picture.

use std::path::Path;

use wafersim::answer::{Question, chosen_placement};
use wafersim::picture::{PictureError, wafer_map_png, wafer_map_svg};
use wafersim::report::ReportError;
use wafersim::report::number::{plural, whole};
use wafersim::report::wafer_map::of_placement;
use wafersim::spec::model::FeedForward;
use wafersim::spec::scenario::WaferCount;

use crate::failure::Failure;
use crate::output::Destination;

const FLAG: &str = "--wafer-map";

/// The kinds of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Svg,
    Png,
}

/// The file of the flag, opened.
#[derive(Debug)]
pub struct WaferMapFile {
    kind: Kind,
    file: Destination,
}

impl WaferMapFile {
    /// Opens the file of the flag; its ending says how it is written.
    pub fn open(path: Option<&Path>) -> Result<Option<Self>, Failure> {
        let Some(path) = path else { return Ok(None) };
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
        let kind = match ending.as_deref() {
            Some("svg") => Kind::Svg,
            Some("png") => Kind::Png,
            _ => {
                return Err(Failure::Flag {
                    flag: FLAG.into(),
                    problem: format!("is '{}'", path.display()),
                    allowed: "a file whose name ends in .svg or .png".into(),
                });
            }
        };
        Ok(Some(Self { kind, file: Destination::open_for(FLAG, path)? }))
    }

    /// Draws and writes the placement of a question.
    pub fn write(self, question: &Question) -> Result<(), Failure> {
        let scenario = &question.scenario;
        let title = format!("{} on {}", question.model.name, question.wafer.name);
        let is_moe = question.model.layers.iter().any(|layer| matches!(layer.feed_forward, FeedForward::Moe(_)));
        let experts = if is_moe { format!("experts {}; ", scenario.placement) } else { String::new() };
        let precision = &scenario.precision;
        let words = format!(
            "{} with {} tokens of context each; {experts}weights {}, KV cache {}; fastest placement of profile {}.",
            plural(scenario.users, "user"),
            whole(scenario.context),
            precision.weights,
            precision.kv_cache,
            scenario.profile,
        );
        let placement = chosen_placement(question)?;
        let mut caption = vec![words];
        if let WaferCount::Exactly(asked) = scenario.wafers
            && asked > placement.wafers
        {
            let idle = plural(u64::from(asked - placement.wafers), "wafer");
            caption.push(format!("Of the {asked} wafers {idle} would only make ways longer and stay idle."));
        }
        let map = of_placement(&placement, title, caption);
        let bytes = match self.kind {
            Kind::Svg => wafer_map_svg(&map).map(String::into_bytes),
            Kind::Png => wafer_map_png(&map),
        };
        self.file.write_bytes(&bytes.map_err(|why| refused(&why))?)
    }
}

/// A placement is drawn whatever it is: all else is a bug.
pub fn refused(why: &PictureError) -> Failure {
    Failure::Report(ReportError::Format { format: "a wafer map", reason: why.to_string() })
}

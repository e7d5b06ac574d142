//! `--wafer-map FILE` of `simctl run`: where the model lies, as a picture.

use std::path::Path;

use wafersim::answer::{Question, chosen_placement};
use wafersim::picture::{WaferMap, wafer_map_png, wafer_map_svg};
use wafersim::report::number::{plural, whole};
use wafersim::report::wafer_map::of_placement;
use wafersim::spec::model::FeedForward;
use wafersim::spec::scenario::WaferCount;

use crate::failure::Failure;
use crate::picture_file::{Kind, PictureFile};

const FLAG: &str = "--wafer-map";

/// The file of the flag, opened.
#[derive(Debug)]
pub struct WaferMapFile(PictureFile);

impl WaferMapFile {
    /// Opens the file of the flag.
    pub fn open(path: Option<&Path>) -> Result<Option<Self>, Failure> {
        Ok(path.map(|path| PictureFile::open(FLAG, path)).transpose()?.map(Self))
    }

    /// Draws and writes the placement of a question.
    pub fn write(self, question: &Question) -> Result<(), Failure> {
        let map = drawn(question)?;
        self.0.write(|kind| match kind {
            Kind::Svg => wafer_map_svg(&map).map(String::into_bytes),
            Kind::Png => wafer_map_png(&map),
        })
    }
}

/// The map of the placement that a question's answer rests on.
pub fn drawn(question: &Question) -> Result<WaferMap, Failure> {
    let scenario = &question.scenario;
    let title = format!("{} on {}", question.model.name, question.wafer.name);
    let is_moe = question.model.layers.iter().any(|layer| matches!(layer.feed_forward, FeedForward::Moe(_)));
    let experts = if is_moe { format!("experts {}; ", scenario.placement) } else { String::new() };
    let precision = &scenario.precision;
    let words = format!(
        "{} with {} tokens of context each; {experts}weights {}, KV cache {}; fastest placement of profile {}.",
        plural(scenario.users, "user"),
        whole(scenario.context),
        precision,
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
    Ok(of_placement(&placement, title, caption))
}

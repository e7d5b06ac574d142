//! `simctl place --pictures`: a wafer map of every strategy, as SVG and PNG.

use std::path::Path;

use wafersim::answer::experts::StrategyOutcome;
use wafersim::picture::{wafer_map_png, wafer_map_svg};
use wafersim::place::experts::demand::Demand;
use wafersim::report::wafer_map::{StrategyCaption, of_strategy};

use crate::failure::Failure;
use crate::output::Folder;
use crate::picture_file::refused;

/// Pictures made so far; they are written when all are made.
#[derive(Debug)]
pub struct Pictures {
    folder: Folder,
    made: Vec<(String, Vec<u8>)>,
}

impl Pictures {
    /// Opens the folder of the flag.
    pub fn open(folder: Option<&Path>) -> Result<Option<Self>, Failure> {
        folder.map(|folder| Ok(Self { folder: Folder::open_for("--pictures", folder)?, made: Vec::new() })).transpose()
    }

    /// Draws the strategies of a batch, with the load of the demands that they are judged by.
    pub fn draw(
        &mut self,
        outcomes: &[StrategyOutcome],
        demands: &[Demand],
        words: &StrategyCaption<'_>,
    ) -> Result<(), Failure> {
        let spread = outcomes.iter().find(|outcome| outcome.strategy == "spread");
        let words = StrategyCaption { spread_us: spread.map(|spread| spread.time_per_output_token_us), ..*words };
        for outcome in outcomes {
            let map = of_strategy(outcome, demands, &words);
            let name = format!("{}-batch-{}", outcome.strategy, words.batch);
            self.made.push((format!("{name}.svg"), wafer_map_svg(&map).map_err(|why| refused(&why))?.into_bytes()));
            self.made.push((format!("{name}.png"), wafer_map_png(&map).map_err(|why| refused(&why))?));
        }
        Ok(())
    }

    /// Writes them.
    pub fn write(self) -> Result<(), Failure> {
        self.made.iter().try_for_each(|(name, bytes)| self.folder.write(name, bytes))
    }
}

//! What a heat map is, and how values become colors.

use colorous::Gradient;

use crate::canvas::{Rgb, encode};
use crate::error::PictureError;
use crate::plot::{HeatMapLayout, draw};

/// Places along an axis at most: those of the largest fabric that is simulated.
pub const MOST_PLACES: u32 = 4096;

/// A value for every place of a rectangle.
#[derive(Debug, Clone)]
pub struct HeatMap<'a> {
    /// What is shown.
    pub title: String,
    /// Sentences below the map.
    pub caption: Vec<String>,
    /// Column and row of the first place, as the axes count.
    pub origin: (u64, u64),
    /// Columns, 1 to 4096.
    pub columns: u32,
    /// Rows, 1 to 4096.
    pub rows: u32,
    /// Row after row; finite and not negative, or NaN for places that take no part.
    pub values: &'a [f64],
    /// Unit of the values.
    pub unit: String,
    /// End of the scale, which begins at 0; the largest value where left out. Larger values have the last color.
    pub highest: Option<f64>,
    /// Colors.
    pub colors: Colors,
    /// What a pixel shows that stands for many places.
    pub reduction: Reduction,
}

/// A range of colors from low to high.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colors {
    /// Dark blue over green to yellow.
    Viridis,
    /// Black over red to light yellow.
    Inferno,
}

/// What a pixel shows that stands for many places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// The largest of their values.
    Largest,
    /// The mean of their values.
    Mean,
}

/// Places that take no part.
pub const NOT_USED: Rgb = [0xd4, 0xd4, 0xd4];

impl Colors {
    /// The color of a part of the scale; what is beyond has the color of its end.
    pub fn at(self, part: f64) -> Rgb {
        let gradient: Gradient = match self {
            Self::Viridis => colorous::VIRIDIS,
            Self::Inferno => colorous::INFERNO,
        };
        let color = gradient.eval_continuous(if part.is_nan() { 0.0 } else { part.clamp(0.0, 1.0) });
        [color.r, color.g, color.b]
    }
}

impl HeatMap<'_> {
    fn check(&self) -> Result<(), PictureError> {
        let title = || self.title.clone();
        let (columns, rows) = (self.columns, self.rows);
        if !(1..=MOST_PLACES).contains(&columns) || !(1..=MOST_PLACES).contains(&rows) {
            return Err(PictureError::Places { title: title(), columns, rows, largest: MOST_PLACES });
        }
        if self.values.len() != columns as usize * rows as usize {
            return Err(PictureError::Size { title: title(), columns, rows, values: self.values.len() });
        }
        if let Some(highest) = self.highest.filter(|highest| !(highest.is_finite() && *highest > 0.0)) {
            return Err(PictureError::Scale { title: title(), highest });
        }
        let wrong = |value: &f64| value.is_infinite() || *value < 0.0;
        match self.values.iter().position(wrong) {
            None => Ok(()),
            Some(at) => Err(PictureError::Value {
                title: title(),
                value: self.values[at],
                column: (at % columns as usize) as u32,
                row: (at / columns as usize) as u32,
            }),
        }
    }

    /// End of the scale: above 0 even where all values are 0.
    pub(crate) fn end(&self) -> f64 {
        let largest = self.values.iter().copied().filter(|value| !value.is_nan()).fold(0.0, f64::max);
        self.highest.unwrap_or(if largest > 0.0 { largest } else { 1.0 })
    }

    /// What a block of places shows; nothing where none takes part.
    pub(crate) fn block(&self, (x, y): (u32, u32), (width, height): (u32, u32)) -> Option<f64> {
        let (mut largest, mut sum, mut count) = (0.0f64, 0.0, 0u32);
        for row in y..y.saturating_add(height).min(self.rows) {
            for column in x..x.saturating_add(width).min(self.columns) {
                let value = self.values[row as usize * self.columns as usize + column as usize];
                if !value.is_nan() {
                    largest = largest.max(value);
                    sum += value;
                    count += 1;
                }
            }
        }
        match (count, self.reduction) {
            (0, _) => None,
            (_, Reduction::Largest) => Some(largest),
            (count, Reduction::Mean) => Some(sum / f64::from(count)),
        }
    }
}

/// Draws a map as PNG (8 bit RGB). The size follows from the map: see [`HeatMapLayout`].
///
/// # Errors
/// Where sizes and values do not agree, or a value has no place on the scale.
pub fn heat_map(map: &HeatMap<'_>) -> Result<Vec<u8>, PictureError> {
    map.check()?;
    let canvas = draw(map, &HeatMapLayout::of(map));
    encode(&canvas).map_err(|error| PictureError::Encoding { title: map.title.clone(), reason: error.to_string() })
}

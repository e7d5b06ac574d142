//! A drawing as a list of shapes, in pixels from its upper left corner: written as SVG and painted as PNG from the same
//! list, so that both show the same. It knows nothing of wafers or charts.

use crate::canvas::{Font, LARGE, Rgb, SMALL};

pub const PAPER: Rgb = [0xff, 0xff, 0xff];
pub const INK: Rgb = [0x20, 0x20, 0x20];
pub const SOFT: Rgb = [0x58, 0x58, 0x58];
pub const FAINT: Rgb = [0xdd, 0xdd, 0xdd];

/// Two sizes of text are enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextSize {
    Small,
    Large,
}

impl TextSize {
    /// The font of PNG, whose widths SVG keeps.
    pub const fn font(self) -> Font {
        match self {
            Self::Small => SMALL,
            Self::Large => LARGE,
        }
    }

    /// Pixels that a text takes.
    pub fn width(self, text: &str) -> u32 {
        self.font().text_width(text)
    }

    /// Pixels of a line.
    pub const fn line(self) -> u32 {
        self.font().line()
    }
}

/// A rectangle in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

impl Frame {
    /// Whether two share a pixel.
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.x < other.x + other.width
            && other.x < self.x + self.width
            && self.y < other.y + other.height
            && other.y < self.y + self.height
    }

    /// Whether the other lies inside.
    pub const fn holds(&self, other: &Self) -> bool {
        self.x <= other.x
            && self.y <= other.y
            && other.x + other.width <= self.x + self.width
            && other.y + other.height <= self.y + self.height
    }
}

/// Something drawn.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Filled.
    Fill { frame: Frame, color: Rgb },
    /// The outermost pixels of a rectangle.
    Outline { frame: Frame, color: Rgb },
    /// A line through points.
    Line { points: Vec<(f64, f64)>, color: Rgb, width: f64, dashed: bool },
    /// A disc, with a ring around it where `ring` has a color.
    Disc { middle: (f64, f64), radius: f64, color: Rgb, ring: Option<Rgb> },
    /// A line of text, by its upper left corner.
    Text { at: (u32, u32), size: TextSize, text: String, color: Rgb },
}

/// Length of the dashes of a dashed line, and of the gaps between them.
pub const DASH: f64 = 6.0;

/// Shapes on a white sheet, the first lowest.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawing {
    pub width: u32,
    pub height: u32,
    /// For whoever cannot see it.
    pub title: String,
    pub shapes: Vec<Shape>,
}

impl Drawing {
    /// An empty sheet.
    pub const fn new(width: u32, height: u32, title: String) -> Self {
        Self { width, height, title, shapes: Vec::new() }
    }

    pub fn fill(&mut self, frame: Frame, color: Rgb) {
        self.shapes.push(Shape::Fill { frame, color });
    }

    pub fn outline(&mut self, frame: Frame, color: Rgb) {
        self.shapes.push(Shape::Outline { frame, color });
    }

    pub fn line(&mut self, points: &[(f64, f64)], color: Rgb, width: f64) {
        self.shapes.push(Shape::Line { points: points.to_vec(), color, width, dashed: false });
    }

    pub fn dashed(&mut self, points: &[(f64, f64)], color: Rgb, width: f64) {
        self.shapes.push(Shape::Line { points: points.to_vec(), color, width, dashed: true });
    }

    pub fn disc(&mut self, middle: (f64, f64), radius: f64, color: Rgb, ring: Option<Rgb>) {
        self.shapes.push(Shape::Disc { middle, radius, color, ring });
    }

    pub fn text(&mut self, at: (u32, u32), size: TextSize, text: impl Into<String>, color: Rgb) {
        let text = text.into();
        if !text.is_empty() {
            self.shapes.push(Shape::Text { at, size, text, color });
        }
    }

    /// A text around the middle of a line.
    pub fn centered(&mut self, (middle, top): (u32, u32), size: TextSize, text: &str, color: Rgb) {
        self.text((middle.saturating_sub(size.width(text) / 2), top), size, text, color);
    }
}

/// Dark or white, whichever reads better on a color.
pub fn ink_on(color: Rgb) -> Rgb {
    // Relative weights of how bright eyes see red, green and blue (ITU-R BT.601), in thousandths.
    let [red, green, blue] = color.map(u32::from);
    if 299 * red + 587 * green + 114 * blue > 140_000 { INK } else { PAPER }
}

/// A text cut to so many pixels, the last letters two dots; nothing where not even four letters have room.
pub fn shortened(text: &str, size: TextSize, width: u32) -> Option<String> {
    let letters = (width / size.font().width().max(1)) as usize;
    if text.chars().count() <= letters {
        return Some(text.to_owned());
    }
    (letters >= 4).then(|| text.chars().take(letters - 2).collect::<String>() + "..")
}

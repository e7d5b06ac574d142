//! A field of pixels, and text on it.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use png::{BitDepth, ColorType, Compression, Encoder};

/// Red, green, blue.
pub type Rgb = [u8; 3];

/// Text of axes, captions, numbers.
pub const SMALL: Font = Font { weight: FontWeight::Regular, height: RasterHeight::Size16 };
/// Titles.
pub const LARGE: Font = Font { weight: FontWeight::Bold, height: RasterHeight::Size20 };

/// A size and weight of text.
#[derive(Debug, Clone, Copy)]
pub struct Font {
    weight: FontWeight,
    height: RasterHeight,
}

impl Font {
    /// Pixels of a letter's width.
    pub const fn width(self) -> u32 {
        get_raster_width(self.weight, self.height) as u32
    }

    /// Pixels from the top of a letter's field to its bottom.
    pub const fn height(self) -> u32 {
        self.height.val() as u32
    }

    /// Pixels of a line.
    pub const fn line(self) -> u32 {
        self.height.val() as u32 + 4
    }

    /// Pixels that a text takes.
    pub fn text_width(self, text: &str) -> u32 {
        text.chars().count() as u32 * self.width()
    }
}

/// A field of pixels, row after row.
#[derive(Debug, Clone)]
pub struct Canvas {
    pub width: u32,
    pub height: u32,
    pub pixels: Vec<u8>,
}

impl Canvas {
    /// One color everywhere.
    pub fn new(width: u32, height: u32, color: Rgb) -> Self {
        let count = width as usize * height as usize;
        Self { width, height, pixels: color.iter().copied().cycle().take(count * 3).collect() }
    }

    /// Sets a pixel; what lies outside is left out.
    pub fn set(&mut self, x: u32, y: u32, color: Rgb) {
        if let Some(pixel) = self.pixel(x, y) {
            pixel.copy_from_slice(&color);
        }
    }

    fn pixel(&mut self, x: u32, y: u32) -> Option<&mut [u8]> {
        if x >= self.width || y >= self.height {
            return None;
        }
        let at = (y as usize * self.width as usize + x as usize) * 3;
        self.pixels.get_mut(at..at + 3)
    }

    /// Fills a rectangle.
    pub fn fill(&mut self, (x, y): (u32, u32), (width, height): (u32, u32), color: Rgb) {
        for row in y..y.saturating_add(height) {
            for column in x..x.saturating_add(width) {
                self.set(column, row, color);
            }
        }
    }

    /// A frame of one pixel just outside a rectangle.
    pub fn frame(&mut self, (x, y): (u32, u32), (width, height): (u32, u32), color: Rgb) {
        let (left, top) = (x.saturating_sub(1), y.saturating_sub(1));
        self.fill((left, top), (width + 2, 1), color);
        self.fill((left, y + height), (width + 2, 1), color);
        self.fill((left, top), (1, height + 2), color);
        self.fill((x + width, top), (1, height + 2), color);
    }

    /// Writes a text from its upper left corner; letters that the font does not have are question marks.
    pub fn text(&mut self, (x, y): (u32, u32), font: Font, text: &str, color: Rgb) {
        for (index, letter) in text.chars().enumerate() {
            let known = get_raster(letter, font.weight, font.height);
            let Some(raster) = known.or_else(|| get_raster('?', font.weight, font.height)) else { continue };
            let left = x.saturating_add(index as u32 * font.width());
            for (row, line) in raster.rows().enumerate() {
                for (column, &intensity) in line.iter().enumerate() {
                    self.blend(left.saturating_add(column as u32), y.saturating_add(row as u32), color, intensity);
                }
            }
        }
    }

    /// Puts a color over a pixel: 0 leaves it as it is, 255 replaces it.
    pub fn blend(&mut self, x: u32, y: u32, color: Rgb, intensity: u8) {
        let Some(pixel) = self.pixel(x, y) else { return };
        let weight = u32::from(intensity);
        for (old, new) in pixel.iter_mut().zip(color) {
            *old = ((u32::from(*old) * (255 - weight) + u32::from(new) * weight + 127) / 255) as u8;
        }
    }
}

/// A text in lines of at most so many letters, broken at spaces; a longer word stays whole.
pub fn lines(text: &str, letters: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= letters => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A field of pixels as PNG.
pub fn encode(canvas: &Canvas) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, canvas.width, canvas.height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Balanced);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&canvas.pixels)?;
    writer.finish()?;
    Ok(bytes)
}

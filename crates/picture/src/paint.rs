//! Drawings as PNG: every shape painted on a field of pixels, edges of lines and discs blended.

use crate::canvas::{Canvas, Rgb, encode};
use crate::drawing::{DASH, Drawing, Frame, PAPER, Shape};
use crate::error::PictureError;

/// A drawing as PNG (8 bit RGB).
pub fn png(drawing: &Drawing) -> Result<Vec<u8>, PictureError> {
    let mut canvas = Canvas::new(drawing.width, drawing.height, PAPER);
    for shape in &drawing.shapes {
        paint(&mut canvas, shape);
    }
    encode(&canvas).map_err(|error| PictureError::Encoding { title: drawing.title.clone(), reason: error.to_string() })
}

fn paint(canvas: &mut Canvas, shape: &Shape) {
    match shape {
        Shape::Fill { frame, color } => fill(canvas, frame, *color),
        Shape::Outline { frame, color } => {
            let Frame { x, y, width, height } = *frame;
            let (right, bottom) = (width.saturating_sub(1), height.saturating_sub(1));
            for side in [
                Frame { x, y, width, height: 1 },
                Frame { x, y: y + bottom, width, height: 1 },
                Frame { x, y, width: 1, height },
                Frame { x: x + right, y, width: 1, height },
            ] {
                fill(canvas, &side, *color);
            }
        }
        Shape::Line { points, color, width, dashed } => {
            for pair in points.windows(2) {
                let dashes = if *dashed { cut(pair[0], pair[1]) } else { vec![(pair[0], pair[1])] };
                for (from, to) in dashes {
                    segment(canvas, from, to, *color, *width);
                }
            }
        }
        Shape::Disc { middle, radius, color, ring } => {
            if let Some(ring) = ring {
                // A ring of 2 pixels, half of it inside.
                disc(canvas, *middle, radius + 1.0, *ring);
                disc(canvas, *middle, (radius - 1.0).max(0.0), *color);
            } else {
                disc(canvas, *middle, *radius, *color);
            }
        }
        Shape::Text { at, size, text, color } => canvas.text(*at, size.font(), text, *color),
    }
}

fn fill(canvas: &mut Canvas, frame: &Frame, color: Rgb) {
    canvas.fill((frame.x, frame.y), (frame.width, frame.height), color);
}

/// The dashes of a line.
fn cut(from: (f64, f64), to: (f64, f64)) -> Vec<((f64, f64), (f64, f64))> {
    let length = (to.0 - from.0).hypot(to.1 - from.1);
    let at = |part: f64| (from.0 + part * (to.0 - from.0), from.1 + part * (to.1 - from.1));
    let dashes = (length / (2.0 * DASH)).ceil() as usize;
    (0..dashes)
        .map(|dash| {
            let start = dash as f64 * 2.0 * DASH / length;
            (at(start), at((start + DASH / length).min(1.0)))
        })
        .collect()
}

/// Pixels near a shape, each with its middle's distance.
fn cover(canvas: &mut Canvas, low: (f64, f64), high: (f64, f64), color: Rgb, outside: impl Fn(f64, f64) -> f64) {
    let pixel = |value: f64, end: u32| value.clamp(0.0, f64::from(end)) as u32;
    for y in pixel(low.1 - 1.0, canvas.height)..pixel(high.1 + 2.0, canvas.height) {
        for x in pixel(low.0 - 1.0, canvas.width)..pixel(high.0 + 2.0, canvas.width) {
            // How much of the pixel is covered, near enough: half where the edge goes through its middle.
            let part = 0.5 - outside(f64::from(x) + 0.5, f64::from(y) + 0.5);
            canvas.blend(x, y, color, (part.clamp(0.0, 1.0) * 255.0) as u8);
        }
    }
}

fn segment(canvas: &mut Canvas, from: (f64, f64), to: (f64, f64), color: Rgb, width: f64) {
    let (along, half) = ((to.0 - from.0, to.1 - from.1), width / 2.0);
    let square = along.0 * along.0 + along.1 * along.1;
    let low = (from.0.min(to.0) - half, from.1.min(to.1) - half);
    let high = (from.0.max(to.0) + half, from.1.max(to.1) + half);
    cover(canvas, low, high, color, |x, y| {
        let part = ((x - from.0) * along.0 + (y - from.1) * along.1) / square.max(1e-9);
        let nearest = part.clamp(0.0, 1.0);
        (x - from.0 - nearest * along.0).hypot(y - from.1 - nearest * along.1) - half
    });
}

fn disc(canvas: &mut Canvas, middle: (f64, f64), radius: f64, color: Rgb) {
    let low = (middle.0 - radius, middle.1 - radius);
    let high = (middle.0 + radius, middle.1 + radius);
    cover(canvas, low, high, color, |x, y| (x - middle.0).hypot(y - middle.1) - radius);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dark(canvas: &Canvas) -> u32 {
        canvas.pixels.chunks_exact(3).map(|pixel| 255 - u32::from(pixel[0])).sum()
    }

    #[test]
    fn lines_and_discs_cover_their_area() {
        let mut canvas = Canvas::new(60, 60, PAPER);
        segment(&mut canvas, (10.0, 30.5), (50.0, 30.5), [0, 0, 0], 2.0);
        let line = f64::from(dark(&canvas)) / 255.0;
        assert!((line - 80.0).abs() < 6.0, "{line}");
        let mut canvas = Canvas::new(60, 60, PAPER);
        disc(&mut canvas, (30.0, 30.0), 10.0, [0, 0, 0]);
        let area = f64::from(dark(&canvas)) / 255.0;
        assert!((area - std::f64::consts::PI * 100.0).abs() < 6.0, "{area}");
    }

    #[test]
    fn dashes_cover_half() {
        let dashes = cut((0.0, 0.0), (120.0, 0.0));
        assert_eq!(dashes.len(), 10);
        assert!(dashes.iter().all(|(from, to)| to.0 - from.0 <= DASH + 1e-9 && to.0 <= 120.0));
    }
}

//! Drawings as SVG: static shapes and text, no scripts, no links, nothing from elsewhere.

use std::fmt::Write;

use crate::canvas::Rgb;
use crate::drawing::{DASH, Drawing, Frame, PAPER, Shape};

/// Fonts by preference. The width of every text is fixed, whichever there is.
const FONTS: &str = "Noto Sans Mono, DejaVu Sans Mono, Menlo, Consolas, monospace";
/// Width of a letter over the size of the font, in the fonts above.
const ADVANCE: f64 = 0.6;
/// Where letters stand in their line.
const BASELINE: f64 = 0.78;

/// A drawing as SVG.
pub fn svg(drawing: &Drawing) -> String {
    let (width, height) = (drawing.width, drawing.height);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"{FONTS}\" role=\"img\">\n<title>{}</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"{}\"/>\n",
        escaped(&drawing.title),
        hex(PAPER)
    );
    let mut shapes = drawing.shapes.iter().peekable();
    while let Some(shape) = shapes.next() {
        if let Shape::Fill { frame, color } = shape {
            // Neighbours of one color are one path: a wafer has thousands of them.
            let mut path = rectangle(frame);
            while let Some(Shape::Fill { frame, .. }) =
                shapes.next_if(|next| matches!(next, Shape::Fill { color: other, .. } if other == color))
            {
                path.push_str(&rectangle(frame));
            }
            add(&mut text, format_args!("<path fill=\"{}\" d=\"{path}\"/>\n", hex(*color)));
        } else {
            other(&mut text, shape);
        }
    }
    text.push_str("</svg>\n");
    text
}

fn rectangle(frame: &Frame) -> String {
    format!("M{} {}h{}v{}h-{}z", frame.x, frame.y, frame.width, frame.height, frame.width)
}

fn other(text: &mut String, shape: &Shape) {
    match shape {
        Shape::Fill { frame, color } => {
            add(text, format_args!("<path fill=\"{}\" d=\"{}\"/>\n", hex(*color), rectangle(frame)));
        }
        Shape::Outline { frame, color } => add(
            text,
            format_args!(
                "<rect x=\"{}.5\" y=\"{}.5\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"{}\"/>\n",
                frame.x,
                frame.y,
                frame.width.saturating_sub(1),
                frame.height.saturating_sub(1),
                hex(*color)
            ),
        ),
        Shape::Line { points, color, width, dashed } => {
            let list: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let dashes = if *dashed { format!(" stroke-dasharray=\"{DASH:.0}\"") } else { String::new() };
            add(
                text,
                format_args!(
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{width:.1}\"{dashes}/>\n",
                    list.join(" "),
                    hex(*color)
                ),
            );
        }
        Shape::Disc { middle, radius, color, ring } => {
            let ring = ring.map_or_else(String::new, |ring| format!(" stroke=\"{}\" stroke-width=\"2\"", hex(ring)));
            add(
                text,
                format_args!(
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.1}\" fill=\"{}\"{ring}/>\n",
                    middle.0,
                    middle.1,
                    hex(*color)
                ),
            );
        }
        Shape::Text { at, size, text: words, color } => {
            let font = size.font();
            let weight = if *size == crate::drawing::TextSize::Large { " font-weight=\"bold\"" } else { "" };
            add(
                text,
                format_args!(
                    "<text x=\"{}\" y=\"{:.1}\" font-size=\"{:.1}\" textLength=\"{}\" \
                     lengthAdjust=\"spacingAndGlyphs\" fill=\"{}\"{weight}>{}</text>\n",
                    at.0,
                    f64::from(at.1) + BASELINE * f64::from(font.height()),
                    f64::from(font.width()) / ADVANCE,
                    size.width(words),
                    hex(*color),
                    escaped(words)
                ),
            );
        }
    }
}

fn add(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(words);
}

fn hex([red, green, blue]: Rgb) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// Text as XML takes it: signs of the language written out, control characters, which it forbids, as question marks.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => safe.push('?'),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(escaped("<script>\"&\u{1}\n'"), "&lt;script&gt;&quot;&amp;??'");
    }

    #[test]
    fn neighbours_of_one_color_are_one_path() {
        let mut drawing = Drawing::new(10, 10, "t".into());
        let frame = |x| Frame { x, y: 0, width: 2, height: 3 };
        drawing.fill(frame(0), [1, 2, 3]);
        drawing.fill(frame(2), [1, 2, 3]);
        drawing.fill(frame(4), [1, 2, 4]);
        let text = svg(&drawing);
        assert_eq!(text.matches("<path").count(), 2);
        assert!(text.contains("<path fill=\"#010203\" d=\"M0 0h2v3h-2zM2 0h2v3h-2z\"/>"), "{text}");
    }
}

//! Labels beside points: where they hide neither each other nor a point; dropped where there is no such place.

use crate::drawing::Frame;
use crate::drawing::TextSize::Small;

/// Pixels between a point's middle and its label.
const AWAY: u32 = 8;

/// What labels may not hide.
#[derive(Debug, Clone)]
pub struct Labels {
    room: Frame,
    taken: Vec<Frame>,
    /// Lines that labels cross only where there is no other place.
    lines: Vec<((f64, f64), (f64, f64))>,
}

impl Labels {
    /// No labels yet.
    pub const fn new(room: Frame) -> Self {
        Self { room, taken: Vec::new(), lines: Vec::new() }
    }

    /// Keeps a place free.
    pub fn keep_free(&mut self, frame: Frame) {
        self.taken.push(frame);
    }

    /// Keeps a line free as far as may be.
    pub fn avoid(&mut self, from: (f64, f64), to: (f64, f64)) {
        self.lines.push((from, to));
    }

    /// The upper left corner for a label of the point at `at`; nothing where it has no room.
    pub fn place(&mut self, (x, y): (u32, u32), text: &str) -> Option<(u32, u32)> {
        let (width, height) = (Small.width(text), Small.line() - 4);
        let (right, left) = (x + AWAY, x.checked_sub(AWAY + width));
        let (above, below) = (y.checked_sub(AWAY + height), y + AWAY - 2);
        let (middle, level) = (x.checked_sub(width / 2), y.checked_sub(height / 2));
        let corners = [
            (Some(right), above),
            (Some(right), level),
            (Some(right), Some(below)),
            (middle, above),
            (middle, Some(below)),
            (left, Some(below)),
            (left, level),
            (left, above),
        ];
        let frames: Vec<Frame> = corners
            .into_iter()
            .filter_map(|(x, y)| Some(Frame { x: x?, y: y?, width, height }))
            .filter(|frame| self.room.holds(frame) && !self.taken.iter().any(|taken| taken.overlaps(frame)))
            .collect();
        let crossed = |frame: &&Frame| self.lines.iter().filter(|(from, to)| crosses(frame, *from, *to)).count();
        // The first of those that cross the fewest lines.
        let best = *frames.iter().min_by_key(crossed)?;
        self.taken.push(best);
        Some((best.x, best.y))
    }
}

/// Whether a line goes through a rectangle (Liang and Barsky's clipping).
fn crosses(frame: &Frame, from: (f64, f64), to: (f64, f64)) -> bool {
    let (left, top) = (f64::from(frame.x), f64::from(frame.y));
    let (right, bottom) = (left + f64::from(frame.width), top + f64::from(frame.height));
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let (mut enter, mut leave) = (0.0f64, 1.0f64);
    for (along, room) in [(-dx, from.0 - left), (dx, right - from.0), (-dy, from.1 - top), (dy, bottom - from.1)] {
        if along.abs() < 1e-12 {
            if room < 0.0 {
                return false;
            }
        } else if along < 0.0 {
            enter = enter.max(room / along);
        } else {
            leave = leave.min(room / along);
        }
    }
    enter <= leave
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_never_overlap_nor_leave_the_room() {
        let room = Frame { x: 0, y: 0, width: 200, height: 120 };
        let mut labels = Labels::new(room);
        let mut placed: Vec<Frame> = Vec::new();
        for index in 0..60 {
            let at = (5 + index * 37 % 190, 5 + index * 23 % 110);
            if let Some((x, y)) = labels.place(at, "label") {
                let frame = Frame { x, y, width: Small.width("label"), height: Small.line() - 4 };
                assert!(room.holds(&frame) && !placed.iter().any(|other| other.overlaps(&frame)));
                placed.push(frame);
            }
        }
        assert!((3..60).contains(&placed.len()), "{}", placed.len());
    }

    #[test]
    fn lines_are_avoided_where_there_is_another_place() {
        let mut labels = Labels::new(Frame { x: 0, y: 0, width: 200, height: 120 });
        labels.avoid((50.0, 60.0), (150.0, 0.0));
        let (_, y) = labels.place((50, 60), "8 users").unwrap();
        assert!(y >= 60, "{y}");
    }
}

//! Directions of the mesh, rectangles, and the streams that a color carries along a line.

use std::fmt;

use wafersim_program::Axis;

use super::timing::Tick;

/// The way of a link. Index 0 to 3 in arrays of links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// To the next column.
    East,
    /// To the column before.
    West,
    /// To the next row.
    South,
    /// To the row before.
    North,
}

impl Direction {
    /// All, in the order of their index.
    pub const ALL: [Self; 4] = [Self::East, Self::West, Self::South, Self::North];

    /// Up (towards larger positions) or down an axis.
    pub const fn along(axis: Axis, up: bool) -> Self {
        match (axis, up) {
            (Axis::X, true) => Self::East,
            (Axis::X, false) => Self::West,
            (Axis::Y, true) => Self::South,
            (Axis::Y, false) => Self::North,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::East => "east",
            Self::West => "west",
            Self::South => "south",
            Self::North => "north",
        })
    }
}

/// A rectangle of the simulated mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Columns.
    pub columns: u32,
    /// Rows.
    pub rows: u32,
}

impl Area {
    /// Whether a place lies inside.
    pub const fn contains(&self, x: u32, y: u32) -> bool {
        x >= self.x && y >= self.y && x - self.x < self.columns && y - self.y < self.rows
    }

    /// Whether two rectangles share a place.
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.x < other.x + other.columns
            && other.x < self.x + self.columns
            && self.y < other.y + other.rows
            && other.y < self.y + self.rows
    }

    /// The rectangle that two share, if any.
    pub fn common(&self, other: &Self) -> Option<Self> {
        if !self.overlaps(other) {
            return None;
        }
        let (x, y) = (self.x.max(other.x), self.y.max(other.y));
        let columns = (self.x + self.columns).min(other.x + other.columns) - x;
        let rows = (self.y + self.rows).min(other.y + other.rows) - y;
        Some(Self { x, y, columns, rows })
    }

    /// Places along an axis.
    pub const fn along(&self, axis: Axis) -> u32 {
        match axis {
            Axis::X => self.columns,
            Axis::Y => self.rows,
        }
    }
}

/// A run of wavelets of one operation on one color along a line, from its source towards one or both ends. Positions
/// count along the line. This is the static route of the color in every router that the stream passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// Physical color.
    pub color: u16,
    /// Position of the sender.
    pub source: u32,
    /// Last position downwards; the source's own where it sends upwards only.
    pub low: u32,
    /// Last position upwards; the source's own where it sends downwards only.
    pub high: u32,
    /// Whether every router on the way gives its core a copy, or only the last one.
    pub copies: bool,
    /// Wavelets.
    pub wavelets: u64,
    /// Time between wavelets at the sender; at least what a link needs for one.
    pub period: Tick,
    /// What the sender does before the first one.
    pub lead: Tick,
}

impl Stream {
    /// Cores that receive it.
    pub const fn receivers(&self) -> u64 {
        if self.copies {
            (self.high - self.low) as u64
        } else {
            (self.high > self.source) as u64 + (self.low < self.source) as u64
        }
    }

    /// Links that it crosses.
    pub const fn hops(&self) -> u64 {
        (self.high - self.low) as u64
    }

    /// Whether the core at a position on the way receives it.
    pub const fn delivers_at(&self, position: u32) -> bool {
        position != self.source && (self.copies || position == self.low || position == self.high)
    }
}

/// A fabric operation of a core. Numbers are indices of streams of the line. Operations that send start one after the
/// other in the order of the program, and so do those that take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoreOperation {
    /// Memory to fabric.
    Send {
        /// What is sent.
        stream: u32,
    },
    /// Fabric to memory, or combined with memory.
    Take {
        /// What is taken.
        stream: u32,
        /// Time between the last wavelet of the operation before and the readiness of this one, beside a link's.
        gap: Tick,
    },
    /// Fabric to fabric: receive, combine, send on.
    Forward {
        /// What is received.
        take: u32,
        /// What is sent.
        send: u32,
    },
}

/// Transfers along the lines of an area: all lines carry the same streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    /// Where.
    pub area: Area,
    /// Direction of the lines.
    pub axis: Axis,
    /// Streams of a line, each after those that it continues.
    pub streams: Vec<Stream>,
    /// Operations of all positions.
    operations: Vec<CoreOperation>,
    /// Index of the first operation of each position, and the end.
    first: Vec<u32>,
    /// From the readiness of a core to that of its operations.
    pub launch: Tick,
    /// What the core adds to each wavelet by combining.
    pub combine: Tick,
    /// Whether streams are listed in the order in which each core starts them: needed by the engine of streams.
    pub ordered: bool,
    /// Whether streams of one color take turns: a router on the way of several of them holds the route of the first in
    /// the list, and its switch position advances when that one's last wavelet has passed. Each core sends and takes in
    /// the order of the list.
    pub switched: bool,
    /// Of a broadcast: the row of its sender in the area. There is one stream, along x, and one operation that sends
    /// and one that takes; routers of that row copy it into their columns, whose ends are the area's.
    pub spread: Option<u32>,
}

impl Lines {
    /// Lines with the operations of each position in order.
    pub fn new(area: Area, axis: Axis, streams: Vec<Stream>, by_position: &[Vec<CoreOperation>]) -> Self {
        let mut operations = Vec::new();
        let mut first = vec![0];
        for place in by_position {
            operations.extend_from_slice(place);
            first.push(operations.len() as u32);
        }
        Self {
            area,
            axis,
            streams,
            operations,
            first,
            launch: 0,
            combine: 0,
            ordered: false,
            switched: false,
            spread: None,
        }
    }

    /// The same where only the ways are wanted.
    pub(super) fn without_operations(area: Area, axis: Axis, streams: Vec<Stream>) -> Self {
        let first = vec![0; area.along(axis) as usize + 1];
        Self { first, ..Self::new(area, axis, streams, &[]) }
    }

    /// Places of a line.
    pub fn length(&self) -> usize {
        self.first.len() - 1
    }

    /// The operations of a position.
    pub fn operations(&self, position: usize) -> &[CoreOperation] {
        match (self.first.get(position), self.first.get(position + 1)) {
            (Some(&from), Some(&to)) => &self.operations[from as usize..to as usize],
            _ => &[],
        }
    }

    /// One sender at a place of the area, and all others of it.
    pub fn broadcast(area: Area, (column, row): (u32, u32), stream: Stream) -> Self {
        let stream = Stream { source: column, low: 0, high: area.columns.saturating_sub(1), copies: true, ..stream };
        let operations = vec![CoreOperation::Send { stream: 0 }, CoreOperation::Take { stream: 0, gap: 0 }];
        let first = vec![0, 1, 2];
        let lines = Self { operations, first, ..Self::new(area, Axis::X, vec![stream], &[]) };
        Self { spread: Some(row), ordered: true, ..lines }
    }

    /// The operations of a place inside the area.
    pub fn operations_at(&self, x: u32, y: u32) -> &[CoreOperation] {
        match (self.spread, self.streams.first()) {
            (Some(row), Some(stream)) => {
                let sends = x - self.area.x == stream.source && y - self.area.y == row;
                self.operations(usize::from(!sends))
            }
            _ => self.operations(self.position(x, y) as usize),
        }
    }

    /// Cores that receive a stream.
    pub fn receivers(&self, stream: &Stream) -> u64 {
        match self.spread {
            Some(_) => u64::from(self.area.columns) * u64::from(self.area.rows) - 1,
            None => stream.receivers(),
        }
    }

    /// The place of the core that sends a stream to a place.
    pub fn sender(&self, stream: &Stream, (x, y): (u32, u32)) -> (u32, u32) {
        match (self.spread, self.axis) {
            (Some(row), _) => (self.area.x + stream.source, self.area.y + row),
            (None, Axis::X) => (self.area.x + stream.source, y),
            (None, Axis::Y) => (x, self.area.y + stream.source),
        }
    }

    /// Position along the line of a place inside the area.
    pub const fn position(&self, x: u32, y: u32) -> u32 {
        match self.axis {
            Axis::X => x - self.area.x,
            Axis::Y => y - self.area.y,
        }
    }
}

impl Lines {
    /// All gaps of receives one after the other.
    pub(super) fn longest_gap(&self) -> u128 {
        let gap = |operation: &CoreOperation| match operation {
            CoreOperation::Take { gap, .. } => u128::from(*gap),
            CoreOperation::Send { .. } | CoreOperation::Forward { .. } => 0,
        };
        self.operations.iter().map(gap).sum()
    }

    /// What is wrong with the streams and operations, if anything.
    pub(super) fn check(&self, colors: u32) -> Result<(), &'static str> {
        let length = self.area.along(self.axis);
        if let Some(row) = self.spread {
            let one = self.streams.len() == 1 && self.length() == 2 && row < self.area.rows && self.axis == Axis::X;
            let whole = |stream: &Stream| (stream.low, stream.high) == (0, length - 1) && stream.source < length;
            return match self.streams.first() {
                Some(stream)
                    if one
                        && whole(stream)
                        && u32::from(stream.color) < colors
                        && stream.wavelets > 0
                        && stream.wavelets <= u64::from(u32::MAX)
                        && stream.period > 0 =>
                {
                    Ok(())
                }
                _ => Err("a broadcast is one stream over its whole area, with a color, wavelets and a period"),
            };
        }
        if self.length() != length as usize {
            return Err("a line has more or fewer places than its area");
        }
        for stream in &self.streams {
            if stream.low > stream.source || stream.source > stream.high || stream.high >= length {
                return Err("a stream leaves its line");
            }
            if stream.low == stream.high || stream.wavelets == 0 || stream.period == 0 {
                return Err("a stream has no way, no wavelets or no period");
            }
            if u32::from(stream.color) >= colors {
                return Err("a stream has a color beyond those of the program");
            }
            if stream.wavelets > u64::from(u32::MAX) {
                return Err("a stream has more than 2^32 - 1 wavelets");
            }
        }
        for position in 0..length {
            for operation in self.operations(position as usize) {
                let stream = |index: u32| self.streams.get(index as usize);
                let sends = |index: u32| stream(index).is_some_and(|stream| stream.source == position);
                let takes = |index: u32| {
                    stream(index).is_some_and(|stream| {
                        (stream.low..=stream.high).contains(&position) && stream.delivers_at(position)
                    })
                };
                let right = match *operation {
                    CoreOperation::Send { stream } => sends(stream),
                    CoreOperation::Take { stream, .. } => takes(stream),
                    CoreOperation::Forward { take, send } => {
                        let same = stream(take).map(|one| one.wavelets) == stream(send).map(|one| one.wavelets);
                        takes(take) && sends(send) && same
                    }
                };
                if !right {
                    return Err("an operation names a stream that does not pass its place");
                }
            }
        }
        Ok(())
    }
}

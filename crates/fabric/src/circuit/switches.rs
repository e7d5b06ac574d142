//! Which step's route a router holds for a color: the order in which steps pass it.

use std::collections::BTreeMap;

use super::lowered::{Lowered, Part};
use super::queue::NONE;

/// Wavelets of a color that pass each position of a part's lines, in one run of the part.
type Through = BTreeMap<u16, Vec<u64>>;

/// The route that a router holds for a color.
#[derive(Debug, Clone, Copy)]
struct Switch {
    /// The next switch of the same router.
    next: u32,
    color: u16,
    /// Place in the schedule of the step whose route it is.
    at: u32,
    /// Wavelets of that step that have yet to pass.
    left: u64,
}

/// The switches of all routers that have carried anything.
#[derive(Debug)]
pub(super) struct Switches {
    /// By stage and part.
    through: Vec<Vec<Through>>,
    /// First switch of each router.
    first: Vec<u32>,
    switches: Vec<Switch>,
}

impl Switches {
    pub(super) fn new(lowered: &Lowered) -> Self {
        let of_part = |part: &Part| {
            let mut through = Through::new();
            let Part::Carry(lines) = part else { return through };
            for stream in &lines.streams {
                let counts = through.entry(stream.color).or_insert_with(|| vec![0; lines.length()]);
                for count in &mut counts[stream.low as usize..=stream.high as usize] {
                    *count += stream.wavelets;
                }
            }
            through
        };
        let through = lowered.stages.iter().map(|stage| stage.parts.iter().map(of_part).collect()).collect();
        Self { through, first: vec![NONE; lowered.elements()], switches: Vec::new() }
    }

    /// The first step from `at` on that uses a color in a router, and how many wavelets it sends through.
    fn next_use(&self, mut at: u32, (x, y): (u32, u32), color: u16, lowered: &Lowered) -> (u32, u64) {
        while let Some(&stage) = lowered.schedule.get(at as usize) {
            let mut wavelets = 0;
            let parts = lowered.stages.get(stage as usize).map_or(&[][..], |stage| &stage.parts);
            for (part, through) in parts.iter().zip(&self.through[stage as usize]) {
                if let (Part::Carry(lines), Some(counts)) = (part, through.get(&color))
                    && lines.area.contains(x, y)
                {
                    wavelets += counts.get(lines.position(x, y) as usize).copied().unwrap_or(0);
                }
            }
            if wavelets > 0 {
                return (at, wavelets);
            }
            at += 1;
        }
        (at, 0)
    }

    fn find(&mut self, router: usize, place: (u32, u32), color: u16, lowered: &Lowered) -> usize {
        let mut index = self.first[router];
        while index != NONE {
            let switch = &self.switches[index as usize];
            if switch.color == color {
                return index as usize;
            }
            index = switch.next;
        }
        let (at, left) = self.next_use(0, place, color, lowered);
        self.switches.push(Switch { next: self.first[router], color, at, left });
        self.first[router] = self.switches.len() as u32 - 1;
        self.switches.len() - 1
    }

    /// Place in the schedule of the step whose wavelets may pass.
    pub(super) fn stands_at(&mut self, router: usize, place: (u32, u32), color: u16, lowered: &Lowered) -> u32 {
        let index = self.find(router, place, color, lowered);
        self.switches[index].at
    }

    /// A wavelet has passed.
    pub(super) fn pass(&mut self, router: usize, place: (u32, u32), color: u16, lowered: &Lowered) {
        let index = self.find(router, place, color, lowered);
        let switch = &mut self.switches[index];
        switch.left = switch.left.saturating_sub(1);
        if switch.left == 0 {
            let (at, left) = self.next_use(self.switches[index].at + 1, place, color, lowered);
            let switch = &mut self.switches[index];
            (switch.at, switch.left) = (at, left);
        }
    }
}

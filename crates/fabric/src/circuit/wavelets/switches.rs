//! Which step's route a router holds for a color: the order in which steps pass it.

use super::script::{NONE, NextUse, Script};
use crate::circuit::timing::Tick;

/// The route that a router holds for a color: a switch position, which advances when the step's wavelets have passed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Switch {
    /// The next switch of the same router.
    pub(super) next: u32,
    pub(super) color: u16,
    /// Which of the color's uses it is.
    index: u32,
    /// Place in the schedule of the step whose route it is, and the turn of the stream in it.
    at: (u32, u32),
    /// Wavelets of that step and turn that have yet to pass.
    left: u64,
    /// When the last wavelet of the color passed.
    pub(super) passed: Tick,
}

impl Switch {
    /// Whether the router now holds the route of a step and turn.
    pub(super) fn stands_for(&self, at: u32, turn: u32) -> bool {
        self.at == (at, turn)
    }
}

/// The switches of all routers that have carried anything.
#[derive(Debug)]
pub(super) struct Switches {
    /// First switch of each router.
    first: Vec<u32>,
    pub(super) switches: Vec<Switch>,
}

impl Switches {
    pub(super) fn new(places: usize) -> Self {
        Self { first: vec![NONE; places], switches: Vec::new() }
    }

    /// The switch of a color in a router.
    pub(super) fn find(&mut self, router: usize, place: (u32, u32), color: u16, script: &Script<'_>) -> u32 {
        let mut index = self.first[router];
        while index != NONE {
            let switch = &self.switches[index as usize];
            if switch.color == color {
                return index;
            }
            index = switch.next;
        }
        let NextUse { index, at, wavelets: left } = script.next_use(color, 0, place);
        self.switches.push(Switch { next: self.first[router], color, index, at, left, passed: 0 });
        self.first[router] = self.switches.len() as u32 - 1;
        self.first[router]
    }

    /// A wavelet has passed a router.
    pub(super) fn pass(&mut self, switch: u32, place: (u32, u32), now: Tick, script: &Script<'_>) {
        let switch = &mut self.switches[switch as usize];
        switch.passed = now;
        switch.left = switch.left.saturating_sub(1);
        if switch.left == 0 {
            let next = script.next_use(switch.color, switch.index + 1, place);
            (switch.index, switch.at, switch.left) = (next.index, next.at, next.wavelets);
        }
    }

    /// The switches of a router.
    pub(super) fn of(&self, router: usize) -> impl Iterator<Item = &Switch> {
        let mut index = self.first[router];
        std::iter::from_fn(move || {
            let switch = self.switches.get(index as usize)?;
            index = switch.next;
            Some(switch)
        })
    }
}

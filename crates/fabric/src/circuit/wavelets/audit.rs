//! What is on its way, whether anything was lost, and who waits for whom when nothing moves.

use super::queue::FROM_CORE;
use super::script::{Flows, NONE};
use super::{Mesh, NAMED, NEVER};
use crate::circuit::contents::Contents;
use crate::circuit::error::{CircuitError, Deadlock, Waiter, Waiting, Wants};
use crate::circuit::route::Direction;
use crate::circuit::timing::cycles;

impl<C: Contents> Mesh<'_, C> {
    /// Copies on their way: of wavelets in queues, those whose receivers lie ahead.
    pub(super) fn in_flight(&self) -> u64 {
        let mut copies = 0;
        for element in &self.elements {
            let (x, y) = (element.x, element.y);
            let mut index = element.queues;
            while index != NONE {
                let queue = &self.queues[index as usize];
                index = queue.next;
                for wavelet in queue.wavelets() {
                    let Some(flow) = self.script.flows.get(wavelet.flow() as usize) else { continue };
                    let ways = flow.ways(x, y, queue.travels);
                    copies += if queue.travels == FROM_CORE {
                        flow.receivers
                    } else {
                        let position = if flow.vertical { y } else { x };
                        let upwards = queue.travels & 1 == 0;
                        let beyond = u64::from(if upwards { flow.high - position } else { position - flow.low });
                        u64::from(ways >> 4) + if flow.copies { beyond } else { beyond.min(1) }
                    };
                }
            }
        }
        copies
    }

    pub(super) fn check_conservation(&self) -> Result<(), CircuitError> {
        let (sent, delivered, flying) = (self.tally.sent, self.tally.delivered, self.in_flight());
        if sent == delivered + flying {
            return Ok(());
        }
        Err(CircuitError::Bug(format!("{sent} wavelets sent, {delivered} delivered, {flying} in flight")))
    }

    /// Who waits for whom.
    pub(super) fn deadlock(&self) -> Deadlock {
        let mut deadlock = Deadlock { cycle: cycles(self.now).0 as u64, waiting: 0, first: Vec::new() };
        for element in &self.elements {
            let (x, y) = (element.x, element.y);
            let mut note = |at: u32, who: Waiter| {
                deadlock.waiting += 1;
                if deadlock.first.len() < NAMED {
                    let stage = self.script.stage(at);
                    let operator = stage.and_then(|stage| self.lowered.operators.get(stage.operator as usize));
                    deadlock.first.push(Waiting {
                        column: self.lowered.origin.0 + u64::from(x),
                        row: self.lowered.origin.1 + u64::from(y),
                        step: u64::from(at),
                        operator: operator.map_or_else(String::new, |name| name.clone().into_owned()),
                        who,
                    });
                }
            };
            let color = |flow: u32| self.script.flows.get(flow as usize).map(|flow| flow.color);
            if element.inside {
                if element.core == NEVER {
                    note(element.at, Waiter::Neighbours);
                }
                let operation = |index: u16| self.script.operation(element.at, (x, y), index.into());
                if let Some(Flows { take, .. }) = operation(element.taking)
                    && let Some(color) = color(take)
                {
                    note(element.at, Waiter::Receive { color, missing: u64::from(element.takes_left) });
                }
                if let Some(Flows { take: NONE, send, .. }) = operation(element.sending)
                    && let Some(color) = color(send)
                {
                    note(element.at, Waiter::Send { color, left: u64::from(element.sends_left) });
                }
            }
            let mut index = element.queues;
            while index != NONE {
                let queue = &self.queues[index as usize];
                index = queue.next;
                let Some(wavelet) = queue.wavelets().front() else { continue };
                let Some(flow) = self.script.flows.get(wavelet.flow() as usize) else { continue };
                let ways = flow.ways(x, y, queue.travels);
                let link = Direction::ALL.get((ways & 15).trailing_zeros() as usize);
                let wants = match link {
                    Some(direction) if ways >> 4 == 0 => Wants::Place(*direction),
                    _ => Wants::Core,
                };
                let travels = Direction::ALL.get(usize::from(queue.travels)).copied();
                let words = queue.wavelets().len() as u64;
                note(wavelet.at, Waiter::Queue { color: queue.color, travels, words, wants });
            }
        }
        deadlock
    }
}

//! What is on its way, whether anything was lost, and who waits for whom when nothing moves.

use super::{Mesh, NAMED, NEVER, operation, ways};
use crate::circuit::error::{CircuitError, Deadlock, Waiter, Waiting, Wants};
use crate::circuit::lowered::Part;
use crate::circuit::queue::{FROM_CORE, NONE};
use crate::circuit::route::{Direction, Operation};
use crate::circuit::timing::cycles;

impl Mesh<'_> {
    /// Copies on their way: of wavelets in queues, those whose receivers lie ahead.
    pub(super) fn in_flight(&self) -> u64 {
        let mut copies = 0;
        for place in 0..self.elements.len() {
            let (x, y) = self.coordinates(place);
            let mut index = self.elements[place].queues;
            while index != NONE {
                let queue = &self.queues[index as usize];
                index = queue.next;
                for wavelet in &queue.wavelets {
                    let Some(Part::Carry(lines)) =
                        self.stage(wavelet.at).and_then(|stage| stage.parts.get(wavelet.part as usize))
                    else {
                        continue;
                    };
                    let Some(stream) = lines.streams.get(wavelet.stream as usize) else { continue };
                    let position = lines.position(x, y);
                    let ways = ways(stream, lines.axis, position, queue.travels);
                    let ahead = if queue.travels == FROM_CORE {
                        stream.receivers()
                    } else {
                        let upwards = queue.travels == Direction::along(lines.axis, true) as u8;
                        let beyond = if upwards { stream.high - position } else { position - stream.low };
                        u64::from(ways.core) + if stream.copies { u64::from(beyond) } else { u64::from(beyond > 0) }
                    };
                    copies += ahead;
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
        for place in 0..self.elements.len() {
            let (x, y) = self.coordinates(place);
            let element = &self.elements[place];
            let mut note = |at: u32, who: Waiter| {
                deadlock.waiting += 1;
                if deadlock.first.len() < NAMED {
                    let operator = self.stage(at).and_then(|stage| self.lowered.operators.get(stage.operator as usize));
                    deadlock.first.push(Waiting {
                        column: self.lowered.origin.0 + u64::from(x),
                        row: self.lowered.origin.1 + u64::from(y),
                        step: u64::from(at),
                        operator: operator.map_or_else(String::new, |name| name.clone().into_owned()),
                        who,
                    });
                }
            };
            if element.inside
                && let Some(stage) = self.stage(element.at)
            {
                if element.core == NEVER {
                    note(element.at, Waiter::Neighbours);
                }
                if let Some((_, lines, found)) = operation(stage, x, y, element.taking as usize)
                    && let Operation::Take { stream, .. } | Operation::Forward { take: stream, .. } = found
                {
                    let color = lines.streams[stream as usize].color;
                    note(element.at, Waiter::Receive { color, missing: u64::from(element.takes_left) });
                }
                if let Some((_, lines, Operation::Send { stream })) = operation(stage, x, y, element.sending as usize) {
                    let color = lines.streams[stream as usize].color;
                    note(element.at, Waiter::Send { color, left: u64::from(element.sends_left) });
                }
            }
            let mut index = element.queues;
            while index != NONE {
                let queue = &self.queues[index as usize];
                index = queue.next;
                let Some(wavelet) = queue.wavelets.front() else { continue };
                let Some((ways, _)) = self.ways(place, *wavelet, queue.travels) else { continue };
                let link = ways.links.iter().position(|&wanted| wanted);
                let wants = match link.and_then(|index| Direction::ALL.get(index)) {
                    Some(direction) if !ways.core => Wants::Place(*direction),
                    _ => Wants::Core,
                };
                let travels = Direction::ALL.get(usize::from(queue.travels)).copied();
                let words = queue.wavelets.len() as u64;
                note(wavelet.at, Waiter::Queue { color: queue.color, travels, words, wants });
            }
        }
        deadlock
    }
}

//! The line with an event for each station that a pass reaches: slow and plain, to hold [`crate::line`] against, and to
//! measure the event queue with.

use std::collections::VecDeque;

use crate::costs::PassTimes;
use crate::event_queue::EventQueue;
use crate::time::Time;

#[derive(Debug, Clone, Copy)]
enum Event {
    Arrives { pass: u32, station: u32 },
    Free { station: u32 },
}

/// When each pass is through, and how many events that took. `passes` are (entry time, index into `times`), in order of
/// entry time; a pass without times is through at once.
pub fn exits(passes: &[(Time, usize)], times: &[PassTimes]) -> (Vec<Time>, u64) {
    let stations = times.first().map_or(0, |pass| pass.transit.len());
    let mut queue = EventQueue::default();
    let mut waiting: Vec<VecDeque<u32>> = vec![VecDeque::new(); stations];
    let mut is_busy = vec![false; stations];
    let mut exits = vec![Time::ZERO; passes.len()];
    let mut entries = passes.iter().enumerate().peekable();
    let nothing = PassTimes::default();
    let of = |pass: u32| passes.get(pass as usize).and_then(|(_, which)| times.get(*which)).unwrap_or(&nothing);
    let at = |times: &[u64], station: usize| Time(times.get(station).copied().unwrap_or(0));
    loop {
        // Entries are fed in one by one, so that only live events are in the queue.
        while let Some((index, (entry, _))) = entries.peek() {
            if queue.next_at().is_some_and(|next| next < *entry) {
                break;
            }
            queue.push(*entry, Event::Arrives { pass: *index as u32, station: 0 });
            entries.next();
        }
        let Some((now, event)) = queue.pop() else { return (exits, queue.pushed()) };
        let station = match event {
            Event::Arrives { pass, station } => {
                if station as usize == stations {
                    exits[pass as usize] = now + Time(of(pass).tail);
                    continue;
                }
                waiting[station as usize].push_back(pass);
                station
            }
            Event::Free { station } => {
                is_busy[station as usize] = false;
                station
            }
        };
        let here = station as usize;
        if is_busy[here] {
            continue;
        }
        if let Some(pass) = waiting[here].pop_front() {
            is_busy[here] = true;
            queue.push(now + at(&of(pass).transit, here), Event::Arrives { pass, station: station + 1 });
            queue.push(now + at(&of(pass).occupancy, here), Event::Free { station });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::costs::StationKind;
    use crate::line::{Kind, Line};
    use proptest::prelude::*;

    proptest! {
        /// One event for each station, and none between entry and exit: the same exits, to the picosecond.
        #[test]
        fn the_line_needs_no_events(
            times in prop::collection::vec(prop::collection::vec((1u64..1000, 0u64..300), 6), 1..5),
            entries in prop::collection::vec((0u64..2000, 0usize..5), 1..80),
        ) {
            // A slot may be busy for longer than a pass is in it.
            let times: Vec<PassTimes> = times.iter().map(|stations| {
                let stations: Vec<(u64, u64)> = stations.iter().map(|(t, more)| (*t, t + more)).collect();
                PassTimes::new(&stations, stations[0].0 % 7)
            }).collect();
            let kinds: Vec<StationKind> = (0..6).map(|slot| StationKind::Slot { slot, wafer: 0 }).collect();
            let mut line = Line::new(&kinds);
            // Another that knows times by their numbers, and so passes that meet nobody without a look at the stations.
            let mut knowing = line.clone();
            let numbered: Vec<PassTimes> =
                times.iter().enumerate().map(|(number, times)| times.clone().numbered(number as u32)).collect();
            let mut at = 0;
            let mut passes = Vec::new();
            let mut expected = Vec::new();
            for (gap, which) in entries {
                at += gap;
                let which = which % times.len();
                passes.push((Time(at), which));
                let kind = if which == 0 { Kind::Prefill } else { Kind::Decode };
                let entered = line.enter(Time(at), kind, &times[which]);
                expected.push(entered.0);
                prop_assert_eq!(knowing.enter(Time(at), kind, &numbered[which]), entered);
                for later in [0, 100, 10_000] {
                    prop_assert_eq!(knowing.busy(Time(at + later)), line.busy(Time(at + later)));
                }
            }
            line.stop(Time(at + 5));
            knowing.stop(Time(at + 5));
            prop_assert_eq!(knowing.busy(Time(at + 5)), line.busy(Time(at + 5)));
            prop_assert_eq!(
                knowing.enter(Time(at + 5), Kind::Decode, &numbered[0]),
                line.enter(Time(at + 5), Kind::Decode, &times[0])
            );
            prop_assert_eq!(exits(&passes, &times).0, expected);
        }
    }
}

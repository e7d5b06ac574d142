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
    use crate::costs::{Between, Pass, Share, StationKind};
    use crate::line::{Kind, Line};
    use proptest::prelude::*;

    proptest! {
        /// One event for each station, and none between entry and exit: the same exits, to the picosecond.
        #[test]
        fn the_line_needs_no_events(
            times in prop::collection::vec(prop::collection::vec((1u64..1000, 0u64..300), 6), 1..5),
            entries in prop::collection::vec((0u64..2000, 0usize..5, 0usize..5, 0u64..8), 1..80),
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
            // Half of the passes lie between two tables.
            let pass = |of: &'_ [PassTimes], which: usize, other: usize, part: u64| {
                let (low, high) = (&of[which % of.len()], &of[other % of.len()]);
                let mut set = PassTimes::default();
                let pass = if part < 4 {
                    low.into()
                } else {
                    Pass::Between(Between { low, high, way: Share::new(part - 4, 4) })
                };
                set.set(pass);
                (set, pass.slowest())
            };
            let mut at = 0;
            let (mut passes, mut each) = (Vec::new(), Vec::new());
            let mut expected = Vec::new();
            let mut mixed = 0;
            for (index, (gap, which, other, part)) in entries.into_iter().enumerate() {
                at += gap;
                let (set, slowest) = pass(&times, which, other, part);
                prop_assert_eq!(set.slowest, slowest);
                let kind = if which == 0 { Kind::Prefill } else { Kind::Decode };
                let entered = line.enter(Time(at), kind, &set);
                expected.push(entered.0);
                passes.push((Time(at), index));
                each.push(set);
                let (low, high) = (&numbered[which % times.len()], &numbered[other % times.len()]);
                let known = if part < 4 {
                    knowing.enter(Time(at), kind, low)
                } else {
                    mixed += 1;
                    knowing.enter(Time(at), kind, Pass::Between(Between { low, high, way: Share::new(part - 4, 4) }))
                };
                prop_assert_eq!(known, entered);
                for later in [0, 100, 10_000] {
                    // Parts of picoseconds are added up where passes are counted.
                    let busy = knowing.busy(Time(at + later)).into_iter().zip(line.busy(Time(at + later)));
                    for (counted, booked) in busy {
                        prop_assert!(counted.abs_diff(booked) <= mixed, "{} {}", counted, booked);
                    }
                }
            }
            line.stop(Time(at + 5));
            knowing.stop(Time(at + 5));
            prop_assert_eq!(
                knowing.enter(Time(at + 5), Kind::Decode, &numbered[0]),
                line.enter(Time(at + 5), Kind::Decode, &times[0])
            );
            prop_assert_eq!(exits(&passes, &each).0, expected);
        }
    }
}

//! A trace being written: packet by packet, under a limit of bytes.

use std::collections::BTreeMap;

use prost::Message;
use thiserror::Error;

use crate::schema::{
    BY_RANK, CounterDescriptor, EventType, InternedData, InternedName, NEEDS_STATE, ProcessDescriptor, STATE_CLEARED,
    TraceFile, TracePacket, TrackDescriptor, TrackEvent,
};

/// All packets are of one sequence.
const SEQUENCE: u32 = 1;
/// Bytes that are kept free for the sentence on what was left out.
const RESERVE: usize = 256;

/// What has no place in a trace.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TimelineError {
    /// A slice that ends before it begins.
    #[error("the slice '{name}' begins at {start} ns and ends at {end} ns: it cannot end before it begins")]
    Backwards {
        /// Its name.
        name: String,
        /// When it begins.
        start: u64,
        /// When it ends.
        end: u64,
    },
    /// A slice that begins before the one before it on its track ended.
    #[error(
        "the slice '{name}' begins at {start} ns, and the one before it on its track ends at {busy_until} ns: slices of a track follow each other"
    )]
    Overlap {
        /// Its name.
        name: String,
        /// When it begins.
        start: u64,
        /// When the one before it ends.
        busy_until: u64,
    },
}

/// Tracks that stand together under a name: in Perfetto a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group(u64);

/// A track of slices, or a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrackId(u64);

/// A trace that has been written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The file.
    pub bytes: Vec<u8>,
    /// Slices in it.
    pub slices: u64,
    /// Samples of counters in it.
    pub samples: u64,
    /// Slices and samples that were left out, those of the source included.
    pub left_out: u64,
}

/// A trace being written.
#[derive(Debug, Clone)]
pub struct Trace {
    bytes: Vec<u8>,
    limit: usize,
    is_full: bool,
    tracks: u64,
    groups: Vec<u64>,
    names: BTreeMap<String, u64>,
    categories: BTreeMap<String, u64>,
    busy_until: BTreeMap<TrackId, u64>,
    slices: u64,
    samples: u64,
    left_out: u64,
}

impl Trace {
    /// An empty trace of at most so many bytes.
    pub fn new(limit: usize) -> Self {
        let mut trace = Self {
            bytes: Vec::new(),
            limit,
            is_full: false,
            tracks: 0,
            groups: Vec::new(),
            names: BTreeMap::new(),
            categories: BTreeMap::new(),
            busy_until: BTreeMap::new(),
            slices: 0,
            samples: 0,
            left_out: 0,
        };
        trace.write(vec![TracePacket { sequence_flags: Some(STATE_CLEARED), ..packet() }], 0);
        trace
    }

    /// A group of tracks, shown in the order in which they are made.
    pub fn group(&mut self, name: &str) -> Group {
        let uuid = self.next_track();
        self.groups.push(uuid);
        let process = ProcessDescriptor {
            pid: Some(i32::try_from(self.groups.len()).unwrap_or(i32::MAX)),
            process_name: Some(name.into()),
        };
        self.describe(TrackDescriptor {
            uuid: Some(uuid),
            process: Some(process),
            child_ordering: Some(BY_RANK),
            ..TrackDescriptor::default()
        });
        Group(uuid)
    }

    /// A track of slices that follow each other.
    pub fn track(&mut self, group: Group, name: &str) -> TrackId {
        self.member(group, name, None)
    }

    /// A number over time.
    pub fn counter(&mut self, group: Group, name: &str, unit: &str) -> TrackId {
        self.member(group, name, Some(CounterDescriptor { unit_name: Some(unit.into()) }))
    }

    /// A piece of time of a track, in nanoseconds. What is beyond the limit is counted and left out.
    ///
    /// # Errors
    /// Where it ends before it begins, or begins before the one before it on the track ended.
    pub fn slice(
        &mut self,
        track: TrackId,
        name: &str,
        category: &str,
        start: u64,
        end: u64,
    ) -> Result<(), TimelineError> {
        if end < start {
            return Err(TimelineError::Backwards { name: name.into(), start, end });
        }
        let busy_until = self.busy_until.entry(track).or_insert(0);
        if start < *busy_until {
            return Err(TimelineError::Overlap { name: name.into(), start, busy_until: *busy_until });
        }
        *busy_until = end;
        let (name_iid, new_name) = intern(&self.names, name);
        let (category_iid, new_category) = intern(&self.categories, category);
        let interned = (new_name || new_category).then(|| InternedData {
            event_categories: new_category.then(|| interned_name(category_iid, category)).into_iter().collect(),
            event_names: new_name.then(|| interned_name(name_iid, name)).into_iter().collect(),
        });
        let begin = TrackEvent {
            category_iids: vec![category_iid],
            name_iid: Some(name_iid),
            ..event(track, EventType::SliceBegin)
        };
        let packets = vec![
            TracePacket { interned_data: interned, ..moment(start, begin) },
            moment(end, event(track, EventType::SliceEnd)),
        ];
        if self.write(packets, RESERVE) {
            self.names.entry(name.into()).or_insert(name_iid);
            self.categories.entry(category.into()).or_insert(category_iid);
            self.slices += 1;
        } else {
            self.left_out += 1;
        }
        Ok(())
    }

    /// The value of a counter from a moment on, in nanoseconds. What is beyond the limit is counted and left out.
    pub fn sample(&mut self, counter: TrackId, at: u64, value: f64) {
        let value = TrackEvent { double_counter_value: Some(value), ..event(counter, EventType::Counter) };
        if self.write(vec![moment(at, value)], RESERVE) {
            self.samples += 1;
        } else {
            self.left_out += 1;
        }
    }

    /// Counts what the source of the trace has left out already.
    pub fn leave_out(&mut self, count: u64) {
        self.left_out = self.left_out.saturating_add(count);
    }

    /// Ends the trace; what was left out is said in the name of a last track.
    pub fn finish(mut self) -> Written {
        if let (Some(&first), true) = (self.groups.first(), self.left_out > 0) {
            let name = format!("beyond the limit of the trace: {} slices and samples are left out", self.left_out);
            let uuid = self.next_track();
            let descriptor = TrackDescriptor {
                uuid: Some(uuid),
                name: Some(name),
                parent_uuid: Some(first),
                sibling_order_rank: Some(-1),
                ..TrackDescriptor::default()
            };
            // A track without an event is not shown.
            let (name_iid, _) = intern(&self.names, LEFT_OUT);
            let begin = TrackEvent { name_iid: Some(name_iid), ..event(TrackId(uuid), EventType::SliceBegin) };
            let interned =
                InternedData { event_names: vec![interned_name(name_iid, LEFT_OUT)], ..InternedData::default() };
            self.is_full = false;
            self.write(
                vec![
                    TracePacket { track_descriptor: Some(descriptor), ..packet() },
                    TracePacket { interned_data: Some(interned), ..moment(0, begin) },
                    moment(0, event(TrackId(uuid), EventType::SliceEnd)),
                ],
                0,
            );
        }
        Written { bytes: self.bytes, slices: self.slices, samples: self.samples, left_out: self.left_out }
    }

    fn next_track(&mut self) -> u64 {
        self.tracks += 1;
        self.tracks
    }

    fn member(&mut self, group: Group, name: &str, counter: Option<CounterDescriptor>) -> TrackId {
        let uuid = self.next_track();
        self.describe(TrackDescriptor {
            uuid: Some(uuid),
            name: Some(name.into()),
            parent_uuid: Some(group.0),
            counter,
            sibling_order_rank: Some(i32::try_from(uuid).unwrap_or(i32::MAX)),
            ..TrackDescriptor::default()
        });
        TrackId(uuid)
    }

    fn describe(&mut self, descriptor: TrackDescriptor) {
        self.write(vec![TracePacket { track_descriptor: Some(descriptor), ..packet() }], RESERVE);
    }

    /// Appends packets, all or none; from the first that do not fit, all others are left out as well.
    fn write(&mut self, packets: Vec<TracePacket>, reserve: usize) -> bool {
        let file = TraceFile { packet: packets };
        let room = self.limit.saturating_sub(self.bytes.len()).saturating_sub(reserve);
        if self.is_full || file.encoded_len() > room {
            self.is_full = true;
            return false;
        }
        // A file is its packets one after the other, so that files can be appended to each other.
        self.bytes.extend(file.encode_to_vec());
        true
    }
}

const LEFT_OUT: &str = "left out";

fn packet() -> TracePacket {
    TracePacket { trusted_packet_sequence_id: Some(SEQUENCE), ..TracePacket::default() }
}

fn moment(at: u64, event: TrackEvent) -> TracePacket {
    TracePacket { timestamp: Some(at), track_event: Some(event), sequence_flags: Some(NEEDS_STATE), ..packet() }
}

fn event(track: TrackId, kind: EventType) -> TrackEvent {
    TrackEvent { track_uuid: Some(track.0), r#type: Some(kind as i32), ..TrackEvent::default() }
}

/// The number of a name, and whether it is new.
fn intern(known: &BTreeMap<String, u64>, name: &str) -> (u64, bool) {
    known.get(name).map_or((known.len() as u64 + 1, true), |iid| (*iid, false))
}

fn interned_name(iid: u64, name: &str) -> InternedName {
    InternedName { iid: Some(iid), name: Some(name.into()) }
}

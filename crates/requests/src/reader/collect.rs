//! Formats whose rows stand in any order: read whole, put in order of time, sessions turn by turn.

use rustc_hash::FxHashMap;

use super::{MOST_COLLECTED, Order, Reader, Start, TraceRequest};
use crate::error::RequestError;

/// A request whose time is still the file's, and those that follow it at once.
struct Group {
    at: i128,
    requests: Vec<TraceRequest>,
}

/// A call of a format of sessions.
struct Round {
    turn: u64,
    at: Option<i128>,
    end: Option<i128>,
    wait_after: i128,
    request: TraceRequest,
}

impl Reader {
    /// Reads everything and puts it in order.
    pub(super) fn collect(&mut self) -> Result<(), RequestError> {
        self.is_collected = true;
        let mut groups = if self.order == Order::Sessions { self.collect_sessions()? } else { self.collect_any()? };
        groups.sort_by_key(|group| group.at);
        for mut group in groups {
            let Some(first) = group.requests.first_mut() else { continue };
            let line = first.line;
            match self.since_origin(line, group.at, false)? {
                Some(start) => first.start = Start::At(start),
                None => continue,
            }
            self.ready.extend(group.requests);
        }
        Ok(())
    }

    /// One more request, and those that follow it, that wait in memory.
    fn count_collected(&self, count: &mut usize) -> Result<(), RequestError> {
        *count += 1 + self.ready.len();
        if *count <= MOST_COLLECTED {
            return Ok(());
        }
        let allowed = "a part of the file, or a format in order of time, which is read one by one";
        Err(self.too_many(MOST_COLLECTED as u64, allowed))
    }

    fn collect_any(&mut self) -> Result<Vec<Group>, RequestError> {
        let (mut groups, mut count): (Vec<Group>, usize) = (Vec::new(), 0);
        let mut last_of: FxHashMap<String, usize> = FxHashMap::default();
        while self.next_row()? {
            let mut request = TraceRequest::default();
            let Some(at) = self.first_of_row(&mut request)? else { continue };
            self.count_collected(&mut count)?;
            if !request.session.is_empty() && at.is_some() {
                last_of.insert(request.session.clone(), groups.len());
            }
            match at {
                Some(at) => {
                    let mut requests = vec![request];
                    requests.extend(self.ready.drain(..));
                    groups.push(Group { at, requests });
                }
                None => {
                    let group = last_of.get(&request.session).and_then(|group| groups.get_mut(*group));
                    if let Some(group) = group {
                        group.requests.push(request);
                    }
                }
            }
        }
        Ok(groups)
    }

    fn collect_sessions(&mut self) -> Result<Vec<Group>, RequestError> {
        let (mut sessions, mut count): (Vec<Vec<Round>>, usize) = (Vec::new(), 0);
        let mut known: FxHashMap<String, usize> = FxHashMap::default();
        while self.next_row()? {
            if self.row.session.is_empty() {
                self.left_out.no_session += 1;
                continue;
            }
            let Some((prompt, output)) = self.lengths()? else { continue };
            let row = &self.row;
            let (prompt, output) = self.fitting(row.line, prompt, output)?;
            let request = TraceRequest {
                line: row.line,
                prompt,
                output,
                session: row.session.clone(),
                kept: row.kept.map(|kept| u32::try_from(kept).unwrap_or(u32::MAX)),
                ..TraceRequest::default()
            };
            self.check_kept(&request)?;
            let row = &self.row;
            let round = Round {
                turn: row.turn.unwrap_or(0),
                at: row.arrival,
                end: row.end,
                wait_after: row.wait_after.unwrap_or(0),
                request,
            };
            self.count_collected(&mut count)?;
            let index = *known.entry(row.session.clone()).or_insert_with(|| {
                sessions.push(Vec::new());
                sessions.len() - 1
            });
            if let Some(session) = sessions.get_mut(index) {
                session.push(round);
            }
        }
        let mut groups = Vec::with_capacity(sessions.len());
        for mut rounds in sessions {
            rounds.sort_by_key(|round| round.turn);
            let mut requests = Vec::with_capacity(rounds.len());
            let mut first = None;
            let mut before: Option<(i128, Option<i128>)> = None;
            for mut round in rounds {
                if let Some((wait, end)) = before {
                    let gap = round.at.zip(end).filter(|_| round.end.is_some()).map(|(at, end)| (at - end).max(0));
                    round.request.start = Start::After(self.wait(round.request.line, gap.unwrap_or(wait))?);
                } else {
                    first = match (round.at, self.settings.rate) {
                        (Some(_), Some(_)) => return Err(self.rate_beside_times()),
                        (Some(at), None) => Some(at),
                        // TraceLab: a session without a time begins at 0.
                        (None, None) => Some(0),
                        (None, Some(_)) => Some(self.drawn_time(round.request.line)?),
                    };
                }
                before = Some((round.wait_after, round.end));
                requests.push(round.request);
            }
            groups.extend(first.map(|at| Group { at, requests }));
        }
        Ok(groups)
    }
}

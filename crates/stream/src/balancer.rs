//! Several machines behind a balancer: which one a request goes to, and when one of them is away.
//!
//! The machines are *replicas*: the same model, placed the same way, each with room, cache and line of its own. Where
//! there is one, and it is always there, a balancer has no choice.

use serde::{Deserialize, Serialize};

use crate::request::{Content, Request, mixed};
use crate::time::Time;

/// Replicas, who shares requests out among them, and when they are away.
#[derive(Debug)]
pub struct Replicas {
    /// How many.
    pub count: u32,
    /// Who chooses.
    pub balancer: Box<dyn Balancer>,
    /// When one is away.
    pub outages: Vec<Outage>,
}

impl Default for Replicas {
    fn default() -> Self {
        Self { count: 1, balancer: Box::new(LeastLoaded), outages: Vec::new() }
    }
}

/// A replica is away: what it serves is lost, and its caches with it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// Which one, from 0.
    #[serde(default)]
    pub replica: u32,
    /// Seconds from the start of the run.
    pub from: f64,
    /// Seconds from the start of the run at which it is back, empty.
    pub to: f64,
}

impl Outage {
    /// When it goes and when it is back.
    pub fn times(&self) -> [Time; 2] {
        [self.from, self.to].map(Time::from_seconds)
    }
}

/// A replica as the balancer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Whether it is there.
    pub is_up: bool,
    /// Requests that wait or are served there.
    pub inside: u64,
    /// Tokens of the request's prompt that its cache has; 0 where the balancer does not look at them.
    pub cached: u32,
}

/// Who shares requests out.
pub trait Balancer: std::fmt::Debug {
    /// The replica for a request: one that is up, or nothing where none is.
    fn choose(&mut self, request: &Request, replicas: &[Standing]) -> Option<usize>;

    /// Whether it looks at caches, which takes time.
    fn looks_at_caches(&self) -> bool {
        false
    }
}

/// Balancers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BalancerKind {
    /// [`LeastLoaded`].
    #[default]
    LeastLoaded,
    /// [`RoundRobin`].
    RoundRobin,
    /// [`Sticky`].
    Sticky,
    /// [`ByPrefix`].
    Prefix,
}

impl BalancerKind {
    /// A balancer of this kind.
    pub fn build(self) -> Box<dyn Balancer> {
        match self {
            Self::LeastLoaded => Box::new(LeastLoaded),
            Self::RoundRobin => Box::new(RoundRobin::default()),
            Self::Sticky => Box::new(Sticky),
            Self::Prefix => Box::new(ByPrefix),
        }
    }
}

/// Replicas that are up, with their numbers.
fn up(replicas: &[Standing]) -> impl Iterator<Item = (usize, &Standing)> {
    replicas.iter().enumerate().filter(|(_, standing)| standing.is_up)
}

/// The one with the fewest requests; of equal ones the first.
#[derive(Debug, Clone, Copy, Default)]
pub struct LeastLoaded;

impl Balancer for LeastLoaded {
    fn choose(&mut self, _request: &Request, replicas: &[Standing]) -> Option<usize> {
        up(replicas).min_by_key(|(_, standing)| standing.inside).map(|(at, _)| at)
    }
}

/// One after the other.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoundRobin {
    next: usize,
}

impl Balancer for RoundRobin {
    fn choose(&mut self, _request: &Request, replicas: &[Standing]) -> Option<usize> {
        let after = up(replicas).find(|(at, _)| *at >= self.next);
        let (at, _) = after.or_else(|| up(replicas).next())?;
        self.next = at + 1;
        Some(at)
    }
}

/// A session always goes to the same replica: rendezvous hashing (Thaler and Ravishankar, 1998), so that only the
/// sessions of a replica that is away move. Requests that belong to no session are hashed by their user.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sticky;

impl Balancer for Sticky {
    fn choose(&mut self, request: &Request, replicas: &[Standing]) -> Option<usize> {
        let key = match &request.content {
            Content::Session { session, .. } => *session,
            Content::Spliced(pieces) => pieces.last().map_or(0, |piece| piece.key),
            Content::Unique | Content::Hashed { .. } => u64::from(request.user),
        };
        up(replicas).max_by_key(|(at, _)| mixed(key, *at as u64)).map(|(at, _)| at)
    }
}

/// The one whose cache has most of the prompt; of equal ones that with the fewest requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByPrefix;

impl Balancer for ByPrefix {
    fn choose(&mut self, _request: &Request, replicas: &[Standing]) -> Option<usize> {
        let best = |(_, standing): &(usize, &Standing)| (u32::MAX - standing.cached, standing.inside);
        up(replicas).min_by_key(best).map(|(at, _)| at)
    }

    fn looks_at_caches(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(session: u64) -> Request {
        let content = Content::Session { session, common: 0 };
        Request { arrival: Time::ZERO, user: 0, prompt: 1, output: 1, content }
    }

    fn standing(is_up: bool, inside: u64, cached: u32) -> Standing {
        Standing { is_up, inside, cached }
    }

    #[test]
    fn each_looks_at_what_it_says() {
        let replicas = [standing(true, 3, 512), standing(true, 1, 0), standing(false, 0, 9999), standing(true, 2, 512)];
        assert_eq!(LeastLoaded.choose(&request(1), &replicas), Some(1));
        assert_eq!(ByPrefix.choose(&request(1), &replicas), Some(3));
        let mut turn = RoundRobin::default();
        let turns: Vec<_> = (0..5).filter_map(|_| turn.choose(&request(1), &replicas)).collect();
        assert_eq!(turns, [0, 1, 3, 0, 1]);
        for kind in [BalancerKind::LeastLoaded, BalancerKind::RoundRobin, BalancerKind::Sticky, BalancerKind::Prefix] {
            assert_eq!(kind.build().choose(&request(1), &[standing(false, 0, 0)]), None);
        }
    }

    /// Only sessions of the replica that is away move, and they come back to where they were.
    #[test]
    fn an_outage_moves_no_other_session() {
        let all = [standing(true, 0, 0); 4];
        let mut without = all;
        without[2].is_up = false;
        let mut counts = [0; 4];
        for session in 0..400 {
            let at = Sticky.choose(&request(session), &all).unwrap_or(9);
            let then = Sticky.choose(&request(session), &without).unwrap_or(9);
            assert_eq!(at == then, at != 2, "session {session}");
            counts[at] += 1;
        }
        // Four shares of 100, with a standard deviation of 8.7.
        assert!(counts.iter().all(|count| (65..136).contains(count)), "{counts:?}");
    }
}

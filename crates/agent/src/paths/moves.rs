//! Destinations that changed their sentry, and what is told of it: those that moved together for one cause are one line.

use super::health::Way;
use ipnet::IpNet;
use picket_model::{
    NodeId, Timestamp,
    paths::{MOST_MOVES, Moved},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::{Duration, Instant},
};

/// A line is closed when nothing was added to it for so long: moves for the better come one a second.
const CLOSED_AFTER: Duration = Duration::from_secs(3);

/// Why a destination has another sentry than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// It had none.
    New,
    /// Its sentry is no longer one of this host's.
    Gone,
    /// The way through its sentry fails.
    Lost(Way),
    /// Its sentry is to be left.
    Drained,
    /// Its sentry has too much to do, or is behind.
    Burdened,
    /// Another sentry is nearer, as the policy wants it.
    Nearer,
    /// Its own sentry is back, or came.
    Better,
}

impl Cause {
    /// One word, as for labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Gone => "gone",
            Self::Lost(way) => way.name(),
            Self::Drained => "drained",
            Self::Burdened => "burdened",
            Self::Nearer => "nearer",
            Self::Better => "better",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("new"),
            Self::Gone => f.write_str("its sentry is gone"),
            Self::Lost(way) => write!(f, "its sentry is {}", way.name()),
            Self::Drained => f.write_str("its sentry is drained"),
            Self::Burdened => f.write_str("its sentry is burdened"),
            Self::Nearer => f.write_str("others are nearer"),
            Self::Better => f.write_str("its own sentry is there"),
        }
    }
}

/// A destination that has another sentry from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// What moves.
    pub destination: IpNet,
    /// Which sentry had it.
    pub from: Option<NodeId>,
    /// Which has it.
    pub to: NodeId,
    /// Why.
    pub cause: Cause,
}

/// The last moves as lines, and how many there were.
#[derive(Clone, Debug, Default)]
pub struct MoveLog {
    open: BTreeMap<(Cause, Option<NodeId>), Line>,
    closed: VecDeque<(Cause, Line)>,
    counts: BTreeMap<&'static str, u64>,
    last: u64,
}

#[derive(Clone, Debug)]
struct Line {
    number: u64,
    from: Option<NodeId>,
    to: Option<NodeId>,
    count: u32,
    at: Instant,
}

impl MoveLog {
    /// Notes what moved now. What is new came from nobody, and is counted alone.
    pub fn note(&mut self, moves: &[Move], now: Instant) {
        for Move { from, to, cause, .. } in moves {
            *self.counts.entry(cause.name()).or_default() += 1;
            if *cause == Cause::New {
                continue;
            }
            // What moves for the better goes to one that is back; all else leaves one.
            let about = if *cause == Cause::Better { Some(to) } else { from.as_ref() };
            let new = || Line { number: 0, from: from.clone(), to: Some(to.clone()), count: 0, at: now };
            let line = self.open.entry((*cause, about.cloned())).or_insert_with(new);
            line.from.take_if(|known| Some(&*known) != from.as_ref());
            line.to.take_if(|known| known != to);
            (line.count, line.at) = (line.count.saturating_add(1), now);
        }
    }

    /// Closes lines to which nothing was added lately; whether there are any.
    pub fn close(&mut self, now: Instant) -> bool {
        let is_over = |line: &Line| now.saturating_duration_since(line.at) >= CLOSED_AFTER;
        let over: Vec<_> = self.open.extract_if(.., |_, line| is_over(line)).collect();
        let any = !over.is_empty();
        for ((cause, _), line) in over {
            self.last += 1;
            self.closed.push_back((cause, Line { number: self.last, ..line }));
        }
        while self.closed.len() > MOST_MOVES {
            self.closed.pop_front();
        }
        any
    }

    /// The closed lines, with times by the clock on the wall; `run` is the agent's start.
    pub fn told(&self, run: Timestamp, wall: impl Fn(Instant) -> Timestamp) -> Vec<Moved> {
        let told = |(cause, line): &(Cause, Line)| Moved {
            number: line.number,
            run,
            at: wall(line.at),
            cause: cause.to_string(),
            from: line.from.clone(),
            to: line.to.clone(),
            count: line.count,
        };
        self.closed.iter().map(told).collect()
    }

    /// Destinations that moved so far, by cause.
    pub fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_together_is_one_line_told_once_it_is_over() {
        let (mut log, start) = (MoveLog::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let change = |from: Option<&str>, to: &str, cause| Move {
            destination: "5.0.0.1/32".parse().unwrap(),
            from: from.map(|id| id.parse().unwrap()),
            to: to.parse().unwrap(),
            cause,
        };
        log.note(&[change(None, "n-1", Cause::New)], start);
        let lost = Cause::Lost(Way::Silent);
        log.note(&[change(Some("n-1"), "n-2", lost), change(Some("n-1"), "n-3", lost)], start);
        for second in 0..5 {
            log.note(&[change(Some("n-2"), "n-1", Cause::Better)], at(second));
        }
        let told = |log: &MoveLog| {
            let lines = log.told(Timestamp::from_millis(0), |_| Timestamp::from_millis(0)).into_iter();
            lines.map(|line| (line.number, line.count, line.cause, line.from, line.to)).collect::<Vec<_>>()
        };
        assert!(log.close(at(4)) && !log.close(at(6)));
        let [one, two]: [NodeId; 2] = ["n-1", "n-2"].map(|id| id.parse().unwrap());
        let first = (1, 2, "its sentry is silent".to_owned(), Some(one.clone()), None);
        assert_eq!(told(&log), std::slice::from_ref(&first));
        assert!(log.close(at(7)));
        assert_eq!(told(&log), [first, (2, 5, "its own sentry is there".to_owned(), Some(two), Some(one))]);
        assert_eq!(*log.counts(), BTreeMap::from([("better", 5), ("new", 1), ("silent", 2)]));
        for round in 0..40 {
            log.note(&[change(Some("n-1"), "n-2", Cause::Gone)], at(10 + round * 10));
            log.close(at(15 + round * 10));
        }
        assert_eq!((told(&log).len(), told(&log)[15].0), (MOST_MOVES, 42));
    }
}

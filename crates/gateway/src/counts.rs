//! What became of requests, counted.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// What became of a request, or of a connection that got no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The node's answer was passed on, or begun to be.
    Passed,
    /// A stream was opened.
    Streamed,
    /// Its caller is none of those the door is for.
    RefusedCaller,
    /// A path that does not pass.
    RefusedPath,
    /// A method that does not go with the path.
    RefusedMethod,
    /// Its head is not plain: two hosts, a target in another form, an upgrade that is none.
    RefusedHead,
    /// Its body is too large.
    TooLarge,
    /// It came too slowly.
    TooSlow,
    /// Its source, or all together, have as many open as they may.
    Busy,
    /// The node could not be reached, or broke off.
    NodeAway,
    /// The node did not answer in time.
    NodeSlow,
}

impl Outcome {
    /// As in reports and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Streamed => "streamed",
            Self::RefusedCaller => "refused_caller",
            Self::RefusedPath => "refused_path",
            Self::RefusedMethod => "refused_method",
            Self::RefusedHead => "refused_head",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::Busy => "busy",
            Self::NodeAway => "node_away",
            Self::NodeSlow => "node_slow",
        }
    }
}

/// Counters of one door.
#[derive(Debug, Default)]
pub struct Counts(Mutex<BTreeMap<Outcome, u64>>);

impl Counts {
    /// One more.
    pub fn add(&self, outcome: Outcome) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(outcome).or_default() += 1;
    }

    /// All that are not zero.
    pub fn read(&self) -> BTreeMap<String, u64> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(outcome, count)| (outcome.as_str().to_owned(), *count)).collect()
    }
}

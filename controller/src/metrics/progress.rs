//! How long changes take until they are in force everywhere: which hosts each still waits for. Knows no clock and no
//! host; it is asked after each report.

use super::Counts;
use picket_model::NodeId;
use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// After so long nobody waits for a host that does not follow: an alarm says that it lags.
const GIVEN_UP: Duration = Duration::from_mins(10);
/// Changes followed at once; the oldest are let go.
const MOST: usize = 256;

/// Steps of a change, as metrics call them.
pub(super) const COMMITTED: &str = "committed";
pub(super) const IN_FORCE: &str = "in_force";

/// What is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The validator list said something new.
    List,
    /// A host joined.
    Join,
    /// A host was revoked or quarantined.
    Revoke,
}

impl Change {
    /// Each of them.
    pub(super) const ALL: [Self; 3] = [Self::List, Self::Join, Self::Revoke];

    /// As metrics call it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Join => "join",
            Self::Revoke => "revoke",
        }
    }
}

/// Changes on their way into force.
#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<VecDeque<Underway>>);

#[derive(Debug)]
struct Underway {
    change: Change,
    began: Instant,
    waits_for: BTreeSet<NodeId>,
}

impl Progress {
    /// Follows a change that began then and is committed now, and that these hosts have to read back.
    pub(crate) fn committed(
        &self,
        counts: &Counts,
        change: Change,
        began: Instant,
        now: Instant,
        hosts: impl Iterator<Item = NodeId>,
    ) {
        counts.took(change, COMMITTED, now.saturating_duration_since(began));
        let waits_for: BTreeSet<NodeId> = hosts.collect();
        if waits_for.is_empty() {
            return;
        }
        let mut underway = self.lock();
        if underway.len() >= MOST {
            underway.pop_front();
        }
        underway.push_back(Underway { change, began, waits_for });
    }

    /// Looks who is there by now, and counts what is in force everywhere.
    pub(crate) fn look(&self, counts: &Counts, now: Instant, is_in_force: impl Fn(&NodeId) -> bool) {
        self.lock().retain_mut(|underway| {
            underway.waits_for.retain(|host| !is_in_force(host));
            let took = now.saturating_duration_since(underway.began);
            if underway.waits_for.is_empty() {
                counts.took(underway.change, IN_FORCE, took);
            } else if took > GIVEN_UP {
                counts.unfinished(underway.change).inc();
            } else {
                return true;
            }
            false
        });
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Underway>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Begun;
    use picket_telemetry::Metrics;

    #[test]
    fn a_change_is_in_force_with_its_last_host_and_waits_for_nobody_for_ever() {
        let mut metrics = Metrics::new("test", "0");
        let counts = Counts::new(&mut metrics, &Begun::default());
        let (progress, start) = (Progress::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let hosts = || ["n-1", "n-2"].into_iter().map(|id| id.parse().unwrap());
        let line = |start: &str| {
            let text = metrics.render().unwrap();
            text.lines().find_map(|line| line.strip_prefix(start).map(|rest| rest.trim().to_owned()))
        };
        let in_force = "picket_change_seconds_sum{change=\"join\",step=\"in_force\"}";
        assert_eq!(line(in_force).unwrap(), "0.0", "what begins with its first event hides that from rate()");
        assert_eq!(line("picket_changes_unfinished_total{change=\"revoke\"}").unwrap(), "0");
        progress.committed(&counts, Change::Join, start, at(1), hosts());
        progress.committed(&counts, Change::Revoke, start, at(1), hosts());
        progress.committed(&counts, Change::List, start, at(2), std::iter::empty());
        assert_eq!(line("picket_change_seconds_sum{change=\"list\",step=\"committed\"}").unwrap(), "2.0");
        progress.look(&counts, at(2), |id| id.as_str() == "n-1");
        assert_eq!(line(in_force).unwrap(), "0.0");
        progress.look(&counts, at(3), |id| id.as_str() == "n-2");
        assert_eq!(line(in_force).unwrap(), "3.0", "who was there once was there");
        progress.committed(&counts, Change::Join, at(3), at(3), hosts());
        progress.look(&counts, at(604), |_| false);
        assert_eq!(line("picket_changes_unfinished_total{change=\"join\"}").unwrap(), "1");
        assert!(progress.lock().is_empty());
    }
}

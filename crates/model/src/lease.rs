//! A lease: how long a host is a member without being heard from. Arithmetic only; who ends what is decided in `picket-plan`.

use crate::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A renewal is written down at most so often in a lease's time: a host that polls each minute is not a write each minute.
const RENEWALS: u32 = 10;
/// How often a pinned host's last word is written down, which only people read.
const PINNED_PACE: Duration = Duration::from_hours(1);

/// How a host's membership stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lease {
    /// When the host was last heard, as it is written down: up to a tenth of the lease ago more than it was.
    pub last_seen: Option<Timestamp>,
    /// How long the host is a member without being heard, in milliseconds; `None` for a pinned host, which has no lease.
    pub length_ms: Option<u64>,
    /// When the lease is over unless the host is heard before.
    pub until: Option<Timestamp>,
}

impl Lease {
    /// A lease that begins now; without a length, none.
    pub fn granted(length: Option<Duration>, now: Timestamp) -> Self {
        let length_ms = length.map(|length| u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
        Self { last_seen: Some(now), length_ms, until: length.map(|length| now.plus(length)) }
    }

    /// How long it is; `None` for a pinned host.
    pub fn length(&self) -> Option<Duration> {
        self.length_ms.map(Duration::from_millis)
    }

    /// Whether a host that is heard now is to have it written down. A clock that went back makes it so too: what was
    /// written by the clock before means nothing any more.
    pub fn is_renewal_due(&self, now: Timestamp) -> bool {
        let pace = self.length().map_or(PINNED_PACE, |length| length / RENEWALS);
        self.last_seen.is_none_or(|seen| now < seen || now.since(seen) >= pace)
    }

    /// Whether the host was not heard for the whole lease.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_renewal_is_written_once_in_a_tenth_of_the_lease() {
        let lease = Lease::granted(Some(Duration::from_secs(600)), at(1000));
        let check = |seconds, due, over| {
            assert_eq!((lease.is_renewal_due(at(seconds)), lease.is_over(at(seconds))), (due, over), "{seconds}");
        };
        check(1000, false, false);
        check(1059, false, false);
        check(1060, true, false);
        check(1599, true, false);
        check(1600, true, true);
        // The clock went back: what was written is from a future that is none.
        check(999, true, false);
    }

    #[test]
    fn a_pinned_host_has_no_end_and_is_noted_once_an_hour() {
        let lease = Lease::granted(None, at(1000));
        assert_eq!((lease.until, lease.is_over(at(i64::MAX / 1000))), (None, false));
        assert!(!lease.is_renewal_due(at(4599)) && lease.is_renewal_due(at(4600)));
        assert!(Lease::default().is_renewal_due(at(0)));
    }
}

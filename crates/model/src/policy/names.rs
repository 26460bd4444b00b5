//! How names of validators are looked up.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How names of validators are looked up and how long answers stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NamePolicy {
    /// Shortest time between two lookups of a name, in seconds, however short its time to live.
    pub shortest_seconds: u64,
    /// Longest time between two lookups of a name, in seconds, however long its time to live.
    pub longest_seconds: u64,
    /// How long an address stands that a name no longer gives, in seconds: names that answer with some of many addresses
    /// at a time must not move the firewall at each lookup.
    pub linger_seconds: u64,
    /// How long the last answers of a name stand that does not resolve any more, in seconds.
    pub grace_seconds: u64,
    /// Most P-Reps whose names may give other addresses within the brakes' window; the others keep those they have.
    pub max_readdressed: usize,
}

impl Default for NamePolicy {
    /// A minute, an hour, an hour, a week, and 5: three to five of mainnet's hundred endpoints are names.
    fn default() -> Self {
        Self {
            shortest_seconds: 60,
            longest_seconds: 3600,
            linger_seconds: 3600,
            grace_seconds: 7 * 24 * 3600,
            max_readdressed: 5,
        }
    }
}

impl NamePolicy {
    /// How long an address stands that a name no longer gives.
    pub const fn linger(&self) -> Duration {
        Duration::from_secs(self.linger_seconds)
    }

    /// How long the last answers of a name stand that does not resolve any more.
    pub const fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_seconds)
    }

    /// When a name is to be looked up again, by the time to live of its answer.
    pub fn pause(&self, time_to_live: Duration) -> Duration {
        let longest = Duration::from_secs(self.longest_seconds.max(self.shortest_seconds));
        time_to_live.clamp(Duration::from_secs(self.shortest_seconds), longest)
    }
}

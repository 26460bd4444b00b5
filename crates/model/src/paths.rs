//! Sentries on their way out, and what a hidden validator's host tells of its ways. Values only; who carries what is decided on
//! that host.

use crate::{NodeId, Timestamp};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Sentries that hosts are to leave.
pub type Drains = BTreeMap<NodeId, Drain>;

/// That a sentry is to be left: it gets nothing new, and what runs through it may end by itself until a deadline. It lasts until
/// somebody takes it back, beyond the deadline too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drain {
    /// Who wants it.
    pub by: String,
    /// Since when.
    pub at: Timestamp,
    /// When what still runs through it is cut.
    pub until: Timestamp,
}

impl Drain {
    /// Whether what still ran through it is cut.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until <= now
    }
}

/// Ways of one host that are told of: more are counted.
pub const MOST_CARRIED: usize = 512;
/// Moves that are told of again with each report.
pub const MOST_MOVES: usize = 16;

/// The ways of a hidden validator's host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PathsReport {
    /// Its sentries.
    pub sentries: BTreeMap<NodeId, SentryWay>,
    /// Which sentry carries what: destinations that came to it at one time and for one cause together. At most 512 destinations.
    pub carried: Vec<Carried>,
    /// Destinations beyond those.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u32,
    /// The last moves, oldest first; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<Moved>,
    /// Destinations that moved since the agent's start, by cause.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub moved: BTreeMap<String, u64>,
}

impl PathsReport {
    /// How many destinations a sentry carries, of those that are told of.
    pub fn share(&self, sentry: &NodeId) -> usize {
        self.carried.iter().filter(|carried| &carried.sentry == sentry).map(|carried| carried.destinations.len()).sum()
    }
}

/// The way through one sentry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SentryWay {
    /// How it stands: `good`, `lossy`, `silent`, `returning`, `unheard`. Shown, never interpreted.
    pub way: String,
    /// Since when.
    pub since: Timestamp,
    /// Whether it is to be left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
    /// Why it gets nothing new though its way is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burden: Option<String>,
    /// Round trip of probes inside the tunnel, in microseconds, smoothed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_us: Option<u32>,
    /// Of the last probes, how many in a thousand had no answer.
    #[serde(default)]
    pub lost_permille: u16,
    /// What the sentry says of itself; `None` where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// Connections that came in through it; counted while it is to be left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inward: Option<u32>,
}

/// How a sentry fares, in its own words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Condition {
    /// Load of the last minute for each of its processors, in thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_permille: Option<u16>,
    /// How full its connection tracking is, in thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking_permille: Option<u16>,
    /// Height of the chain by the node that runs on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
}

/// Destinations that came to one sentry at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Carried {
    /// The sentry.
    pub sentry: NodeId,
    /// Since when.
    pub since: Timestamp,
    /// Why they came to it. Shown, never interpreted.
    pub cause: String,
    /// Validators' addresses; 0.0.0.0/0 and ::/0 stand for all that is on no list.
    #[schemars(with = "Vec<String>")]
    pub destinations: Vec<IpNet>,
}

/// Destinations that changed their sentry together, for one cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Moved {
    /// Counts from the agent's start.
    pub number: u64,
    /// That start: numbers of another are others.
    pub run: Timestamp,
    /// When the last of them moved.
    pub at: Timestamp,
    /// Why. Shown, never interpreted.
    pub cause: String,
    /// Which sentry had them; `None` where several did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<NodeId>,
    /// Which has them; `None` where several do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<NodeId>,
    /// How many.
    pub count: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

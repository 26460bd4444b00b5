//! What one merge has to remember for the next ones. A value: the controller keeps it beside the set.

use picket_model::{NodeAddress, NodeId, P2pEndpoint, PrepId, SourceId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What earlier merges saw and did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MergeMemory {
    /// The highest answer of each source, and when it came.
    pub heights: BTreeMap<SourceId, (u64, Timestamp)>,
    /// Changes of the set that the brakes still count, oldest first.
    pub changes: Vec<Change>,
    /// What the operator's own nodes last saw each node advertise.
    pub advertised: BTreeMap<NodeAddress, Sighting>,
}

/// One change of the validator set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// Of whom.
    pub prep: PrepId,
    /// What.
    pub kind: ChangeKind,
}

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It left the list.
    Removed,
    /// Its endpoint, or what it advertises, changed.
    Moved,
    /// It is new.
    Added,
}

/// What a node was seen to advertise, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// When it was last seen.
    pub at: Timestamp,
    /// Its advertised endpoints, each with the hosts whose nodes see it.
    pub endpoints: BTreeMap<P2pEndpoint, BTreeSet<NodeId>>,
}

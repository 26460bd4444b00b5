//! What one merge has to remember for the next ones. A value: the controller keeps it beside the set.

use picket_model::{DnsName, NodeAddress, NodeId, P2pEndpoint, PrepId, SourceId, Timestamp};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

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
    /// What the names in use gave.
    pub names: BTreeMap<DnsName, NameRecord>,
}

/// What one name gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    /// Its addresses, each with the time of the last answer that had it.
    pub addresses: BTreeMap<IpAddr, Timestamp>,
    /// Addresses of the last answer that were left out.
    pub surplus: usize,
    /// When it last resolved.
    pub answered_at: Option<Timestamp>,
    /// Since when it does not resolve, and why.
    pub failing: Option<(Timestamp, String)>,
    /// When it is to be looked up again.
    pub due_at: Timestamp,
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
    /// Its name gives other addresses.
    Readdressed,
}

/// What a node was seen to advertise, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// When it was last seen.
    pub at: Timestamp,
    /// Its advertised endpoints, each with the hosts whose nodes see it.
    pub endpoints: BTreeMap<P2pEndpoint, BTreeSet<NodeId>>,
}

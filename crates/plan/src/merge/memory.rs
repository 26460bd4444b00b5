//! What one merge has to remember for the next ones. A value: the controller keeps it beside the set.

use picket_model::{DnsName, NodeAddress, NodeId, P2pEndpoint, Policy, PrepId, SourceId, Timestamp};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
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

impl MergeMemory {
    /// Takes times that are not yet for now: a clock that was ahead must not put off what is due, or keep what is over.
    pub(super) fn forget_the_future(&mut self, now: Timestamp, policy: &Policy) {
        let past = |at: &mut Timestamp| *at = (*at).min(now);
        self.heights.values_mut().for_each(|(_, at)| past(at));
        self.changes.iter_mut().for_each(|change| past(&mut change.at));
        self.advertised.values_mut().for_each(|sighting| past(&mut sighting.at));
        let longest = now.plus(policy.names.pause(Duration::MAX));
        for record in self.names.values_mut() {
            record.addresses.values_mut().flatten().for_each(past);
            record.failing.iter_mut().for_each(|(since, _)| past(since));
            record.due_at = record.due_at.min(longest);
        }
    }
}

/// What one name gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    /// Its addresses that may be used; those that its answers lack by now with since when.
    pub addresses: BTreeMap<IpAddr, Option<Timestamp>>,
    /// Addresses of the last answer that may not be used.
    #[serde(default)]
    pub unusable: BTreeSet<IpAddr>,
    /// Addresses of the last answer that were left out.
    pub surplus: usize,
    /// When it first resolved.
    #[serde(default)]
    pub first_answered_at: Option<Timestamp>,
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

impl Change {
    /// How long it counts. Who gave other addresses by its name is remembered twice as long, so that those that wait for
    /// the same come before it.
    pub(super) fn counts_for(&self, policy: &Policy) -> Duration {
        policy.brakes.window() * if self.kind == ChangeKind::Readdressed { 2 } else { 1 }
    }
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

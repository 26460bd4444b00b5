//! What one source said at one moment, every refused entry with its reason.

use crate::{Grade, NodeAddress, P2pEndpoint, PrepId, SourceId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One P-Rep as a source names it, parsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedValidator {
    /// Owner address.
    pub prep: PrepId,
    /// The name it registered, for people: any text, shortened, and shown escaped.
    #[serde(default)]
    pub name: String,
    /// P2P identity; the owner address where the registration names no other.
    pub node_address: NodeAddress,
    /// Grade.
    pub grade: Grade,
    /// Registered endpoint, well formed; whether its address is public is for the merge to judge by policy.
    pub endpoint: P2pEndpoint,
    /// Penalty code (goloop `icstate/prepstatus.go`): 0 none.
    pub penalty: u8,
    /// Jail flags (IISS 4); `None` where the source does not give them.
    pub jail_flags: Option<u64>,
    /// Voting power in loop.
    pub power: Option<u128>,
}

/// An entry that was not taken, and why. Both texts are from outside, shortened, and shown escaped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Refused {
    /// Which entry: its P-Rep address where that could be read, else its place in the list.
    pub entry: String,
    /// Why it was refused.
    pub reason: String,
}

/// One answer of one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Who said it.
    pub source: SourceId,
    /// Chain height the answer speaks of.
    pub height: u64,
    /// When it arrived.
    pub seen_at: Timestamp,
    /// The source's clock: time of its chain's last block; `None` for a source without a chain.
    #[serde(default)]
    pub block_time: Option<Timestamp>,
    /// Entries taken, by P-Rep.
    pub entries: BTreeMap<PrepId, ObservedValidator>,
    /// Entries refused, in the order of the answer.
    pub refused: Vec<Refused>,
    /// Active P-Reps among the refused, with their grade where it could be read: they are on the list, so what was known
    /// of them before may stay.
    #[serde(default)]
    pub doubted: BTreeMap<PrepId, Option<Grade>>,
}

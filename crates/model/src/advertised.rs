//! What the operators' own validator nodes say about the others. goloop dials advertised addresses, not those that stand
//! on chain (goloop `network/p2p.go`), and knows its peers by a signature with their node key.

use crate::{NodeAddress, NodeId, P2pEndpoint, Refused, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What one validator node of our own says about the others: addresses its peers advertise, authenticated by node address.
/// Whose node address counts is for the merge to judge, by the chain's list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Advertised {
    /// The host whose node says so.
    pub node: NodeId,
    /// The chain's name in that node, such as `icon_dex`.
    pub channel: String,
    /// Height of that node's chain.
    pub height: u64,
    /// When it was asked, by that host's clock.
    pub seen_at: Timestamp,
    /// Advertised addresses by node address, well formed; whether they are public is for the merge to judge by policy.
    pub endpoints: BTreeMap<NodeAddress, BTreeSet<P2pEndpoint>>,
    /// Entries refused, each with its reason.
    pub refused: Vec<Refused>,
}

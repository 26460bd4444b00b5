//! Who knocks at the mesh and is refused, on the wire. `GET /v1/attack` and `GET /v1/attack/blocklist`.

use picket_model::{AttackSource, BlocklistBy, Defences, NodeId, NodeName, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Fewest samples of a source in a blocklist where nobody says another number: two a minute, which is no typing error.
pub const LEAST_SAMPLES: u64 = 20;

/// What is refused where, and whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttackView {
    /// The controller's clock.
    pub now: Timestamp,
    /// Members that have an agent, in order of name.
    pub hosts: Vec<AttackHost>,
    /// Addresses that most samples of refused packets came from, on all hosts together. Forged ones look like others.
    pub addresses: Vec<AttackSource>,
    /// The same by network: /24 of IPv4, /48 of IPv6.
    pub networks: Vec<AttackSource>,
}

/// What one host refuses, by its last report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttackHost {
    /// The host.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// How it defends itself; `None` where it does not say.
    pub defences: Option<Defences>,
    /// When that report came.
    pub reported_at: Option<Timestamp>,
    /// Samples of refused packets that it has, and for how many seconds it keeps them; `None` where it has none.
    pub samples: Option<(u64, u64)>,
    /// What stops packets there, and how many a second.
    pub acting: BTreeMap<String, u64>,
}

/// Query of `GET /v1/attack/blocklist`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlocklistQuery {
    /// What has a line: `address` where absent.
    #[serde(default)]
    pub by: Option<BlocklistBy>,
    /// Fewest samples of a source in ten minutes; 20 where absent.
    #[serde(default)]
    pub least: Option<u64>,
}

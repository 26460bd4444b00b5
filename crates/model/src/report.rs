//! What a host says is in force, read back from its kernel and its tunnels, never from memory.

use crate::{
    Advertised, Defences, Digest, FirewallRepairs, Generation, NodeName, PathsReport, RefusedSources, Timestamp,
    WireGuardPublicKey,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU16,
};

/// How one reconciler stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", tag = "status")]
pub enum ReconcilerStatus {
    /// What is wanted was read back.
    InForce,
    /// It is not; the old good state stays where it could be kept.
    Failed {
        /// What was attempted, on what, and what went wrong.
        error: String,
    },
}

impl ReconcilerStatus {
    /// Whether what is wanted was read back.
    pub fn is_in_force(&self) -> bool {
        *self == Self::InForce
    }
}

impl fmt::Display for ReconcilerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InForce => f.write_str("in force"),
            Self::Failed { error } => write!(f, "failed: {}", error.escape_debug()),
        }
    }
}

/// Counts read back from the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelView {
    /// Peers on the WireGuard device.
    pub peers: usize,
    /// Elements in all allow sets.
    pub elements: usize,
    /// Packets by what the firewall decided about them, since its table was last replaced: `allowed_p2p`, `refused_rpc`,
    /// `limited_new_public` and so on. Agents of before do not say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub packets: BTreeMap<String, u64>,
}

/// One tunnel as the WireGuard device sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerHealth {
    /// Last completed handshake.
    pub last_handshake: Option<Timestamp>,
    /// Where the peer was last heard from.
    pub endpoint: Option<SocketAddr>,
    /// Bytes received from it.
    pub received_bytes: u64,
    /// Bytes sent to it.
    pub sent_bytes: u64,
}

/// How the chain of the goloop beside an agent stands. All texts are goloop's, shortened, and shown escaped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChainHealth {
    /// goloop's word: `started`, or what it is or does instead; `unknown` where it did not say.
    pub state: String,
    /// Height; zero in some states though the chain is fine, `None` where it did not say.
    pub height: Option<u64>,
    /// Its last error, or why it could not be asked.
    pub error: Option<String>,
}

impl ChainHealth {
    /// Of a goloop that gave no answer that can be used.
    pub fn unknown(why: String) -> Self {
        Self { state: "unknown".to_owned(), height: None, error: Some(why) }
    }

    /// Whether the chain is at work and has no error to tell of.
    pub fn is_good(&self) -> bool {
        self.state == "started" && self.error.is_none()
    }
}

impl fmt::Display for ChainHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.state.escape_debug())?;
        if let Some(height) = self.height {
            write!(f, " at height {height}")?;
        }
        match &self.error {
            Some(error) => write!(f, ": {}", error.escape_debug()),
            None => Ok(()),
        }
    }
}

/// A change that a host took back, because it could not be reached after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TakenBack {
    /// The revision that is not in force; only a newer one will be.
    pub revision: Generation,
    /// When.
    pub at: Timestamp,
    /// What could not be reached, and for how long.
    pub reason: String,
}

/// A host's report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeReport {
    /// Revision whose content was last read back complete; zero before the first.
    pub applied: Generation,
    /// Digest of the content the host holds.
    pub digest: Option<Digest>,
    /// A wanted state the host refused, and why (its guard, or an older generation).
    pub refused: Option<String>,
    /// The tunnels.
    pub wireguard: ReconcilerStatus,
    /// The firewall.
    pub firewall: ReconcilerStatus,
    /// Counts read back.
    pub kernel: KernelView,
    /// Tunnels by peer key.
    pub peers: BTreeMap<WireGuardPublicKey, PeerHealth>,
    /// Which WireGuard carries the tunnels: `kernel` or `userspace`.
    pub engine: String,
    /// Version of the agent.
    pub agent_version: String,
    /// The chain of the goloop beside it; `None` where the agent was told of none.
    #[serde(default)]
    pub chain: Option<ChainHealth>,
    /// What that goloop's peers advertise; `None` where it did not say, which is no empty list. The controller keeps the
    /// last one beside later reports that have none: `seen_at` tells its age.
    #[serde(default)]
    pub advertised: Option<Advertised>,
    /// Peers that are wanted and that this host does not let in, because its own guard wants a proof of identity that it has not
    /// seen, and why. All else is in force.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unproven: BTreeMap<NodeName, String>,
    /// What others did to the firewall and was put right; `None` where they left it alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall_repairs: Option<FirewallRepairs>,
    /// Name of the state from which the host's firewall follows, as `docs/security.md` lists them; `None` from older agents.
    /// Shown, never interpreted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The change that the host took back, until something newer is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back: Option<TakenBack>,
    /// How the host fares under attack; `None` from older agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defences: Option<Defences>,
    /// The ways of a hidden validator's host; `None` from all others, and from older agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Box<PathsReport>>,
    /// Addresses inside the mesh of sentries through which nothing comes back, as a hidden validator's host finds; none where all
    /// are, which may be its own line.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub silent: BTreeSet<Ipv4Addr>,
    /// What it serves of nodes' JSON-RPC, by port; nothing from older agents.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub syncs: BTreeMap<NonZeroU16, SyncServed>,
    /// Peers whose tunnels carry less than is wanted, and the largest packet inside each, in bytes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub narrow: BTreeMap<NodeName, u16>,
    /// Where packets came from that its firewall refused lately; `None` where it saw none, and from older agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_sources: Option<Box<RefusedSources>>,
}

/// How a port stands at which a node's JSON-RPC is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncServed {
    /// Whether it is.
    pub status: ReconcilerStatus,
    /// Requests by what became of them, since the port was opened: `passed`, `refused_path`, `busy` and so on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, u64>,
}

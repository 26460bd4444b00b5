//! What a host says is in force, read back from its kernel and its tunnels, never from memory.

use crate::{Digest, Generation, Timestamp, WireGuardPublicKey};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, net::SocketAddr};

/// How one reconciler stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelView {
    /// Peers on the WireGuard device.
    pub peers: usize,
    /// Elements in all allow sets.
    pub elements: usize,
}

/// One tunnel as the WireGuard device sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// A host's report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

//! Enrolled hosts and the overlay addresses they hold.

use crate::{IdentityKey, NodeId, NodeName, PoolName, Timestamp, WireGuardPublicKey};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// What a host is in the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeRole {
    /// Stands ahead of the line: public, autoscaled, forwards for hidden validators.
    Sentry,
    /// Runs a validator.
    Prep,
}

impl NodeRole {
    /// The role of the hosts at the other ends of this one's tunnels.
    pub const fn other(self) -> Self {
        match self {
            Self::Sentry => Self::Prep,
            Self::Prep => Self::Sentry,
        }
    }
}

impl fmt::Display for NodeRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sentry => "sentry",
            Self::Prep => "prep",
        })
    }
}

impl FromStr for NodeRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "sentry" => Ok(Self::Sentry),
            "prep" => Ok(Self::Prep),
            _ => Err(format!("{text:?} is not a role: sentry or prep")),
        }
    }
}

/// Whether a host belongs to the mesh. Revoked is a state: the row stays, its key and addresses are not given out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum NodeState {
    /// A member.
    Active,
    /// A member without tunnels and grants, which still hears from the controller and reports.
    Quarantined {
        /// Since when.
        since: Timestamp,
    },
    /// Cut from the mesh for good.
    Revoked {
        /// When.
        at: Timestamp,
    },
}

/// A host's own addresses inside the mesh, the same on all its tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct OverlayAddresses {
    /// IPv4: goloop speaks no other.
    pub v4: Ipv4Addr,
    /// IPv6.
    pub v6: Ipv6Addr,
}

impl OverlayAddresses {
    /// Both addresses as networks of one host: /32 and /128.
    pub fn networks(&self) -> [IpNet; 2] {
        [IpAddr::from(self.v4).into(), IpAddr::from(self.v6).into()]
    }
}

/// The ranges overlay addresses come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverlayPrefixes {
    /// IPv4 range.
    pub v4: Ipv4Net,
    /// IPv6 range, a /48 of fd00::/8 (RFC 4193).
    pub v6: Ipv6Net,
}

/// An enrolled host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// What the operator calls it.
    pub name: NodeName,
    /// Its part in the mesh.
    pub role: NodeRole,
    /// The key of its tunnels; made on the host.
    pub wireguard_key: WireGuardPublicKey,
    /// The key from which the secrets of its tunnels are derived; made on the host, `None` for those from before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_key: Option<IdentityKey>,
    /// SHA-256 of the public key (SubjectPublicKeyInfo) in its certificate, lower-case hexadecimal.
    pub tls_key_sha256: String,
    /// Its addresses inside the mesh.
    pub overlay: OverlayAddresses,
    /// Where its tunnels are reached from outside; `None` for a host that only dials.
    pub endpoint: Option<SocketAddr>,
    /// Machine id it enrolled from, to notice cloned images.
    pub machine_id: Option<String>,
    /// Whether its key was issued to a machine that runs no agent: it never reports, and nobody waits for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub issued: bool,
    /// Which hosts it was brought up with, as the token or the rule it joined by says; no host names its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// When it enrolled.
    pub enrolled_at: Timestamp,
    /// Member, quarantined or revoked.
    pub state: NodeState,
}

impl Node {
    /// Whether it is a member of the mesh, quarantined or not.
    pub fn is_active(&self) -> bool {
        !matches!(self.state, NodeState::Revoked { .. })
    }

    /// Whether it is a member that reads back what is wanted of it and says so.
    pub fn reports(&self) -> bool {
        self.is_active() && !self.issued
    }

    /// Whether other hosts may have tunnels and grants for it.
    pub fn is_meshed(&self) -> bool {
        self.state == NodeState::Active
    }
}

//! The private way to a node's JSON-RPC: which port of a sentry leads to whose node, for whom, and what of it. Values only; what
//! serves it is the business of the gateway, and who gets as far as the port that of the firewall.

use crate::{AllowSet, NamePattern, NodeId, NodeName, OverlayAddresses, Reason};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, net::IpAddr, num::NonZeroU16};

/// A line of the policy: at this port of sentries a node's JSON-RPC is served to the mesh and to chosen networks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncLine {
    /// Name of the validator's host whose node is asked; where absent, the node that runs on the sentry itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prep: Option<NodeName>,
    /// The port at the sentries. Several nodes behind one sentry have ports of their own.
    #[serde(default = "official_port")]
    pub port: NonZeroU16,
    /// The port the node listens on; the same where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_port: Option<NonZeroU16>,
    /// Which sentries serve it; every one where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sentries: Vec<NamePattern>,
    /// The operator's own nodes outside the mesh. Without any it is served inside the mesh alone.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub citizens: BTreeSet<IpNet>,
    /// Addresses of the sentries at which citizens are served; every address where there are none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub addresses: BTreeSet<IpAddr>,
    /// Which streams over WebSocket pass; none by default.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub websocket: BTreeSet<SyncStream>,
    /// Whether `/api/v3d`, goloop's debugging calls, passes as well.
    #[serde(default)]
    pub debug: bool,
}

/// What goloop streams over WebSocket below `/api/v3/<channel>/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SyncStream {
    /// Blocks.
    Block,
    /// Events of contracts.
    Event,
}

/// JSON-RPC in the official node image (iconloop icon2-docker).
const fn official_port() -> NonZeroU16 {
    NonZeroU16::MIN.saturating_add(9000 - 1)
}

impl SyncLine {
    /// Whether a sentry of that name serves it.
    pub fn is_at(&self, sentry: &NodeName) -> bool {
        self.sentries.is_empty() || self.sentries.iter().any(|pattern| pattern.matches(sentry))
    }

    /// The node's port.
    pub fn to_port(&self) -> NonZeroU16 {
        self.to_port.unwrap_or(self.port)
    }

    /// As people call it: by the host, or by what it is.
    pub fn name(&self) -> &str {
        self.prep.as_ref().map_or("the sentry's own node", NodeName::as_str)
    }
}

/// What one port of a sentry serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct SyncPath {
    /// TCP port of the sentry.
    pub port: NonZeroU16,
    /// Whose node is asked.
    pub to: SyncTarget,
    /// That node's port.
    pub to_port: NonZeroU16,
    /// Networks outside the mesh that are served.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(with = "BTreeSet<String>")]
    pub citizens: BTreeSet<IpNet>,
    /// Addresses of the sentry at which they are; every one where there are none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub addresses: BTreeSet<IpAddr>,
    /// Which streams pass.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub websocket: BTreeSet<SyncStream>,
    /// Whether debugging calls pass.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub debug: bool,
}

/// Whose node a sentry asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", tag = "whose")]
pub enum SyncTarget {
    /// A validator's, inside its tunnel.
    Prep {
        /// The validator's host.
        node: NodeId,
        /// Its name.
        name: NodeName,
        /// Its addresses inside the mesh.
        overlay: OverlayAddresses,
    },
    /// The one on the sentry itself, over loopback.
    Own,
}

impl fmt::Display for SyncTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prep { name, .. } => write!(f, "{name}"),
            Self::Own => f.write_str("own node"),
        }
    }
}

/// Whom these paths let in from outside, each with the reason why.
pub fn citizens(paths: &BTreeSet<SyncPath>) -> AllowSet {
    let mut set = AllowSet::default();
    for path in paths {
        for network in &path.citizens {
            set.insert(*network, Reason::Policy { line: format!("sync of {}", path.to) });
        }
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> SyncLine {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_line_needs_no_more_than_a_name_and_opens_nothing_but_calls_inside_the_mesh() {
        let line = line(r#"{"prep": "prep-1"}"#);
        assert_eq!((line.port.get(), line.to_port().get()), (9000, 9000));
        assert!(line.citizens.is_empty() && line.websocket.is_empty() && !line.debug);
        assert!(line.is_at(&"any".parse().unwrap()));
        assert!(serde_json::from_str::<SyncLine>(r#"{"prep": "prep-1", "admin": true}"#).is_err());
        assert!(serde_json::from_str::<SyncLine>(r#"{"prep": "prep-1", "websocket": ["stats"]}"#).is_err());
    }

    #[test]
    fn a_line_without_a_validator_is_about_the_sentrys_own_node() {
        let line = line(r#"{"to_port": 9080, "sentries": ["eu-*"]}"#);
        assert_eq!((line.to_port().get(), line.name()), (9080, "the sentry's own node"));
        assert!(line.is_at(&"eu-1".parse().unwrap()) && !line.is_at(&"us-1".parse().unwrap()));
    }
}

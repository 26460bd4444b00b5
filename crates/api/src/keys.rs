//! `POST /v1/keys`: a key for a machine that runs no agent. The private half is made by whoever asks; the wire has no field
//! for one.

use picket_model::{Node, NodeName, NodeRole, WireGuardConfig, WireGuardPublicKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// A machine without an agent is to become a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IssueKey {
    /// What it is called.
    pub name: NodeName,
    /// Its part in the mesh.
    pub role: NodeRole,
    /// The public half of its key.
    pub wireguard_key: WireGuardPublicKey,
    /// Where it is dialled; a sentry has one.
    pub endpoint: Option<SocketAddr>,
    /// Whether it takes the place of a machine without an agent that has this name, which is revoked: its private key is lost,
    /// or the answer to an earlier request was.
    #[serde(default)]
    pub replace: bool,
}

/// The machine is a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyIssued {
    /// The member.
    pub node: Node,
    /// Its tunnels, but for its private key. As of now: it has no agent that would hear of changes.
    pub wireguard: WireGuardConfig,
}

//! Hidden validators' ways on the wire, and sentries that are to be left. `GET /v1/paths`, `POST /v1/nodes/{node}/drain` and
//! `…/undrain`.

use ipnet::IpNet;
use picket_model::{
    Drain, NodeId, NodeName, PrepId, Timestamp,
    paths::{Moved, SentryWay},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Query of `GET /v1/paths`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PathsQuery {
    /// Name or id of a hidden validator's host; all where absent.
    #[serde(default)]
    pub node: Option<String>,
}

/// Body of `POST /v1/nodes/{node}/drain`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainNode {
    /// After so many seconds what still runs through it is cut; 600 where absent.
    #[serde(default)]
    #[schemars(range(min = 0, max = 86_400))]
    pub seconds: Option<u64>,
    /// Though it leaves a hidden validator without any sentry.
    #[serde(default)]
    pub force: bool,
}

/// Every hidden validator's ways, and the sentries that are to be left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PathsView {
    /// The controller's clock.
    pub now: Timestamp,
    /// Hosts of hidden validators, in order of name.
    pub hosts: Vec<HostPaths>,
    /// Sentries that are to be left, in order of name.
    pub drains: Vec<DrainView>,
}

/// The ways of one hidden validator's host, by its last report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostPaths {
    /// The host.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Whether it calls through sentries or not at all.
    pub strict: bool,
    /// Whether it reads back exactly what is wanted of it.
    pub in_force: bool,
    /// When its last report came.
    pub reported_at: Option<Timestamp>,
    /// Its sentries, in order of name.
    pub sentries: Vec<SentryPath>,
    /// What leaves through which; in order of destination.
    pub destinations: Vec<DestinationPath>,
    /// Destinations of which it does not tell.
    pub more: u32,
    /// Its last moves, oldest first.
    pub moves: Vec<Moved>,
}

/// The way of one host through one sentry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SentryPath {
    /// The sentry.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Its share among all.
    pub share: u8,
    /// Destinations that it carries.
    pub carries: usize,
    /// How the way stands; `None` where the host does not say.
    pub way: Option<SentryWay>,
    /// Last handshake of the tunnel.
    pub last_handshake: Option<Timestamp>,
    /// Bytes sent into it.
    pub sent_bytes: u64,
    /// Bytes received from it.
    pub received_bytes: u64,
}

/// Which sentry carries one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DestinationPath {
    /// A validator's address; 0.0.0.0/0 and ::/0 stand for all that is on no list.
    #[schemars(with = "String")]
    pub destination: IpNet,
    /// Whose it is: owner address and name, as the chain has them.
    pub validators: Vec<(PrepId, String)>,
    /// The sentry.
    pub sentry: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Since when.
    pub since: Timestamp,
    /// Why it came to it, in the host's words.
    pub cause: String,
}

/// How far a sentry is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrainView {
    /// The sentry.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// What is wanted.
    pub drain: Drain,
    /// Whether what still ran through it was cut.
    pub is_over: bool,
    /// Hosts of hidden validators that it forwards for.
    pub hosts: Vec<DrainedHost>,
    /// Why the plan that would bring it to the hosts is not in force, if so.
    #[serde(default)]
    pub refused: Vec<String>,
}

impl DrainView {
    /// Whether every host knows of it and sends nothing through it any more.
    pub fn is_left(&self) -> bool {
        self.refused.is_empty() && self.hosts.iter().all(|host| host.in_force && host.left == Some(0))
    }

    /// Whether nothing that came in through it is alive either, or was cut.
    pub fn is_empty(&self) -> bool {
        self.is_left() && (self.is_over || self.hosts.iter().all(|host| host.inward == Some(0)))
    }
}

/// How far one host has left a sentry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrainedHost {
    /// The host.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Whether it reads back exactly what is wanted of it.
    pub in_force: bool,
    /// Destinations that it still reaches through the sentry; `None` where it does not say.
    pub left: Option<usize>,
    /// Connections that came in through the sentry; `None` where it does not say.
    pub inward: Option<u32>,
}

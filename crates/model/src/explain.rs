//! The answer to "would this address reach which port on which host, and why".

use crate::{Generation, GuardedPort, NodeId, NodeName, NodeRole, PolicyDeny, Purpose, Reason, Refused};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What the wanted state says about one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The address asked about, canonical.
    pub address: IpAddr,
    /// Verdicts by host, in order of name.
    pub hosts: Vec<HostVerdict>,
    /// Entries of the validator list that name this address or could have, and were refused.
    pub refused: Vec<Refused>,
    /// Lines of the operator's deny list that keep validators at this address out.
    #[serde(default)]
    pub denied: Vec<PolicyDeny>,
    /// The wanted state this is about.
    #[serde(default)]
    pub generation: Generation,
}

/// What one host does with packets from the address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostVerdict {
    /// The host.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Its part.
    pub role: NodeRole,
    /// Whether it is a machine that runs no agent: nothing is guarded there, whatever its role is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub issued: bool,
    /// Verdict for each guarded port asked about.
    pub ports: Vec<PortVerdict>,
}

/// What happens to packets from the address to one guarded port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortVerdict {
    /// The port.
    pub port: GuardedPort,
    /// What the port is for.
    pub purpose: Purpose,
    /// Every grant that lets the address in; none means it is dropped.
    pub grants: Vec<Grant>,
    /// Whether everybody is let in, within the limits for strangers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
}

impl PortVerdict {
    /// Whether packets from the address are let in.
    pub fn is_allowed(&self) -> bool {
        self.public || !self.grants.is_empty()
    }
}

/// One entry of an allow set that covers the address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Grant {
    /// The purpose whose allow set it is. `Overlay` counts inside the tunnel only.
    pub purpose: Purpose,
    /// The entry.
    #[schemars(with = "String")]
    pub network: IpNet,
    /// Why it is there.
    pub reason: Reason,
}

//! What a host's firewall has to achieve: guarded ports and who may reach them, by purpose. No nft word in here.

use crate::{
    Forward, Hidden, Limits, NodeId, NodeName, P2pEndpoint, PrepId, Shield, SourceId, SyncPath,
    network::canonical_network,
};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    num::{NonZeroU16, NonZeroU32},
    sync::{Arc, LazyLock},
};

/// Why traffic is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Validator to validator, on the P2P ports.
    P2p,
    /// JSON-RPC sync, on the RPC ports.
    Rpc,
    /// The operator: every guarded port.
    Admin,
    /// Members of the mesh, inside the tunnel: every guarded port.
    Overlay,
}

impl Purpose {
    /// All purposes, in order.
    pub const ALL: [Self; 4] = [Self::P2p, Self::Rpc, Self::Admin, Self::Overlay];
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P2p => "p2p",
            Self::Rpc => "rpc",
            Self::Admin => "admin",
            Self::Overlay => "overlay",
        })
    }
}

/// Transport protocol of a guarded port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port that is closed to everybody who is not allowed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct GuardedPort {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port number.
    pub port: NonZeroU16,
}

impl fmt::Display for GuardedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.protocol, self.port)
    }
}

/// Why an address is in an allow set. Holds only facts that stay while the entry stays, so that an unchanged list
/// makes no new generation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", tag = "because")]
pub enum Reason {
    /// It is a validator's.
    Prep {
        /// Owner address.
        prep: PrepId,
        /// Its registered endpoint, from which the address comes unless its node advertises it.
        endpoint: P2pEndpoint,
        /// Sources that name it.
        sources: BTreeSet<SourceId>,
        /// Height at which the endpoint was first seen.
        since_height: u64,
        /// Hosts of ours whose nodes see it advertise the address. Not written where there are none: agents of before
        /// know nothing of it.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        advertised_by: BTreeSet<NodeId>,
    },
    /// It is an enrolled host's overlay address.
    Node {
        /// The host.
        node: NodeId,
        /// Its name.
        name: NodeName,
    },
    /// The operator's policy names it.
    Policy {
        /// Which line: `admin` or the comment of an `allow` entry.
        line: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prep { prep, endpoint, sources, since_height, advertised_by } => {
                let sources: Vec<&str> = sources.iter().map(SourceId::as_str).collect();
                write!(f, "P-Rep {prep} at {endpoint}, named by {} since height {since_height}", sources.join(", "))?;
                if advertised_by.is_empty() {
                    return Ok(());
                }
                let hosts: Vec<&str> = advertised_by.iter().map(NodeId::as_str).collect();
                write!(f, "; advertises this address to {}", hosts.join(", "))
            }
            Self::Node { name, node } => write!(f, "mesh host {name} ({node})"),
            Self::Policy { line } => write!(f, "policy: {}", line.escape_debug()),
        }
    }
}

/// Networks let in, each with all reasons why. Networks may overlap; lowering to a firewall normalises them.
///
/// A clone shares the entries until one of the two changes: a thousand hosts have one and the same validator set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct AllowSet(
    #[serde(with = "shared")]
    #[schemars(with = "BTreeMap<String, BTreeSet<Reason>>")]
    pub Arc<BTreeMap<IpNet, BTreeSet<Reason>>>,
);

impl AllowSet {
    /// Lets a network in for one more reason. Kept in canonical form, in which packets' addresses are compared.
    pub fn insert(&mut self, network: IpNet, reason: Reason) {
        Arc::make_mut(&mut self.0).entry(canonical_network(network)).or_default().insert(reason);
    }

    /// Keeps only the networks that `keep` wants.
    pub fn retain(&mut self, mut keep: impl FnMut(&IpNet) -> bool) {
        Arc::make_mut(&mut self.0).retain(|network, _| keep(network));
    }

    /// Every entry that covers an address.
    pub fn covering(&self, address: IpAddr) -> impl Iterator<Item = (&IpNet, &BTreeSet<Reason>)> {
        let address = crate::network::canonical(address);
        self.0.iter().filter(move |(network, _)| network.contains(&address))
    }
}

/// What one host's firewall has to achieve. A guarded port is closed to all but: the allow set of its own purpose,
/// the admin set, and (inside the tunnel only) the overlay set. Everything not guarded is left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FirewallPolicy {
    /// Guarded ports with their purpose: `P2p` or `Rpc`.
    #[serde(with = "guarded_as_list")]
    #[schemars(with = "Vec<guarded_as_list::Entry>")]
    pub guarded: BTreeMap<GuardedPort, Purpose>,
    /// Who is let in, by purpose.
    pub allow: BTreeMap<Purpose, AllowSet>,
    /// Guarded TCP ports that are open to everybody else as well, within the limits for strangers. An agent from before
    /// refuses a wanted state that has any, or limits, or a shield, and keeps what it holds.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub public: BTreeSet<NonZeroU16>,
    /// Limits per source; `None` leaves them to the host's defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Whether they are tight.
    #[serde(default, skip_serializing_if = "Shield::is_off")]
    pub shield: Shield,
    /// What it forwards to validators behind it; an agent from before refuses that, too.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub forwards: BTreeSet<Forward>,
    /// How it calls validators, where it is hidden; an agent from before refuses that, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Box<Hidden>>,
    /// After how many seconds grants end by themselves where nobody renews them, in the kernel; `None` for never. An agent
    /// from before refuses a wanted state that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants_last_seconds: Option<NonZeroU32>,
    /// Ports at which a node's JSON-RPC is served to the mesh and to chosen networks, and to nobody else: they are guarded, and
    /// whoever else is let in to RPC ports is a stranger there. An agent from before refuses that, too.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub syncs: BTreeSet<SyncPath>,
}

impl FirewallPolicy {
    /// Guarded ports that are open to everybody: those that are public and guarded for validators. What is for the mesh or the
    /// operator alone never is.
    pub fn public_ports(&self) -> impl Iterator<Item = GuardedPort> {
        let ports = self.public.iter().filter(|port| !self.syncs.iter().any(|sync| sync.port == **port));
        let ports = ports.map(|port| GuardedPort { protocol: Protocol::Tcp, port: *port });
        ports.filter(|port| matches!(self.guarded.get(port), Some(Purpose::P2p | Purpose::Rpc)))
    }

    /// Ports at which a node's JSON-RPC is served to the mesh and to citizens.
    pub fn sync_ports(&self) -> BTreeSet<GuardedPort> {
        self.syncs.iter().map(|sync| GuardedPort { protocol: Protocol::Tcp, port: sync.port }).collect()
    }

    /// The allow set of a purpose as it is let in from outside: a host that hides strictly is called through sentries alone, and
    /// validators, who would otherwise see its own address, are strangers there.
    pub fn let_in(&self, purpose: Purpose) -> Cow<'_, AllowSet> {
        let allowed = self.allowed(purpose);
        let is_strict = self.hidden.as_ref().is_some_and(|hidden| hidden.strict);
        if !is_strict || !matches!(purpose, Purpose::P2p | Purpose::Rpc) {
            return Cow::Borrowed(allowed);
        }
        let by_others = |(network, reasons): (&IpNet, &BTreeSet<Reason>)| {
            let others: BTreeSet<_> =
                reasons.iter().filter(|reason| !matches!(reason, Reason::Prep { .. })).cloned().collect();
            (!others.is_empty()).then_some((*network, others))
        };
        Cow::Owned(AllowSet(Arc::new(allowed.0.iter().filter_map(by_others).collect())))
    }

    /// The allow set of a purpose; empty where none was given.
    pub fn allowed(&self, purpose: Purpose) -> &AllowSet {
        static NOBODY: LazyLock<AllowSet> = LazyLock::new(AllowSet::default);
        self.allow.get(&purpose).unwrap_or(&NOBODY)
    }
}

/// On the wire a shared value is the value.
mod shared {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::sync::Arc;

    pub(super) fn serialize<T: Serialize, S: Serializer>(value: &Arc<T>, to: S) -> Result<S::Ok, S::Error> {
        T::serialize(value, to)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Arc<T>, D::Error> {
        T::deserialize(from).map(Arc::new)
    }
}

/// JSON has only text as keys: guarded ports travel as a list.
mod guarded_as_list {
    use super::{GuardedPort, Purpose};
    use schemars::JsonSchema;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;

    #[derive(Serialize, Deserialize, JsonSchema)]
    #[schemars(rename = "GuardedEntry")]
    pub(super) struct Entry {
        #[serde(flatten)]
        port: GuardedPort,
        purpose: Purpose,
    }

    pub(super) fn serialize<S: Serializer>(map: &BTreeMap<GuardedPort, Purpose>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(map.iter().map(|(port, purpose)| Entry { port: *port, purpose: *purpose }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<GuardedPort, Purpose>, D::Error> {
        let entries = Vec::<Entry>::deserialize(from)?;
        Ok(entries.into_iter().map(|entry| (entry.port, entry.purpose)).collect())
    }
}

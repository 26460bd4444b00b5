//! The plan: every host's complete wanted state, computed from the whole input at once. A star: validators dial
//! sentries; hosts of the same role have no tunnel between them.

mod hidden;
mod sync;

use crate::{
    by_host::ByHost,
    meshed::Meshed,
    pairing::{Epochs, pairing},
    touched::Touched,
};
use ipnet::IpNet;
use picket_model::{
    AllowSet, Drains, FirewallPolicy, Generation, GuardedPort, MeshId, Node, NodeConfig, NodeId, NodeRole, Policy,
    Protocol, Purpose, Reason, Shield, ShieldOrders, Timestamp, Validator, ValidatorSet, WireGuardConfig,
    WireGuardPeer, WireGuardPublicKey, network::host_network,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    num::NonZeroU16,
    sync::Arc,
};

/// Largest packet inside a tunnel: 1500 bytes of Ethernet less 80 for IPv6, UDP and WireGuard, as `wg-quick` has it.
const TUNNEL_MTU: u16 = 1420;
/// Keeps the way through stateful firewalls and address translation open: WireGuard's own advice, `wg(8)`.
const KEEPALIVE_SECONDS: u16 = 25;

/// The wanted state of the whole mesh. Immutable; a change is a new plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its number.
    pub generation: Generation,
    /// The plan it replaces; zero for the first.
    pub parent: Generation,
    /// Every active host's wanted state. One that is as before is the parent's own: it has the generation in which its content
    /// changed last, and whoever hands it out writes the plan's there.
    #[serde(with = "hosts")]
    pub nodes: ByHost<Arc<NodeConfig>>,
    /// What it was made from.
    pub basis: Basis,
}

/// Hosts that two plans do not have in common as they are.
#[derive(Debug, Default)]
pub struct Differences<'a> {
    /// By the later alone.
    pub came: Vec<&'a Arc<NodeConfig>>,
    /// By both, each under another revision or with another content: before and after.
    pub changed: Vec<(&'a Arc<NodeConfig>, &'a Arc<NodeConfig>)>,
    /// By the earlier alone.
    pub went: Vec<&'a Arc<NodeConfig>>,
}

impl Plan {
    /// What is otherwise than by an earlier plan; all came where there is none.
    pub fn differences<'a>(&'a self, earlier: Option<&'a Self>) -> Differences<'a> {
        let mut found = Differences::default();
        let Some(earlier) = earlier else {
            found.came.extend(self.nodes.values());
            return found;
        };
        for (_, before, after) in self.nodes.against(&earlier.nodes) {
            match (before, after) {
                (None, after) => found.came.extend(after),
                (before, None) => found.went.extend(before),
                (Some(before), Some(after)) if Arc::ptr_eq(before, after) => {}
                (Some(before), Some(after)) if before.revision == after.revision && before.same_content(after) => {}
                (Some(before), Some(after)) => found.changed.push((before, after)),
            }
        }
        found
    }
}

/// What a plan was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// Version of the policy.
    pub policy_version: u64,
    /// Validators in the set.
    pub validators: usize,
    /// Version of the set; zero in plans from before sets had one.
    #[serde(default)]
    pub validators_version: u64,
}

/// Everything a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct PlanInput<'a> {
    /// The mesh.
    pub mesh: &'a MeshId,
    /// The operator's wishes.
    pub policy: &'a Policy,
    /// Their version.
    pub policy_version: u64,
    /// Who is a validator.
    pub validators: &'a ValidatorSet,
    /// Version of that set.
    pub validators_version: u64,
    /// All hosts, revoked ones too.
    pub nodes: &'a BTreeMap<NodeId, Node>,
    /// Which of them have tunnels, where that is kept; else all are gone through.
    pub meshed: Option<&'a Meshed>,
    /// Keys that hosts are about to use, known to their peers beside those of now.
    pub next_keys: &'a NextKeys,
    /// The plan in force.
    pub parent: Option<&'a Plan>,
    /// What people ordered about hosts' shields.
    pub shield: &'a ShieldOrders,
    /// Sentries that are to be left.
    pub drains: &'a Drains,
    /// When this is: lines of the policy may end by themselves.
    pub now: Timestamp,
    /// Which preshared keys tunnels are to have.
    pub epochs: Epochs<'a>,
}

/// Keys that hosts have made and not taken into use yet: their peers are to know them before.
pub type NextKeys = BTreeMap<NodeId, WireGuardPublicKey>;

/// Makes the plan. Where no host's content changes it is the parent itself, with the parent's generation.
pub fn plan(input: &PlanInput<'_>) -> Plan {
    let next = replan(input, &Touched::All);
    next.or_else(|| input.parent.cloned()).unwrap_or_else(|| empty(input))
}

/// Makes the plan of a parent and what has changed since; `None` where no host's content does, so that the parent stands. Hosts
/// that are not touched are not looked at, and are to be what a look at them would find: the parent's.
pub fn replan(input: &PlanInput<'_>, touched: &Touched) -> Option<Plan> {
    let mut next = empty(input);
    let mut is_news = input.parent.is_none();
    let looked_at: Vec<&NodeId> = match (touched, input.parent) {
        (Touched::Hosts(hosts), Some(parent)) => {
            next.nodes.clone_from(&parent.nodes);
            hosts.iter().collect()
        }
        _ => input.nodes.keys().collect(),
    };
    let mut shared = Shared::new(input, touched);
    let calls = hidden::calls(input.policy, input.validators);
    let mut ends = Ends { input, by_role: BTreeMap::new() };
    for id in looked_at {
        let Some(node) = input.nodes.get(id).filter(|node| node.is_active()) else {
            is_news |= next.nodes.remove(id).is_some();
            continue;
        };
        let before = input.parent.and_then(|parent| parent.nodes.get(id));
        let config = wanted(input, node, ends.of(node), &mut shared, &calls, next.generation);
        let kept = before.filter(|before| before.same_content(&config)).cloned();
        is_news |= kept.is_none();
        next.nodes.insert(id.clone(), kept.unwrap_or_else(|| Arc::new(config)));
    }
    is_news |= input.parent.is_some_and(|parent| parent.nodes.len() != next.nodes.len());
    is_news.then_some(next)
}

/// A plan of no host.
fn empty(input: &PlanInput<'_>) -> Plan {
    let parent = input.parent.map_or(Generation(0), |parent| parent.generation);
    let PlanInput { policy_version, validators, validators_version, .. } = *input;
    let basis = Basis { policy_version, validators: validators.len(), validators_version };
    Plan { generation: parent.next(), parent, nodes: ByHost::default(), basis }
}

/// The ends of tunnels, by role: looked for once, for a host that has tunnels to them.
struct Ends<'a> {
    input: &'a PlanInput<'a>,
    by_role: BTreeMap<NodeRole, Vec<&'a Node>>,
}

impl<'a> Ends<'a> {
    /// The other ends of a host's tunnels. A quarantined host has no tunnel to anybody, nor anybody to it.
    fn of(&mut self, node: &Node) -> &[&'a Node] {
        if !node.is_meshed() {
            return &[];
        }
        let role = node.role.other();
        let nodes = self.input.nodes;
        let all = || nodes.values().filter(|node| node.role == role && node.is_meshed()).collect();
        let found = || self.input.meshed.map_or_else(all, |meshed| meshed.of(role, nodes));
        self.by_role.entry(role).or_insert_with(found)
    }
}

fn wanted(
    input: &PlanInput<'_>,
    node: &Node,
    others: &[&Node],
    shared: &mut Shared<'_>,
    calls: &BTreeSet<NonZeroU16>,
    generation: Generation,
) -> NodeConfig {
    NodeConfig {
        mesh: input.mesh.clone(),
        node: node.id.clone(),
        role: node.role,
        generation,
        revision: generation,
        wireguard: wireguard(input, node, others),
        firewall: FirewallPolicy {
            forwards: hidden::forwards(input, calls, node, others),
            hidden: hidden::hidden(input, calls, node, others).map(Box::new),
            syncs: sync::paths(input.policy, node, others),
            shield: shield(input, &node.id),
            ..shared.of(node, others).clone()
        },
    }
}

/// What firewalls have in common: made once for all hosts, and the sets that are as before are those of before, so that nobody
/// compares a long list with itself for each host.
struct Shared<'a> {
    parent: Option<&'a Plan>,
    policy: &'a Policy,
    everywhere: FirewallPolicy,
    by_place: BTreeMap<(NodeRole, bool), FirewallPolicy>,
}

impl<'a> Shared<'a> {
    fn new(input: &PlanInput<'a>, touched: &Touched) -> Self {
        let before = input.parent.and_then(|parent| parent.nodes.values().next());
        let everywhere = match (touched, before) {
            (Touched::Hosts(_), Some(before)) => everywhere_of(&before.firewall),
            _ => Self::everywhere(input),
        };
        Self { parent: input.parent, policy: input.policy, everywhere, by_place: BTreeMap::new() }
    }

    fn everywhere(input: &PlanInput<'a>) -> FirewallPolicy {
        let mut everywhere = shared_firewall(input.policy, input.validators, input.now);
        let purposes: Vec<Purpose> = everywhere.allow.keys().copied().collect();
        for purpose in purposes {
            let twin =
                everywhere.allow.iter().find(|(other, set)| **other < purpose && *set == everywhere.allowed(purpose));
            let twin = twin.map(|(_, set)| set.clone());
            let before = input.parent.and_then(|parent| parent.nodes.values().next());
            if let Some(set) = everywhere.allow.get_mut(&purpose) {
                keep(set, twin.as_ref());
                keep(set, before.and_then(|before| before.firewall.allow.get(&purpose)));
            }
        }
        everywhere
    }

    /// Of a host that has tunnels to these, as all others of its role have.
    fn of(&mut self, node: &Node, others: &[&Node]) -> &FirewallPolicy {
        let Self { parent, policy, everywhere, by_place } = self;
        by_place.entry((node.role, node.is_meshed())).or_insert_with(|| {
            let mut firewall = FirewallPolicy { public: policy.public.of(node.role).clone(), ..everywhere.clone() };
            for other in others {
                for network in other.overlay.networks() {
                    let reason = Reason::Node { node: other.id.clone(), name: other.name.clone() };
                    firewall.allow.entry(Purpose::Overlay).or_default().insert(network, reason);
                }
            }
            let before = parent.and_then(|parent| parent.nodes.get(&node.id)).map(|config| &config.firewall.allow);
            if let Some(set) = firewall.allow.get_mut(&Purpose::Overlay) {
                keep(set, before.and_then(|before| before.get(&Purpose::Overlay)));
            }
            firewall
        })
    }
}

/// Puts the set of before in the place of one that is equal.
fn keep(set: &mut AllowSet, before: Option<&AllowSet>) {
    if let Some(before) = before.filter(|before| *before == set) {
        *set = before.clone();
    }
}

/// What is everywhere, of a host that has it and more.
fn everywhere_of(firewall: &FirewallPolicy) -> FirewallPolicy {
    let FirewallPolicy {
        guarded,
        allow,
        limits,
        grants_last_seconds,
        public: _,
        shield: _,
        forwards: _,
        hidden: _,
        syncs: _,
    } = firewall;
    let allow = allow.iter().filter(|(purpose, _)| **purpose != Purpose::Overlay);
    FirewallPolicy {
        guarded: guarded.clone(),
        allow: allow.map(|(purpose, set)| (*purpose, set.clone())).collect(),
        limits: *limits,
        grants_last_seconds: *grants_last_seconds,
        ..FirewallPolicy::default()
    }
}

fn wireguard(input: &PlanInput<'_>, node: &Node, others: &[&Node]) -> WireGuardConfig {
    let mut peers = BTreeMap::new();
    for other in others {
        let peer = peer(input, node, other);
        // Addresses belong to one key at a time: they move on the host, once the next key has had its first handshake.
        if let Some(next) = input.next_keys.get(&other.id) {
            peers.insert(*next, WireGuardPeer { allowed_ips: BTreeSet::new(), ..peer.clone() });
        }
        peers.insert(other.wireguard_key, peer);
    }
    WireGuardConfig {
        listen_port: node.endpoint.map_or(0, |endpoint| endpoint.port()),
        addresses: BTreeSet::from(node.overlay.networks()),
        mtu: TUNNEL_MTU,
        peers,
    }
}

fn peer(input: &PlanInput<'_>, node: &Node, other: &Node) -> WireGuardPeer {
    // The validator dials, so that it needs no open port; a sentry waits to be dialled.
    let dials = node.role == NodeRole::Prep;
    WireGuardPeer {
        node: other.id.clone(),
        name: other.name.clone(),
        endpoint: other.endpoint.filter(|_| dials),
        allowed_ips: BTreeSet::from(other.overlay.networks()),
        keepalive_seconds: dials.then_some(KEEPALIVE_SECONDS),
        pairing: pairing(input.epochs, input.parent, node, other),
    }
}

/// The part of the firewall that is the same on every host.
fn shared_firewall(policy: &Policy, validators: &ValidatorSet, now: Timestamp) -> FirewallPolicy {
    let mut firewall = FirewallPolicy {
        limits: policy.limits,
        grants_last_seconds: policy.grants_last_seconds,
        ..FirewallPolicy::default()
    };
    for (purpose, ports) in [(Purpose::P2p, &policy.ports.p2p), (Purpose::Rpc, &policy.ports.rpc)] {
        for (port, protocol) in ports.iter().flat_map(|port| [(*port, Protocol::Tcp), (*port, Protocol::Udp)]) {
            firewall.guarded.entry(GuardedPort { protocol, port }).or_insert(purpose);
        }
    }
    let mut allow = |purpose, network: IpNet, reason| {
        let set: &mut AllowSet = firewall.allow.entry(purpose).or_default();
        set.insert(network, reason);
    };
    for (validator, address) in validators.iter().flat_map(|v| v.addresses.iter().map(move |address| (v, *address))) {
        if policy.denies(now).any(|line| line.covers(validator, address)) {
            continue;
        }
        for purpose in [Purpose::P2p, Purpose::Rpc] {
            allow(purpose, host_network(address), prep_reason(validator, address));
        }
    }
    for network in &policy.admin {
        allow(Purpose::Admin, *network, Reason::Policy { line: "admin".to_owned() });
    }
    for line in policy.allows(now) {
        allow(line.purpose, line.network, Reason::Policy { line: line.comment.clone() });
    }
    firewall
}

fn prep_reason(validator: &Validator, address: IpAddr) -> Reason {
    Reason::Prep {
        prep: validator.prep,
        endpoint: validator.endpoint.clone(),
        sources: validator.provenance.sources.clone(),
        since_height: validator.provenance.since_height,
        advertised_by: validator.provenance.advertised.get(&address).cloned().unwrap_or_default(),
    }
}

/// The policy's, unless somebody ordered otherwise.
fn shield(input: &PlanInput<'_>, node: &NodeId) -> Shield {
    input.shield.of(node, input.now).map_or(input.policy.shield, |order| order.shield)
}

/// Wanted states as text, each written out by itself.
mod hosts {
    use super::{Arc, BTreeMap, ByHost, NodeConfig, NodeId};
    use serde::{Deserialize, Deserializer, Serializer};

    type Hosts = ByHost<Arc<NodeConfig>>;

    pub(super) fn serialize<S: Serializer>(hosts: &Hosts, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(hosts.iter().map(|(id, config)| (id, &**config)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Hosts, D::Error> {
        let hosts = BTreeMap::<NodeId, NodeConfig>::deserialize(deserializer)?;
        Ok(hosts.into_iter().map(|(id, config)| (id, Arc::new(config))).collect())
    }
}

#[cfg(test)]
mod tests;

//! From what a firewall has to achieve to the ruleset that achieves it. The shape of the table depends on the host
//! and the limits alone: whatever else changes in a policy is a change of elements.

use crate::{
    Chain, Elements, Features, Hook, InterfaceName, Match, Rule, Ruleset, Set, Verdict, forward,
    gates::{Gate, add_caps, add_gates, gate, gates, ports, public_ports},
    ruleset::PRIVATE,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use picket_model::{
    AllowSet, FirewallPolicy, GuardedPort, Purpose, Shield,
    limits::{LONGEST_GRANT, SHORTEST_GRANT},
    network::{PRIVATE4, PRIVATE6, canonical_network},
    sync,
};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// What lowering has to know of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// The WireGuard interface of the mesh. Overlay addresses are believed only on packets that come out of it.
    pub overlay_interface: InterfaceName,
    /// What its kernel can do.
    pub features: Features,
}

/// Lets through what only passes through this host and is none of our business, and comes back with the rest.
const PASSES: &str = "passes_on";

/// Whether an address is in a private or link-local range.
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => PRIVATE4.iter().any(|net| net.contains(&v4)),
        IpAddr::V6(v6) => PRIVATE6.iter().any(|net| net.contains(&v6)),
    }
}

/// The ruleset for a policy. Every packet to a guarded port is decided by itself, before connection tracking, so that
/// a removed address is cut in the middle of its connections: let in are the sources allowed for the port's purpose,
/// the mesh's when they come out of the tunnel, the operator's, and on public ports everybody else; each but mesh and
/// operator within the limits. The rest is counted and dropped.
pub fn lower(policy: &FirewallPolicy, host: &HostFacts) -> Ruleset {
    let limits = policy.limits.unwrap_or_default();
    let limits = if policy.shield == Shield::On { limits.tightened() } else { limits };
    let mut ruleset = Ruleset::default();
    let lasts = policy.grants_last_seconds.filter(|_| host.features.timeouts);
    let with_sync = !policy.syncs.is_empty();
    let citizens = with_sync.then(|| (Gate::Sync, Cow::Owned(sync::citizens(&policy.syncs))));
    let allowed = Purpose::ALL.map(|purpose| (Gate::Of(purpose), policy.let_in(purpose)));
    for (of, allowed) in allowed.into_iter().chain(citizens) {
        for (name, set) in address_sets(of, &allowed) {
            ruleset.provenance.note(&name, &allowed);
            // The operator is never locked out, and nobody else sooner than in a day, whoever says so.
            if let Some(seconds) = lasts.filter(|_| of != Gate::Of(Purpose::Admin)) {
                ruleset.timeouts.insert(name.clone(), seconds.get().clamp(SHORTEST_GRANT, LONGEST_GRANT));
            }
            ruleset.sets.insert(name, set);
        }
    }
    for gate in gates(with_sync) {
        ruleset.sets.insert(ports(gate), Set::Ports(ports_of(gate, policy)));
    }
    ruleset.sets.insert(public_ports(), Set::Ports(policy.public_ports().collect()));
    let passes = |matches| Rule { matches, counter: None, verdict: Verdict::Accept };
    // What comes out of a private range, is not for this host and goes out into the internet or into the tunnels is a
    // container's or a guest's own call, which is none of our business; at the other end of a tunnel stands another guard.
    // What goes *into* one stays guarded: a container's own address must not be a way around the guard.
    let (private4, private6) = (format!("{PRIVATE}_nets4"), format!("{PRIVATE}_nets6"));
    let tunnels = Match::LeavesBy(host.overlay_interface.clone());
    let pass_on = [
        vec![Match::Source4(private4.clone()), Match::NotDestination4(private4.clone())],
        vec![Match::Source6(private6.clone()), Match::NotDestination6(private6.clone())],
        vec![Match::Source4(private4.clone()), tunnels.clone()],
        vec![Match::Source6(private6.clone()), tunnels],
        // Containers of one bridge among themselves: where bridges call the IP hooks (`bridge-nf-call-iptables`, which
        // Docker sets) these packets come by here, and elsewhere not at all. On any other interface what goes back may be
        // for an address that somebody's DNAT takes from it.
        vec![Match::Source4(private4.clone()), Match::Bridged, Match::GoesBack],
        vec![Match::Source6(private6.clone()), Match::Bridged, Match::GoesBack],
    ];
    ruleset.chains.insert(PASSES.to_owned(), Chain { hook: None, rules: pass_on.map(passes).into() });
    ruleset.sets.insert(private4, Set::Nets4(PRIVATE4.into()));
    ruleset.sets.insert(private6, Set::Nets6(PRIVATE6.into()));

    let passing = Rule { matches: vec![Match::Passing], counter: None, verdict: Verdict::Jump(PASSES.to_owned()) };
    let not_ours = [passes(vec![Match::Loopback]), passing];
    let decides =
        |of: Gate| Rule { matches: vec![Match::Port(ports(of))], counter: None, verdict: Verdict::Goto(gate(of)) };
    add_gates(&mut ruleset, host, &limits, with_sync);
    let raw = not_ours.clone().into_iter().chain(gates(with_sync).map(decides)).collect();
    ruleset.chains.insert("raw_in".to_owned(), Chain { hook: Some(Hook::PreroutingRaw), rules: raw });
    let caps = add_caps(&mut ruleset, host, &limits, with_sync);
    if !caps.is_empty() {
        // What runs is through with one rule.
        let first = [passes(vec![Match::NotNew])].into_iter().chain(not_ours);
        let chain = Chain { hook: Some(Hook::PreroutingMangle), rules: first.chain(caps).collect() };
        ruleset.chains.insert("track_in".to_owned(), chain);
    }
    forward::add(&mut ruleset, policy, host);
    ruleset
}

/// The policy of a host that has not heard from a controller yet: every guarded port closed to all but the operator
/// (and, as always, the host itself).
pub fn baseline(guarded: &BTreeMap<GuardedPort, Purpose>, admin: &AllowSet) -> FirewallPolicy {
    FirewallPolicy {
        guarded: guarded.clone(),
        allow: BTreeMap::from([(Purpose::Admin, admin.clone())]),
        ..FirewallPolicy::default()
    }
}

fn address_sets(purpose: Gate, allowed: &AllowSet) -> [(String, Set); 4] {
    let Normalised { hosts4, hosts6, nets4, nets6 } = normalise(allowed);
    [
        (format!("{purpose}_hosts4"), Set::Hosts4(hosts4)),
        (format!("{purpose}_hosts6"), Set::Hosts6(hosts6)),
        (format!("{purpose}_nets4"), Set::Nets4(nets4)),
        (format!("{purpose}_nets6"), Set::Nets6(nets6)),
    ]
}

/// A port guarded for the mesh or the operator alone belongs to the admin gate, which lets in exactly those. What is no guarded
/// RPC port is none of the citizens' either.
fn ports_of(gate: Gate, policy: &FirewallPolicy) -> Elements<GuardedPort> {
    let synced = policy.sync_ports();
    let gate_of = |port: &GuardedPort, purpose: Purpose| match purpose {
        Purpose::Overlay => Gate::Of(Purpose::Admin),
        Purpose::Rpc if synced.contains(port) => Gate::Sync,
        purpose => Gate::Of(purpose),
    };
    let guarded = policy.guarded.iter().filter(|(port, purpose)| gate_of(port, **purpose) == gate);
    guarded.map(|(port, _)| *port).collect()
}

struct Normalised {
    hosts4: Elements<Ipv4Addr>,
    hosts6: Elements<Ipv6Addr>,
    nets4: Elements<Ipv4Net>,
    nets6: Elements<Ipv6Net>,
}

/// Single addresses apart from prefixes, and the prefixes merged: nft refuses overlapping intervals, and its own
/// merging makes elements that cannot be deleted one by one.
fn normalise(allowed: &AllowSet) -> Normalised {
    let (mut hosts4, mut hosts6, mut nets4, mut nets6) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for network in allowed.0.keys() {
        match canonical_network(*network) {
            IpNet::V4(net) if net.prefix_len() == net.max_prefix_len() => hosts4.push(net.addr()),
            IpNet::V6(net) if net.prefix_len() == net.max_prefix_len() => hosts6.push(net.addr()),
            IpNet::V4(net) => nets4.push(net),
            IpNet::V6(net) => nets6.push(net),
        }
    }
    Normalised {
        hosts4: hosts4.into_iter().collect(),
        hosts6: hosts6.into_iter().collect(),
        nets4: Ipv4Net::aggregate(&nets4).into_iter().collect(),
        nets6: Ipv6Net::aggregate(&nets6).into_iter().collect(),
    }
}

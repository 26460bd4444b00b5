//! Policies to test with: two written out, and strategies for arbitrary ones in a world small enough that networks
//! overlap, touch and repeat.

use crate::packet::{Kind, Meters, Packet, decide};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use picket_firewall::{Features, HostFacts, Ruleset, lower};
use picket_model::{AllowSet, FirewallPolicy, GuardedPort, Protocol, Purpose, Reason, Shield};
use proptest::{collection::vec, prelude::*, sample::select};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
};

pub(crate) const OVERLAY: &str = "picket0";

pub(crate) fn lowered(policy: &FirewallPolicy) -> Ruleset {
    lower(policy, &facts())
}

/// What is counted first of a packet to this host, of a running connection.
pub(crate) fn check(policy: &FirewallPolicy, interface: &str, source: &str, number: u16, counter: Option<&str>) {
    let (source, to) = (source.parse().unwrap(), port(Protocol::Tcp, number));
    let packet = Packet { interface: interface.into(), source, to, passing: None, kind: Kind::Running };
    let decision = decide(&lowered(policy), &packet, Meters::Within);
    assert_eq!(decision.counters.first().map(String::as_str), counter, "{packet:?}");
}

pub(crate) fn facts() -> HostFacts {
    HostFacts { overlay_interface: OVERLAY.parse().unwrap(), features: Features::default() }
}

pub(crate) fn port(protocol: Protocol, number: u16) -> GuardedPort {
    GuardedPort { protocol, port: number.try_into().unwrap() }
}

pub(crate) fn allow<N: ToString>(networks: impl IntoIterator<Item = N>) -> AllowSet {
    let mut set = AllowSet::default();
    for network in networks {
        let text = network.to_string();
        let network = text.parse().unwrap_or_else(|_| IpNet::from(text.parse::<std::net::IpAddr>().unwrap()));
        set.insert(network, Reason::Policy { line: "test".into() });
    }
    set
}

pub(crate) fn mainnet_ports() -> BTreeMap<GuardedPort, Purpose> {
    BTreeMap::from([
        (port(Protocol::Tcp, 7100), Purpose::P2p),
        (port(Protocol::Udp, 7100), Purpose::P2p),
        (port(Protocol::Tcp, 9000), Purpose::Rpc),
        (port(Protocol::Tcp, 9080), Purpose::Rpc),
    ])
}

/// A validator's host in the mesh.
pub(crate) fn prep() -> FirewallPolicy {
    FirewallPolicy {
        guarded: mainnet_ports(),
        allow: BTreeMap::from([
            (Purpose::P2p, allow(["203.0.113.11", "203.0.113.12", "2001:db8:1::11", "198.51.100.128/25"])),
            (Purpose::Rpc, allow(["203.0.113.11", "::ffff:203.0.113.13"])),
            (Purpose::Admin, allow(["192.0.2.0/28", "192.0.2.16/28", "192.0.2.5", "2001:db8:ad::/48"])),
            (Purpose::Overlay, allow(["10.77.0.2", "fd00:77::2"])),
        ]),
        ..FirewallPolicy::default()
    }
}

pub(crate) fn policy() -> impl Strategy<Value = FirewallPolicy> {
    let purpose = || select(Purpose::ALL.to_vec());
    let guarded = proptest::collection::btree_map(guarded_port(), purpose(), 0..6);
    let allowed = proptest::collection::btree_map(purpose(), vec(network(), 0..12), 0..5);
    let public = proptest::collection::btree_set(guarded_port().prop_map(|port| port.port), 0..3);
    (guarded, allowed, public).prop_map(|(guarded, allowed, public)| FirewallPolicy {
        guarded,
        allow: allowed.into_iter().map(|(purpose, networks)| (purpose, allow(networks))).collect(),
        public,
        limits: None,
        shield: Shield::Off,
        forwards: std::collections::BTreeSet::new(),
        hidden: None,
        grants_last_seconds: None,
        syncs: std::collections::BTreeSet::new(),
    })
}

pub(crate) fn guarded_port() -> impl Strategy<Value = GuardedPort> {
    (select(vec![Protocol::Tcp, Protocol::Udp]), select(vec![1, 7100, 7101, 9000, 65535]))
        .prop_map(|(protocol, number)| port(protocol, number))
}

pub(crate) fn network() -> impl Strategy<Value = IpNet> {
    let length = |whole: u8, near: u8| prop_oneof![5 => Just(whole), 4 => near..=whole, 1 => 0..=whole];
    prop_oneof![
        3 => (v4(), length(32, 26)).prop_map(|(a, length)| IpNet::V4(Ipv4Net::new(a, length).unwrap())),
        1 => (v4(), length(128, 122)).prop_map(|(a, length)| {
            IpNet::V6(Ipv6Net::new(a.to_ipv6_mapped(), length).unwrap())
        }),
        3 => (v6(), length(128, 122)).prop_map(|(a, length)| IpNet::V6(Ipv6Net::new(a, length).unwrap())),
    ]
}

pub(crate) fn v4() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        8 => (0u8..64).prop_map(|last| Ipv4Addr::new(203, 0, 113, last)),
        1 => select(vec![Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, Ipv4Addr::new(127, 255, 255, 255)]),
    ]
}

pub(crate) fn v6() -> impl Strategy<Value = Ipv6Addr> {
    prop_oneof![
        8 => (0u16..64).prop_map(|last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)),
        1 => select(vec![Ipv6Addr::UNSPECIFIED, Ipv6Addr::from_bits(u128::MAX), Ipv6Addr::LOCALHOST]),
    ]
}

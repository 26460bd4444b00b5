//! What a policy means for packets, and how its ruleset is written.

use crate::{
    packet::{BRIDGE, Kind, Meters, Packet, decide},
    policies::{
        OVERLAY, allow, check, facts, guarded_port, lowered, mainnet_ports, network, policy, port, prep, v4, v6,
    },
};
use ipnet::{IpNet, Ipv4Net};
use picket_firewall::{Features, HostFacts, Set, baseline, lower, render::replacement};
use picket_model::{FirewallPolicy, Protocol, Purpose};
use proptest::{prelude::*, sample::select};
use std::{collections::BTreeMap, net::IpAddr};

fn packet() -> impl Strategy<Value = Packet> {
    let interface = select(vec!["lo", "eth0", OVERLAY, BRIDGE]).prop_map(str::to_owned);
    let source = prop_oneof![v4().prop_map(IpAddr::V4), v6().prop_map(IpAddr::V6)];
    let passing = select(vec![
        None,
        Some(("172.17.0.2", BRIDGE)),
        Some(("fd12::2", BRIDGE)),
        Some(("203.0.113.9", "eth0")),
        Some(("10.77.0.2", OVERLAY)),
    ]);
    let kind = select(vec![Kind::FirstSyn, Kind::New, Kind::Running]);
    (interface, source, guarded_port(), passing, kind).prop_map(|(interface, source, to, passing, kind)| Packet {
        interface,
        source,
        to,
        passing: passing.map(|(address, out)| (address.parse().unwrap(), out.to_owned())),
        kind: if to.protocol == Protocol::Udp && kind == Kind::FirstSyn { Kind::New } else { kind },
    })
}

fn meters() -> impl Strategy<Value = Meters> {
    select(vec![Meters::Within, Meters::Over, Meters::Full])
}

/// The policy's meaning, read off the policy itself: the counter of what stops the packet, `None` where nothing does.
fn stopped_by(policy: &FirewallPolicy, packet: &Packet, meters: Meters) -> Option<String> {
    let allowed = |purpose| policy.allowed(purpose).0.keys().any(|net| canonical(*net).contains(&packet.source));
    let purpose = *policy.guarded.get(&packet.to)?;
    let mesh = allowed(Purpose::Admin) || (packet.interface == OVERLAY && allowed(Purpose::Overlay));
    if packet.interface == "lo" || mesh {
        return None;
    }
    let gate = if purpose == Purpose::Overlay { Purpose::Admin } else { purpose };
    let for_validators = gate != Purpose::Admin;
    let begins = match packet.kind {
        Kind::FirstSyn => Some("new"),
        Kind::New => Some("open"),
        Kind::Running => None,
    };
    if for_validators && allowed(purpose) {
        begins.filter(|_| meters != Meters::Within).map(|what| format!("limited_{what}_{gate}"))
    } else if for_validators && packet.to.protocol == Protocol::Tcp && policy.public.contains(&packet.to.port) {
        // Forged addresses fill a meter of addresses at will: then only networks, of which there are few, are limited.
        let limited = begins.filter(|what| meters == Meters::Over || meters == Meters::Full && *what == "new");
        limited.map(|what| format!("limited_{what}_public"))
    } else {
        Some(format!("refused_{gate}"))
    }
}

fn canonical(network: IpNet) -> IpNet {
    match network {
        IpNet::V6(net) if net.prefix_len() >= 96 => match net.addr().to_ipv4_mapped() {
            Some(address) => IpNet::V4(Ipv4Net::new(address, net.prefix_len() - 96).unwrap()),
            None => network,
        },
        _ => network,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn packets_are_decided_as_the_policy_says(policy in policy(), packet in packet(), meters in meters()) {
        let decision = decide(&lowered(&policy), &packet, meters);
        let stop = stopped_by(&policy, &packet, meters);
        prop_assert_eq!(decision.accepted, stop.is_none(), "{:?} {:?}", decision.counters, stop);
        prop_assert_eq!(decision.told, stop.as_deref().is_some_and(|counter| counter.starts_with("refused_")));
        let stops: Vec<_> = decision.counters.iter().filter(|counter| !counter.starts_with("allowed_")).collect();
        prop_assert_eq!(stops, stop.iter().collect::<Vec<_>>(), "counted once, as what it is");
        let guarded = policy.guarded.contains_key(&packet.to) && packet.interface != "lo";
        prop_assert_eq!(!decision.counters.is_empty(), guarded, "every packet to a guarded port is counted");
    }

    /// Whatever else a kernel lacks, the gate stands.
    #[test]
    fn without_any_feature_who_is_refused_is_refused_still(policy in policy(), packet in packet(), meters in meters()) {
        let features = Features { meters: false, connections: false, half_open: false, timeouts: false, log_group: None };
        let plain = lower(&policy, &HostFacts { features, ..facts() });
        prop_assert_eq!((plain.meters.len(), plain.half_open.len()), (0, 0));
        let stop = stopped_by(&policy, &packet, Meters::Within);
        prop_assert_eq!(decide(&plain, &packet, meters).accepted, stop.is_none());
    }

    #[test]
    fn the_order_of_a_list_does_not_matter(
        (one, other) in proptest::collection::vec(network(), 0..20)
            .prop_flat_map(|list| (Just(list.clone()), Just(list).prop_shuffle()))
    ) {
        let text = |list: Vec<IpNet>| {
            let allow = BTreeMap::from([(Purpose::P2p, allow(list))]);
            lowered(&FirewallPolicy { guarded: mainnet_ports(), allow, ..FirewallPolicy::default() }).to_string()
        };
        prop_assert_eq!(text(one), text(other));
    }

    #[test]
    fn prefixes_never_overlap_and_cannot_be_merged_further(policy in policy()) {
        for set in lowered(&policy).sets.values() {
            let nets: Vec<IpNet> = match set {
                Set::Nets4(nets) => nets.iter().copied().map(IpNet::V4).collect(),
                Set::Nets6(nets) => nets.iter().copied().map(IpNet::V6).collect(),
                _ => continue,
            };
            prop_assert_eq!(IpNet::aggregate(&nets).len(), nets.len());
            let overlap = nets.iter().flat_map(|a| nets.iter().map(move |b| (a, b))).any(|(a, b)| a != b && a.contains(b));
            prop_assert!(!overlap, "{:?}", nets);
        }
    }

    #[test]
    fn the_shape_of_the_table_does_not_depend_on_the_policy(one in policy(), other in policy()) {
        let (one, other) = (lowered(&one), lowered(&other));
        prop_assert_eq!(&one.chains, &other.chains);
        prop_assert_eq!(&one.counters, &other.counters);
        prop_assert_eq!((&one.meters, &one.half_open), (&other.meters, &other.half_open));
        prop_assert!(one.sets.keys().eq(other.sets.keys()));
    }
}

#[test]
fn each_is_let_in_by_the_door_meant_for_it() {
    let prep = prep();
    check(&prep, "eth0", "203.0.113.11", 7100, Some("allowed_p2p"));
    check(&prep, "eth0", "203.0.113.11", 9000, Some("allowed_rpc"));
    check(&prep, "eth0", "203.0.113.12", 9000, Some("refused_rpc"));
    check(&prep, "eth0", "203.0.113.13", 9080, Some("allowed_rpc"));
    check(&prep, "eth0", "2001:db8:1::11", 7100, Some("allowed_p2p"));
    check(&prep, "eth0", "192.0.2.31", 9080, Some("allowed_admin"));
    check(&prep, "eth0", "192.0.2.32", 9080, Some("refused_rpc"));
    check(&prep, OVERLAY, "10.77.0.2", 7100, Some("allowed_overlay"));
    check(&prep, OVERLAY, "fd00:77::2", 9000, Some("allowed_overlay"));
    check(&prep, "eth0", "203.0.113.99", 22, None);
    check(&prep, "lo", "203.0.113.99", 7100, None);
}

#[test]
fn an_overlay_address_is_believed_only_out_of_the_tunnel() {
    check(&prep(), "eth0", "10.77.0.2", 7100, Some("refused_p2p"));
    check(&prep(), "eth0", "fd00:77::2", 7100, Some("refused_p2p"));
    check(&prep(), "picket01", "10.77.0.2", 7100, Some("refused_p2p"));
}

#[test]
fn what_containers_send_out_is_none_of_our_business_and_what_is_sent_to_them_is() {
    let check = |interface: &str, source: &str, (passing, out): (&str, &str), counter: Option<&str>| {
        let (source, to) = (source.parse().unwrap(), port(Protocol::Tcp, 7100));
        let packet = Packet {
            interface: interface.into(),
            source,
            to,
            passing: Some((passing.parse().unwrap(), out.into())),
            kind: Kind::New,
        };
        let decision = decide(&lowered(&prep()), &packet, Meters::Within);
        assert_eq!(decision.counters.first().map(String::as_str), counter, "{packet:?}");
    };
    check(BRIDGE, "172.17.0.2", ("203.0.113.11", "eth0"), None);
    check(BRIDGE, "fd12::2", ("2001:db8:1::11", "eth0"), None);
    // Into the tunnels, whose other ends are guarded.
    check(BRIDGE, "172.17.0.2", ("10.77.0.2", OVERLAY), None);
    check(BRIDGE, "fd12::2", ("fd00:77::2", OVERLAY), None);
    check("eth0", "198.51.100.66", ("10.77.0.2", OVERLAY), Some("refused_p2p"));
    // From one container to its neighbour, and to no other bridge's.
    check(BRIDGE, "172.17.0.3", ("172.17.0.2", BRIDGE), None);
    check(BRIDGE, "fd12::3", ("fd12::2", BRIDGE), None);
    check(BRIDGE, "172.17.0.3", ("172.18.0.2", "docker1"), Some("refused_p2p"));
    check(BRIDGE, "198.51.100.66", ("172.17.0.2", BRIDGE), Some("refused_p2p"));
    check("eth0", "10.0.0.66", ("10.0.0.7", "eth0"), Some("refused_p2p"));
    check("eth0", "198.51.100.66", ("172.17.0.2", BRIDGE), Some("refused_p2p"));
    check("eth0", "10.0.0.66", ("172.17.0.2", BRIDGE), Some("refused_p2p"));
    check("eth0", "198.51.100.66", ("203.0.113.11", "eth0"), Some("refused_p2p"));
    check("eth0", "2001:db8:66::66", ("fd12::2", BRIDGE), Some("refused_p2p"));
    check("eth0", "203.0.113.11", ("172.17.0.2", BRIDGE), Some("allowed_p2p"));
}

#[test]
fn the_baseline_is_closed_to_all_but_the_operator() {
    let closed = baseline(&mainnet_ports(), &allow(["192.0.2.0/24"]));
    check(&closed, "eth0", "203.0.113.11", 7100, Some("refused_p2p"));
    check(&closed, OVERLAY, "10.77.0.2", 7100, Some("refused_p2p"));
    check(&closed, "eth0", "192.0.2.9", 7100, Some("allowed_admin"));
    check(&closed, "eth0", "203.0.113.11", 22, None);
}

#[test]
fn a_port_guarded_for_the_mesh_alone_is_closed_to_validators() {
    let mut policy = prep();
    policy.guarded.insert(port(Protocol::Tcp, 8080), Purpose::Overlay);
    policy.guarded.insert(port(Protocol::Tcp, 8081), Purpose::Admin);
    check(&policy, "eth0", "203.0.113.11", 8080, Some("refused_admin"));
    check(&policy, OVERLAY, "10.77.0.2", 8080, Some("allowed_overlay"));
    check(&policy, OVERLAY, "10.77.0.2", 8081, Some("allowed_overlay"));
    check(&policy, "eth0", "192.0.2.9", 8081, Some("allowed_admin"));
}

#[test]
fn a_prep_as_text() {
    insta::assert_snapshot!(replacement(&lowered(&prep()), &BTreeMap::new()));
}

#[test]
fn a_closed_baseline_as_text() {
    let closed = baseline(&mainnet_ports(), &allow(["192.0.2.0/24"]));
    insta::assert_snapshot!(replacement(&lowered(&closed), &BTreeMap::new()));
}

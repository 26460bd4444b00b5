//! What leaves through the tunnel by rules of its own, and what does not.

use super::{End, Host, OUTER_V4, alike, device, host::SOON, key};
use picket_wireguard::{Changes, DeviceConfig, Error, Steering, remove_steering};
use std::{num::NonZeroU16, time::Instant};

/// Everything behind the other host, and calls to two ports steered to it; one validator lives in a private range.
fn steered(ports: &[u16]) -> DeviceConfig {
    let mut wanted = device(1, Some(OUTER_V4));
    let networks = ["0.0.0.0/0", "::/0", "203.0.113.7/32", "10.9.9.9/32"].map(|text| text.parse().unwrap());
    wanted.peers.values_mut().for_each(|peer| peer.allowed_ips.extend(networks));
    let ports = ports.iter().map(|port| NonZeroU16::new(*port).unwrap()).collect();
    wanted.steering = Steering { ports, networks: networks.into(), mtu: None };
    wanted
}

/// How the kernel would send a call.
fn way(host: &Host, call: &str) -> String {
    host.ip(&format!("route get {call}")).lines().next().unwrap_or_default().trim().to_owned()
}

/// A host with ways of its own into the world and to a neighbour, beside its tunnel.
fn hidden(ports: &[u16]) -> (End, End) {
    let (one, two) = alike(OUTER_V4);
    one.host.ip("route add default via 192.0.2.2");
    one.host.ip("-6 route add default via 2001:db8::2");
    one.apply(&steered(ports));
    (one, two)
}

#[test]
fn calls_to_steered_ports_leave_through_the_tunnel_from_the_overlay_address_and_nothing_else_does() {
    let (one, _two) = hidden(&[7100, 9000]);
    for (call, expected) in [
        ("203.0.113.7 ipproto tcp dport 7100", "203.0.113.7 dev picket0 table 7100 src 198.51.100.1"),
        ("203.0.113.99 ipproto tcp dport 9000", "203.0.113.99 dev picket0 table 7100 src 198.51.100.1"),
        ("10.9.9.9 ipproto tcp dport 7100", "10.9.9.9 dev picket0 table 7100 src 198.51.100.1"),
        ("2001:db8:7::7 ipproto tcp dport 7100", "2001:db8:7::7 from :: dev picket0 table 7100 proto 112 src fd00::1"),
        // Other ports, another protocol, and what is near stay as they are.
        ("203.0.113.7 ipproto tcp dport 22", "203.0.113.7 via 192.0.2.2"),
        ("203.0.113.7 ipproto udp dport 7100", "203.0.113.7 via 192.0.2.2"),
        ("10.1.2.3 ipproto tcp dport 7100", "10.1.2.3 via 192.0.2.2"),
        ("198.51.100.2 ipproto tcp dport 7100", "198.51.100.2 dev picket0 table 7100 src 198.51.100.1"),
        ("fd00::2 ipproto tcp dport 9000", "fd00::2 from :: dev picket0"),
    ] {
        let found = way(&one.host, call);
        assert!(found.starts_with(expected), "{call}: {found}");
    }
    // An answer that comes back is no martian, however strict the host is about paths.
    let back = way(&one.host, "198.51.100.1 from 203.0.113.7 iif picket0 ipproto tcp sport 7100 dport 40000");
    assert!(back.starts_with("local 198.51.100.1 from 203.0.113.7"), "{back}");
}

#[test]
fn what_is_steered_is_read_back_and_put_right() {
    let (one, _two) = hidden(&[7100, 9000]);
    let wanted = steered(&[7100, 9000]);
    assert_eq!(one.apply(&wanted), (Changes::default(), Changes::default()));
    // Somebody takes a rule and a route of ours away, and has a rule and a route of their own.
    one.host.ip("rule del priority 7100 ipproto tcp dport 9000");
    one.host.ip("route del default table 7100");
    one.host.ip("rule add priority 7100 to 203.0.113.0/24 lookup main");
    one.host.ip("route add 203.0.113.50/32 via 192.0.2.2 table 7100");
    let (_, changes) = one.apply(&wanted);
    let lines: Vec<String> = changes.steering.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["add route 0.0.0.0/0 in table 7100", "add rule for tcp port 9000 over IPv4"]);
    assert!(one.host.ip("rule show").contains("to 203.0.113.0/24 lookup main"));
    assert!(one.host.ip("route show table 7100").contains("203.0.113.50"));
    // Another set of ports is a change of rules alone.
    let (_, changes) = one.apply(&steered(&[7100, 8300]));
    assert_eq!((changes.device.len(), changes.link.len(), changes.steering.len()), (0, 0, 4));
}

/// No rule and no route of ours, of neither family.
fn nothing_left(host: &Host) {
    for family in ["-4", "-6"] {
        let rules = host.ip(&format!("{family} rule show"));
        assert!(!rules.contains("7100"), "{rules}");
        let routes = host.ip(&format!("{family} route show table all proto 112"));
        assert!(!routes.contains("7100"), "{routes}");
    }
}

/// A userspace device ends with its process; rules and exceptions do not.
#[test]
fn what_a_killed_process_steered_is_taken_away_without_its_device() {
    let (one, _two) = hidden(&[7100]);
    let End { host, tunnel } = one;
    host.run(move || async move { drop(tunnel) });
    let started = Instant::now();
    while host.command("ip link show dev picket0").is_ok() {
        assert!(started.elapsed() < SOON, "the device is there still");
    }
    for family in ["-4", "-6"] {
        assert!(host.ip(&format!("{family} rule show")).contains("lookup 7100"));
        assert!(host.ip(&format!("{family} route show table 7100")).contains("throw"));
    }
    host.ip("rule add priority 900 to 203.0.113.0/24 lookup main");
    host.ip("route add 203.0.113.50/32 via 192.0.2.2 table 900");
    for _ in 0..2 {
        host.run(|| async { remove_steering().await.unwrap() });
        nothing_left(&host);
    }
    assert!(host.ip("rule show").contains("to 203.0.113.0/24 lookup main"), "another's");
    assert!(host.ip("route show table 900").contains("203.0.113.50"), "another's");
}

#[test]
fn who_is_hidden_no_more_or_leaves_has_no_rule_left() {
    let (one, _two) = hidden(&[7100]);
    one.apply(&device(1, Some(OUTER_V4)));
    nothing_left(&one.host);
    one.apply(&steered(&[7100]));
    assert!(one.host.ip("rule show").contains("lookup 7100"));
    let End { host, tunnel } = one;
    host.run(move || async move {
        let tunnel = std::sync::Arc::into_inner(tunnel).unwrap().into_inner();
        tunnel.remove().await
    })
    .unwrap_or_else(|error: Error| panic!("{error}"));
    nothing_left(&host);
}

#[test]
fn a_destination_moves_from_one_tunnel_to_another_in_one_step() {
    let (one, _two) = hidden(&[7100]);
    let mut wanted = steered(&[7100]);
    let network = "203.0.113.7/32".parse().unwrap();
    let other =
        picket_wireguard::PeerConfig { allowed_ips: [network].into(), ..picket_wireguard::PeerConfig::default() };
    wanted.peers.insert(key(9).public(), other);
    wanted.peers.get_mut(&key(2).public()).unwrap().allowed_ips.remove(&network);
    one.apply(&wanted);
    let found = one.observe();
    assert!(found.peers[&key(9).public()].allowed_ips.contains(&network));
    assert!(!found.peers[&key(2).public()].allowed_ips.contains(&network));
    assert!(way(&one.host, "203.0.113.7 ipproto tcp dport 7100").contains("dev picket0"));
}

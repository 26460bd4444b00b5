//! Under attack: floods of strangers and in validators' names, sources that open too much, public ports, meters without room.
//! What runs goes on, others get in, and the counters say what was done.

use crate::support::{ANSWERED, DROPPED, GUARDED, QUIET, both, dropped, open, reconfigure, serve_on, small_mesh};
use picket_firewall::{Features, HostFacts, lower};
use picket_lab::{
    Connect, Host, Lab, Segment, Stream,
    mesh::{Agent, Mesh, SOON},
    wait_until,
};
use picket_model::{AllowSet, FirewallPolicy, GuardedPort, Protocol, Purpose, Reason};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

/// Far beyond what any limit lets through, and what a loaded machine can still make.
const PER_SECOND: u32 = 5000;

/// What the firewall counted, by decision.
fn counted(host: &Host, counter: &str) -> u64 {
    let listing = host.nft(&["list", "counter", "inet", "picket", counter]).unwrap();
    let words: Vec<&str> = listing.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "packets").unwrap();
    words[at + 1].parse().unwrap()
}

/// Connections that the host's tracking knows of.
fn tracked(host: &Host) -> u64 {
    let read = || std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").unwrap();
    host.inside(read).unwrap().trim().parse().unwrap()
}

fn wait_counted(host: &Host, counter: &str, more_than: u64) {
    wait_until(&format!("{counter} to pass {more_than}"), SOON, || match counted(host, counter) {
        found if found > more_than => Ok(()),
        found => Err(format!("it is {found}")),
    })
    .unwrap();
}

/// What the agent of a host told the controller.
fn reported(mesh: &Mesh, agent: &Agent) -> BTreeMap<String, u64> {
    let nodes = mesh.controller.nodes().unwrap();
    let view = nodes.into_iter().find(|view| view.node.name.as_str() == agent.name()).unwrap();
    view.report.unwrap().kernel.packets
}

fn forged4() -> Vec<IpAddr> {
    (0..=255).flat_map(|c| (1..=250).map(move |d| Ipv4Addr::new(198, 18, c, d).into())).collect()
}

#[test]
fn a_flood_of_strangers_leaves_no_trace_but_in_a_counter() {
    let mesh = small_mesh("strangers");
    let prep = &mesh.preps[0];
    let _servers = serve_on(prep);
    let [v4, v6] = both(prep, GUARDED[0]);
    let stream = mesh.validators[0].host.stream(v4).unwrap();
    let before = tracked(&prep.host);
    let forged6 = (1..=60_000u128).map(|n| IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8_0005 << 80) | n))).collect();
    let floods = [
        mesh.stranger.flood(forged4(), v4, Segment::Syn, PER_SECOND).unwrap(),
        mesh.stranger.flood(forged4(), v4, Segment::Ack, PER_SECOND).unwrap(),
        mesh.stranger.flood(forged6, v6, Segment::Syn, PER_SECOND).unwrap(),
    ];
    wait_counted(&prep.host, "refused_p2p", 6000);
    stream.wait_flowing(SOON).unwrap();
    open(&mesh.validators[1].host, v4);
    assert!(floods.iter().all(|flood| flood.sent() > 0));
    assert!(tracked(&prep.host) < before + 50, "what is refused is not tracked: {}", tracked(&prep.host));
    drop(floods);
    assert!(stream.longest_silence() < QUIET, "{:?}", stream.longest_silence());
    wait_until("the agent to report what it refused", SOON * 2, || {
        let packets = reported(&mesh, prep);
        if packets.get("refused_p2p") > Some(&6000) { Ok(()) } else { Err(format!("{packets:?}")) }
    })
    .unwrap();
    let is_told =
        |line: &&str| line.starts_with("picket_host_packets_total{") && line.contains("decision=\"refused_p2p\"} ");
    wait_until("the metrics to have it", SOON * 2, || {
        let metrics = mesh.controller.metrics().unwrap();
        if metrics.lines().filter(is_told).any(|line| !line.ends_with(" 0")) { Ok(()) } else { Err(metrics) }
    })
    .unwrap();
}

#[test]
fn a_flood_in_a_validators_name_is_limited_and_harms_no_other() {
    let mesh = small_mesh("forged");
    let prep = &mesh.preps[0];
    let _servers = serve_on(prep);
    let to = prep.host.v4(GUARDED[0]).unwrap();
    let [victim, other] = [&mesh.validators[0].host, &mesh.validators[1].host];
    let [running, others] = [victim, other].map(|host| host.stream(to).unwrap());
    let flood = mesh.stranger.flood(vec![victim.v4(0).unwrap().ip()], to, Segment::Syn, PER_SECOND).unwrap();
    wait_counted(&prep.host, "limited_new_p2p", 5000);
    for _ in 0..10 {
        open(other, to);
    }
    open(&mesh.admin, to);
    running.wait_flowing(SOON).unwrap();
    drop(flood);
    for stream in [running, others] {
        assert!(stream.longest_silence() < QUIET, "{:?}", stream.longest_silence());
    }
    assert!(counted(&prep.host, "allowed_p2p") > 0);
    // The victim is back as soon as its name is no longer used.
    wait_until("the victim to get in", SOON, || victim.can_connect(to, DROPPED).must_be(Connect::Open)).unwrap();
}

/// goloop holds connections for ever that say nothing.
#[test]
fn a_source_has_so_many_connections_and_those_it_has_stay() {
    let mut mesh = small_mesh("caps");
    reconfigure(&mut mesh, |config| format!("{config}\n[policy.limits]\np2p_connections = 3\n"));
    let prep = &mesh.preps[0];
    let _servers = serve_on(prep);
    let [to, rpc] = [GUARDED[0], GUARDED[1]].map(|port| prep.host.v4(port).unwrap());
    let [greedy, other] = [&mesh.validators[0].host, &mesh.validators[1].host];
    let held: Vec<Stream> = (0..3).map(|_| greedy.stream(to).unwrap()).collect();
    let before = counted(&prep.host, "limited_open_p2p");
    dropped(greedy, to);
    assert!(counted(&prep.host, "limited_open_p2p") > before);
    open(greedy, rpc);
    let operator: Vec<Stream> = (0..5).map(|_| mesh.admin.stream(to).unwrap()).collect();
    let others: Vec<Stream> = (0..3).map(|_| other.stream(to).unwrap()).collect();
    for stream in held.iter().chain(&operator).chain(&others) {
        stream.wait_flowing(SOON).unwrap();
        assert!(stream.longest_silence() < QUIET, "{:?}", stream.longest_silence());
    }
    // A place is free again when its connection has ended.
    drop(held);
    wait_until("a place to be free", SOON * 6, || greedy.can_connect(to, DROPPED).must_be(Connect::Open)).unwrap();
}

/// The first packets of forgers take places for seconds, not for a minute.
#[test]
fn half_open_connections_in_a_validators_name_do_not_take_its_places_for_long() {
    let mut mesh = small_mesh("half-open");
    reconfigure(&mut mesh, |config| format!("{config}\n[policy.limits]\np2p_connections = 3\n"));
    let prep = &mesh.preps[0];
    let _servers = serve_on(prep);
    let to = prep.host.v4(GUARDED[0]).unwrap();
    let victim = &mesh.validators[0].host;
    // A host that never began these connections would end them at once: this one is deaf, as one is behind a firewall.
    victim
        .load_nft(
            "table inet deaf { chain out { type filter hook output priority raw; tcp flags & rst == rst drop; }; }",
        )
        .unwrap();
    let source = victim.v4(0).unwrap().ip();
    assert_eq!(mesh.stranger.forge([source; 3], to, Segment::Syn).unwrap(), 3);
    wait_counted(&prep.host, "allowed_p2p", 2);
    dropped(victim, to);
    let waited = wait_until("the places to be free", SOON, || victim.can_connect(to, DROPPED).must_be(Connect::Open));
    println!("free after {:?}", waited.unwrap().took);
}

#[test]
fn a_public_port_is_open_to_all_within_limits_where_the_host_allows_it() {
    let mut mesh = small_mesh("public");
    let guard = mesh.sentries[0].host.write("guard.toml", "may_open = [9000]\n").unwrap();
    mesh.sentries[0].guard = Some(guard);
    mesh.sentries[0].kill();
    mesh.sentries[0].start().unwrap();
    reconfigure(&mut mesh, |config| {
        format!(
            "{config}\n[policy.public]\nsentry = [9000]\n[policy.limits.public]\nnew_per_second = 5\nnew_at_once = 5\nconnections = 4\n"
        )
    });
    let sentry = &mesh.sentries[0];
    let servers = (serve_on(sentry), serve_on(&mesh.preps[0]));
    for (public, closed) in both(sentry, 9000).into_iter().zip(both(&mesh.preps[0], 9000)) {
        open(&mesh.stranger, public);
        dropped(&mesh.stranger, closed);
    }
    let public = sentry.host.v4(9000).unwrap();
    dropped(&mesh.stranger, sentry.host.v4(9080).unwrap());
    assert_eq!(mesh.stranger.can_udp_echo(public, DROPPED), Connect::Filtered, "TCP alone is public");
    // One stranger has its fill, and another does not notice.
    let another = mesh.lab.host("another").address("192.0.2.199/24").create().unwrap();
    let held: Vec<Stream> = (0..3).map(|_| another.stream(public).unwrap()).collect();
    let flood = mesh.stranger.flood(vec![mesh.stranger.v4(0).unwrap().ip()], public, Segment::Syn, PER_SECOND).unwrap();
    wait_counted(&sentry.host, "limited_new_public", 1000);
    assert_eq!(another.can_connect(public, ANSWERED), Connect::Open);
    open(&mesh.validators[0].host, public);
    drop(flood);
    let fourth = another.stream(public).unwrap();
    dropped(&another, public);
    assert!(counted(&sentry.host, "limited_open_public") > 0);
    for stream in held.iter().chain([&fourth]) {
        stream.wait_flowing(SOON).unwrap();
    }
    drop(servers);
}

#[test]
fn a_public_port_that_the_host_does_not_allow_stays_closed_and_is_told_of() {
    let mut mesh = small_mesh("not-public");
    mesh.controller.kill();
    mesh.controller.configure(|config| format!("{config}\n[policy.public]\nsentry = [9000]\n")).unwrap();
    mesh.controller.start().unwrap();
    wait_until("the sentry to refuse", SOON, || {
        let nodes = mesh.controller.nodes().map_err(|error| error.to_string())?;
        let refused = nodes.into_iter().filter_map(|view| view.report?.refused).collect::<Vec<_>>();
        let told = refused.iter().any(|why| why.contains("opens port 9000 to everybody"));
        if told { Ok(()) } else { Err(format!("{refused:?}")) }
    })
    .unwrap();
    let _servers = serve_on(&mesh.sentries[0]);
    dropped(&mesh.stranger, mesh.sentries[0].host.v4(9000).unwrap());
}

/// More sources than a meter has room for: newcomers of a network are refused, and nobody else.
#[test]
fn a_full_meter_lets_no_flood_through() {
    let lab = Lab::new("full meter").unwrap();
    let server = lab.host("server").address("203.0.113.10/24").create().unwrap();
    let validator = lab.host("validator").address("198.51.100.11/24").create().unwrap();
    let network = lab.host("network").address("192.0.2.200/24").create().unwrap();
    let (port, mut allowed) =
        (GuardedPort { protocol: Protocol::Tcp, port: 7100.try_into().unwrap() }, AllowSet::default());
    for text in ["198.51.100.11/32", "192.0.2.0/24"] {
        allowed.insert(text.parse().unwrap(), Reason::Policy { line: "test".into() });
    }
    let policy = FirewallPolicy {
        guarded: BTreeMap::from([(port, Purpose::P2p)]),
        allow: BTreeMap::from([(Purpose::P2p, allowed)]),
        ..FirewallPolicy::default()
    };
    let facts = HostFacts { overlay_interface: "picket0".parse().unwrap(), features: Features::default() };
    let mut ruleset = lower(&policy, &facts);
    for (name, meter) in &mut ruleset.meters {
        meter.size = if name.starts_with("syn") { 4 } else { meter.size };
    }
    server.load_nft(&ruleset.to_string()).unwrap();
    let _echo = server.listen_echo(server.v4(7100).unwrap()).unwrap();
    let to = server.v4(7100).unwrap();
    let running = network.stream(to).unwrap();
    let sources = |last: std::ops::RangeInclusive<u8>| last.map(|d| IpAddr::from(Ipv4Addr::new(192, 0, 2, d)));
    let sent = network.forge((0..5).flat_map(|_| sources(1..=20)), to, Segment::Syn).unwrap();
    wait_counted(&server, "limited_new_p2p", sent - 3 * 5 - 1);
    assert_eq!(counted(&server, "limited_new_p2p"), sent - 3 * 5, "the running one's place and three more are taken");
    // A listed validator has a meter that forged members of a network cannot fill, and what runs needs no meter.
    open(&validator, to);
    running.wait_flowing(SOON).unwrap();
    assert!(running.longest_silence() < Duration::from_secs(1));
}

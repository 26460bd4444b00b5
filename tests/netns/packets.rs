//! Odd packets, made by scapy: pieces, extension headers, forged and impossible sources, tags, and what else arrives at guarded
//! ports; and that what a guarded flow needs beside its own packets gets through.

use crate::support::{ANSWERED, DROPPED, QUIET, dropped, open};
use picket_firewall::{Features, HostFacts, lower};
use picket_lab::{Connect, EchoServer, Host, Lab, mesh::SOON, wait_until};
use picket_model::{AllowSet, FirewallPolicy, GuardedPort, Protocol, Purpose, Reason};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
};

/// Debian's scapy belongs to Debian's Python.
const PYTHON: &str = "/usr/bin/python3";
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/netns/packets.py");
const GUARDED: u16 = 7100;
/// Not guarded, and somebody answers.
const FENCE: u16 = 2222;
/// Whom the rules let in.
const ALLOWED: [&str; 2] = ["198.51.100.11", "2001:db8:2::11"];

/// A host with our rules and nothing else of ours, one that is let in and one that is not.
struct Odd {
    lab: Lab,
    host: Host,
    allowed: Host,
    stranger: Host,
    _servers: Vec<EchoServer>,
}

impl Odd {
    fn new(label: &str, features: Features) -> Self {
        let lab = Lab::new(label).unwrap();
        let host = |name: &str, v4: &str, v6: &str| lab.host(name).address(v4).address(v6).create().unwrap();
        let odd = host("guarded", "203.0.113.11/24", "2001:db8:1::11/64");
        let allowed = host("allowed", &format!("{}/24", ALLOWED[0]), &format!("{}/64", ALLOWED[1]));
        let stranger = host("stranger", "198.51.100.66/24", "2001:db8:66::66/64");
        let ports = [Protocol::Tcp, Protocol::Udp]
            .map(|protocol| (GuardedPort { protocol, port: GUARDED.try_into().unwrap() }, Purpose::P2p));
        let mut allow = AllowSet::default();
        for address in ALLOWED {
            allow.insert(address.parse::<std::net::IpAddr>().unwrap().into(), Reason::Policy { line: "test".into() });
        }
        let policy = FirewallPolicy {
            guarded: ports.into(),
            allow: BTreeMap::from([(Purpose::P2p, allow)]),
            ..FirewallPolicy::default()
        };
        let facts = HostFacts { overlay_interface: "picket0".parse().unwrap(), features };
        odd.load_nft(&lower(&policy, &facts).to_string()).unwrap();
        let servers =
            [GUARDED, FENCE].map(|port| odd.listen_echo(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).unwrap());
        Self { lab, host: odd, allowed, stranger, _servers: servers.into() }
    }

    /// Both addresses of the guarded host, without ports.
    fn addresses(&self) -> [String; 2] {
        [self.host.v4(0), self.host.v6(0)].map(|address| address.unwrap().ip().to_string())
    }
}

fn scapy(from: &Host, args: &[&str]) -> String {
    from.run(PYTHON, &[&[PROGRAM], args].concat()).unwrap().success().unwrap()
}

/// How the guarded port answered each odd way to say hello, in both families.
fn answers(odd: &Odd, from: &Host) -> BTreeMap<String, String> {
    let own = [from.v4(0), from.v6(0)].map(|address| address.unwrap().ip().to_string());
    let mut answers = BTreeMap::new();
    for (family, (own, to)) in ["v4", "v6"].iter().zip(own.iter().zip(odd.addresses())) {
        let lines = scapy(from, &["syns", own, &to, &GUARDED.to_string(), &FENCE.to_string()]);
        answers.extend(lines.lines().map(|line| {
            let (name, answer) = line.split_once(' ').unwrap();
            (format!("{family} {name}"), answer.to_owned())
        }));
    }
    answers
}

/// Whatever a first packet comes wrapped in: with connection tracking, which puts pieces together before we look, and without.
#[test]
fn no_way_to_write_a_packet_gets_a_stranger_in() {
    let without = Features { connections: false, half_open: false, ..Features::default() };
    for features in [Features::default(), without] {
        let odd = Odd::new("odd", features);
        let answered: BTreeSet<String> = answers(&odd, &odd.allowed)
            .into_iter()
            .filter_map(|(name, answer)| if answer == "SA" { Some(name) } else { None })
            .collect();
        // These the kernel itself takes, and an allowed source gets its answer: that no stranger does is our doing.
        for name in [
            "v4 plain",
            "v4 options",
            "v4 header-in-pieces",
            "v4 pieces-backwards",
            "v4 priority-tagged",
            "v6 plain",
            "v6 hop-by-hop",
            "v6 destination-options",
            "v6 many-options",
            "v6 one-piece",
            "v6 data-in-pieces",
            "v6 priority-tagged",
        ] {
            assert!(answered.contains(name), "{name} is not among {answered:?}");
        }
        // And these it drops whoever sends them: overlapping pieces, a chain of headers that does not end in the first piece.
        for name in ["v4 overlapping-pieces", "v6 header-in-pieces", "v6 port-in-second-piece", "v6 routing-0"] {
            assert!(!answered.contains(name), "{name}");
        }
        let strangers = answers(&odd, &odd.stranger);
        assert!(strangers.len() >= 18, "{strangers:?}");
        assert!(strangers.values().all(|answer| answer == "-"), "{strangers:?}");
    }
}

/// What has come to a socket, by what it says of itself.
fn received(socket: &UdpSocket) -> BTreeSet<String> {
    socket.set_nonblocking(true).unwrap();
    let mut all = BTreeSet::new();
    let mut datagram = [0; 100];
    loop {
        match socket.recv(&mut datagram) {
            Ok(length) => all.insert(String::from_utf8_lossy(&datagram[..length]).into_owned()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return all,
            Err(error) => panic!("{error}"),
        };
    }
}

/// Sources that no packet of a stranger may be believed to have, or that look like an allowed one written otherwise.
const FORGED: [&[&str]; 2] = [
    &["127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "169.254.7.7", "240.0.0.9", "10.0.0.9", "203.0.113.11"],
    &[
        "::1",
        "::",
        "::ffff:198.51.100.11",
        "::198.51.100.11",
        "64:ff9b::198.51.100.11",
        "2002:c633:640b::1",
        "ff02::1",
        "fe80::9",
        "fd00:77::9",
        "2001:db8:1::11",
    ],
];

#[test]
fn no_source_that_is_not_listed_as_it_stands_gets_a_datagram_in() {
    let odd = Odd::new("forged sources", Features::default());
    // As hosts with containers often are set: loopback addresses count as any other, and answers may go back another way.
    for key in ["conf/all/rp_filter", "conf/eth0/rp_filter"] {
        odd.host.sysctl(&format!("net/ipv4/{key}"), "0").unwrap();
    }
    for key in ["route_localnet", "accept_local"] {
        odd.host.sysctl(&format!("net/ipv4/conf/eth0/{key}"), "1").unwrap();
    }
    // Somewhere to answer to: a source without a way back is dropped by the kernel.
    odd.host.run("ip", &["route", "add", "default", "dev", "eth0"]).unwrap().success().unwrap();
    odd.host.run("ip", &["-6", "route", "add", "default", "dev", "eth0"]).unwrap().success().unwrap();
    let (guarded, unguarded) = (7101, 2223);
    odd.host.nft(&["add", "element", "inet", "picket", "p2p_ports", "{ udp . 7101 }"]).unwrap();
    let listen = |port: u16| odd.host.inside(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap()).unwrap();
    for (family, through) in odd.addresses().into_iter().enumerate() {
        let [v4, v6] = [odd.stranger.v4(0), odd.stranger.v6(0)].map(|address| address.unwrap().ip().to_string());
        let own = if family == 0 { v4 } else { v6 };
        let mut flights: Vec<String> = FORGED[family].iter().map(|source| format!("{source}>{through}")).collect();
        // To the loopback address, and to all, from the stranger's own and from none.
        if family == 0 {
            flights.extend(["127.0.0.1", "255.255.255.255"].map(|to| format!("{own}>{to}")));
            flights.push("0.0.0.0>255.255.255.255".to_owned());
        } else {
            flights.extend(["::1", "ff02::1"].map(|to| format!("{own}>{to}")));
        }
        let fly = |port: u16, flights: &[String]| {
            let socket = listen(port);
            let (port, fence) = (port.to_string(), FENCE.to_string());
            let mut args = vec!["datagrams", &own, &through, &port, &fence];
            args.extend(flights.iter().map(String::as_str));
            scapy(&odd.stranger, &args);
            received(&socket)
        };
        assert_eq!(fly(guarded, &flights), BTreeSet::new());
        // The kernel takes many of them: what is not guarded gets them.
        let taken = fly(unguarded, &flights);
        let some: &[&str] = if family == 0 {
            &["10.0.0.9>203.0.113.11", "198.51.100.66>127.0.0.1", "198.51.100.66>255.255.255.255"]
        } else {
            &["64:ff9b::198.51.100.11>2001:db8:1::11", "2002:c633:640b::1>2001:db8:1::11", "fd00:77::9>2001:db8:1::11"]
        };
        for flight in some {
            assert!(taken.contains(*flight), "{flight} is not among {taken:?}");
        }
        // An allowed address can be forged, which is what datagrams are: so much is known of them.
        let forged = vec![format!("{}>{through}", ALLOWED[family])];
        assert_eq!(fly(guarded, &forged), forged.into_iter().collect());
    }
}

/// The rules name no interface but the loopback's and the tunnel's: what comes by another one is decided alike.
#[test]
fn the_rules_hold_on_every_interface() {
    let odd = Odd::new("interfaces", Features::default());
    let second = ["203.0.113.12", "2001:db8:1::12"];
    let run =
        |line: &str| odd.host.run("ip", &line.split(' ').collect::<Vec<_>>()).unwrap().success().map(drop).unwrap();
    run("link add link eth0 name eth0.7 type macvlan mode bridge");
    run("link set eth0.7 up");
    run(&format!("address add {}/32 dev eth0.7", second[0]));
    run(&format!("address add {}/128 dev eth0.7 nodad", second[1]));
    // Asked for at its own hardware address, and nowhere else.
    for interface in ["all", "eth0"] {
        odd.host.sysctl(&format!("net/ipv4/conf/{interface}/arp_ignore"), "1").unwrap();
    }
    for address in second {
        let at = |port| SocketAddr::new(address.parse().unwrap(), port);
        open(&odd.allowed, at(GUARDED));
        open(&odd.stranger, at(FENCE));
        dropped(&odd.stranger, at(GUARDED));
    }
}

/// Only TCP and UDP have ports of ours: what else there is gets the kernel's answer that nobody speaks it.
#[test]
fn other_transports_get_the_kernels_own_answer() {
    let odd = Odd::new("transports", Features::default());
    let before = odd.host.nft(&["list", "counters", "table", "inet", "picket"]).unwrap();
    let told = scapy(&odd.stranger, &["transports", &odd.addresses()[0], &GUARDED.to_string()]);
    assert_eq!(told, "sctp 3/2\ndccp 3/2\n");
    assert_eq!(before, odd.host.nft(&["list", "counters", "table", "inet", "picket"]).unwrap());
}

/// Sends this much and reads it back; fails where the connection stalls.
fn roundtrip(from: &Host, to: SocketAddr, bytes: usize) {
    from.inside(|| {
        let mut stream = TcpStream::connect_timeout(&to, ANSWERED).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut writer = stream.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || writer.write_all(&vec![b'.'; bytes]).unwrap());
            stream.read_exact(&mut vec![0; bytes]).unwrap();
        });
    })
    .unwrap();
}

/// A hop in between takes less than both ends think: its "too big" has to reach the guarded host, or the flow stalls.
#[test]
fn a_guarded_flow_finds_the_size_that_a_smaller_hop_lets_through() {
    let odd = Odd::new("path mtu", Features::default());
    let Odd { lab, host, allowed, .. } = &odd;
    let near = lab.host("near").address("203.0.113.77/24").address("2001:db8:1::77/64").create().unwrap();
    let far = lab.host("far").create().unwrap();
    let ip = |host: &Host, script: &str| {
        for line in script.lines().map(str::trim) {
            host.run("ip", &line.split(' ').collect::<Vec<_>>()).unwrap().success().unwrap();
        }
    };
    // guarded - near = far - allowed, and only the middle is narrow.
    for host in [&far, allowed] {
        ip(host, "link delete eth0");
    }
    ip(&near, &format!("link add narrow mtu 1300 type veth peer name narrow mtu 1300 netns {}", far.namespace()));
    ip(&far, &format!("link add wide type veth peer name eth0 netns {}", allowed.namespace()));
    ip(
        &near,
        &format!(
            "link set narrow up
             address add 192.0.2.1/30 dev narrow
             address add 2001:db8:7::1/64 dev narrow nodad
             route add {}/32 via 192.0.2.2
             -6 route add {}/128 via 2001:db8:7::2",
            ALLOWED[0], ALLOWED[1]
        ),
    );
    ip(
        &far,
        "link set narrow up
         link set wide up
         address add 192.0.2.2/30 dev narrow
         address add 2001:db8:7::2/64 dev narrow nodad
         address add 192.0.2.5/30 dev wide
         address add 2001:db8:8::1/64 dev wide nodad
         route add 203.0.113.0/24 via 192.0.2.1
         -6 route add 2001:db8:1::/64 via 2001:db8:7::1
         route add 198.51.100.11/32 dev wide
         -6 route add 2001:db8:2::11/128 dev wide",
    );
    ip(
        allowed,
        "link set eth0 up
         address add 198.51.100.11/32 dev eth0
         address add 2001:db8:2::11/128 dev eth0 nodad
         route add 192.0.2.5/32 dev eth0
         route add default via 192.0.2.5
         -6 route add 2001:db8:8::1/128 dev eth0
         -6 route add default via 2001:db8:8::1",
    );
    ip(host, "route replace 198.51.100.11/32 via 203.0.113.77\n-6 route replace 2001:db8:2::11/128 via 2001:db8:1::77");
    for router in [&near, &far] {
        router.sysctl("net/ipv4/ip_forward", "1").unwrap();
        router.sysctl("net/ipv6/conf/all/forwarding", "1").unwrap();
    }
    for (address, to) in ALLOWED.iter().zip([host.v4(GUARDED), host.v6(GUARDED)]) {
        let route = || host.run("ip", &["route", "get", address]).unwrap().success().unwrap();
        assert!(!route().contains("mtu"), "{}", route());
        roundtrip(allowed, to.unwrap(), 400_000);
        assert!(route().contains("mtu 1300"), "what the hop said has been heard: {}", route());
    }
}

/// Neighbours find the host, and routers tell it of themselves.
#[test]
fn neighbours_and_routers_are_heard() {
    let odd = Odd::new("neighbours", Features::default());
    let v6 = odd.host.v6(GUARDED).unwrap();
    for host in [&odd.host, &odd.allowed] {
        host.run("ip", &["neighbour", "flush", "all"]).unwrap().success().unwrap();
        assert_eq!(host.run("ip", &["neighbour", "show"]).unwrap().success().unwrap(), "");
    }
    open(&odd.allowed, v6);
    open(&odd.allowed, odd.host.v4(GUARDED).unwrap());
    assert!(odd.stranger.ping(v6.ip(), ANSWERED).is_some());
    let routes = || odd.host.run("ip", &["-6", "route", "show", "default"]).unwrap().success().unwrap();
    assert_eq!(routes(), "");
    scapy(&odd.stranger, &["advertise", &v6.ip().to_string()]);
    wait_until("the router to be known", SOON, || routes().contains("via fe80::66 dev eth0 proto ra")).unwrap();
    dropped(&odd.stranger, v6);
}

/// A closed UDP port of a peer says so, and the host's own program hears it.
#[test]
fn errors_of_what_the_host_sends_itself_come_back() {
    let odd = Odd::new("errors", Features::default());
    for to in [odd.stranger.v4(GUARDED).unwrap(), odd.stranger.v6(GUARDED).unwrap()] {
        assert_eq!(odd.host.can_udp_echo(to, ANSWERED), Connect::Refused);
        assert_eq!(odd.host.can_connect(to, ANSWERED), Connect::Refused);
    }
    // And a stranger does not learn from such an error whether anybody listens at a guarded port.
    for to in [odd.host.v4(GUARDED).unwrap(), odd.host.v6(GUARDED).unwrap()] {
        assert_eq!(odd.stranger.can_udp_echo(to, DROPPED), Connect::Filtered);
        assert_eq!(odd.allowed.can_udp_echo(to, QUIET), Connect::Open);
    }
}

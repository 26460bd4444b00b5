//! Under attack, by real packets between two namespaces: floods in validators' names, sources that open too much, meters without
//! room, public ports. What runs goes on, others get in, and the counters say what was done.

use crate::{
    namespace::Namespace,
    policies::{allow, lowered, mainnet_ports},
};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket};
use picket_firewall::Ruleset;
use picket_model::{FirewallPolicy, Limits, PublicLimits, Purpose};
use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpListener},
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const VALIDATOR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
const OTHER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 12);
const ADMIN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 5);
const MEMBER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 200);
const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 66);
/// A packet without an answer for this long was dropped.
const DROPPED: Duration = Duration::from_millis(300);
/// Longer than anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server behind the firewall, and all the world in one namespace, with every address.
struct Wire {
    server: Namespace,
    world: Namespace,
    listeners: Vec<TcpListener>,
}

impl Wire {
    fn new(ruleset: &Ruleset) -> Self {
        let (server, world) = (Namespace::new(), Namespace::new());
        server.wire(&world);
        for namespace in [&server, &world] {
            for range in ["198.51.100.0/24", "192.0.2.0/24", "198.18.0.0/15"] {
                namespace.ip(&["route", "add", range, "dev", "wire0"]);
            }
        }
        server.ip(&["address", "add", "203.0.113.10/24", "dev", "wire0"]);
        for address in [VALIDATOR, OTHER] {
            world.ip(&["address", "add", &format!("{address}/24"), "dev", "wire0"]);
        }
        for address in [ADMIN, MEMBER, STRANGER] {
            world.ip(&["address", "add", &format!("{address}/32"), "dev", "wire0"]);
        }
        server.load(&ruleset.to_string());
        // The kernel accepts for a program that never does: all these tests ask for is a connection.
        let listen = async || [7100, 9000].map(|port| TcpListener::bind((SERVER, port)).unwrap());
        let listeners = server.enter(listen).into();
        Self { server, world, listeners }
    }

    /// What the firewall counted, by decision.
    fn counted(&self, counter: &str) -> u64 {
        let listing = self.server.nft(&["list", "counter", "inet", "picket", counter]);
        let mut words = listing.split_whitespace().skip_while(|word| *word != "packets");
        words.nth(1).unwrap().parse().unwrap()
    }

    /// Connections that the server's tracking knows of.
    fn tracked(&self) -> u64 {
        let path = "/proc/sys/net/netfilter/nf_conntrack_count";
        self.server.enter(async || std::fs::read_to_string(path).unwrap()).trim().parse().unwrap()
    }

    /// Tries to open so many connections, one after the other; those that came about, open.
    fn connect(&self, from: Ipv4Addr, port: u16, times: usize) -> Vec<std::net::TcpStream> {
        self.world.enter(async || {
            let mut open = Vec::new();
            for _ in 0..times {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind(SocketAddrV4::new(from, 0).into()).unwrap();
                let connected = timeout(DROPPED, socket.connect(SocketAddrV4::new(SERVER, port).into())).await;
                open.extend(connected.ok().and_then(Result::ok).map(|stream: TcpStream| stream.into_std().unwrap()));
            }
            open
        })
    }

    /// Waits until a connection comes about.
    fn wait_open(&self, from: Ipv4Addr) {
        let begun = Instant::now();
        while self.connect(from, 7100, 1).is_empty() {
            assert!(begun.elapsed() < PATIENCE, "{from} does not get in");
        }
    }

    /// A connection, both ends of it.
    fn running(&self, from: Ipv4Addr) -> [std::net::TcpStream; 2] {
        let ours = self.connect(from, 7100, 1).remove(0);
        let here = ours.local_addr().unwrap();
        loop {
            let (theirs, peer) = self.listeners[0].accept().unwrap();
            if peer == here {
                return [ours, theirs];
            }
        }
    }

    /// Sends one first packet in the name of each source.
    fn forge(&self, sources: impl IntoIterator<Item = Ipv4Addr> + Send) -> u64 {
        self.world.enter(async || {
            // With this protocol the IP header is the sender's own, raw(7).
            let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw).unwrap();
            let to = SockaddrIn::from(SocketAddrV4::new(SERVER, 0));
            let mut sent = 0;
            for (source, port) in sources.into_iter().zip((2000..60_000).cycle()) {
                sendto(socket.as_raw_fd(), &first_packet(source, port), &to, MsgFlags::empty()).unwrap();
                sent += 1;
            }
            sent
        })
    }
}

/// What runs, runs: a word goes there and back.
fn flows([ours, theirs]: &mut [std::net::TcpStream; 2]) {
    for stream in [&*ours, &*theirs] {
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let mut word = [0; 4];
    ours.write_all(b"ping").unwrap();
    theirs.read_exact(&mut word).unwrap();
    theirs.write_all(&word).unwrap();
    ours.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"ping");
}

/// The first packet of a connection to the P2P port, RFC 791 and 9293. The kernel fills in IP's length and checksum.
fn first_packet(from: Ipv4Addr, port: u16) -> Vec<u8> {
    let addresses = [from.octets(), SERVER.octets()].concat();
    let [high, low] = port.to_be_bytes();
    let mut tcp = vec![high, low, 0x1b, 0xbc, 0, 0, 0, 7, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0];
    let covered = [&addresses[..], &[0, 6, 0, 20], &tcp].concat();
    let sum: u32 = covered.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
    tcp.splice(16..18, checksum.to_be_bytes());
    [&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0], &addresses[..], &tcp].concat()
}

/// Two validators, a network of members, an operator.
fn policy() -> FirewallPolicy {
    FirewallPolicy {
        guarded: mainnet_ports(),
        allow: BTreeMap::from([
            (Purpose::P2p, allow(["203.0.113.11/32", "203.0.113.12/32", "198.51.100.128/25"])),
            (Purpose::Admin, allow(["192.0.2.0/24"])),
        ]),
        ..FirewallPolicy::default()
    }
}

#[test]
fn a_flood_of_strangers_leaves_no_trace_but_in_a_counter() {
    let wire = Wire::new(&lowered(&policy()));
    let mut running = wire.running(VALIDATOR);
    let before = wire.tracked();
    let strangers = (0..40).flat_map(|c| (1..=250).map(move |d| Ipv4Addr::new(198, 18, c, d)));
    assert_eq!(wire.forge(strangers), 10_000);
    assert_eq!(wire.counted("refused_p2p"), 10_000);
    assert_eq!(wire.tracked(), before, "what is refused is not tracked");
    flows(&mut running);
    assert_eq!(wire.connect(OTHER, 7100, 1).len(), 1);
}

#[test]
fn a_flood_in_a_validators_name_is_limited_and_harms_no_other() {
    let wire = Wire::new(&lowered(&policy()));
    let mut running = wire.running(VALIDATOR);
    let begun = Instant::now();
    let sent = wire.forge([VALIDATOR; 5000]);
    let may_pass = 40 + 20 * (begun.elapsed().as_secs() + 1);
    assert!(wire.counted("limited_new_p2p") >= sent - may_pass, "{}", wire.counted("limited_new_p2p"));
    assert_eq!(wire.connect(OTHER, 7100, 5).len(), 5);
    assert_eq!(wire.connect(ADMIN, 7100, 60).len(), 60, "the operator has no limits");
    flows(&mut running);
    wire.wait_open(VALIDATOR);
}

/// goloop holds connections for ever that say nothing.
#[test]
fn a_source_has_so_many_connections_and_those_it_has_stay() {
    let limits = Limits { p2p_connections: 4, ..Limits::default() };
    let wire = Wire::new(&lowered(&FirewallPolicy { limits: Some(limits), ..policy() }));
    let mut running = wire.running(VALIDATOR);
    let held = wire.connect(VALIDATOR, 7100, 6);
    assert_eq!(held.len(), 3);
    assert!(wire.counted("limited_open_p2p") >= 3);
    let [others, members, operators] = [OTHER, MEMBER, ADMIN].map(|from| wire.connect(from, 7100, 6).len());
    assert_eq!((others, members, operators), (4, 4, 6));
    flows(&mut running);
    drop(held);
    flows(&mut running);
}

/// The first packets of forgers take places for seconds, not for a minute.
#[test]
fn half_open_connections_in_a_validators_name_do_not_take_its_places_for_long() {
    let limits = Limits { p2p_connections: 3, ..Limits::default() };
    let wire = Wire::new(&lowered(&FirewallPolicy { limits: Some(limits), ..policy() }));
    // A host that never began these connections would end them at once: this one is silent, as one behind a firewall is.
    wire.world.load(
        "table inet silent { chain out { type filter hook output priority raw; tcp flags & rst == rst drop; }; }",
    );
    wire.forge([VALIDATOR; 3]);
    assert_eq!(wire.connect(VALIDATOR, 7100, 1).len(), 0, "its places are taken");
    // The kernel's own time for them is a minute.
    wire.wait_open(VALIDATOR);
}

#[test]
fn a_full_meter_lets_no_flood_through() {
    let mut ruleset = lowered(&policy());
    for (name, meter) in &mut ruleset.meters {
        meter.size = if name.contains("nets_p2p") { 4 } else { meter.size };
    }
    let wire = Wire::new(&ruleset);
    let mut running = wire.running(MEMBER);
    let members = || (129..=148).map(|d| Ipv4Addr::new(198, 51, 100, d));
    let sent = wire.forge((0..5).flat_map(|_| members()));
    // Beside the running one's place there are three.
    assert_eq!((sent, wire.counted("limited_new_p2p")), (100, 100 - 3 * 5));
    flows(&mut running);
    assert_eq!(wire.connect(VALIDATOR, 7100, 3).len(), 3, "a listed address has a meter of its own");
}

#[test]
fn a_public_port_is_open_to_all_within_limits() {
    let public = PublicLimits { connections: 4, ..PublicLimits::default() };
    let limits = Some(Limits { public, ..Limits::default() });
    let wire = Wire::new(&lowered(&FirewallPolicy { public: [9000.try_into().unwrap()].into(), limits, ..policy() }));
    let held = wire.connect(STRANGER, 9000, 6);
    assert_eq!((held.len(), wire.connect(STRANGER, 7100, 1).len()), (4, 0));
    assert_eq!((wire.connect(ADMIN, 9000, 6).len(), wire.connect(MEMBER, 9000, 2).len()), (6, 2));
    assert!(wire.counted("limited_open_public") > 0 && wire.counted("allowed_public") > 0);
    drop(held);
}

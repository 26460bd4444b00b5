//! Grants that end by themselves in the kernel: they do where nobody renews them, they do not where somebody looks now and
//! then, and admin networks stay. Judged by packets; the kernel's clock is the real one, so the times are short.

use crate::{
    namespace::Namespace,
    policies::{allow, lowered, mainnet_ports},
};
use picket_firewall::{Change, Firewall, Nft, Ruleset};
use picket_model::{FirewallPolicy, Purpose, limits::SHORTEST_GRANT};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, UdpSocket},
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// Listed by its address, in a prefix, and an operator.
const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
const MEMBER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 200);
const ADMIN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 5);
/// Long enough for a look on a busy machine between its half and its end.
const LASTS: Duration = Duration::from_secs(6);
const DROPPED: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(30);

fn policy() -> FirewallPolicy {
    FirewallPolicy {
        guarded: mainnet_ports(),
        allow: BTreeMap::from([
            (Purpose::P2p, allow(["203.0.113.11", "198.51.100.128/25", "255.255.255.0/24", "2001:db8::/32"])),
            (Purpose::Admin, allow(["192.0.2.0/24"])),
        ]),
        grants_last_seconds: NonZeroU32::new(SHORTEST_GRANT),
        ..FirewallPolicy::default()
    }
}

fn short() -> Ruleset {
    let mut ruleset = lowered(&policy());
    ruleset.timeouts.values_mut().for_each(|seconds| *seconds = u32::try_from(LASTS.as_secs()).unwrap());
    ruleset
}

/// A server behind the firewall, and the others.
struct Wire {
    server: Namespace,
    _world: Namespace,
    socket: UdpSocket,
    sources: BTreeMap<Ipv4Addr, UdpSocket>,
    number: AtomicU32,
}

impl Wire {
    fn new() -> Self {
        let (server, world) = (Namespace::new(), Namespace::new());
        server.wire(&world);
        server.ip(&["address", "add", "203.0.113.10/24", "dev", "wire0"]);
        for range in ["198.51.100.0/24", "192.0.2.0/24"] {
            server.ip(&["route", "add", range, "dev", "wire0"]);
        }
        world.ip(&["address", "add", &format!("{HOST}/24"), "dev", "wire0"]);
        for address in [MEMBER, ADMIN] {
            world.ip(&["address", "add", &format!("{address}/32"), "dev", "wire0"]);
        }
        let socket = server.enter(async || UdpSocket::bind((SERVER, 7100)).unwrap());
        socket.set_read_timeout(Some(DROPPED)).unwrap();
        let source = |from| (from, UdpSocket::bind((from, 7100)).unwrap());
        let sources = world.enter(async || [HOST, MEMBER, ADMIN].map(source).into());
        Self { server, _world: world, socket, sources, number: AtomicU32::new(0) }
    }

    /// By one datagram: a new connection each time would meet the limits.
    fn is_let_in(&self, from: Ipv4Addr) -> bool {
        let sent = self.number.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        self.sources[&from].send_to(&sent, (SERVER, 7100)).unwrap();
        let (started, mut heard) = (Instant::now(), [0; 4]);
        while started.elapsed() < DROPPED {
            if self.socket.recv(&mut heard).is_ok() && heard == sent {
                return true;
            }
        }
        false
    }

    fn wait_refused(&self, from: Ipv4Addr) -> Duration {
        let started = Instant::now();
        while self.is_let_in(from) {
            assert!(started.elapsed() < PATIENCE, "{from} is let in still");
        }
        started.elapsed()
    }
}

#[test]
fn grants_that_nobody_renews_end_and_the_operator_s_do_not() {
    let wire = Wire::new();
    let mut firewall = wire.server.enter(async || {
        let mut firewall = Firewall::new(Nft::locate().unwrap());
        firewall.reconcile(&short()).await.unwrap();
        assert_eq!(firewall.observe().await.unwrap().ruleset, Some(short()));
        firewall
    });
    for source in [HOST, MEMBER, ADMIN] {
        assert!(wire.is_let_in(source), "{source}");
    }
    let took = wire.wait_refused(HOST);
    assert!(took < LASTS + Duration::from_secs(2), "{took:?}");
    wire.wait_refused(MEMBER);
    assert!(wire.is_let_in(ADMIN));

    // An agent that comes back puts everything back.
    firewall.look_afresh(Instant::now());
    let applied = wire.server.enter(async || firewall.reconcile(&short()).await.unwrap());
    assert!(applied.changes.iter().all(|change| matches!(change, Change::AddElements { .. })), "{:?}", applied.changes);
    assert!(wire.is_let_in(HOST) && wire.is_let_in(MEMBER));
}

#[test]
fn grants_that_are_looked_after_last_and_no_packet_is_lost_over_it() {
    let wire = Wire::new();
    let mut firewall = Firewall::new(Nft::locate().unwrap());
    wire.server.enter(async || firewall.reconcile(&short()).await.unwrap());
    let (started, mut renewed) = (Instant::now(), 0);
    while started.elapsed() < LASTS * 2 {
        for source in [HOST, MEMBER, ADMIN] {
            assert!(wire.is_let_in(source), "{source} after {:?}", started.elapsed());
        }
        firewall.look_afresh(Instant::now());
        let applied = wire.server.enter(async || firewall.reconcile(&short()).await.unwrap());
        assert_eq!(applied.changes, [], "what is renewed is no repair");
        renewed += applied.renewed;
    }
    // Both prefixes at the ends, the one between and the address, at least three times each.
    assert!(renewed >= 12, "{renewed}");
    let listing = wire.server.nft(&["list", "set", "inet", "picket", "p2p_hosts4"]);
    assert!(listing.contains("comment \"policy test\""), "{listing}");
}

#[test]
fn without_the_wish_nothing_ends_and_with_it_never_the_admin_sets_nor_within_a_day() {
    let with =
        |seconds| lowered(&FirewallPolicy { grants_last_seconds: NonZeroU32::new(seconds), ..policy() }).timeouts;
    assert!(with(0).is_empty());
    assert!(with(1).values().all(|seconds| *seconds == SHORTEST_GRANT));
    let month = with(30 * SHORTEST_GRANT);
    assert!(month.values().all(|seconds| *seconds == 30 * SHORTEST_GRANT));
    let sets: Vec<_> = month.keys().map(String::as_str).collect();
    assert_eq!(sets.len(), 12, "{sets:?}");
    assert!(sets.iter().all(|set| ["p2p_", "rpc_", "overlay_"].iter().any(|of| set.starts_with(of))), "{sets:?}");
}

#[test]
fn an_element_with_a_time_of_its_own_is_not_ours() {
    let namespace = Namespace::new();
    let wanted = lowered(&policy());
    namespace.enter(async || {
        let mut firewall = Firewall::new(Nft::locate().unwrap());
        firewall.reconcile(&wanted).await.unwrap();
        assert_eq!(firewall.reconcile(&wanted).await.unwrap().changes, []);
        namespace.load("add element inet picket p2p_hosts4 { 203.0.113.99 timeout 3600d }");
        let applied = firewall.reconcile(&wanted).await.unwrap();
        assert!(applied.changes[0].to_string().contains("not ours in it: set"), "{:?}", applied.changes);
        assert_eq!(firewall.observe().await.unwrap().ruleset.as_ref(), Some(&wanted));
        // Over netlink too, elements get the time of their set.
        let mut more = policy();
        more.allow.insert(Purpose::P2p, allow(["203.0.113.12", "198.51.100.0/24"]));
        let wanted = lowered(&more);
        firewall.reconcile(&wanted).await.unwrap();
        assert_eq!(firewall.observe().await.unwrap().ruleset, Some(wanted));
        firewall.reconcile(&lowered(&FirewallPolicy { grants_last_seconds: None, ..more })).await.unwrap();
        let listing = namespace.nft(&["list", "set", "inet", "picket", "p2p_hosts4"]);
        assert!(!listing.contains("expires") && listing.contains("203.0.113.12"), "{listing}");
    });
}

//! The engine without IO: two or three of it in one thread, with our clock.

mod lost;
mod many;
mod preshared;

use super::*;
use proptest::prelude::*;
use std::net::{IpAddr, SocketAddr};

const DIALLER: &str = "192.0.2.1:1000";
const WAITER: &str = "192.0.2.2:2000";

/// One end: an engine, what came out of it and has not been taken yet.
struct End {
    tunnels: Tunnels,
    key: PrivateKey,
    at: SocketAddr,
    out: Collected,
}

#[derive(Default)]
struct Collected {
    datagrams: Vec<(SocketAddr, Vec<u8>)>,
    packets: Vec<Vec<u8>>,
    paths: Vec<(Path, u8)>,
    rooms: [Vec<u8>; 2],
}

impl Outbox for Collected {
    fn datagram_room(&mut self, bytes: usize) -> &mut [u8] {
        self.rooms[0].resize(bytes, 0xaa);
        &mut self.rooms[0]
    }

    fn to_network(&mut self, path: Path, ecn: u8, length: usize) {
        self.datagrams.push((path.remote, self.rooms[0][..length].to_vec()));
        self.paths.push((path, ecn));
    }

    fn packet_room(&mut self, bytes: usize) -> &mut [u8] {
        self.rooms[1].resize(bytes, 0xaa);
        &mut self.rooms[1]
    }

    fn to_host(&mut self, length: usize) {
        self.packets.push(self.rooms[1][..length].to_vec());
    }
}

impl End {
    fn new(secret: u8, at: &str) -> Self {
        let key = PrivateKey::from_random([secret; 32]);
        let mut end = Self {
            tunnels: Tunnels::new(u32::MAX - 1),
            key: key.clone(),
            at: at.parse().unwrap(),
            out: Collected::default(),
        };
        end.apply(moment(0), &DeviceChange::SetPrivateKey(key));
        end
    }

    fn apply(&mut self, now: Now, change: &DeviceChange) {
        self.tunnels.apply(now, change, &mut self.out).unwrap();
    }

    fn add(&mut self, now: Now, peer: &End, config: &PeerConfig) {
        self.apply(now, &DeviceChange::AddPeer(peer.key.public(), config.clone()));
    }

    fn send(&mut self, now: Now, from: &str, to: &str) {
        self.tunnels.packet(now, &packet(from, to, 100), &mut self.out);
    }

    fn receive(&mut self, now: Now, from: SocketAddr, datagram: &[u8]) {
        self.tunnels.datagram(now, from.into(), 0, datagram, &mut self.out);
    }

    fn peer(&self, peer: &End) -> crate::device::PeerState {
        self.tunnels.state().peers[&peer.key.public()].clone()
    }

    /// What is on its way out, by message type.
    fn sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out.datagrams).iter().map(|(_, datagram)| datagram[0]).collect()
    }
}

fn moment(millis: u64) -> Now {
    // One origin for all: the clock's zero is whenever it is first asked.
    static ORIGIN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let wall = Timestamp::from_millis(1_800_000_000_000 + i64::try_from(millis).unwrap());
    Now { steady: *ORIGIN.get_or_init(Instant::now) + Duration::from_millis(millis), wall }
}

fn peer(endpoint: Option<&str>, keepalive: Option<u16>, allowed: &[&str]) -> PeerConfig {
    PeerConfig {
        endpoint: endpoint.map(|text| text.parse().unwrap()),
        allowed_ips: allowed.iter().map(|text| text.parse().unwrap()).collect(),
        keepalive_seconds: keepalive,
        preshared_key: None,
    }
}

/// An IP packet of that many bytes, of which only what the engine looks at is filled in.
fn packet(from: &str, to: &str, length: u16) -> Vec<u8> {
    let (mut packet, total) = (vec![0; usize::from(length)], length.to_be_bytes());
    match (from.parse().unwrap(), to.parse().unwrap()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            packet[0] = 0x45;
            packet[2..4].copy_from_slice(&total);
            packet[12..16].copy_from_slice(&from.octets());
            packet[16..20].copy_from_slice(&to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            packet[0] = 0x60;
            packet[4..6].copy_from_slice(&(length - 40).to_be_bytes());
            packet[8..24].copy_from_slice(&from.octets());
            packet[24..40].copy_from_slice(&to.octets());
        }
        _ => panic!("two families"),
    }
    packet
}

/// Carries datagrams between ends until none is on its way.
fn carry(now: Now, ends: &mut [&mut End]) {
    loop {
        let mut carried = false;
        for i in 0..ends.len() {
            let from = ends[i].at;
            for (to, datagram) in std::mem::take(&mut ends[i].out.datagrams) {
                if let Some(end) = ends.iter_mut().find(|end| end.at == to) {
                    end.receive(now, from, &datagram);
                    carried = true;
                }
            }
        }
        if !carried {
            return;
        }
    }
}

/// A dialler with keepalive and one who waits for it, both with addresses of both families, connected.
fn connected() -> (End, End) {
    let (mut dialler, mut waiter) = (End::new(1, DIALLER), End::new(2, WAITER));
    waiter.add(moment(0), &dialler, &peer(None, None, &["10.0.0.1/32", "fd00::1/128"]));
    dialler.add(moment(0), &waiter, &peer(Some(WAITER), Some(25), &["10.0.0.2/32", "fd00::2/128"]));
    carry(moment(0), &mut [&mut dialler, &mut waiter]);
    (dialler, waiter)
}

/// Whether one end's packet arrives at the other.
fn arrives(now: Now, from: &mut End, to: &mut End, addresses: (&str, &str)) -> bool {
    to.out.packets.clear();
    from.send(now, addresses.0, addresses.1);
    carry(now, &mut [from, to]);
    to.out.packets == [packet(addresses.0, addresses.1, 100)]
}

#[test]
fn a_peer_to_be_kept_reachable_is_dialled_at_once() {
    let (dialler, waiter) = connected();
    assert_eq!(dialler.peer(&waiter).last_handshake, Some(moment(0).wall));
    assert_eq!(waiter.peer(&dialler).last_handshake, Some(moment(0).wall));
    assert_eq!(waiter.peer(&dialler).endpoint, Some(DIALLER.parse().unwrap()));

    let mut lazy = End::new(3, "192.0.2.3:1");
    lazy.add(moment(0), &waiter, &peer(Some(WAITER), None, &["10.0.0.2/32"]));
    assert!(lazy.sent().is_empty());
}

#[test]
fn both_may_dial_at_once() {
    let (mut one, mut two) = (End::new(1, DIALLER), End::new(2, WAITER));
    one.add(moment(0), &two, &peer(Some(WAITER), Some(25), &["10.0.0.2/32"]));
    two.add(moment(0), &one, &peer(Some(DIALLER), Some(25), &["10.0.0.1/32"]));
    carry(moment(0), &mut [&mut one, &mut two]);
    for millis in [1, 130_000, 260_000] {
        one.tunnels.tick(moment(millis), &mut one.out);
        two.tunnels.tick(moment(millis), &mut two.out);
        carry(moment(millis), &mut [&mut one, &mut two]);
        assert!(arrives(moment(millis), &mut one, &mut two, ("10.0.0.1", "10.0.0.2")));
        assert!(arrives(moment(millis), &mut two, &mut one, ("10.0.0.2", "10.0.0.1")));
    }
    assert_eq!(one.peer(&two).last_handshake, Some(moment(260_000).wall));
}

#[test]
fn packets_of_both_families_go_both_ways() {
    let (mut dialler, mut waiter) = connected();
    for (one, two) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
        assert!(arrives(moment(1), &mut dialler, &mut waiter, (one, two)));
        assert!(arrives(moment(1), &mut waiter, &mut dialler, (two, one)));
    }
    let (there, back) = (dialler.peer(&waiter), waiter.peer(&dialler));
    assert_eq!((there.sent_bytes, there.received_bytes), (back.received_bytes, back.sent_bytes));
    assert!(there.sent_bytes > 200);
}

#[test]
fn what_was_sent_before_the_handshake_arrives_after_it() {
    let (mut dialler, mut waiter) = (End::new(1, DIALLER), End::new(2, WAITER));
    waiter.add(moment(0), &dialler, &peer(None, None, &["10.0.0.1/32"]));
    dialler.add(moment(0), &waiter, &peer(Some(WAITER), None, &["10.0.0.2/32"]));
    for _ in 0..10_000 {
        dialler.send(moment(0), "10.0.0.1", "10.0.0.2");
    }
    assert_eq!(dialler.out.datagrams.len(), 1, "one handshake, however many packets wait for it");
    carry(moment(0), &mut [&mut dialler, &mut waiter]);
    assert_eq!(waiter.out.packets.len(), 256, "what waits is bounded");
}

#[test]
fn a_tunnel_comes_back_by_itself_after_an_outage_of_any_length() {
    let (mut dialler, mut waiter) = connected();
    let (mut initiations, mut millis) = (Vec::new(), 0);
    while millis < 1_800_000 {
        millis += 250;
        dialler.tunnels.tick(moment(millis), &mut dialler.out);
        // Nothing is carried: the path is cut.
        initiations.extend(dialler.sent().iter().filter(|kind| **kind == 1).map(|_| millis));
    }
    assert_eq!(initiations[0], 120_000, "the session is renewed while it still works");
    let gaps: BTreeSet<u64> = initiations.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps, BTreeSet::from([5_250]), "for ever, and never faster");

    let restored = moment(millis + 6_000);
    dialler.tunnels.tick(restored, &mut dialler.out);
    carry(restored, &mut [&mut dialler, &mut waiter]);
    assert_eq!(dialler.peer(&waiter).last_handshake, Some(restored.wall));
    assert!(arrives(restored, &mut waiter, &mut dialler, ("fd00::2", "fd00::1")));
}

#[test]
fn an_idle_tunnel_sends_keepalives_and_renews_its_session() {
    let (mut dialler, mut waiter) = connected();
    let mut sent = Vec::new();
    for seconds in 1..=130 {
        dialler.tunnels.tick(moment(seconds * 1000), &mut dialler.out);
        sent.extend(dialler.out.datagrams.iter().map(|(_, datagram)| (seconds, datagram[0])));
        carry(moment(seconds * 1000), &mut [&mut dialler, &mut waiter]);
    }
    assert_eq!(sent, [(25, 4), (50, 4), (75, 4), (100, 4), (120, 1)]);
    assert_eq!(waiter.peer(&dialler).last_handshake, Some(moment(120_000).wall));
}

#[test]
fn a_stranger_gets_nothing() {
    let (_, mut waiter) = connected();
    let mut stranger = End::new(9, "192.0.2.9:9");
    stranger.add(moment(0), &waiter, &peer(Some(WAITER), Some(25), &["10.0.0.2/32"]));
    let before = waiter.tunnels.state();
    stranger.send(moment(0), "10.0.0.1", "10.0.0.2");
    carry(moment(0), &mut [&mut stranger, &mut waiter]);
    assert_eq!(stranger.peer(&waiter).received_bytes, 0);
    assert_eq!(waiter.tunnels.state(), before);
    assert!(waiter.out.packets.is_empty());
}

#[test]
fn a_peer_speaks_for_its_own_addresses_only() {
    let (mut dialler, mut waiter) = connected();
    let mut other = End::new(3, "192.0.2.3:3");
    waiter.add(moment(0), &other, &peer(None, None, &["10.0.0.3/32"]));
    other.add(moment(0), &waiter, &peer(Some(WAITER), Some(25), &["10.0.0.2/32"]));
    carry(moment(0), &mut [&mut other, &mut waiter]);
    assert!(arrives(moment(0), &mut other, &mut waiter, ("10.0.0.3", "10.0.0.2")));
    assert!(!arrives(moment(0), &mut other, &mut waiter, ("10.0.0.1", "10.0.0.2")), "another peer's address");
    assert!(!arrives(moment(0), &mut other, &mut waiter, ("10.0.0.9", "10.0.0.2")), "nobody's address");
    assert!(arrives(moment(0), &mut dialler, &mut waiter, ("10.0.0.1", "10.0.0.2")));
}

#[test]
fn a_peer_that_roams_is_followed_once_it_has_proved_itself() {
    let (mut dialler, mut waiter) = connected();
    dialler.send(moment(1), "10.0.0.1", "10.0.0.2");
    let (_, datagram) = dialler.out.datagrams.pop().unwrap();
    let elsewhere: SocketAddr = "198.51.100.7:7".parse().unwrap();

    let mut forged = datagram.clone();
    *forged.last_mut().unwrap() ^= 1;
    waiter.receive(moment(1), elsewhere, &forged);
    assert_eq!(waiter.peer(&dialler).endpoint, Some(dialler.at));

    waiter.receive(moment(1), elsewhere, &datagram);
    assert_eq!(waiter.peer(&dialler).endpoint, Some(elsewhere));
    waiter.receive(moment(1), dialler.at, &datagram);
    assert_eq!(waiter.peer(&dialler).endpoint, Some(elsewhere), "a replay moves nobody");
}

#[test]
fn a_replayed_initiation_moves_nobody_even_to_a_fresh_engine() {
    let (mut dialler, mut waiter) = (End::new(1, DIALLER), End::new(2, WAITER));
    dialler.add(moment(0), &waiter, &peer(Some(WAITER), Some(25), &["10.0.0.2/32"]));
    let (_, initiation) = dialler.out.datagrams.pop().unwrap();
    waiter.add(moment(0), &dialler, &peer(None, None, &["10.0.0.1/32"]));
    waiter.receive(moment(0), "198.51.100.7:7".parse().unwrap(), &initiation);
    assert_eq!(waiter.sent(), [2]);
    assert_eq!((waiter.peer(&dialler).endpoint, waiter.peer(&dialler).last_handshake), (None, None));
}

#[test]
fn a_removed_peer_is_cut_and_the_others_notice_nothing() {
    let (mut dialler, mut waiter) = connected();
    let mut other = End::new(3, "192.0.2.3:3");
    waiter.add(moment(0), &other, &peer(None, None, &["10.0.0.3/32"]));
    other.add(moment(0), &waiter, &peer(Some(WAITER), Some(25), &["10.0.0.2/32"]));
    carry(moment(0), &mut [&mut other, &mut waiter]);
    let before = waiter.peer(&other);

    waiter.apply(moment(1), &DeviceChange::RemovePeer(dialler.key.public()));
    assert_eq!(waiter.peer(&other), before);
    assert!(!arrives(moment(1), &mut dialler, &mut waiter, ("10.0.0.1", "10.0.0.2")));
    assert!(arrives(moment(1), &mut other, &mut waiter, ("10.0.0.3", "10.0.0.2")));
    waiter.send(moment(1), "10.0.0.2", "10.0.0.1");
    assert!(waiter.sent().is_empty());
}

#[test]
fn networks_move_between_peers() {
    let (mut dialler, mut waiter) = connected();
    let other = End::new(3, "192.0.2.3:3");
    waiter.add(moment(0), &other, &peer(None, None, &["10.0.0.1/32"]));
    assert!(!arrives(moment(1), &mut dialler, &mut waiter, ("10.0.0.1", "10.0.0.2")));
    assert_eq!(waiter.peer(&dialler).allowed_ips, BTreeSet::from(["fd00::1/128".parse().unwrap()]));
    let update = PeerUpdate { allowed_ips: Some(["10.0.0.1/32".parse().unwrap()].into()), ..PeerUpdate::default() };
    waiter.apply(moment(1), &DeviceChange::UpdatePeer(dialler.key.public(), update));
    assert!(arrives(moment(1), &mut dialler, &mut waiter, ("10.0.0.1", "10.0.0.2")));
    assert_eq!(waiter.peer(&other).allowed_ips, BTreeSet::new());
}

#[test]
fn another_keepalive_keeps_the_session() {
    let (mut dialler, mut waiter) = connected();
    let update = PeerUpdate { keepalive_seconds: Some(Some(5)), ..PeerUpdate::default() };
    dialler.apply(moment(1_000), &DeviceChange::UpdatePeer(waiter.key.public(), update));
    assert_eq!(dialler.sent(), [4], "a sign of life, no handshake");
    dialler.tunnels.tick(moment(6_000), &mut dialler.out);
    assert_eq!(dialler.sent(), [4]);
    assert!(arrives(moment(6_000), &mut dialler, &mut waiter, ("10.0.0.1", "10.0.0.2")));
}

#[test]
fn of_a_thousand_peers_a_change_touches_one() {
    const PEERS: u16 = 1_000;
    let mut waiter = End::new(2, WAITER);
    let mut diallers = Vec::new();
    for number in 0..PEERS {
        let [high, low] = number.to_be_bytes();
        let mut end = End::new(1, &format!("198.51.{high}.{low}:1000"));
        let mut bytes = [9; 32];
        (bytes[1], bytes[2]) = (high, low);
        end.key = PrivateKey::from_random(bytes);
        let key = end.key.clone();
        end.apply(moment(0), &DeviceChange::SetPrivateKey(key));
        waiter.add(moment(0), &end, &peer(None, None, &[&format!("10.1.{high}.{low}/32")]));
        diallers.push(end);
    }
    // A handful talk; the others are there. Each second fewer handshakes than ask for cookies.
    for chosen in [0, 1, 499, 998, 999] {
        diallers[chosen].add(moment(0), &waiter, &peer(Some(WAITER), Some(25), &["10.0.0.2/32"]));
        carry(moment(0), &mut [&mut diallers[chosen], &mut waiter]);
        let [high, low] = u16::try_from(chosen).unwrap().to_be_bytes();
        let from = format!("10.1.{high}.{low}");
        assert!(arrives(moment(1), &mut diallers[chosen], &mut waiter, (&from, "10.0.0.2")));
    }
    let mut expected = waiter.tunnels.state().peers;
    assert_eq!(expected.len(), usize::from(PEERS));
    waiter.apply(moment(2), &DeviceChange::RemovePeer(diallers[499].key.public()));
    expected.remove(&diallers[499].key.public());
    assert_eq!(waiter.tunnels.state().peers, expected, "no session, counter or endpoint of another moved");
    assert!(!arrives(moment(3), &mut diallers[499], &mut waiter, ("10.1.1.243", "10.0.0.2")));
    assert!(arrives(moment(3), &mut diallers[998], &mut waiter, ("10.1.3.230", "10.0.0.2")));
    // One that comes back touches nobody either; nothing was sent to anybody else.
    let now: BTreeMap<_, _> = waiter.tunnels.state().peers;
    waiter.out.datagrams.clear();
    waiter.add(moment(4), &diallers[499], &peer(None, None, &["10.1.1.243/32"]));
    assert!(waiter.sent().is_empty());
    let mut with = waiter.tunnels.state().peers;
    with.remove(&diallers[499].key.public());
    assert_eq!(with, now);
}

#[test]
fn another_private_key_shakes_hands_again() {
    let (mut dialler, mut waiter) = connected();
    let key = PrivateKey::from_random([8; 32]);
    let old = dialler.key.public();
    dialler.apply(moment(1), &DeviceChange::SetPrivateKey(key.clone()));
    dialler.key = key;
    waiter.apply(moment(1), &DeviceChange::RemovePeer(old));
    waiter.add(moment(1), &dialler, &peer(None, None, &["10.0.0.1/32"]));
    dialler.tunnels.tick(moment(2), &mut dialler.out);
    carry(moment(2), &mut [&mut dialler, &mut waiter]);
    assert!(arrives(moment(3), &mut dialler, &mut waiter, ("10.0.0.1", "10.0.0.2")));
}

#[test]
fn under_load_a_cookie_is_asked_for_and_honoured() {
    let mut waiter = End::new(2, WAITER);
    let mut strangers = End::new(9, "192.0.2.9:9");
    strangers.add(moment(0), &waiter, &peer(Some(WAITER), Some(25), &[]));
    let (_, initiation) = strangers.out.datagrams.pop().unwrap();
    for _ in 0..=LIMIT {
        waiter.receive(moment(0), strangers.at, &initiation);
    }
    assert_eq!(waiter.sent(), [3], "a cookie instead of work");

    let mut dialler = End::new(1, DIALLER);
    waiter.add(moment(0), &dialler, &peer(None, None, &["10.0.0.1/32"]));
    dialler.add(moment(0), &waiter, &peer(Some(WAITER), Some(25), &["10.0.0.2/32"]));
    carry(moment(0), &mut [&mut dialler, &mut waiter]);
    assert_eq!(dialler.peer(&waiter).last_handshake, None);
    dialler.tunnels.tick(moment(5_333), &mut dialler.out);
    carry(moment(5_333), &mut [&mut dialler, &mut waiter]);
    assert_eq!(dialler.peer(&waiter).last_handshake, Some(moment(5_333).wall));
}

#[test]
fn a_peer_needs_a_device_with_a_key() {
    let mut tunnels = Tunnels::new(0);
    let key = PrivateKey::from_random([1; 32]).public();
    let error = tunnels.apply(moment(0), &DeviceChange::AddPeer(key, PeerConfig::default()), &mut Collected::default());
    assert!(matches!(error, Err(Error::NoPrivateKey(_))));
    let error =
        tunnels.apply(moment(0), &DeviceChange::UpdatePeer(key, PeerUpdate::default()), &mut Collected::default());
    assert!(matches!(error, Err(Error::NoSuchPeer(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Garbage from the network and from the host does nothing, whatever of it is made to look right.
    #[test]
    fn garbage_does_nothing(
        mut garbage in proptest::collection::vec(any::<u8>(), 0..200),
        kind in 0..6_u8, length in prop_oneof![Just(148), Just(92), Just(64), 0..200_usize], index: bool,
    ) {
        let (dialler, mut waiter) = connected();
        let before = waiter.tunnels.state();
        garbage.resize(length, 0);
        if garbage.len() >= 8 {
            garbage[..4].copy_from_slice(&[kind, 0, 0, 0]);
            if index {
                // The index the only peer has, and its first session.
                garbage[4..8].copy_from_slice(&((waiter.tunnels.next_index << 8) | 1).to_le_bytes());
            }
        }
        waiter.receive(moment(1), dialler.at, &garbage);
        waiter.tunnels.packet(moment(1), &garbage, &mut waiter.out);
        prop_assert_eq!(waiter.tunnels.state(), before);
        prop_assert_eq!(waiter.out.packets.len(), 0);
    }
}

//! Ten thousand peers, and what they cost when they are silent; marks and addresses that go with datagrams.

use super::super::super::ecn;
use super::*;

const PEERS: u32 = 10_000;

fn key(number: u32) -> WireGuardPublicKey {
    let mut bytes = [9; 32];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    WireGuardPublicKey::new(bytes).unwrap()
}

/// One end with that many peers beside one more that is connected.
fn crowded() -> (End, End) {
    let (dialler, mut waiter) = connected();
    for number in 0..PEERS {
        let [_, high, middle, low] = number.to_be_bytes();
        let config = peer(None, None, &[&format!("10.{}.{middle}.{low}/32", 100 + high)]);
        waiter.apply(moment(0), &DeviceChange::AddPeer(key(number), config));
    }
    (dialler, waiter)
}

#[test]
fn ten_thousand_silent_peers_are_looked_at_by_nobody() {
    let (mut dialler, mut waiter) = crowded();
    assert_eq!(waiter.tunnels.peers.len(), PEERS as usize + 1);
    // One has spoken, and is the only one with anything to do, ever.
    assert!(waiter.tunnels.queue.0.len() <= 1);
    assert!(
        waiter.tunnels.peers.values().filter(|peer| peer.is_made()).count() == 1,
        "no state machine of silent peers"
    );
    for seconds in 1..=3_600 {
        assert!(waiter.tunnels.tick(moment(seconds * 1_000), &mut waiter.out));
        assert!(waiter.tunnels.queue.0.len() <= 1);
    }
    assert!(waiter.tunnels.queue.0.is_empty(), "nothing is left to be done once its sessions are over");
    assert!(waiter.out.datagrams.is_empty());
    let later = moment(3_600_000);
    dialler.tunnels.tick(later, &mut dialler.out);
    carry(later, &mut [&mut dialler, &mut waiter]);
    assert!(arrives(later, &mut dialler, &mut waiter, ("10.0.0.1", "10.0.0.2")));
}

#[test]
fn the_state_of_all_is_read_a_few_at_a_time() {
    let (_, waiter) = crowded();
    let (mut read, mut slices) = (BTreeMap::new(), 0);
    loop {
        let slice = waiter.tunnels.peers_after(read.last_key_value().map(|(key, _)| *key));
        if slice.is_empty() {
            break;
        }
        assert!(slice.len() <= SLICE);
        slices += 1;
        read.extend(slice);
    }
    assert_eq!((read, slices), (waiter.tunnels.state().peers, (PEERS as usize + 1).div_ceil(SLICE)));
}

#[test]
fn peers_come_and_go_without_a_trace() {
    let (mut dialler, mut waiter) = crowded();
    for number in 0..PEERS {
        waiter.apply(moment(1), &DeviceChange::RemovePeer(key(number)));
    }
    waiter.apply(moment(1), &DeviceChange::RemovePeer(dialler.key.public()));
    let tunnels = &waiter.tunnels;
    assert!(tunnels.peers.is_empty() && tunnels.by_key.is_empty() && tunnels.queue.0.is_empty());
    assert!(!arrives(moment(2), &mut dialler, &mut waiter, ("10.0.0.1", "10.0.0.2")));
}

#[test]
fn many_with_something_to_do_at_once_have_it_done_in_turns() {
    let (mut dialler, mut waiter) = crowded();
    for number in 0..MOST_DUE + 1 {
        let update = PeerUpdate {
            endpoint: Some("192.0.2.200:1".parse().unwrap()),
            keepalive_seconds: Some(Some(25)),
            ..PeerUpdate::default()
        };
        waiter.apply(moment(0), &DeviceChange::UpdatePeer(key(u32::try_from(number).unwrap()), update));
    }
    waiter.out.datagrams.clear();
    let now = moment(5_333);
    assert!(!waiter.tunnels.tick(now, &mut waiter.out), "there is more to do");
    assert_eq!(waiter.sent().len(), MOST_DUE);
    assert!(arrives(now, &mut dialler, &mut waiter, ("10.0.0.1", "10.0.0.2")), "packets pass between");
    assert!(waiter.tunnels.tick(now, &mut waiter.out));
    assert_eq!(waiter.sent(), [1]);
}

#[test]
fn those_that_were_cut_off_together_do_not_try_again_together() {
    const DIALLED: u32 = 200;
    let mut dialler = End::new(1, DIALLER);
    for number in 0..DIALLED {
        dialler.apply(moment(0), &DeviceChange::AddPeer(key(number), peer(Some(WAITER), Some(25), &[])));
    }
    assert_eq!(dialler.sent().len(), 200);
    let mut tried = Vec::new();
    for millis in 5_000..=5_333 {
        while !dialler.tunnels.tick(moment(millis), &mut dialler.out) {}
        tried.push(dialler.sent().len());
    }
    assert_eq!(tried.iter().sum::<usize>(), 200, "once in five seconds and a third");
    assert!(tried.iter().all(|at_once| *at_once <= 2), "{tried:?}");
}

#[test]
fn marks_of_congestion_cross_the_tunnel_and_classes_do_not() {
    let (mut dialler, mut waiter) = connected();
    for (class, outer) in [(0xb8, 0), (0xb9, 1), (0xba, 2), (0xbb, 3)] {
        let mut sent = packet("10.0.0.1", "10.0.0.2", 100);
        sent[1] = class;
        dialler.tunnels.packet(moment(1), &sent, &mut dialler.out);
        let (_, datagram) = dialler.out.datagrams.pop().unwrap();
        assert_eq!(dialler.out.paths.pop().unwrap().1, outer, "of {class:x} the mark and nothing else is outside");

        waiter.out.packets.clear();
        let mut offer =
            || waiter.tunnels.datagram(moment(1), dialler.at.into(), ecn::EXPERIENCED, &datagram, &mut waiter.out);
        assert_eq!(
            (offer(), offer()),
            (true, false),
            "only what is a peer's counts as a sender that was told, no replay"
        );
        let marks: Vec<_> = waiter.out.packets.iter().map(|packet| packet[1]).collect();
        let expected: &[u8] = if class & 3 == 0 { &[] } else { &[0xbb] };
        assert_eq!(marks, expected, "congestion on the way, and {class:x} inside");
    }
}

#[test]
fn an_answer_leaves_from_where_the_question_came_to_until_nothing_comes_back() {
    let (mut dialler, mut waiter) = connected();
    let asked: IpAddr = "192.0.2.2".parse().unwrap();
    dialler.send(moment(1), "10.0.0.1", "10.0.0.2");
    let (_, datagram) = dialler.out.datagrams.pop().unwrap();
    let path = Path { remote: dialler.at, local: Some(asked) };
    waiter.tunnels.datagram(moment(1), path, 0, &datagram, &mut waiter.out);
    waiter.out.paths.clear();
    waiter.send(moment(1), "10.0.0.2", "10.0.0.1");
    assert_eq!(waiter.out.paths, [(path, 0)]);

    // Handshakes that nobody answers leave the choice to the kernel again.
    let update = PeerUpdate { keepalive_seconds: Some(Some(5)), ..PeerUpdate::default() };
    waiter.apply(moment(2), &DeviceChange::UpdatePeer(dialler.key.public(), update));
    waiter.out.paths.clear();
    for seconds in 180..=190 {
        waiter.tunnels.tick(moment(seconds * 1_000), &mut waiter.out);
    }
    let sources: Vec<_> = waiter.out.paths.iter().map(|(path, _)| path.local).collect();
    assert_eq!(sources.first(), Some(&Some(asked)));
    assert_eq!(sources.last(), Some(&None), "{sources:?}");
}

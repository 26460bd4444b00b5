//! What only a kernel with WireGuard can show. Where there is none these are told as ignored, and `cargo xtask test --kernel` runs them
//! in a virtual machine, with all the others of this program that are not of our own engine.

use crate::{A_WHILE, End, OUTER_V4, OUTER_V6, OVERLAY, connected, device, key, networks, transfer};
use picket_wireguard::{Changes, Engine, Preference, PresharedKey, Tunnel};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// Peers that take many messages there and back: each has at most a page or four.
const MANY: u32 = 1_500;
/// The initiator renews a session after 120 s, WireGuard paper section 6.1, with the next packet or keepalive.
const RENEWED: Duration = Duration::from_secs(160);

fn opened(end: &End) -> Engine {
    let tunnel = end.tunnel.clone();
    end.host.run(move || async move { tunnel.lock().await.engine() })
}

#[test]
#[ignore = "needs a kernel with WireGuard: cargo xtask test --kernel"]
fn the_kernels_own_is_preferred() {
    let (one, two) = connected((Preference::Auto, Preference::Auto), OUTER_V4);
    assert_eq!((opened(&one), opened(&two)), (Engine::Kernel, Engine::Kernel));
    assert!(one.host.ip("-d link show dev picket0").contains("wireguard"));
}

#[test]
#[ignore = "needs a kernel with WireGuard: cargo xtask test --kernel"]
fn tunnels_outlive_their_process_and_the_next_one_changes_nothing() {
    let (one, two) = connected((Preference::Kernel, Preference::Kernel), OUTER_V4);
    let End { host, tunnel } = one;
    drop(tunnel);
    assert!(host.ping(OVERLAY[0].1, 0, A_WHILE), "nobody is there, and packets pass");
    let next = host.run(|| async { Tunnel::open("picket0", Preference::Auto, None).await.unwrap() });
    let one = End { host, tunnel: Arc::new(Mutex::new(next)) };
    let handshake = one.peer(key(2).public()).last_handshake;
    assert_eq!(one.apply(&device(1, Some(OUTER_V4))), (Changes::default(), Changes::default()));
    assert_eq!(one.peer(key(2).public()).last_handshake, handshake, "and no session was lost");
    two.ping(OVERLAY[1].0);
}

#[test]
#[ignore = "needs a kernel with WireGuard: cargo xtask test --kernel"]
fn many_peers_are_set_and_read_back_in_many_messages() {
    let (one, _two) = connected((Preference::Kernel, Preference::Kernel), OUTER_V4);
    let mut wanted = device(1, Some(OUTER_V4));
    for number in 0..MANY {
        let mut bytes = [0x11; 32];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        let [low, ..] = number.to_le_bytes();
        let peer = picket_wireguard::PeerConfig {
            endpoint: Some(format!("[2001:db8::{number:x}]:51820").parse().unwrap()),
            allowed_ips: networks(&[&format!("fd00:1::{number:x}"), &format!("fd00:2::{number:x}")]).collect(),
            keepalive_seconds: (number % 2 == 0).then_some(25),
            preshared_key: (number % 3 == 0).then(|| PresharedKey::from_bytes([low | 1; 32]).unwrap()),
        };
        wanted.peers.insert(picket_wireguard::PrivateKey::from_random(bytes).public(), peer);
    }
    // Its text says of each change what it is, and its type that all was read back.
    assert!(one.apply(&wanted).1.device.len() >= wanted.peers.len() - 1);
    let found = one.observe().peers;
    assert_eq!(found.keys().collect::<BTreeSet<_>>(), wanted.peers.keys().collect());
    for (key, peer) in &wanted.peers {
        let found = &found[key];
        assert_eq!(
            (found.endpoint, &found.allowed_ips, found.keepalive_seconds, &found.preshared_key),
            (peer.endpoint, &peer.allowed_ips, peer.keepalive_seconds, &peer.preshared_key)
        );
    }
    assert_eq!(one.apply(&wanted), (Changes::default(), Changes::default()));
    one.apply(&device(1, Some(OUTER_V4)));
    assert_eq!(one.observe().peers.len(), 1);
    one.ping(OVERLAY[0].1);
}

#[test]
#[ignore = "needs a kernel with WireGuard: cargo xtask test --kernel"]
fn a_preshared_key_has_to_be_the_same_for_both_engines() {
    for preferences in [(Preference::Kernel, Preference::Userspace), (Preference::Userspace, Preference::Kernel)] {
        let (one, two) = connected(preferences, OUTER_V6);
        let with_key = |own: u8, endpoint| {
            let mut wanted = device(own, endpoint);
            wanted.peers.values_mut().for_each(|peer| peer.preshared_key = PresharedKey::from_bytes([7; 32]).ok());
            wanted
        };
        two.apply(&with_key(2, None));
        one.apply(&with_key(1, Some(OUTER_V6)));
        // Sessions of no key may serve on; what is made from here on is of the new one.
        let end = Instant::now() + Duration::from_secs(20);
        while !one.host.ping(OVERLAY[0].1, 0, A_WHILE) {
            assert!(Instant::now() < end, "{preferences:?}: packets pass with the same key");
        }
        transfer(&one, &two, OVERLAY[1].1);
    }
}

#[test]
#[ignore = "needs a kernel with WireGuard: cargo xtask test --kernel"]
fn each_engine_renews_its_sessions_with_the_other() {
    let (ours, kernels) = (Preference::Userspace, Preference::Kernel);
    // Both at once: each takes two minutes, by the clock that the kernel has.
    let pairs = [(kernels, ours), (ours, kernels)].map(|preferences| connected(preferences, OUTER_V4));
    let before = pairs.each_ref().map(|(one, _)| one.peer(key(2).public()).last_handshake);
    let end = Instant::now() + RENEWED;
    for ((one, two), before) in pairs.iter().zip(before) {
        while one.peer(key(2).public()).last_handshake <= before {
            assert!(Instant::now() < end, "a newer session");
            one.ping(OVERLAY[0].1);
        }
        transfer(one, two, OVERLAY[0].1);
        transfer(two, one, OVERLAY[1].0);
    }
}

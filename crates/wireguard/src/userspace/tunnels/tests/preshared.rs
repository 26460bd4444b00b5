//! Preshared keys that change: no packet is lost while both ends come to have the same one.

use super::*;
use crate::key::PresharedKey;

/// Another preshared key at one end.
fn reshare(end: &mut End, other: &End, now: Now, byte: u8) {
    let update = PeerUpdate { preshared_key: Some(PresharedKey::from_bytes([byte; 32]).ok()), ..PeerUpdate::default() };
    end.apply(now, &DeviceChange::UpdatePeer(other.key.public(), update));
}

/// Both ends do what is due in each second up to this one, and every second a packet arrives each way.
fn flows(from: u64, to: u64, one: &mut End, two: &mut End) {
    for second in from..to {
        let now = moment(second * 1_000);
        one.tunnels.tick(now, &mut one.out);
        two.tunnels.tick(now, &mut two.out);
        carry(now, &mut [one, two]);
        assert!(arrives(now, one, two, ("10.0.0.1", "10.0.0.2")), "there, after {second} s");
        assert!(arrives(now, two, one, ("10.0.0.2", "10.0.0.1")), "and back, after {second} s");
    }
}

#[test]
fn another_preshared_key_loses_no_packet_whoever_has_it_first() {
    for dialler_first in [true, false] {
        let (mut dialler, mut waiter) = connected();
        let began = dialler.peer(&waiter).last_handshake;
        for (round, byte) in [(0, 7), (200, 8), (400, 9)] {
            flows(round, round + 3, &mut dialler, &mut waiter);
            let now = moment((round + 3) * 1_000);
            if dialler_first {
                reshare(&mut dialler, &waiter, now, byte);
            } else {
                reshare(&mut waiter, &dialler, now, byte);
            }
            flows(round + 3, round + 30, &mut dialler, &mut waiter);
            let now = moment((round + 30) * 1_000);
            if dialler_first {
                reshare(&mut waiter, &dialler, now, byte);
            } else {
                reshare(&mut dialler, &waiter, now, byte);
            }
            flows(round + 30, round + 200, &mut dialler, &mut waiter);
        }
        assert!(dialler.peer(&waiter).last_handshake > began, "there were handshakes under the new keys");
    }
}

#[test]
fn a_preshared_key_that_one_end_lacks_ends_the_tunnel_with_its_session_and_going_back_saves_it() {
    let (mut dialler, mut waiter) = connected();
    reshare(&mut waiter, &dialler, moment(1_000), 7);
    flows(1, 150, &mut dialler, &mut waiter);
    let held = |dialler: &End, waiter: &End| (dialler.peer(waiter).last_handshake, waiter.peer(dialler).last_handshake);
    assert_eq!(held(&dialler, &waiter), (Some(moment(0).wall), Some(moment(0).wall)), "no handshake went well");
    // As the end with the newer epoch does when handshakes fail: back to the one before, here none.
    let none = PeerUpdate { preshared_key: Some(None), ..PeerUpdate::default() };
    waiter.apply(moment(150_000), &DeviceChange::UpdatePeer(dialler.key.public(), none));
    flows(150, 400, &mut dialler, &mut waiter);

    // And without that it is over when the session is.
    reshare(&mut waiter, &dialler, moment(400_000), 8);
    for second in 400..600 {
        let now = moment(second * 1_000);
        dialler.tunnels.tick(now, &mut dialler.out);
        waiter.tunnels.tick(now, &mut waiter.out);
        carry(now, &mut [&mut dialler, &mut waiter]);
    }
    assert!(!arrives(moment(600_000), &mut waiter, &mut dialler, ("10.0.0.2", "10.0.0.1")));
    assert_eq!(waiter.peer(&dialler).last_handshake, None);
}

#[test]
fn a_first_handshake_needs_the_same_preshared_key_at_both_ends() {
    let (mut dialler, mut waiter) = (End::new(1, DIALLER), End::new(2, WAITER));
    let secret = |byte| PresharedKey::from_bytes([byte; 32]).ok();
    let config = |endpoint, keepalive, byte, allowed: &str| PeerConfig {
        preshared_key: secret(byte),
        ..peer(endpoint, keepalive, &[allowed])
    };
    waiter.add(moment(0), &dialler, &config(None, None, 7, "10.0.0.1/32"));
    dialler.add(moment(0), &waiter, &config(Some(WAITER), Some(25), 8, "10.0.0.2/32"));
    carry(moment(0), &mut [&mut dialler, &mut waiter]);
    assert_eq!(dialler.peer(&waiter).last_handshake, None);
    reshare(&mut dialler, &waiter, moment(1_000), 7);
    carry(moment(1_000), &mut [&mut dialler, &mut waiter]);
    assert!(arrives(moment(1_001), &mut dialler, &mut waiter, ("10.0.0.1", "10.0.0.2")));
}

#[test]
fn an_end_that_starts_anew_after_a_change_is_found_again_within_seconds() {
    let (mut dialler, mut waiter) = connected();
    reshare(&mut dialler, &waiter, moment(1_000), 7);
    let mut waiter = {
        reshare(&mut waiter, &dialler, moment(1_000), 7);
        let mut anew = End::new(2, WAITER);
        let preshared_key = PresharedKey::from_bytes([7; 32]).ok();
        anew.add(moment(2_000), &dialler, &PeerConfig { preshared_key, ..peer(None, None, &["10.0.0.1/32"]) });
        anew
    };
    let mut found = None;
    for second in 3..40 {
        let now = moment(second * 1_000);
        dialler.tunnels.tick(now, &mut dialler.out);
        waiter.tunnels.tick(now, &mut waiter.out);
        if arrives(now, &mut dialler, &mut waiter, ("10.0.0.1", "10.0.0.2")) {
            found.get_or_insert(second);
        }
    }
    assert!(found.is_some_and(|second| second <= 20), "{found:?}");
}

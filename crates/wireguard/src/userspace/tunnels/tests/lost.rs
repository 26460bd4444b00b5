//! Sessions that one end has lost, or that somebody would like it to lose.

use super::*;

/// One end that starts anew: it has the same key and no session.
fn anew(end: &End, secret: u8) -> End {
    End::new(secret, &end.at.to_string())
}

#[test]
fn a_session_that_the_other_end_lost_is_missed_by_the_first_packet() {
    let (mut dialler, mut waiter) = (End::new(1, DIALLER), End::new(2, WAITER));
    waiter.add(moment(0), &dialler, &peer(None, None, &["10.0.0.1/32"]));
    dialler.add(moment(0), &waiter, &peer(Some(WAITER), None, &["10.0.0.2/32"]));
    assert!(arrives(moment(0), &mut dialler, &mut waiter, ("10.0.0.1", "10.0.0.2")));
    assert!(arrives(moment(0), &mut waiter, &mut dialler, ("10.0.0.2", "10.0.0.1")));

    let mut waiter = anew(&waiter, 2);
    waiter.add(moment(30_000), &dialler, &peer(None, None, &["10.0.0.1/32"]));
    assert!(!arrives(moment(30_000), &mut dialler, &mut waiter, ("10.0.0.1", "10.0.0.2")));
    for millis in (30_250..45_000).step_by(250) {
        dialler.tunnels.tick(moment(millis), &mut dialler.out);
        assert!(dialler.sent().is_empty(), "at {millis}: an answer may still come");
    }
    let found = moment(46_000);
    dialler.tunnels.tick(found, &mut dialler.out);
    carry(found, &mut [&mut dialler, &mut waiter]);
    assert_eq!(dialler.peer(&waiter).last_handshake, Some(found.wall));
    assert!(arrives(found, &mut dialler, &mut waiter, ("10.0.0.1", "10.0.0.2")));
}

#[test]
fn old_initiations_replayed_do_not_cost_the_session() {
    let (mut dialler, mut waiter) = (End::new(1, DIALLER), End::new(2, WAITER));
    // Somebody on the way writes down initiations of an outage.
    dialler.add(moment(0), &waiter, &peer(Some(WAITER), Some(25), &["10.0.0.2/32"]));
    for seconds in 1..150 {
        dialler.tunnels.tick(moment(seconds * 1_000), &mut dialler.out);
    }
    let written = std::mem::take(&mut dialler.out.datagrams);
    assert!(written.len() > 16 && written.iter().all(|(_, datagram)| datagram[0] == 1));

    // The other end starts anew, knows none of them, and begins the session.
    let now = moment(150_000);
    waiter.add(now, &dialler, &peer(Some(DIALLER), Some(25), &["10.0.0.1/32"]));
    carry(now, &mut [&mut dialler, &mut waiter]);
    assert!(arrives(now, &mut waiter, &mut dialler, ("10.0.0.2", "10.0.0.1")));
    for (_, initiation) in &written {
        waiter.receive(now, "203.0.113.9:9".parse().unwrap(), initiation);
    }
    assert_eq!(waiter.sent().len(), 6, "no more answers than leave the session its place");
    assert!(arrives(now, &mut dialler, &mut waiter, ("10.0.0.1", "10.0.0.2")));
    assert!(arrives(now, &mut waiter, &mut dialler, ("10.0.0.2", "10.0.0.1")));
}

#[test]
fn a_peer_that_starts_anew_again_and_again_is_answered_each_time() {
    let (dialler, mut waiter) = connected();
    for millis in 1..=20 {
        let mut again = anew(&dialler, 1);
        again.add(moment(millis), &waiter, &peer(Some(WAITER), Some(25), &["10.0.0.2/32"]));
        carry(moment(millis), &mut [&mut again, &mut waiter]);
        assert!(arrives(moment(millis), &mut again, &mut waiter, ("10.0.0.1", "10.0.0.2")), "after {millis}");
    }
}

#[test]
fn the_same_private_key_once_more_costs_no_session() {
    let (mut dialler, mut waiter) = connected();
    let (key, before) = (waiter.key.clone(), waiter.tunnels.state());
    waiter.apply(moment(1), &DeviceChange::SetPrivateKey(key));
    assert_eq!(waiter.tunnels.state(), before);
    assert!(arrives(moment(2), &mut waiter, &mut dialler, ("10.0.0.2", "10.0.0.1")));
    assert!(waiter.sent().is_empty());
}

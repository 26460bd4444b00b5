//! Tunnels that grow old, by clocks that the test moves: sessions renewed by time while bytes flow, idle for as long as sessions
//! and their keys live, and for hours. wireguard-go has the machine's clock alone, so what it does by time is waited for.

use crate::support::{ANSWER, Outside, Pair, SOME, SOON, Transfer, inner};
use picket_lab::{
    tunnels::{Carrier, Clock},
    wait_until,
};
use std::time::Duration;

/// Constants of the protocol, WireGuard paper section 6.1, each with a second added.
const REKEY_AFTER_TIME: Duration = Duration::from_secs(121);
const REJECT_AFTER_TIME: Duration = Duration::from_secs(181);
const FORGET_AFTER_TIME: Duration = Duration::from_secs(541);
/// Longer than any timer of the protocol.
const HOURS: Duration = Duration::from_secs(5 * 3600);
/// Sessions one after the other.
const SESSIONS: usize = 10;

/// Ours in both roles with another that tells the time as we do, and with itself.
const ROLES: [[Carrier; 2]; 3] =
    [[Carrier::Picket, Carrier::Boringtun], [Carrier::Boringtun, Carrier::Picket], [Carrier::Picket, Carrier::Picket]];

/// Waits for a handshake after those. boringtun tells how long ago its last one was instead of when.
fn wait_newer(pair: &Pair, carriers: [Carrier; 2], before: [u128; 2], within: Duration) {
    wait_until("a newer session at both ends", within, || {
        let now = pair.handshakes();
        let is_newer = |end: usize| carriers[end] == Carrier::Boringtun || now[end] > before[end];
        if is_newer(0) && is_newer(1) { Ok(()) } else { Err(format!("{before:?} and {now:?}")) }
    })
    .unwrap();
}

#[test]
fn sessions_are_renewed_by_time_while_bytes_flow() {
    for carriers in ROLES {
        let clock = Clock::new().unwrap();
        let pair = Pair::joined_by([Some(&clock), Some(&clock)], carriers);
        let transfer = Transfer::start(pair.host(0), pair.host(1), inner(1, Outside::V4));
        for _ in 0..SESSIONS {
            transfer.wait_more(SOME);
            let before = pair.handshakes();
            clock.advance(REKEY_AFTER_TIME).unwrap();
            wait_newer(&pair, carriers, before, SOON);
        }
        transfer.finish();
    }
}

#[test]
fn a_session_that_ended_while_nobody_spoke_is_made_anew_by_the_first_packet() {
    for carriers in ROLES {
        let clock = Clock::new().unwrap();
        let pair = Pair::joined_by([Some(&clock), Some(&clock)], carriers);
        for idle in [REKEY_AFTER_TIME, REJECT_AFTER_TIME, FORGET_AFTER_TIME, HOURS] {
            for from in [0, 1] {
                let before = pair.handshakes();
                clock.advance(idle).unwrap();
                let answered = || pair.host(from).ping(inner(1 - from, Outside::V4), ANSWER).ok_or("no answer");
                let what = format!("{carriers:?}: an answer to {from} after {idle:?} without a packet");
                wait_until(&what, SOON, answered).unwrap();
                // The one that was called goes on with a session until it ends.
                if idle > REKEY_AFTER_TIME || from == 0 {
                    wait_newer(&pair, carriers, before, SOON);
                }
            }
        }
    }
}

#[test]
fn wireguard_go_follows_our_renewals() {
    for (ours, carriers) in
        [[Carrier::Picket, Carrier::WireguardGo], [Carrier::WireguardGo, Carrier::Picket]].iter().enumerate()
    {
        let clock = Clock::new().unwrap();
        let clocks = if ours == 0 { [Some(&clock), None] } else { [None, Some(&clock)] };
        let pair = Pair::joined_by(clocks, *carriers);
        let transfer = Transfer::start(pair.host(0), pair.host(1), inner(1, Outside::V4));
        for _ in 0..SESSIONS {
            transfer.wait_more(SOME);
            let before = pair.handshakes();
            // Who began a session renews it; who did not, once it is over.
            clock.advance(if ours == 0 { REKEY_AFTER_TIME } else { REJECT_AFTER_TIME }).unwrap();
            wait_newer(&pair, *carriers, before, SOON);
        }
        transfer.finish();
    }
}

#[test]
fn we_follow_wireguard_gos_renewals() {
    let pair = Pair::joined([Carrier::WireguardGo, Carrier::Picket], Outside::V4);
    let before = pair.handshakes();
    let within = REKEY_AFTER_TIME + SOON;
    wait_until("wireguard-go to renew its session", within, || {
        let answer = pair.host(0).ping(inner(1, Outside::V4), ANSWER).ok_or("no answer");
        answer.map_err(str::to_owned)?;
        let now = pair.handshakes();
        if now[0] > before[0] && now[1] > before[1] { Ok(()) } else { Err(format!("{before:?} and {now:?}")) }
    })
    .unwrap();
}

//! What happens to a tunnel while bytes flow through it: handshakes anew, an end that moves, another MTU, an engine that stands
//! still, one that starts anew, and many streams at once.

use crate::support::{ANSWER, Outside, PORT, Pair, SOME, SOON, Transfer, inner, own, peer, peers, without};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use picket_lab::{
    tunnels::{Carrier, End, Wish},
    wait_until,
};
use std::net::SocketAddr;

/// Ours with each other engine, in both roles.
const ROLES: [[Carrier; 2]; 4] = [
    [Carrier::Picket, Carrier::WireguardGo],
    [Carrier::WireguardGo, Carrier::Picket],
    [Carrier::Picket, Carrier::Boringtun],
    [Carrier::Boringtun, Carrier::Picket],
];
/// More than TCP streams of browsers and nodes.
const STREAMS: usize = 64;
/// What an engine may grow by while so many flow.
const GROWTH_BYTES: u64 = 64 << 20;

fn flowing(pair: &Pair) -> Transfer {
    let transfer = Transfer::start(pair.host(0), pair.host(1), inner(1, Outside::V4));
    transfer.wait_more(SOME);
    transfer
}

#[test]
fn a_session_that_one_end_lost_is_made_anew_under_way() {
    for carriers in ROLES {
        let pair = Pair::joined(carriers, Outside::V4);
        let transfer = flowing(&pair);
        for from in [0, 1] {
            let before = pair.handshakes();
            // A peer that comes anew has no session: the first packet to it asks for one.
            pair.ends[from].set(&without(1 - from)).unwrap();
            let at = SocketAddr::new(Outside::V4.address(1 - from), PORT);
            pair.ends[from].set(&peers(peer(1 - from, Some(at)))).unwrap();
            // Who lost it asks as soon as it has something to send; the other would notice after 15 s.
            let answered = || pair.host(from).ping(inner(1 - from, Outside::V4), ANSWER).is_some();
            wait_until("an answer", SOON, answered).unwrap();
            transfer.wait_more(SOME);
            wait_until("a handshake at both ends", SOON, || {
                let now = pair.handshakes();
                if now[0] > before[0] && now[1] > before[1] { Ok(()) } else { Err(format!("{before:?} and {now:?}")) }
            })
            .unwrap();
        }
        transfer.finish();
    }
}

#[test]
fn an_end_that_moves_takes_its_tunnel_along() {
    for carriers in ROLES {
        let pair = Pair::joined(carriers, Outside::V4);
        let transfer = flowing(&pair);
        let ours = usize::from(carriers[1] == Carrier::Picket);
        let theirs = 1 - ours;
        // The other learns it by what the mover sends.
        let moved = |mover: usize, to: SocketAddr| {
            let answered = || pair.host(mover).ping(inner(1 - mover, Outside::V4), ANSWER).is_some();
            wait_until("an answer at the new place", SOON, answered).unwrap();
            transfer.wait_more(SOME);
            let heard = pair.ends[1 - mover].peers().unwrap().values().next().unwrap().endpoint;
            assert_eq!(heard, Some(to), "{carriers:?}: where {} is heard", carriers[mover]);
        };
        let elsewhere = "203.0.113.77";
        pair.host(ours).remove_address(&format!("{}/24", Outside::V4.address(ours))).unwrap();
        pair.host(ours).add_address(&format!("{elsewhere}/24")).unwrap();
        moved(ours, format!("{elsewhere}:{PORT}").parse().unwrap());
        // Others hold on to the address that they called from, so they move to another port, as behind a NAT.
        pair.ends[theirs].set(&Wish { listen_port: Some(PORT + 5), ..Wish::default() }).unwrap();
        moved(theirs, SocketAddr::new(Outside::V4.address(theirs), PORT + 5));
        transfer.finish();
    }
}

#[test]
fn another_mtu_cuts_nothing() {
    for carriers in ROLES {
        let pair = Pair::joined(carriers, Outside::V4);
        let transfer = flowing(&pair);
        for mtu in [1280, 1500, 1420] {
            for end in &pair.ends {
                end.set_mtu(mtu).unwrap();
                transfer.wait_more(SOME);
            }
        }
        transfer.finish();
    }
}

#[test]
fn an_engine_that_stood_still_goes_on() {
    for carriers in ROLES {
        let pair = Pair::joined(carriers, Outside::V4);
        let transfer = flowing(&pair);
        let ours = usize::from(carriers[1] == Carrier::Picket);
        let process = Pid::from_raw(i32::try_from(pair.ends[ours].process.id()).unwrap());
        kill(process, Signal::SIGSTOP).unwrap();
        wait_until("packets to wait", SOON, || pair.host(0).ping(inner(1, Outside::V4), ANSWER).is_none()).unwrap();
        kill(process, Signal::SIGCONT).unwrap();
        transfer.wait_more(SOME);
        transfer.finish();
    }
}

#[test]
fn an_engine_that_starts_anew_is_back_within_one_handshake() {
    for carriers in ROLES {
        let mut pair = Pair::joined(carriers, Outside::V4);
        let transfer = flowing(&pair);
        // The calling end, which alone knows where the other is.
        let host = pair.host(0).clone();
        pair.ends[0].process.kill();
        pair.ends[0] = End::start(&host, carriers[0], &["192.0.2.1/24", "fd86::1/64"], 1420).unwrap();
        let at = SocketAddr::new(Outside::V4.address(1), PORT);
        pair.ends[0].set(&own(0, vec![peer(1, Some(at))])).unwrap();
        transfer.wait_more(SOME);
        transfer.finish();
    }
}

#[test]
fn many_streams_flow_beside_each_other_and_memory_stays() {
    for carriers in [[Carrier::Picket, Carrier::WireguardGo], [Carrier::Picket, Carrier::Picket]] {
        let pair = Pair::joined(carriers, Outside::V4);
        let before = pair.ends[0].process.resident_memory_bytes().unwrap();
        let ways = (0..STREAMS).map(|number| (number % 2, [Outside::V4, Outside::V6][number / 2 % 2]));
        let stream = |(from, family)| Transfer::of(pair.host(from), pair.host(1 - from), inner(1 - from, family), SOME);
        let streams: Vec<Transfer> = ways.map(stream).collect();
        streams.into_iter().for_each(Transfer::whole);
        let after = pair.ends[0].process.resident_memory_bytes().unwrap();
        assert!(after < before + GROWTH_BYTES, "{before} bytes before, {after} with {STREAMS} streams");
    }
}

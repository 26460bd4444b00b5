//! Who understands whom: every engine of others with ours, whoever calls, over IPv4 and IPv6.

use crate::support::{ANSWER, Outside, PORT, Pair, SOON, datagrams, inner, peer, peers, transfer, without};
use picket_lab::{
    Lab,
    tunnels::{Carrier, PeerWish},
    wait_until,
};
use std::{net::SocketAddr, sync::Arc};

/// The smallest, those around one packet and around one link, several fragments, and the largest that UDP has.
const SIZES: [usize; 9] = [1, 64, 1280, 1392, 1393, 1473, 4_000, 30_000, 65_507];

/// Both families inside, both directions.
fn understand(carriers: [Carrier; 2], outside: Outside) {
    let pair = Pair::joined(carriers, outside);
    let endpoint = pair.ends[1].peers().unwrap().values().next().unwrap().endpoint;
    assert_eq!(endpoint, Some(SocketAddr::new(outside.address(0), PORT)), "{carriers:?}: where the caller was heard");
    for family in [Outside::V4, Outside::V6] {
        for from in [0, 1] {
            transfer(&pair, from, family);
            datagrams(&pair, from, family, &SIZES);
        }
    }
}

#[test]
fn ours_calls_wireguard_go() {
    understand([Carrier::Picket, Carrier::WireguardGo], Outside::V4);
    understand([Carrier::Picket, Carrier::WireguardGo], Outside::V6);
}

#[test]
fn wireguard_go_calls_ours() {
    understand([Carrier::WireguardGo, Carrier::Picket], Outside::V4);
    understand([Carrier::WireguardGo, Carrier::Picket], Outside::V6);
}

#[test]
fn ours_calls_boringtun() {
    understand([Carrier::Picket, Carrier::Boringtun], Outside::V4);
    understand([Carrier::Picket, Carrier::Boringtun], Outside::V6);
}

#[test]
fn boringtun_calls_ours() {
    understand([Carrier::Boringtun, Carrier::Picket], Outside::V4);
    understand([Carrier::Boringtun, Carrier::Picket], Outside::V6);
}

#[test]
fn ours_calls_ours() {
    understand([Carrier::Picket, Carrier::Picket], Outside::V4);
    understand([Carrier::Picket, Carrier::Picket], Outside::V6);
}

#[test]
fn another_preshared_key_is_another_network() {
    for carriers in [[Carrier::Picket, Carrier::WireguardGo], [Carrier::Boringtun, Carrier::Picket]] {
        let lab = Arc::new(Lab::new("tunnels").unwrap());
        let pair = Pair::new(&lab, carriers, Outside::V4, Some(SocketAddr::new(Outside::V4.address(1), PORT + 1)));
        let called = SocketAddr::new(Outside::V4.address(1), PORT);
        // Taken away first: boringtun changes no peer that it has.
        let other = PeerWish { preshared_key: Some([0x78; 32]), ..peer(1, Some(called)) };
        pair.ends[0].set(&without(1)).unwrap();
        pair.ends[0].set(&peers(other)).unwrap();
        // It calls, is heard, and nobody is let in.
        wait_until("the called end to be called", SOON, || {
            let heard = pair.host(0).ping(inner(1, Outside::V4), ANSWER);
            assert_eq!(heard, None, "{carriers:?}");
            let peers = pair.ends[0].peers().map_err(|error| error.to_string())?;
            let sent = peers.values().map(|peer| peer.sent_bytes).sum::<u64>();
            // boringtun counts the bytes of tunnels alone.
            if sent > 0 || carriers[0] == Carrier::Boringtun { Ok(()) } else { Err("it sent nothing".to_owned()) }
        })
        .unwrap();
        assert_eq!(pair.handshakes()[0], 0, "{carriers:?}");
        // And with the right one it is.
        pair.ends[0].set(&without(1)).unwrap();
        pair.ends[0].set(&peers(peer(1, Some(called)))).unwrap();
        pair.wait_passing();
    }
}

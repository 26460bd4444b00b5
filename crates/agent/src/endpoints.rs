//! Where peers were last heard from, kept beside the ledger: an agent that carries its tunnels itself loses their sessions when it
//! ends, and of a validator it knows the place by the validator's own packets alone. With it, it begins the handshake; without, it
//! would wait until the other end gives its session up, 15 seconds later.

use crate::state::{Kind, StateDir};
use picket_model::{PeerHealth, WireGuardConfig, WireGuardPublicKey};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};
use tracing::{debug, warn};

const ENDPOINTS: Kind = Kind { name: "endpoints.json", version: 1, remedy: "remove it: the agent writes it again" };
/// The discard port, RFC 863: what is sent there asks for nothing.
const DISCARD: u16 = 9;

/// Where each peer was.
pub type Endpoints = BTreeMap<WireGuardPublicKey, SocketAddr>;

/// Writes them where they changed.
#[derive(Debug)]
pub struct Keeper {
    state: StateDir,
    written: Endpoints,
}

impl Keeper {
    /// In this folder, with what is kept there; with nothing where that cannot be read: it saves seconds, and decides nothing.
    pub fn open(state: StateDir) -> Self {
        let kept = state.read_json(ENDPOINTS).unwrap_or_else(|error| {
            warn!(%error, "where peers were is not known: they dial");
            None
        });
        Self { state, written: kept.unwrap_or_default() }
    }

    /// What is kept.
    pub fn kept(&self) -> &Endpoints {
        &self.written
    }

    /// Keeps where peers are that were heard: what was never answered may be anybody's. A peer that is none any more is
    /// forgotten, one that was not heard yet stays where it was.
    pub fn keep(&mut self, found: &BTreeMap<WireGuardPublicKey, PeerHealth>) {
        let place = |(key, peer): (&WireGuardPublicKey, &PeerHealth)| {
            let heard = peer.endpoint.filter(|_| peer.last_handshake.is_some());
            Some((*key, heard.or_else(|| self.written.get(key).copied())?))
        };
        let places: Endpoints = found.iter().filter_map(place).collect();
        if places == self.written {
            return;
        }
        match self.state.note_json(ENDPOINTS, &places) {
            Ok(()) => self.written = places,
            Err(error) => warn!(%error, "where peers are is not kept"),
        }
    }
}

/// Sends each of these peers a datagram inside its tunnel, which makes either engine begin a handshake.
pub fn greet(wanted: &WireGuardConfig, peers: &[WireGuardPublicKey]) {
    let addresses = peers.iter().filter_map(|key| wanted.peers.get(key)?.allowed_ips.first());
    for inside in addresses.map(|network| SocketAddr::new(network.addr(), DISCARD)) {
        let own: SocketAddr =
            if inside.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        let sent = UdpSocket::bind(own).and_then(|socket| socket.send_to(&[], inside));
        if let Err(error) = sent {
            debug!(%error, %inside, "a peer is not greeted; it dials");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::Timestamp;

    #[test]
    fn who_was_heard_is_remembered_and_who_left_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let state = || StateDir::new(folder.path());
        let key = |n| WireGuardPublicKey::new([n; 32]).unwrap();
        let at = |text: &str| Some(text.parse().unwrap());
        let health = |endpoint, is_heard: bool| PeerHealth {
            endpoint,
            last_handshake: is_heard.then(|| Timestamp::from_millis(1)),
            received_bytes: 0,
            sent_bytes: 0,
        };
        let mut keeper = Keeper::open(state());
        let (first, never) = (health(at("192.0.2.1:1"), true), health(at("192.0.2.2:2"), false));
        keeper.keep(&[(key(1), first), (key(2), never)].into());
        let kept = Endpoints::from([(key(1), "192.0.2.1:1".parse().unwrap())]);
        assert_eq!(Keeper::open(state()).kept(), &kept);
        // After a start nobody is heard yet.
        keeper.keep(&[(key(1), health(None, false))].into());
        assert_eq!(Keeper::open(state()).kept(), &kept);
        keeper.keep(&[(key(1), health(at("[2001:db8::1]:7"), true))].into());
        assert_eq!(keeper.kept()[&key(1)], "[2001:db8::1]:7".parse().unwrap());
        keeper.keep(&BTreeMap::new());
        assert_eq!(Keeper::open(state()).kept(), &Endpoints::new());
        std::fs::write(folder.path().join("endpoints.json"), "{").unwrap();
        assert_eq!(Keeper::open(state()).kept(), &Endpoints::new());
    }
}

//! The embedded engine without IO: datagrams and packets in, datagrams and packets out, the time as an argument (only
//! boringtun's own timers read a clock). Memory is bounded: nothing waits here but boringtun's 256 packets a peer.

use super::{
    allowed_ips::AllowedIps,
    ecn,
    path::Path,
    peer::{Opened, Own, Peer, TICK},
};
use crate::{
    device::{PeerConfig, PeerState},
    diff::{DeviceChange, PeerUpdate},
    error::Error,
    key::PrivateKey,
};
use boringtun::noise::{Packet, Tunn, TunnResult, handshake::parse_handshake_anon, rate_limiter::RateLimiter};
use ipnet::IpNet;
use picket_model::{Timestamp, WireGuardPublicKey};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
    time::{Duration, Instant},
};
use x25519_dalek::{PublicKey, StaticSecret};

/// Largest datagram, and largest packet of a TUN device.
pub(super) const LARGEST: usize = 65_535;
/// What sealing adds to a packet: header 16, tag 16.
pub(super) const OVERHEAD: usize = 32;
/// Largest message of a handshake, the initiation.
pub(super) const LARGEST_HANDSHAKE: usize = 148;
/// Handshake messages a second from which on strangers must first prove their address with a cookie. Each costs one
/// or two X25519 operations, so this bounds the work at about one per cent of a core.
const HANDSHAKES_PER_SECOND: u64 = 100;
/// The limiter sees an initiation twice: before its sender is known and when its peer takes it.
const LIMIT: u64 = 2 * HANDSHAKES_PER_SECOND;
/// For how long they are counted.
const COUNTED: Duration = Duration::from_secs(1);
/// Peers with something to do that are seen to before packets have their turn: at worst a handshake each, a millisecond in all.
const MOST_DUE: usize = 4;
/// Peers whose state is copied before packets have their turn.
const SLICE: usize = 64;
/// boringtun keeps eight bits of an index for its sessions, and a peer one for which of its two state machines it is.
const INDEX_BITS: u32 = 23;

/// A moment by both clocks: one that never steps, one that means something elsewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) steady: Instant,
    pub(super) wall: Timestamp,
}

impl Now {
    pub(super) fn since(self, earlier: Self) -> Duration {
        self.steady.saturating_duration_since(earlier.steady)
    }
}

/// Where what comes out is written, and goes: each datagram and each packet is made in its place, and then either sent
/// or left. It may drop, as a network may, and must not wait.
pub(super) trait Outbox {
    /// Room for the next datagram, at least of this many bytes.
    fn datagram_room(&mut self, bytes: usize) -> &mut [u8];
    /// The first `length` bytes of the room are a datagram for the network, with these bits of congestion.
    fn to_network(&mut self, path: Path, ecn: u8, length: usize);
    /// Room for the next packet, at least of this many bytes.
    fn packet_room(&mut self, bytes: usize) -> &mut [u8];
    /// The first `length` bytes of the room are a packet for the host.
    fn to_host(&mut self, length: usize);
}

pub(super) struct Tunnels {
    identity: Option<Identity>,
    peers: BTreeMap<u32, Peer>,
    by_key: BTreeMap<WireGuardPublicKey, u32>,
    routes: AllowedIps<u32>,
    next_index: u32,
    queue: Queue,
}

struct Identity {
    secret: StaticSecret,
    public: PublicKey,
    own: Arc<Own>,
    /// When handshakes were last counted anew.
    counted: Option<Now>,
}

impl Tunnels {
    /// No key and no peer yet. Indices begin at `random`, so that they tell nothing.
    pub(super) fn new(random: u32) -> Self {
        Self {
            identity: None,
            peers: BTreeMap::new(),
            by_key: BTreeMap::new(),
            routes: AllowedIps::new(),
            next_index: random,
            queue: Queue::default(),
        }
    }

    /// The device as it stands, but for its port, in one go.
    #[cfg(any(test, fuzzing))]
    pub(super) fn state(&self) -> crate::device::DeviceState {
        let peers = self.by_key.keys().filter_map(|key| Some((*key, self.peer(*key)?))).collect();
        crate::device::DeviceState { public_key: self.public_key(), listen_port: 0, peers }
    }

    /// The next peers after this one in the order of their keys, or the first; none if there are no more.
    pub(super) fn peers_after(&self, after: Option<WireGuardPublicKey>) -> Vec<(WireGuardPublicKey, PeerState)> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let slice = self.by_key.range((after, Bound::Unbounded)).take(SLICE);
        slice.filter_map(|(key, index)| Some((*key, self.peers.get(index)?.state()))).collect()
    }

    pub(super) fn peer(&self, key: WireGuardPublicKey) -> Option<PeerState> {
        self.peers.get(self.by_key.get(&key)?).map(Peer::state)
    }

    pub(super) fn public_key(&self) -> Option<WireGuardPublicKey> {
        self.identity.as_ref().map(|identity| identity.own.key.public())
    }

    pub(super) fn private_key(&self) -> Option<PrivateKey> {
        self.identity.as_ref().map(|identity| identity.own.key.clone())
    }

    /// Makes a change; touches the peer it names and no other. A port is the sockets' business.
    pub(super) fn apply(&mut self, now: Now, change: &DeviceChange, out: &mut impl Outbox) -> Result<(), Error> {
        match change {
            DeviceChange::RemovePeer(key) => self.remove(*key),
            DeviceChange::SetPrivateKey(key) => self.set_private_key(now, key),
            DeviceChange::SetListenPort(_) => {}
            DeviceChange::AddPeer(key, peer) => self.add(now, *key, peer, out)?,
            DeviceChange::UpdatePeer(key, update) => self.update(now, *key, update, out)?,
        }
        Ok(())
    }

    /// Takes a packet the host sends.
    pub(super) fn packet(&mut self, now: Now, packet: &[u8], out: &mut impl Outbox) {
        let peer = Tunn::dst_address(packet).and_then(|destination| self.routes.peer_of(destination));
        if let Some((index, peer)) = peer.and_then(|index| Some((index, self.peers.get_mut(&index)?))) {
            peer.seal(now, packet, out);
            self.queue.schedule(index, peer, now, now.steady);
        }
    }

    /// Takes a datagram from the network. Whether there was a packet of a peer's in it.
    pub(super) fn datagram(&mut self, now: Now, from: Path, ecn: u8, datagram: &[u8], out: &mut impl Outbox) -> bool {
        let index = match Tunn::parse_incoming_packet(datagram) {
            Ok(Packet::HandshakeInit(_)) => {
                self.count(now);
                self.initiator(from, datagram, out)
            }
            Ok(Packet::HandshakeResponse(message)) => {
                self.count(now);
                Some(peer_index(message.receiver_idx))
            }
            Ok(Packet::PacketCookieReply(message)) => Some(peer_index(message.receiver_idx)),
            Ok(Packet::PacketData(message)) => Some(peer_index(message.receiver_idx)),
            Err(_) => None,
        };
        let Some((index, peer)) = index.and_then(|index| Some((index, self.peers.get_mut(&index)?))) else {
            return false;
        };
        let opened = peer.open(now, from, datagram, out);
        if let Opened::Packet(length, source) = opened {
            // A peer speaks for its own addresses only.
            if self.routes.peer_of(source) == Some(index) && ecn::combine(ecn, &mut out.packet_room(length)[..length]) {
                out.to_host(length);
            }
            peer.flush(now, out);
        }
        self.queue.schedule(index, peer, now, now.steady);
        matches!(opened, Opened::Packet(..))
    }

    /// Does what is due by time, for so many peers that nobody else waits for long. False if there is more to do at once.
    pub(super) fn tick(&mut self, now: Now, out: &mut impl Outbox) -> bool {
        for _ in 0..MOST_DUE {
            let Some(index) = self.queue.pop(now) else { return true };
            if let Some(peer) = self.peers.get_mut(&index) {
                peer.due = None;
                peer.tick(now, out);
                self.queue.schedule(index, peer, now, now.steady + TICK);
            }
        }
        false
    }

    /// The peer an initiation comes from, by the static key sealed in it. Under load its sender must prove its
    /// address first, so that strangers cannot make us compute.
    fn initiator(&mut self, from: Path, datagram: &[u8], out: &mut impl Outbox) -> Option<u32> {
        let identity = self.identity.as_ref()?;
        let room = out.datagram_room(LARGEST_HANDSHAKE);
        let message = match identity.own.limiter.verify_packet(Some(from.remote.ip()), datagram, room) {
            Ok(Packet::HandshakeInit(message)) => message,
            Err(TunnResult::WriteToNetwork(cookie)) => {
                let length = cookie.len();
                out.to_network(from, 0, length);
                return None;
            }
            _ => return None,
        };
        let half = parse_handshake_anon(&identity.secret, &identity.public, &message).ok()?;
        let key = WireGuardPublicKey::new(half.peer_static_public).ok()?;
        self.by_key.get(&key).copied()
    }

    /// Counts handshakes anew each second.
    fn count(&mut self, now: Now) {
        let Some(identity) = &mut self.identity else { return };
        let counted = identity.counted.get_or_insert(now);
        if now.since(*counted) >= COUNTED {
            *counted = now;
            identity.own.limiter.reset_count();
        }
    }

    fn set_private_key(&mut self, now: Now, key: &PrivateKey) {
        // The same again, as a tool may say it, costs no session.
        if self.identity.as_ref().is_some_and(|identity| identity.own.key == *key) {
            return;
        }
        let public = PublicKey::from(*key.public().as_bytes());
        let own = Arc::new(Own { key: key.clone(), limiter: Arc::new(RateLimiter::new(&public, LIMIT)) });
        for (index, peer) in &mut self.peers {
            peer.set_own(own.clone());
            self.queue.schedule(*index, peer, now, now.steady);
        }
        self.identity = Some(Identity { secret: key.secret(), public, own, counted: None });
    }

    fn add(
        &mut self,
        now: Now,
        key: WireGuardPublicKey,
        config: &PeerConfig,
        out: &mut impl Outbox,
    ) -> Result<(), Error> {
        self.remove(key);
        let index = self.free_index();
        let identity = self.identity.as_ref().ok_or(Error::NoPrivateKey(key))?;
        let mut peer = Peer::new(identity.own.clone(), key, index, config);
        peer.reach_out(now, out);
        self.queue.schedule(index, &mut peer, now, now.steady);
        self.peers.insert(index, peer);
        self.by_key.insert(key, index);
        self.route(index, config.allowed_ips.clone());
        Ok(())
    }

    fn update(
        &mut self,
        now: Now,
        key: WireGuardPublicKey,
        update: &PeerUpdate,
        out: &mut impl Outbox,
    ) -> Result<(), Error> {
        let index = self.by_key.get(&key).copied().ok_or(Error::NoSuchPeer(key))?;
        if let Some(networks) = &update.allowed_ips {
            self.route(index, networks.clone());
        }
        let peer = self.peers.get_mut(&index).ok_or(Error::NoSuchPeer(key))?;
        if let Some(seconds) = update.keepalive_seconds {
            peer.set_keepalive(seconds);
        }
        if let Some(secret) = &update.preshared_key {
            peer.set_preshared_key(now, secret.clone());
        }
        if update.endpoint.is_some() {
            peer.path = update.endpoint.map(Path::from);
        }
        let only_networks = PeerUpdate { allowed_ips: update.allowed_ips.clone(), ..PeerUpdate::default() };
        if *update != only_networks {
            peer.reach_out(now, out);
        }
        self.queue.schedule(index, peer, now, now.steady);
        Ok(())
    }

    fn remove(&mut self, key: WireGuardPublicKey) {
        if let Some(index) = self.by_key.remove(&key) {
            self.route(index, BTreeSet::new());
            if let Some(peer) = self.peers.remove(&index) {
                self.queue.remove(index, &peer);
            }
        }
    }

    /// Gives a peer exactly these networks, taking them from whoever had them.
    fn route(&mut self, index: u32, networks: BTreeSet<IpNet>) {
        let before = self.peers.get(&index).map(|peer| peer.allowed_ips.clone()).unwrap_or_default();
        for network in before.difference(&networks) {
            self.routes.remove(*network, index);
        }
        for network in &networks {
            let owner = self.routes.insert(*network, index).filter(|owner| *owner != index);
            if let Some(owner) = owner.and_then(|owner| self.peers.get_mut(&owner)) {
                owner.allowed_ips.remove(network);
            }
        }
        if let Some(peer) = self.peers.get_mut(&index) {
            peer.allowed_ips = networks;
        }
    }

    fn free_index(&mut self) -> u32 {
        loop {
            self.next_index = self.next_index.wrapping_add(1) & ((1 << INDEX_BITS) - 1);
            if !self.peers.contains_key(&self.next_index) {
                return self.next_index;
            }
        }
    }
}

/// Peers with something to do by time, in that order; all others are not in it.
#[derive(Default)]
struct Queue(BTreeSet<(Instant, u32)>);

impl Queue {
    /// Makes sure that a peer is seen to in time. One who has less to do than it seemed finds that out then.
    fn schedule(&mut self, index: u32, peer: &mut Peer, now: Now, earliest: Instant) {
        let Some(due) = peer.next_due(now, earliest) else { return };
        if peer.due.is_none_or(|before| due < before) {
            self.remove(index, peer);
            self.0.insert((due, index));
            peer.due = Some(due);
        }
    }

    fn remove(&mut self, index: u32, peer: &Peer) {
        if let Some(due) = peer.due {
            self.0.remove(&(due, index));
        }
    }

    fn pop(&mut self, now: Now) -> Option<u32> {
        self.0.first().filter(|(due, _)| *due <= now.steady)?;
        self.0.pop_first().map(|(_, index)| index)
    }
}

/// The peer's part of a session's index.
fn peer_index(session: u32) -> u32 {
    session >> (u32::BITS - INDEX_BITS)
}

#[cfg(test)]
mod tests;

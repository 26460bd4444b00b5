//! One peer of the embedded engine: boringtun's state machine of the noise protocol, and around it what that leaves
//! open: where the peer is, what was counted, and in `timing` when to try again. No IO and no clock but boringtun's own.

mod timing;

use super::{
    ecn,
    path::Path,
    tunnels::{LARGEST, LARGEST_HANDSHAKE, Now, OVERHEAD, Outbox},
};
use crate::{
    device::{PeerConfig, PeerState},
    key::{PresharedKey, PrivateKey},
};
use boringtun::noise::{Tunn, TunnResult, rate_limiter::RateLimiter};
use ipnet::IpNet;
use picket_model::WireGuardPublicKey;
use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Instant};
use x25519_dalek::PublicKey;

use timing::REJECT_AFTER_TIME;
pub(super) use timing::TICK;

/// Message types, WireGuard paper section 5.4: the first byte of a datagram.
const HANDSHAKE_INITIATION: u8 = 1;
const HANDSHAKE_RESPONSE: u8 = 2;
const COOKIE_REPLY: u8 = 3;

const TRANSPORT_DATA: u8 = 4;
/// Initiations that are answered beside a session that serves. boringtun has room for eight sessions and makes one with each
/// answer, though it may be to a replay: to a state machine made anew every old initiation is news.
const MOST_ANSWERED: u8 = 6;
/// The bit of a session's index that says which half it is of: boringtun counts in the eight below.
const HALF_BIT: u32 = 8;

/// What a datagram of a peer brought to light.
pub(super) enum Opened {
    /// Nothing for the host.
    Nothing,
    /// A packet for the host of that length, in the room for packets, and the address it says it is from.
    Packet(usize, IpAddr),
}

/// What all peers share: our own key, and the limit of handshakes that we compute.
pub(super) struct Own {
    pub(super) key: PrivateKey,
    pub(super) limiter: Arc<RateLimiter>,
}

pub(super) struct Peer {
    own: Arc<Own>,
    key: WireGuardPublicKey,
    index: u32,
    /// Handshakes, under the preshared key of now, and the sessions that came of them. Made with the first use: it is
    /// 18 KiB and a computation with our key, and most peers of a large device are silent.
    tunn: Option<Box<Tunn>>,
    /// The sessions of the preshared key before, which live on until there is one of the new key, as in the kernel.
    old: Option<Box<Tunn>>,
    /// Whether `old` is to carry what is sent: `tunn` has no session yet.
    old_carries: bool,
    /// Which half of the peer's session indices `tunn` has; `old` has the other.
    half: bool,
    /// Where it is, and which address of ours it speaks to.
    pub(super) path: Option<Path>,
    pub(super) allowed_ips: BTreeSet<IpNet>,
    keepalive: Option<u16>,
    preshared_key: Option<PresharedKey>,
    /// Session we answered for, until a first packet in it proves that the peer is there and this is no replay.
    unconfirmed: Option<u32>,
    /// Initiations answered since there was a session, or an initiation of ours for one.
    answered: u8,
    /// Last completed handshake, and whether we began it.
    handshake: Option<(Now, bool)>,
    initiated: Option<Now>,
    /// When a packet of the host's was sent since when nothing came back.
    unanswered: Option<Now>,
    /// Whether packets of the host's wait in boringtun for a session.
    is_waiting: bool,
    /// When a packet for the host came since when nothing was sent.
    unacknowledged: Option<Now>,
    /// When keys of a session were made last, confirmed or not.
    keys: Option<Now>,
    sent: Option<Now>,
    /// When boringtun was last told to look at its clock.
    looked: Option<Now>,
    /// When there is something to be done by time.
    pub(super) due: Option<Instant>,
    received_bytes: u64,
    sent_bytes: u64,
}

impl Peer {
    pub(super) fn new(own: Arc<Own>, key: WireGuardPublicKey, index: u32, config: &PeerConfig) -> Self {
        Self {
            own,
            key,
            index,
            tunn: None,
            old: None,
            old_carries: false,
            half: false,
            path: config.endpoint.map(Path::from),
            allowed_ips: BTreeSet::new(),
            keepalive: config.keepalive_seconds,
            preshared_key: config.preshared_key.clone(),
            unconfirmed: None,
            answered: 0,
            handshake: None,
            initiated: None,
            unanswered: None,
            is_waiting: false,
            unacknowledged: None,
            keys: None,
            sent: None,
            looked: None,
            due: None,
            received_bytes: 0,
            sent_bytes: 0,
        }
    }

    pub(super) fn state(&self) -> PeerState {
        PeerState {
            endpoint: self.path.map(|path| path.remote),
            allowed_ips: self.allowed_ips.clone(),
            keepalive_seconds: self.keepalive,
            preshared_key: self.preshared_key.clone(),
            last_handshake: self.handshake.map(|(at, _)| at.wall),
            received_bytes: self.received_bytes,
            sent_bytes: self.sent_bytes,
        }
    }

    pub(super) fn set_keepalive(&mut self, seconds: Option<u16>) {
        self.keepalive = seconds;
    }

    /// Handshakes are under another preshared key from now on. boringtun cannot change it in place: a second state machine
    /// takes over the handshakes, and the session there is goes on in the first until the second has one.
    pub(super) fn set_preshared_key(&mut self, now: Now, key: Option<PresharedKey>) {
        self.preshared_key = key;
        if self.handshake.is_none_or(|(at, _)| now.since(at) >= REJECT_AFTER_TIME) {
            return self.forget_sessions();
        }
        let before = self.tunn.take();
        // One without a session of its own is of no further use; its sessions' half is free.
        if !self.old_carries {
            self.old = before;
            self.half = !self.half;
        }
        (self.old_carries, self.unconfirmed, self.initiated) = (true, None, None);
    }

    /// Starts over with another key of ours.
    pub(super) fn set_own(&mut self, own: Arc<Own>) {
        self.own = own;
        self.forget_sessions();
    }

    fn forget_sessions(&mut self) {
        (self.tunn, self.old, self.old_carries) = (None, None, false);
        (self.unconfirmed, self.handshake, self.initiated, self.keys) = (None, None, None, None);
        self.answered = 0;
    }

    #[cfg(test)]
    pub(super) fn is_made(&self) -> bool {
        self.tunn.is_some()
    }

    /// The state machine of handshakes, made now if it is not there.
    fn tunn(&mut self) -> &mut Tunn {
        self.tunn.get_or_insert_with(|| {
            let secret = self.preshared_key.as_ref().map(|key| *key.as_bytes());
            // Keepalives are ours: boringtun's cannot be changed without losing the session.
            let (own, peer) = (self.own.key.secret(), PublicKey::from(*self.key.as_bytes()));
            Box::new(Tunn::new(own, peer, secret, None, half_of(self.index, self.half), Some(self.own.limiter.clone())))
        })
    }

    /// Reaches out to a peer that is to be kept reachable: a handshake, or a sign of life where it may have to learn
    /// our address or we its.
    pub(super) fn reach_out(&mut self, now: Now, out: &mut impl Outbox) {
        if self.keepalive.is_none() || self.path.is_none() {
            return;
        }
        if self.needs_handshake(now) {
            self.initiate(now, out);
        } else {
            self.seal(now, &[], out);
        }
    }

    /// Sends a packet of the host's, or keeps it while a handshake is under way: boringtun keeps up to 256 for each
    /// peer and drops what comes after. An empty packet is a keepalive.
    pub(super) fn seal(&mut self, now: Now, packet: &[u8], out: &mut impl Outbox) {
        // Without an endpoint there is nowhere to send even a handshake to: keep nothing.
        if self.path.is_none() {
            return;
        }
        self.catch_up(now, out);
        if !packet.is_empty() {
            self.unanswered.get_or_insert(now);
        }
        let carrier = match &mut self.old {
            Some(old) if self.old_carries => old,
            _ => self.tunn(),
        };
        let room = out.datagram_room((packet.len() + OVERHEAD).max(LARGEST_HANDSHAKE));
        let sealed = carrier.encapsulate(packet, room);
        let sent = if let TunnResult::WriteToNetwork(datagram) = sealed { Some(of(datagram)) } else { None };
        self.is_waiting |= sent.is_none_or(|(_, kind)| kind != TRANSPORT_DATA);
        if let Some((length, kind)) = sent {
            self.send(now, length, kind, ecn::of(packet), out);
        }
    }

    /// Takes a datagram that by its index, or by the key in it, is for this peer.
    pub(super) fn open(&mut self, now: Now, from: Path, datagram: &[u8], out: &mut impl Outbox) -> Opened {
        let is_old = datagram.first() == Some(&TRANSPORT_DATA)
            && sender_index(datagram).is_some_and(|session| (session >> HALF_BIT & 1 == 1) != self.half);
        self.catch_up(now, out);
        let is_initiation = datagram.first() == Some(&HANDSHAKE_INITIATION);
        if is_initiation && self.has_answered_enough(now) {
            return Opened::Nothing;
        }
        let tunn = match &mut self.old {
            Some(old) if is_old => old,
            // Only an initiation is for somebody who has not spoken yet.
            _ if is_initiation || self.tunn.is_some() => self.tunn(),
            _ => return Opened::Nothing,
        };
        // Data is opened where the host's packets lie, and everything else answered where datagrams do.
        let is_data = datagram.first() == Some(&TRANSPORT_DATA);
        let room = if is_data { out.packet_room(datagram.len()) } else { out.datagram_room(LARGEST_HANDSHAKE) };
        let (length, source) = match tunn.decapsulate(Some(from.remote.ip()), datagram, room) {
            TunnResult::WriteToNetwork(reply) => {
                let (session, (length, kind)) = (sender_index(reply), of(reply));
                match kind {
                    // Authentic, but maybe replayed: the answer goes back to where it came from, and the endpoint
                    // moves with the first packet of the new session.
                    HANDSHAKE_RESPONSE => {
                        self.unconfirmed = session;
                        self.answered = self.answered.saturating_add(1);
                        self.keys = Some(now);
                        self.received_bytes += datagram.len() as u64;
                        self.send_to(from, now, length, kind, 0, out);
                    }
                    COOKIE_REPLY => out.to_network(from, 0, length),
                    // The keepalive with which the initiator confirms: our handshake is complete.
                    _ => {
                        self.authenticated(from, datagram);
                        self.established(now, true);
                        self.keys = Some(now);
                        self.send(now, length, kind, 0, out);
                        self.flush(now, out);
                    }
                }
                return Opened::Nothing;
            }
            TunnResult::WriteToTunnelV4(packet, source) => (packet.len(), IpAddr::from(source)),
            TunnResult::WriteToTunnelV6(packet, source) => (packet.len(), IpAddr::from(source)),
            TunnResult::Done => {
                // A keepalive. The other message without an answer, a cookie, proves nothing.
                if is_data {
                    self.authenticated(from, datagram);
                    self.confirmed(now, datagram);
                    self.flush(now, out);
                }
                return Opened::Nothing;
            }
            TunnResult::Err(_) => return Opened::Nothing,
        };
        self.authenticated(from, datagram);
        self.confirmed(now, datagram);
        self.unacknowledged.get_or_insert(now);
        Opened::Packet(length, source)
    }

    /// Whether one more answer could take the place of the session that serves. A peer that lost that session, and does not get
    /// our answers, has to wait until we miss it too.
    fn has_answered_enough(&self, now: Now) -> bool {
        self.answered >= MOST_ANSWERED && !self.old_carries && !self.needs_handshake(now) && !self.is_lost(now)
    }

    /// Sends what waited for a session.
    pub(super) fn flush(&mut self, now: Now, out: &mut impl Outbox) {
        if !self.is_waiting || self.handshake.is_none() {
            return;
        }
        self.is_waiting = false;
        while let TunnResult::WriteToNetwork(datagram) =
            self.tunn().decapsulate(None, &[], out.datagram_room(LARGEST + OVERHEAD))
        {
            let (length, kind) = of(datagram);
            // One for which there is no session after all waits on, and a handshake is sent for it.
            self.is_waiting |= kind != TRANSPORT_DATA;
            self.send(now, length, kind, 0, out);
        }
    }

    fn initiate(&mut self, now: Now, out: &mut impl Outbox) {
        self.catch_up(now, out);
        let Some(path) = &mut self.path else { return };
        if self.initiated.is_some_and(|at| self.handshake.is_none_or(|(done, _)| at.steady > done.steady)) {
            // No answer to the one before: maybe our address is what is wrong with the path.
            path.local = None;
        }
        let room = out.datagram_room(LARGEST_HANDSHAKE);
        if let TunnResult::WriteToNetwork(datagram) = self.tunn().format_handshake_initiation(room, true) {
            let (length, kind) = of(datagram);
            self.send(now, length, kind, 0, out);
        }
    }

    /// A datagram was proved to be the peer's: that is where it is now.
    fn authenticated(&mut self, from: Path, datagram: &[u8]) {
        self.received_bytes += datagram.len() as u64;
        self.unanswered = None;
        self.path = Some(from);
    }

    /// A packet in a session we answered for completes that handshake.
    fn confirmed(&mut self, now: Now, datagram: &[u8]) {
        if self.unconfirmed.is_some() && self.unconfirmed == sender_index(datagram) {
            self.unconfirmed = None;
            self.answered = 0;
            self.established(now, false);
        }
    }

    fn established(&mut self, now: Now, we_began: bool) {
        self.handshake = Some((now, we_began));
        self.old_carries = false;
        // What waited, if anything did, may go.
        self.is_waiting = true;
    }

    fn send(&mut self, now: Now, length: usize, kind: u8, ecn: u8, out: &mut impl Outbox) {
        if let Some(path) = self.path {
            self.send_to(path, now, length, kind, ecn, out);
        }
    }

    fn send_to(&mut self, to: Path, now: Now, length: usize, kind: u8, ecn: u8, out: &mut impl Outbox) {
        if kind == HANDSHAKE_INITIATION {
            self.initiated = Some(now);
            // The session that comes of it has its place from now on.
            self.answered = 0;
        }
        self.sent = Some(now);
        self.unacknowledged = None;
        self.sent_bytes += length as u64;
        out.to_network(to, ecn, length);
    }
}

/// Length and message type of a datagram, which lies in the room for datagrams.
fn of(datagram: &[u8]) -> (usize, u8) {
    (datagram.len(), datagram.first().copied().unwrap_or_default())
}

/// What boringtun is told as its index: a peer has two, one for each of its state machines.
fn half_of(index: u32, half: bool) -> u32 {
    index << 1 | u32::from(half)
}

/// The second word of a datagram: the sender's index in a handshake message, the receiver's in the others.
fn sender_index(datagram: &[u8]) -> Option<u32> {
    datagram.get(4..8)?.try_into().ok().map(u32::from_le_bytes)
}

//! One peer of the embedded engine: boringtun's state machine of the noise protocol, and around it what that leaves
//! open: when to try again, where the peer is, what was counted. No IO and no clock but boringtun's own.

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
use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};
use x25519_dalek::PublicKey;

/// Constants of the protocol, WireGuard paper section 6.1.
const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// Keepalive-Timeout and Rekey-Timeout together: whoever is there would have answered.
const NO_ANSWER: Duration = Duration::from_secs(15);
const REKEY_AFTER_TIME: Duration = Duration::from_secs(120);
const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);

/// Message types, WireGuard paper section 5.4: the first byte of a datagram.
const HANDSHAKE_INITIATION: u8 = 1;
const HANDSHAKE_RESPONSE: u8 = 2;
const COOKIE_REPLY: u8 = 3;

const TRANSPORT_DATA: u8 = 4;
/// The bit of a session's index that says which half it is of: boringtun counts in the eight below.
const HALF_BIT: u32 = 8;

/// What a datagram of a peer brought to light.
pub(super) enum Opened {
    /// Nothing for the host.
    Nothing,
    /// A packet for the host of that length, in the room for packets, and the address it says it is from.
    Packet(usize, IpAddr),
}

pub(super) struct Peer {
    key: WireGuardPublicKey,
    index: u32,
    /// Handshakes, under the preshared key of now, and the sessions that came of them.
    tunn: Tunn,
    /// The sessions of the preshared key before, which live on until there is one of the new key, as in the kernel.
    old: Option<Tunn>,
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
    /// Last completed handshake, and whether we began it.
    handshake: Option<(Now, bool)>,
    initiated: Option<Now>,
    /// When a packet of the host's was sent in an old session, since when nothing came back.
    unanswered: Option<Now>,
    /// Whether packets of the host's wait in boringtun for a session.
    is_waiting: bool,
    sent: Option<Now>,
    received_bytes: u64,
    sent_bytes: u64,
}

impl Peer {
    pub(super) fn new(
        own: &PrivateKey,
        limiter: &Arc<RateLimiter>,
        key: WireGuardPublicKey,
        index: u32,
        config: &PeerConfig,
    ) -> Self {
        Self {
            key,
            index,
            tunn: tunn(own, limiter, key, half_of(index, false), config.preshared_key.as_ref()),
            old: None,
            old_carries: false,
            half: false,
            path: config.endpoint.map(Path::from),
            allowed_ips: BTreeSet::new(),
            keepalive: config.keepalive_seconds,
            preshared_key: config.preshared_key.clone(),
            unconfirmed: None,
            handshake: None,
            initiated: None,
            unanswered: None,
            is_waiting: false,
            sent: None,
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
    pub(super) fn set_preshared_key(
        &mut self,
        now: Now,
        own: &PrivateKey,
        limiter: &Arc<RateLimiter>,
        key: Option<PresharedKey>,
    ) {
        self.preshared_key = key;
        if self.handshake.is_none_or(|(at, _)| now.since(at) >= REJECT_AFTER_TIME) {
            return self.forget_sessions(own, limiter);
        }
        // One without a session of its own is of no further use; its sessions' half is free.
        let half = if self.old_carries { self.half } else { !self.half };
        let next = tunn(own, limiter, self.key, half_of(self.index, half), self.preshared_key.as_ref());
        let before = std::mem::replace(&mut self.tunn, next);
        if !self.old_carries {
            self.old = Some(before);
        }
        (self.old_carries, self.half, self.unconfirmed, self.initiated) = (true, half, None, None);
    }

    /// Starts over with another key of ours, or with the preshared one there is.
    pub(super) fn forget_sessions(&mut self, own: &PrivateKey, limiter: &Arc<RateLimiter>) {
        let index = half_of(self.index, self.half);
        self.tunn = tunn(own, limiter, self.key, index, self.preshared_key.as_ref());
        (self.old, self.old_carries) = (None, false);
        (self.unconfirmed, self.handshake, self.initiated) = (None, None, None);
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
        if self.old_carries && !packet.is_empty() {
            self.unanswered.get_or_insert(now);
        }
        let carrier = self.old.as_mut().filter(|_| self.old_carries).unwrap_or(&mut self.tunn);
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
        let tunn = match &mut self.old {
            Some(old) if is_old => old,
            _ => &mut self.tunn,
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
                        self.received_bytes += datagram.len() as u64;
                        self.send_to(from, now, length, kind, 0, out);
                    }
                    COOKIE_REPLY => out.to_network(from, 0, length),
                    // The keepalive with which the initiator confirms: our handshake is complete.
                    _ => {
                        self.authenticated(from, datagram);
                        self.handshake = Some((now, true));
                        self.old_carries = false;
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
        Opened::Packet(length, source)
    }

    /// Sends what waited for a session.
    pub(super) fn flush(&mut self, now: Now, out: &mut impl Outbox) {
        if !self.is_waiting || self.handshake.is_none() {
            return;
        }
        while let TunnResult::WriteToNetwork(datagram) =
            self.tunn.decapsulate(None, &[], out.datagram_room(LARGEST + OVERHEAD))
        {
            let (length, kind) = of(datagram);
            self.send(now, length, kind, 0, out);
        }
        self.is_waiting = false;
    }

    /// What is due by time: boringtun's own timers, keepalives, and the handshakes that keep a tunnel alive.
    ///
    /// boringtun gives up 90 s after a handshake stays unanswered and sleeps until the host sends something, and it
    /// lets an idle session lapse. A peer with an endpoint and a keepalive is one that must be reachable at any time,
    /// so for those we go on for ever, once in [`REKEY_TIMEOUT`], by our own clock.
    pub(super) fn tick(&mut self, now: Now, out: &mut impl Outbox) {
        self.drop_old(now);
        if let TunnResult::WriteToNetwork(datagram) = self.tunn.update_timers(out.datagram_room(LARGEST_HANDSHAKE)) {
            let (length, kind) = of(datagram);
            self.send(now, length, kind, 0, out);
        }
        // boringtun sees to this in sessions of its own, whose timers run: the peer may have started anew.
        let is_lost = self.old_carries && self.unanswered.is_some_and(|at| now.since(at) >= NO_ANSWER);
        if is_lost && self.initiated.is_none_or(|at| now.since(at) >= REKEY_TIMEOUT) {
            self.initiate(now, out);
        }
        let Some(period) = self.keepalive else { return };
        if self.needs_handshake(now) {
            if self.initiated.is_none_or(|at| now.since(at) >= REKEY_TIMEOUT) {
                self.initiate(now, out);
            }
        } else if self.sent.is_none_or(|at| now.since(at) >= Duration::from_secs(period.into())) {
            self.seal(now, &[], out);
        }
    }

    /// Whether there is no session, or one so old that the protocol asks for the next: the initiator's duty after 120
    /// seconds, and the responder's when the session ends without it.
    fn needs_handshake(&self, now: Now) -> bool {
        self.tunn.is_expired()
            || self.handshake.is_none_or(|(at, initiator)| {
                now.since(at) >= if initiator { REKEY_AFTER_TIME } else { REJECT_AFTER_TIME }
            })
    }

    fn initiate(&mut self, now: Now, out: &mut impl Outbox) {
        let Some(path) = &mut self.path else { return };
        if self.initiated.is_some_and(|at| self.handshake.is_none_or(|(done, _)| at.steady > done.steady)) {
            // No answer to the one before: maybe our address is what is wrong with the path.
            path.local = None;
        }
        let room = out.datagram_room(LARGEST_HANDSHAKE);
        if let TunnResult::WriteToNetwork(datagram) = self.tunn.format_handshake_initiation(room, true) {
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
            self.handshake = Some((now, false));
            self.old_carries = false;
        }
    }

    /// Lets the sessions of the key before go: when theirs is over, or soon after there is one of the new key, by when
    /// nothing sent in an old one is on its way any more.
    fn drop_old(&mut self, now: Now) {
        let life = if self.old_carries { REJECT_AFTER_TIME } else { REKEY_TIMEOUT };
        if self.old.is_some() && self.handshake.is_none_or(|(at, _)| now.since(at) >= life) {
            self.old = None;
            if std::mem::take(&mut self.old_carries) {
                self.handshake = None;
            }
        }
    }

    fn send(&mut self, now: Now, length: usize, kind: u8, ecn: u8, out: &mut impl Outbox) {
        if let Some(path) = self.path {
            self.send_to(path, now, length, kind, ecn, out);
        }
    }

    fn send_to(&mut self, to: Path, now: Now, length: usize, kind: u8, ecn: u8, out: &mut impl Outbox) {
        if kind == HANDSHAKE_INITIATION {
            self.initiated = Some(now);
        }
        self.sent = Some(now);
        self.sent_bytes += length as u64;
        out.to_network(to, ecn, length);
    }
}

/// Length and message type of a datagram, which lies in the room for datagrams.
fn of(datagram: &[u8]) -> (usize, u8) {
    (datagram.len(), datagram.first().copied().unwrap_or_default())
}

fn tunn(
    own: &PrivateKey,
    limiter: &Arc<RateLimiter>,
    key: WireGuardPublicKey,
    index: u32,
    preshared_key: Option<&PresharedKey>,
) -> Tunn {
    let secret = preshared_key.map(|key| *key.as_bytes());
    // Keepalives are ours: boringtun's cannot be changed without losing the session.
    Tunn::new(own.secret(), PublicKey::from(*key.as_bytes()), secret, None, index, Some(limiter.clone()))
}

/// What boringtun is told as its index: a peer has two, one for each of its state machines.
fn half_of(index: u32, half: bool) -> u32 {
    index << 1 | u32::from(half)
}

/// The second word of a datagram: the sender's index in a handshake message, the receiver's in the others.
fn sender_index(datagram: &[u8]) -> Option<u32> {
    datagram.get(4..8)?.try_into().ok().map(u32::from_le_bytes)
}

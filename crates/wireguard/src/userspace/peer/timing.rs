//! When a peer has something to do by time, so that one who has not costs nothing: boringtun's own timers, keepalives, and
//! the handshakes that keep a tunnel alive. By the clock that it is given.

use super::{
    super::tunnels::{LARGEST_HANDSHAKE, Now, Outbox},
    Peer, of,
};
use boringtun::noise::TunnResult;
use std::time::{Duration, Instant};

/// Steps of boringtun's timers.
pub(in crate::userspace) const TICK: Duration = Duration::from_millis(250);
/// How long something that ought to have happened is looked for again: boringtun's clock and ours do not begin together.
const GRACE: Duration = Duration::from_secs(1);
/// Constants of the protocol, WireGuard paper section 6.1.
const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// Most that is added to it, section 6.4, so that thousands that were cut off together do not try again together.
const JITTER_MILLIS: u32 = 333;
/// Keepalive-Timeout and Rekey-Timeout together: whoever is there would have answered.
const NO_ANSWER: Duration = Duration::from_secs(15);
const REKEY_AFTER_TIME: Duration = Duration::from_secs(120);
pub(super) const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);

/// From when on no key of a session is kept, whatever became of it.
const FORGET_AFTER_TIME: Duration = Duration::from_secs(540);
/// After this long without having sent anything, what came is acknowledged by an empty packet.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

impl Peer {
    /// What is due by time: boringtun's own timers, keepalives, and the handshakes that keep a tunnel alive.
    ///
    /// boringtun gives up 90 s after a handshake stays unanswered and sleeps until the host sends something, and it
    /// lets an idle session lapse. A peer with an endpoint and a keepalive is one that must be reachable at any time,
    /// so for those we go on for ever, once in [`REKEY_TIMEOUT`] and a little, by our own clock.
    pub(in crate::userspace) fn tick(&mut self, now: Now, out: &mut impl Outbox) {
        self.drop_old(now);
        self.catch_up(now, out);
        if self.tunn.as_ref().is_some_and(|tunn| tunn.is_expired()) {
            // It was looked for long enough, until the host has something for it again.
            self.unanswered = None;
        }
        // boringtun looks for it too, but by a clock of its own, and only in sessions of its own.
        if self.is_lost(now) && self.may_retry(now) {
            self.initiate(now, out);
        }
        let Some(period) = self.keepalive else { return };
        if self.needs_handshake(now) {
            if self.may_retry(now) {
                self.initiate(now, out);
            }
        } else if self.sent.is_none_or(|at| now.since(at) >= Duration::from_secs(period.into())) {
            self.seal(now, &[], out);
        }
    }

    /// Whether there is no session, or one so old that the protocol asks for the next: the initiator's duty after 120
    /// seconds, and the responder's when the session ends without it.
    pub(super) fn needs_handshake(&self, now: Now) -> bool {
        self.tunn.as_ref().is_some_and(|tunn| tunn.is_expired())
            || self.handshake.is_none_or(|(at, we_began)| now.since(at) >= life(we_began))
    }

    /// Whether nothing came back for so long that the peer has no session with us any more.
    pub(super) fn is_lost(&self, now: Now) -> bool {
        self.unanswered.is_some_and(|at| now.since(at) >= NO_ANSWER)
    }

    fn may_retry(&self, now: Now) -> bool {
        self.initiated.is_none_or(|at| now.since(at) >= self.retry_after())
    }

    /// How long after an initiation the next may follow: for each peer another time.
    fn retry_after(&self) -> Duration {
        REKEY_TIMEOUT + Duration::from_millis((self.index % (JITTER_MILLIS + 1)).into())
    }

    /// When it has something to do next, not before `earliest`; `None` as long as nothing happens.
    pub(in crate::userspace) fn next_due(&self, now: Now, earliest: Instant) -> Option<Instant> {
        let after = |since: Option<Now>, time: Duration| since.map(|since| since.steady + time);
        let began = self.handshake.map(|(at, _)| at);
        let retry = after(self.initiated, self.retry_after());
        let open = self.initiated.filter(|at| began.is_none_or(|began| at.steady > began.steady));
        let old = if self.old_carries { REJECT_AFTER_TIME } else { REKEY_TIMEOUT };
        let kept = self.keepalive.filter(|_| self.path.is_some()).map(|period| {
            let over = self.handshake.map_or(now.steady, |(at, we_began)| at.steady + life(we_began));
            let over = if self.needs_handshake(now) { now.steady } else { over };
            let renew = retry.map_or(over, |retry| over.max(retry));
            // Between two handshakes nothing else is sent.
            let alive = after(self.sent, Duration::from_secs(period.into())).filter(|_| over > now.steady);
            alive.map_or(renew, |alive| alive.min(renew))
        });
        let lost = after(self.unanswered, NO_ANSWER);
        [
            kept,
            after(open, self.retry_after()),
            lost.map(|lost| retry.map_or(lost, |retry| lost.max(retry))),
            after(self.unacknowledged, KEEPALIVE_TIMEOUT),
            after(self.keys, REJECT_AFTER_TIME),
            after(self.keys, FORGET_AFTER_TIME),
            after(began.filter(|_| self.old.is_some()), old),
        ]
        .into_iter()
        .flatten()
        .filter(|due| *due + GRACE > now.steady)
        .map(|due| due.max(earliest))
        .min()
    }

    /// Lets boringtun do what is due by its clock, which stands still between such calls. Before anything that depends on
    /// it.
    pub(super) fn catch_up(&mut self, now: Now, out: &mut impl Outbox) {
        if self.looked.is_some_and(|at| now.since(at) < TICK) {
            return;
        }
        self.looked = Some(now);
        let Some(tunn) = &mut self.tunn else { return };
        if let TunnResult::WriteToNetwork(datagram) = tunn.update_timers(out.datagram_room(LARGEST_HANDSHAKE)) {
            let (length, kind) = of(datagram);
            self.send(now, length, kind, 0, out);
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
}

/// How long a session serves, until the one who began it is to begin the next, or the other one if nobody did.
fn life(we_began: bool) -> Duration {
    if we_began { REKEY_AFTER_TIME } else { REJECT_AFTER_TIME }
}

//! Somebody who knocks on ports without a rest and writes down every answer: what shows that a port was closed at every
//! instant, and not only when somebody looked. Raw segments, so that a knock costs microseconds and has no second try.

use crate::{Host, LabError, Segment, forge::Forger};
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, recvfrom, setsockopt, socket, sockopt,
    },
};
use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// From one round of knocks to the next: the resolution of what is seen.
const EVERY: Duration = Duration::from_millis(2);
/// Source ports begin here, and so many are used in turn: one for each round, so that an answer tells which it is to.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 40_000;
/// The sequence number of the next knocking's segments. Each has its own: a listener that was reached while a port was open
/// answers again seconds later, when another knocking may have come to the same source port.
static SEQUENCE: AtomicU32 = AtomicU32::new(1);
/// How long answers to the last knocks are waited for.
const LAST_ANSWERS: Duration = Duration::from_millis(300);
/// Bytes that are received at once, and may wait: answers come while nobody reads on a machine under load.
const RECEIVED: usize = 2048;
const WAITING: usize = 4 << 20;

impl Host {
    /// Begins to send the first segment of a TCP connection to each of these ports, again and again, until
    /// [`Knocks::end`]. Every port has one address of this host's own as its source.
    ///
    /// # Errors
    /// [`LabError::Io`] if the host may not, [`LabError::NoAddress`] if it has no address of a target's family.
    pub fn knock(&self, targets: &[SocketAddr]) -> Result<Knocks, LabError> {
        self.knock_every(EVERY, targets)
    }

    /// As [`Host::knock`], with so much time from one round to the next: what is emulated answers slowly.
    ///
    /// # Errors
    /// As [`Host::knock`].
    pub fn knock_every(&self, every: Duration, targets: &[SocketAddr]) -> Result<Knocks, LabError> {
        let sequence = SEQUENCE.fetch_add(2, Ordering::Relaxed);
        let mut knockers = Vec::new();
        for to in targets {
            let own = if to.is_ipv4() { self.v4(0)? } else { self.v6(0)? };
            knockers.push((*to, own.ip(), Forger::new(self, *to, Segment::Syn)?.numbered(sequence)));
        }
        let ears = [AddressFamily::Inet, AddressFamily::Inet6].map(|family| self.ear(family));
        let [v4, v6] = ears;
        let ears = [v4?, v6?];
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let answers = targets_of(&knockers);
            let mut heard = Heard { sent: Vec::new(), answers, acknowledges: sequence.wrapping_add(1) };
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                let number = heard.sent.len() % usize::from(PORTS);
                let port = FIRST_PORT + u16::try_from(number).unwrap_or(0);
                heard.sent.push(Instant::now());
                for (_, own, forger) in &knockers {
                    // Without a link nothing can be sent, and nothing let in.
                    let _ = forger.send_from(SocketAddr::new(*own, port));
                }
                ears.iter().for_each(|ear| heard.listen(ear));
            }
            let end = Instant::now() + LAST_ANSWERS;
            while Instant::now() < end {
                ears.iter().for_each(|ear| heard.listen(ear));
                std::thread::park_timeout(EVERY);
            }
            heard
        });
        Ok(Knocks { stop, thread })
    }

    /// A socket that hears every TCP segment that comes to this host.
    fn ear(&self, family: AddressFamily) -> Result<OwnedFd, LabError> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let made = self.inside(|| {
            let ear = socket(family, SockType::Raw, flags, SockProtocol::Tcp)?;
            setsockopt(&ear, sockopt::RcvBufForce, &WAITING).map(|()| ear)
        })?;
        made.map_err(|error| LabError::io(format!("hear segments on {}", self.name()), io::Error::from(error)))
    }
}

fn targets_of(knockers: &[(SocketAddr, IpAddr, Forger)]) -> BTreeMap<SocketAddr, Vec<Instant>> {
    knockers.iter().map(|(to, ..)| (*to, Vec::new())).collect()
}

/// Knocks that go on until they are ended.
#[derive(Debug)]
pub struct Knocks {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Heard>,
}

impl Knocks {
    /// Ends them; what was heard.
    ///
    /// # Errors
    /// [`LabError::Gone`] if the knocking had ended before.
    pub fn end(self) -> Result<Heard, LabError> {
        drop(self.stop);
        self.thread.join().map_err(|_| LabError::Gone)
    }
}

/// What came of knocks.
#[derive(Debug)]
pub struct Heard {
    /// When each round of knocks was sent.
    pub sent: Vec<Instant>,
    /// For each port, when those knocks were sent that were answered, by whatever: an answer that nobody listens is one
    /// too, since the firewall let the knock through.
    pub answers: BTreeMap<SocketAddr, Vec<Instant>>,
    /// What an answer to one of these knocks acknowledges.
    pub acknowledges: u32,
}

impl Heard {
    /// When the knocks at a port were answered.
    #[must_use]
    pub fn answered(&self, to: SocketAddr) -> &[Instant] {
        self.answers.get(&to).map_or(&[], Vec::as_slice)
    }

    /// How long a port let knocks in: from the first knock that was answered to the last.
    #[must_use]
    pub fn window(&self, to: SocketAddr) -> Option<Duration> {
        let answered = self.answered(to);
        Some(answered.iter().max()?.saturating_duration_since(*answered.iter().min()?))
    }

    /// Takes all that waits in a socket.
    fn listen(&mut self, ear: &OwnedFd) {
        let mut buffer = [0; RECEIVED];
        loop {
            match recvfrom::<SockaddrStorage>(ear.as_raw_fd(), &mut buffer) {
                Ok((length, Some(from))) => {
                    let from = from
                        .as_sockaddr_in()
                        .map(|from| IpAddr::from(from.ip()))
                        .or_else(|| from.as_sockaddr_in6().map(|from| IpAddr::from(from.ip())));
                    if let (Some(from), Some(packet)) = (from, buffer.get(..length)) {
                        self.note(from, packet);
                    }
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    fn note(&mut self, from: IpAddr, packet: &[u8]) {
        // IPv4 comes with its header, whose length is in words of four bytes; IPv6 without: raw(7), ipv6(7).
        let header = if from.is_ipv4() { packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4) } else { 0 };
        let Some(&[s0, s1, d0, d1, _, _, _, _, a0, a1, a2, a3]) =
            packet.get(header..).and_then(|tcp| tcp.first_chunk::<12>())
        else {
            return;
        };
        if u32::from_be_bytes([a0, a1, a2, a3]) != self.acknowledges {
            return;
        }
        let (source, to) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
        let Some(number) = to.checked_sub(FIRST_PORT).filter(|number| *number < PORTS) else { return };
        // The last round that used this port.
        let (number, ports, rounds) = (usize::from(number), usize::from(PORTS), self.sent.len());
        let Some(laps) = rounds.checked_sub(number + 1).map(|since| since / ports) else { return };
        let sent = self.sent.get(number + laps * ports).copied();
        if let (Some(sent), Some(answers)) = (sent, self.answers.get_mut(&SocketAddr::new(from, source))) {
            answers.push(sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_counted_for_the_knock_it_is_to() {
        let at: SocketAddr = "203.0.113.11:7100".parse().unwrap();
        let start = Instant::now();
        let sent: Vec<_> = (0..50_000).map(|n| start + Duration::from_millis(n)).collect();
        let mut heard = Heard { sent, answers: [(at, Vec::new())].into(), acknowledges: 8 };
        let mut packet = vec![0x45; 20];
        packet.extend(7100_u16.to_be_bytes());
        for (number, of) in [(0_u16, 40_000), (9_999, 49_999), (10_000, 10_000)] {
            packet.truncate(22);
            packet.extend((FIRST_PORT + number).to_be_bytes());
            packet.extend([0, 0, 0, 0, 0, 0, 0, 8]);
            heard.note(at.ip(), &packet);
            assert_eq!(heard.answered(at).last(), Some(&(start + Duration::from_millis(of))), "{number}");
        }
        assert_eq!(heard.window(at), Some(Duration::from_millis(39_999)));
        // An answer to another knocking, another port's, and what is no segment at all.
        for wrong in [31, 20] {
            packet[wrong] += 1;
            heard.note(at.ip(), &packet);
            packet[wrong] -= 1;
        }
        heard.note(at.ip(), &packet[..31]);
        assert_eq!(heard.answered(at).len(), 3);
    }

    #[test]
    fn knocks_are_answered_where_nothing_drops_them() {
        let lab = crate::Lab::new("knock").unwrap();
        let host = lab.host("host").address("203.0.113.11/24").address("2001:db8:1::11/64").create().unwrap();
        let stranger = lab.host("stranger").address("198.51.100.66/24").address("2001:db8:66::66/64").create().unwrap();
        let [v4, v6, closed] = [host.v4(7100).unwrap(), host.v6(7100).unwrap(), host.v4(7200).unwrap()];
        let _echo = host.listen_echo("[::]:7100".parse().unwrap()).unwrap();
        host.load_nft("table inet t { chain c { type filter hook input priority 0; tcp dport 7300 drop; }; }").unwrap();
        let dropped = host.v4(7300).unwrap();
        let knocks = stranger.knock(&[v4, v6, closed, dropped]).unwrap();
        let mut count = 0;
        crate::wait_until("some time to pass", Duration::from_secs(5), || {
            count += 1;
            count > 20
        })
        .unwrap();
        let heard = knocks.end().unwrap();
        for answered in [v4, v6, closed] {
            assert!(!heard.answered(answered).is_empty(), "{answered}");
        }
        assert!(heard.answered(dropped).is_empty());
    }
}

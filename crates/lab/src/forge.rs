//! Packets in somebody else's name: TCP segments with any source address, one for each of a list or at a steady rate. What
//! an attacker on the internet can send.

use crate::{Host, LabError};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, sendto, setsockopt, socket,
    sockopt::BindToDevice,
};
use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// IANA protocol number of TCP.
const TCP: u8 = 6;
/// A TCP header without options.
const TCP_BYTES: u16 = 20;
/// Pause between the bursts of a flood.
const BURST_EVERY: Duration = Duration::from_millis(2);
/// Most segments in a burst: a flood that the machine cannot send so fast must be told to stop in between.
const BURST: u64 = 2000;

/// What the segments are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment {
    /// The first of a connection.
    Syn,
    /// One from the middle of a connection.
    Ack,
    /// One without any flag: of no connection, and no answer to one.
    Bare,
}

impl Host {
    /// Sends one segment in the name of each source.
    ///
    /// # Errors
    /// [`LabError::Io`] if the host may not, or the network cannot.
    pub fn forge(
        &self,
        sources: impl IntoIterator<Item = IpAddr>,
        to: SocketAddr,
        segment: Segment,
    ) -> Result<u64, LabError> {
        let forger = Forger::new(self, to, segment)?;
        let mut sent = 0;
        for source in sources {
            forger.send(source, sent).map_err(|error| LabError::io(format!("forge a segment to {to}"), error))?;
            sent += 1;
        }
        Ok(sent)
    }

    /// Sends one segment in the name of `source` by one of the host's interfaces, whatever its routes say.
    ///
    /// # Errors
    /// As [`Host::forge`].
    pub fn forge_by(&self, interface: &str, source: IpAddr, to: SocketAddr, segment: Segment) -> Result<(), LabError> {
        let forger = Forger::new(self, to, segment)?;
        let bound = setsockopt(&forger.socket, BindToDevice, &interface.into()).map_err(io::Error::from);
        let sent = bound.and_then(|()| forger.send(source, 0));
        sent.map_err(|error| LabError::io(format!("forge a segment to {to} by {interface}"), error))
    }

    /// Sends segments in the names of the sources, in turn, until it is dropped.
    ///
    /// # Errors
    /// [`LabError::Io`] if the host may not.
    pub fn flood(
        &self,
        sources: Vec<IpAddr>,
        to: SocketAddr,
        segment: Segment,
        per_second: u32,
    ) -> Result<Flood, LabError> {
        let forger = Forger::new(self, to, segment)?;
        let (stop, stopped) = mpsc::channel();
        let sent = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&sent);
        let busy = Arc::new(AtomicU64::new(0));
        let worked = Arc::clone(&busy);
        let thread = std::thread::spawn(move || {
            let begun = Instant::now();
            let mut sources = sources.iter().cycle();
            let mut pause = BURST_EVERY;
            // The other end is never sent anything: it is dropped with the flood.
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let due = begun.elapsed().as_millis() * u128::from(per_second) / 1000;
                let due = u64::try_from(due).unwrap_or(u64::MAX);
                let now = due.min(count.load(Ordering::Relaxed).saturating_add(BURST));
                pause = if now < due { Duration::ZERO } else { BURST_EVERY };
                while count.load(Ordering::Relaxed) < now {
                    let Some(source) = sources.next() else { return };
                    // A full queue loses packets, as a full wire does.
                    let _ = forger.send(*source, count.fetch_add(1, Ordering::Relaxed));
                }
                worked.store(own_nanos(), Ordering::Relaxed);
            }
        });
        Ok(Flood { stop: Some(stop), sent, busy, thread: Some(thread) })
    }
}

/// A flood that runs until it is dropped.
#[derive(Debug)]
pub struct Flood {
    stop: Option<mpsc::Sender<()>>,
    sent: Arc<AtomicU64>,
    /// Nanoseconds.
    busy: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Segments sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Processor time that sending took so far. On one machine a packet is received within the call that sends it, so this
    /// is what a packet costs at both ends.
    #[must_use]
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.busy.load(Ordering::Relaxed))
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Processor time of this thread in nanoseconds, the first word of proc_pid_schedstat(5); 0 where the kernel does not say.
fn own_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

pub(crate) struct Forger {
    socket: OwnedFd,
    to: SocketAddr,
    segment: Segment,
    sequence: u32,
}

impl Forger {
    pub(crate) fn new(host: &Host, to: SocketAddr, segment: Segment) -> Result<Self, LabError> {
        let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        // With this protocol the IP header is the sender's own, raw(7).
        let made = host.inside(|| socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw))?;
        let cannot =
            |error: nix::Error| LabError::io(format!("forge packets on {}", host.name()), io::Error::from(error));
        Ok(Self { socket: made.map_err(cannot)?, to, segment, sequence: 7 })
    }

    /// Gives its segments another sequence number, which whoever answers one acknowledges.
    pub(crate) fn numbered(self, sequence: u32) -> Self {
        Self { sequence, ..self }
    }

    /// The source port follows the number, so that no two segments of a source are of one connection.
    fn send(&self, source: IpAddr, number: u64) -> io::Result<()> {
        self.send_from(SocketAddr::new(source, 1024 + u16::try_from(number % 60_000).unwrap_or(0)))
    }

    pub(crate) fn send_from(&self, source: SocketAddr) -> io::Result<()> {
        let packet = packet(source, self.to, self.segment, self.sequence)
            .ok_or_else(|| io::Error::other(format!("{source} and {} are of two families", self.to)))?;
        let (socket, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        // The port in the address is a protocol number to a raw socket of IPv6, and must be none.
        match self.to {
            SocketAddr::V4(to) => sendto(socket, &packet, &SockaddrIn::from(to), flags)?,
            SocketAddr::V6(to) => {
                sendto(socket, &packet, &SockaddrIn6::from(SocketAddrV6::new(*to.ip(), 0, 0, 0)), flags)?
            }
        };
        Ok(())
    }
}

/// A whole packet, RFC 791 or 8200 and RFC 9293; `None` for two families.
fn packet(from: SocketAddr, to: SocketAddr, segment: Segment, sequence: u32) -> Option<Vec<u8>> {
    let length = TCP_BYTES.to_be_bytes();
    // What TCP's checksum covers beside the segment, with the length of 16 bits that both families end up adding.
    let (mut packet, mut covered) = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let addresses = [from.octets(), to.octets()].concat();
            // Total length, id and checksum are the kernel's to fill in.
            let header = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, TCP, 0, 0];
            ([&header[..], &addresses].concat(), addresses)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let addresses = [from.octets(), to.octets()].concat();
            ([&[0x60, 0, 0, 0, length[0], length[1], TCP, 64][..], &addresses].concat(), addresses)
        }
        _ => return None,
    };
    covered.extend([0, TCP, length[0], length[1]]);
    let flags = match segment {
        Segment::Syn => 0x02,
        Segment::Ack => 0x10,
        Segment::Bare => 0,
    };
    let mut tcp = Vec::with_capacity(usize::from(TCP_BYTES));
    tcp.extend(from.port().to_be_bytes());
    tcp.extend(to.port().to_be_bytes());
    tcp.extend(sequence.to_be_bytes());
    tcp.extend([0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    covered.extend(&tcp);
    tcp.splice(16..18, checksum(&covered).to_be_bytes());
    packet.extend(tcp);
    Some(packet)
}

/// The internet checksum, RFC 1071, of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let sum = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_what_its_bytes_say() {
        let packet = |from: &str, to: &str| super::packet(from.parse().unwrap(), to.parse().unwrap(), Segment::Syn, 7);
        let v4 = packet("198.51.100.1:1025", "203.0.113.1:7100").unwrap();
        assert_eq!((v4.len(), v4[9], &v4[12..16], &v4[22..24]), (40, TCP, &[198, 51, 100, 1][..], &[27, 188][..]));
        let v6 = packet("[2001:db8::1]:1025", "[2001:db8::2]:7100").unwrap();
        assert_eq!((v6.len(), v6[6], v6[4..6].to_vec(), v6[53]), (60, TCP, vec![0, 20], 0x02));
        // A receiver sums all, the checksum included, to nothing.
        for (packet, header, addresses) in [(&v4, 20, 12..20), (&v6, 40, 8..40)] {
            let pseudo = [&packet[addresses], &[0, TCP, 0, 20][..], &packet[header..]].concat();
            assert_eq!(checksum(&pseudo), 0);
        }
        assert_eq!(packet("198.51.100.1:1", "[2001:db8::2]:7100"), None);
    }
}

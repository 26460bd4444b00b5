//! A capture of every packet on a lab's bridge that bears one of some addresses, whoever sends it and whatever any firewall
//! does later: what shows that an address was seen nowhere. Hears below the hosts' own firewalls, knows nothing of them.

use crate::{Lab, LabError};
use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt},
};
use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd as _, OwnedFd},
    sync::mpsc::{self, RecvTimeoutError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// How often the thread takes what has come.
const EVERY: Duration = Duration::from_millis(5);
/// Bytes that may wait: nothing is lost while the machine is busy.
const WAITING: usize = 64 << 20;
/// Enough for every header that is looked at.
const LONGEST: usize = 256;

/// EtherTypes (IEEE 802).
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// IANA protocol numbers.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// A packet with one of the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured {
    /// When it was taken from the wire.
    pub at: Instant,
    /// IANA protocol number.
    pub protocol: u8,
    /// From where; the port is the type for ICMPv6, and 0 where there is none.
    pub from: SocketAddr,
    /// To where.
    pub to: SocketAddr,
}

impl Captured {
    /// Whether it is TCP.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        self.protocol == TCP
    }

    /// Whether it is UDP.
    #[must_use]
    pub fn is_udp(&self) -> bool {
        self.protocol == UDP
    }

    /// Whether it is ICMP of either family, such as the word that a port is closed.
    #[must_use]
    pub fn is_icmp(&self) -> bool {
        [ICMP, ICMPV6].contains(&self.protocol)
    }

    /// Whether it is what neighbours on one link say to each other alone: RFC 4861 and RFC 2710, types 130 to 136 and 143.
    #[must_use]
    pub fn is_of_the_link(&self) -> bool {
        self.protocol == ICMPV6 && matches!(self.from.port(), 130..=136 | 143)
    }
}

impl Lab {
    /// Begins to write down every packet from or to one of these addresses, as hosts put them on their cables.
    ///
    /// # Errors
    /// [`LabError::Io`] if the bridge cannot be listened on.
    pub fn capture(&self, addresses: impl IntoIterator<Item = IpAddr>) -> Result<Capture, LabError> {
        let addresses: BTreeSet<IpAddr> = addresses.into_iter().collect();
        let ear = self.bridge_ear()?;
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut captured = Vec::new();
            loop {
                let goes_on = stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout);
                listen(&ear, &addresses, &mut captured);
                if !goes_on {
                    return captured;
                }
            }
        });
        Ok(Capture { stop, thread })
    }

    /// A socket that hears every frame on every port of the bridge.
    fn bridge_ear(&self) -> Result<OwnedFd, LabError> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let made = self.inside_bridge(|| {
            let ear = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
            setsockopt(&ear, sockopt::RcvBufForce, &WAITING).map(|()| ear)
        })?;
        made.map_err(|error| LabError::io("capture on the lab's bridge", io::Error::from(error)))
    }
}

/// A capture that goes on until it is ended.
#[derive(Debug)]
pub struct Capture {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Vec<Captured>>,
}

impl Capture {
    /// Ends it; what was captured.
    ///
    /// # Errors
    /// [`LabError::Gone`] if it had ended before.
    pub fn end(self) -> Result<Vec<Captured>, LabError> {
        drop(self.stop);
        self.thread.join().map_err(|_| LabError::Gone)
    }
}

/// Takes all that waits. A frame is heard where it enters the bridge and where it leaves it, which does no harm.
fn listen(ear: &OwnedFd, addresses: &BTreeSet<IpAddr>, captured: &mut Vec<Captured>) {
    let mut frame = [0; LONGEST];
    loop {
        match recv(ear.as_raw_fd(), &mut frame, nix::sys::socket::MsgFlags::empty()) {
            Ok(length) => {
                let packet = frame.get(..length.min(LONGEST)).and_then(|frame| read(frame, Instant::now()));
                captured.extend(
                    packet.filter(|packet| [packet.from, packet.to].iter().any(|a| addresses.contains(&a.ip()))),
                );
            }
            Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

/// The packet in an Ethernet frame; `None` for what is no IP.
fn read(frame: &[u8], at: Instant) -> Option<Captured> {
    let kind = u16::from_be_bytes(*frame.get(12..)?.first_chunk()?);
    let packet = frame.get(14..)?;
    let (protocol, from, to, header): (u8, IpAddr, IpAddr, usize) = match kind {
        IPV4 => {
            let address = |at: usize| Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?).into());
            (*packet.get(9)?, address(12)?, address(16)?, usize::from(packet.first()? & 0x0f) * 4)
        }
        IPV6 => {
            let address = |at: usize| Some(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?).into());
            let next = *packet.get(6)?;
            // Reports of group membership come behind one header of options, RFC 2710.
            let (protocol, header) = if next == 0 { (*packet.get(40)?, 48) } else { (next, 40) };
            (protocol, address(8)?, address(24)?, header)
        }
        _ => return None,
    };
    let ports = packet.get(header..).and_then(|rest| rest.first_chunk::<4>().copied());
    let [source, destination] = match (protocol, ports) {
        (TCP | UDP, Some([a, b, c, d])) => [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])],
        (ICMPV6, Some([kind, ..])) => [u16::from(kind), 0],
        _ => [0, 0],
    };
    Some(Captured { at, protocol, from: SocketAddr::new(from, source), to: SocketAddr::new(to, destination) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Connect, wait_until};

    #[test]
    fn what_a_host_sends_is_captured_even_where_the_other_end_drops_it() {
        let lab = Lab::new("capture").unwrap();
        let host = |name: &str, last: u8| {
            let made =
                lab.host(name).address(&format!("203.0.113.{last}/24")).address(&format!("2001:db8:1::{last}/64"));
            made.create().unwrap()
        };
        let (hidden, other, third) = (host("hidden", 11), host("other", 12), host("third", 13));
        other
            .load_nft("table inet t { chain c { type filter hook prerouting priority -500; tcp dport 7100 drop; }; }")
            .unwrap();
        let own = [hidden.v4(0).unwrap().ip(), hidden.v6(0).unwrap().ip()];
        let capture = lab.capture(own).unwrap();
        for to in [other.v4(7100).unwrap(), other.v6(7100).unwrap()] {
            assert_eq!(hidden.can_connect(to, Duration::from_millis(200)), Connect::Filtered);
        }
        let _echo = other.listen_echo(other.v4(7200).unwrap()).unwrap();
        wait_until("somebody else's packets", Duration::from_secs(5), || {
            third.can_connect(other.v4(7200).unwrap(), Duration::from_secs(1)) == Connect::Open
        })
        .unwrap();
        let captured = capture.end().unwrap();
        for (own, to) in own.iter().zip([other.v4(7100).unwrap(), other.v6(7100).unwrap()]) {
            assert!(
                captured.iter().any(|packet| packet.is_tcp() && packet.from.ip() == *own && packet.to == to),
                "{to}"
            );
        }
        let of_others =
            captured.iter().filter(|packet| !own.contains(&packet.from.ip()) && !own.contains(&packet.to.ip()));
        assert_eq!(of_others.count(), 0);
    }
}

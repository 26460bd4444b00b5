//! The engine's UDP sockets: one for each family, on one port. One call carries many datagrams where the kernel can.

use super::{
    offloads::{Help, Offloads},
    path::Path,
};
use crate::error::Error;
use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrIn, SockaddrIn6,
        SockaddrLike, bind, cmsg_space, recvmsg, sendmsg, setsockopt, socket, sockopt,
    },
};
use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

/// How often a free port is looked for that both families have free.
const ATTEMPTS: usize = 16;
/// Most datagrams of one call, `UDP_MAX_SEGMENTS` of older kernels.
pub(super) const MOST_SEGMENTS: usize = 64;
/// Most bytes of one call: 65,535 less the headers of IPv6 and UDP.
pub(super) const MOST_BYTES: usize = 65_535 - 48;
/// Bytes that may wait at a socket while this process is not running: a few milliseconds of what it can carry. What stands
/// there longer is the business of `standing`.
const RECEIVE_BUFFER: usize = 4 << 20;
/// How often, and how long, room for what is sent is waited for: as long as a device of 100 Mbit/s takes for what a socket holds
/// by default, and what is lost after that tells senders that they are too fast.
const WAITS: usize = 4;
const WAIT_MILLIS: u8 = 2;
/// Room for what the kernel tells with a datagram: the address it was sent to, its mark, how it was joined.
const CONTROL: usize = cmsg_space::<libc::in6_pktinfo>() + 2 * cmsg_space::<i32>();

#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) v4: UdpSocket,
    /// `None` on a host without IPv6.
    pub(super) v6: Option<UdpSocket>,
    pub(super) port: u16,
    segment: Help,
    /// Whether somebody waited for room since that was last asked.
    waited: AtomicBool,
}

/// What one call brought: datagrams of one sender, each of `size` bytes but the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    pub(super) path: Path,
    /// Bits of congestion, RFC 3168.
    pub(super) ecn: u8,
    pub(super) length: usize,
    pub(super) size: usize,
}

impl Sockets {
    /// Binds both to the port, or to one that is free with 0.
    pub(super) fn bind(port: u16, offloads: Offloads) -> Result<Self, Error> {
        let mut last = None;
        for _ in 0..if port == 0 { ATTEMPTS } else { 1 } {
            match Self::try_bind(port, offloads) {
                Ok(sockets) => return Ok(sockets),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = Some(Error::PortTaken { port }),
                Err(error) => return Err(Error::kernel(format!("listen on udp port {port}"), error)),
            }
        }
        Err(last.unwrap_or(Error::PortTaken { port }))
    }

    fn try_bind(port: u16, offloads: Offloads) -> io::Result<Self> {
        let v4 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
        let port = v4.local_addr()?.port();
        setsockopt(&v4, sockopt::Ipv4PacketInfo, &true)?;
        setsockopt(&v4, sockopt::IpRecvTos, &true)?;
        let v6 = match bind_v6(port) {
            Ok(socket) => Some(socket),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => None,
            Err(error) => return Err(error),
        };
        let (segment, join) =
            (Help::new("udp send", offloads.udp_send), Help::new("udp receive", offloads.udp_receive));
        let sockets = Self { v4, v6, port, segment, waited: AtomicBool::new(false) };
        for socket in sockets.both() {
            socket.set_nonblocking(true)?;
            // Where the capability for more is missing the system's own limit has to do.
            if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
                setsockopt(socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
            }
            if join.is_there()
                && let Err(error) = setsockopt(socket, sockopt::UdpGroSegment, &true)
            {
                join.is_missing(&error);
            }
        }
        Ok(sockets)
    }

    /// Both, or the one there is.
    pub(super) fn both(&self) -> impl Iterator<Item = &UdpSocket> {
        [Some(&self.v4), self.v6.as_ref()].into_iter().flatten()
    }

    /// Whether this one of the two is for IPv4.
    pub(super) fn is_v4(&self, socket: &UdpSocket) -> bool {
        std::ptr::eq(socket, &raw const self.v4)
    }

    /// Whether the network had no room and somebody waited for it, since this was last asked.
    pub(super) fn has_waited(&self) -> bool {
        self.waited.swap(false, Ordering::Relaxed)
    }

    /// Marks what is sent, for the host's own rules of routing; 0 takes the mark away.
    pub(super) fn set_mark(&self, mark: u32) -> io::Result<()> {
        for socket in self.both() {
            setsockopt(socket, sockopt::Mark, &mark)?;
        }
        Ok(())
    }

    /// Takes what has arrived at one of the two, without waiting.
    pub(super) fn receive(socket: &UdpSocket, buffer: &mut [u8], is_v4: bool) -> io::Result<Received> {
        let received =
            if is_v4 { receive::<SockaddrIn>(socket, buffer) } else { receive::<SockaddrIn6>(socket, buffer) };
        Ok(received?)
    }

    /// Sends, or loses, datagrams that lie one after the other, each of `size` bytes but the last. Where there is no room it
    /// waits for some if it may. False if there was none.
    pub(super) fn send(&self, path: Path, ecn: u8, datagrams: &[u8], size: usize, waits: bool) -> bool {
        if datagrams.len() > size && self.segment.is_there() {
            match self.send_joined(path, ecn, datagrams, size, waits) {
                Ok(()) => return true,
                // The device towards this peer cannot, or a tunnel around it: no use to ask again.
                Err(Errno::EIO | Errno::ENOPROTOOPT | Errno::EOPNOTSUPP) => self.segment.is_missing(&Errno::EIO),
                // Larger than this path takes in one piece: the kernel makes fragments of single ones.
                Err(Errno::EMSGSIZE | Errno::EINVAL) => {}
                Err(error) => return lost(path, error),
            }
        }
        let mut has_room = true;
        for datagram in datagrams.chunks(size) {
            if let Err(error) = self.send_joined(path, ecn, datagram, datagram.len(), waits && has_room) {
                has_room &= lost(path, error);
            }
        }
        has_room
    }

    fn send_joined(&self, path: Path, ecn: u8, datagrams: &[u8], size: usize, waits: bool) -> Result<(), Errno> {
        let send = |path| self.send_waiting(path, ecn, datagrams, size, waits);
        match send(path) {
            // The address of ours that the peer spoke to is no longer there.
            Err(Errno::EINVAL | Errno::EADDRNOTAVAIL | Errno::ENETUNREACH) if path.local.is_some() => {
                send(Path { local: None, ..path })
            }
            result => result,
        }
    }

    fn send_waiting(&self, path: Path, ecn: u8, datagrams: &[u8], size: usize, waits: bool) -> Result<(), Errno> {
        for _ in 0..if waits { WAITS } else { 0 } {
            match self.send_from(path, ecn, datagrams, size) {
                Err(Errno::EAGAIN) => self.wait_for_room(path.remote)?,
                result => return result,
            }
        }
        self.send_from(path, ecn, datagrams, size)
    }

    fn wait_for_room(&self, remote: SocketAddr) -> Result<(), Errno> {
        self.waited.store(true, Ordering::Relaxed);
        let socket = if remote.is_ipv4() { Some(&self.v4) } else { self.v6.as_ref() };
        let Some(socket) = socket else { return Err(Errno::EAFNOSUPPORT) };
        match poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)], PollTimeout::from(WAIT_MILLIS)) {
            Err(error) if error != Errno::EINTR => Err(error),
            _ => Ok(()),
        }
    }

    fn send_from(&self, path: Path, ecn: u8, datagrams: &[u8], size: usize) -> Result<(), Errno> {
        // At most `MOST_BYTES`.
        let segment = u16::try_from(size).unwrap_or(u16::MAX);
        let segments = ControlMessage::UdpGsoSegments(&segment);
        match path.remote {
            SocketAddr::V4(remote) => {
                let source = v4_source(path.local);
                let source = source.as_ref().map(ControlMessage::Ipv4PacketInfo);
                let mark = ControlMessage::Ipv4Tos(&ecn);
                submit(self.v4.as_fd(), datagrams, size, &SockaddrIn::from(remote), segments, source, (ecn, mark))
            }
            SocketAddr::V6(remote) => {
                let Some(socket) = &self.v6 else { return Err(Errno::EAFNOSUPPORT) };
                let source = v6_source(path.local);
                let source = source.as_ref().map(ControlMessage::Ipv6PacketInfo);
                let class = i32::from(ecn);
                let mark = ControlMessage::Ipv6TClass(&class);
                submit(socket.as_fd(), datagrams, size, &SockaddrIn6::from(remote), segments, source, (ecn, mark))
            }
        }
    }
}

fn submit<S: SockaddrLike>(
    socket: BorrowedFd<'_>,
    datagrams: &[u8],
    size: usize,
    to: &S,
    segments: ControlMessage<'_>,
    source: Option<ControlMessage<'_>>,
    (ecn, mark): (u8, ControlMessage<'_>),
) -> Result<(), Errno> {
    let mut control = [segments; 3];
    let mut used = usize::from(datagrams.len() > size);
    for message in [source, (ecn != 0).then_some(mark)].into_iter().flatten() {
        control[used] = message;
        used += 1;
    }
    let data = [IoSlice::new(datagrams)];
    sendmsg(socket.as_raw_fd(), &data, &control[..used], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL, Some(to))?;
    Ok(())
}

fn receive<S: SockaddrLike + Copy>(socket: &UdpSocket, buffer: &mut [u8]) -> Result<Received, Errno>
where
    Remote: From<S>,
{
    let mut control = Control([0; CONTROL]);
    let mut data = [IoSliceMut::new(buffer)];
    let message = recvmsg::<S>(socket.as_raw_fd(), &mut data, Some(&mut control.0), MsgFlags::MSG_DONTWAIT)?;
    let remote = message.address.map(Remote::from).ok_or(Errno::EDESTADDRREQ)?.0;
    let mut received = Received { path: remote.into(), ecn: 0, length: message.bytes, size: message.bytes.max(1) };
    for told in message.cmsgs()? {
        match told {
            ControlMessageOwned::UdpGroSegments(size) if size > 0 => {
                received.size = usize::try_from(size).unwrap_or(received.size);
            }
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let local = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
                received.path.local = Some(local.into()).filter(|_| !local.is_unspecified());
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                received.path.local = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
            }
            ControlMessageOwned::Ipv4Tos(class) => received.ecn = class & 3,
            ControlMessageOwned::Ipv6TClass(class) => received.ecn = u8::try_from(class & 3).unwrap_or_default(),
            _ => {}
        }
    }
    Ok(received)
}

/// Control messages begin at words.
#[repr(align(8))]
struct Control([u8; CONTROL]);

/// The address of a sender, of either family.
struct Remote(SocketAddr);

impl From<SockaddrIn> for Remote {
    fn from(address: SockaddrIn) -> Self {
        Self(SocketAddr::V4(SocketAddrV4::from(address)))
    }
}

impl From<SockaddrIn6> for Remote {
    fn from(address: SockaddrIn6) -> Self {
        Self(SocketAddr::V6(SocketAddrV6::from(address)))
    }
}

fn v4_source(local: Option<IpAddr>) -> Option<libc::in_pktinfo> {
    let Some(IpAddr::V4(local)) = local else { return None };
    let address = libc::in_addr { s_addr: u32::from_ne_bytes(local.octets()) };
    Some(libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: libc::in_addr { s_addr: 0 } })
}

fn v6_source(local: Option<IpAddr>) -> Option<libc::in6_pktinfo> {
    let Some(IpAddr::V6(local)) = local else { return None };
    Some(libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: local.octets() }, ipi6_ifindex: 0 })
}

/// Whether it was for another reason than that there is no room.
fn lost(path: Path, error: Errno) -> bool {
    tracing::trace!(to = %path.remote, %error, "datagram lost");
    error != Errno::EAGAIN
}

/// A socket for IPv6 alone: the standard library's takes IPv4 too, and would collide with ours.
fn bind_v6(port: u16) -> io::Result<UdpSocket> {
    let socket: OwnedFd = socket(AddressFamily::Inet6, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    setsockopt(&socket, sockopt::Ipv6RecvTClass, &true)?;
    let address = SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0));
    bind(socket.as_raw_fd(), &address)?;
    Ok(socket.into())
}

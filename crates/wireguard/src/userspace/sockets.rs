//! The engine's UDP sockets: one for each family, on one port.

use crate::error::Error;
use nix::{
    libc,
    sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn6, bind, setsockopt, socket, sockopt},
};
use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    os::fd::{AsRawFd as _, OwnedFd},
};

/// How often a free port is looked for that both families have free.
const ATTEMPTS: usize = 16;

#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) v4: Socket,
    /// `None` on a host without IPv6.
    pub(super) v6: Option<Socket>,
    pub(super) port: u16,
}

/// One socket twice: received from when tokio says so, sent to at once. Sending does not wait for readiness: what a
/// full socket refuses is lost, as on a wire.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) receive: tokio::net::UdpSocket,
    send: UdpSocket,
}

impl Socket {
    fn new(socket: UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { send: socket.try_clone()?, receive: tokio::net::UdpSocket::from_std(socket)? })
    }
}

impl Sockets {
    /// Binds both to the port, or to one that is free with 0.
    pub(super) fn bind(port: u16) -> Result<Self, Error> {
        let mut last = None;
        for _ in 0..if port == 0 { ATTEMPTS } else { 1 } {
            match Self::try_bind(port) {
                Ok(sockets) => return Ok(sockets),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = Some(Error::PortTaken { port }),
                Err(error) => return Err(Error::kernel(format!("listen on udp port {port}"), error)),
            }
        }
        Err(last.unwrap_or(Error::PortTaken { port }))
    }

    /// Sends, or loses, a datagram.
    pub(super) fn send(&self, to: SocketAddr, datagram: &[u8]) {
        let socket = match (to, &self.v6) {
            (SocketAddr::V4(_), _) => &self.v4,
            (SocketAddr::V6(_), Some(v6)) => v6,
            (SocketAddr::V6(_), None) => return,
        };
        if let Err(error) = socket.send.send_to(datagram, to) {
            tracing::trace!(%to, %error, "datagram lost");
        }
    }

    fn try_bind(port: u16) -> io::Result<Self> {
        let v4 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
        let port = v4.local_addr()?.port();
        let v6 = match bind_v6(port) {
            Ok(socket) => Some(Socket::new(socket)?),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { v4: Socket::new(v4)?, v6, port })
    }
}

/// A socket for IPv6 alone: the standard library's takes IPv4 too, and would collide with ours.
fn bind_v6(port: u16) -> io::Result<UdpSocket> {
    let socket: OwnedFd = socket(AddressFamily::Inet6, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    let address = SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0));
    bind(socket.as_raw_fd(), &address)?;
    Ok(socket.into())
}

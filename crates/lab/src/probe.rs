//! Short probes from a host: TCP connect, UDP echo, ping. They are sockets of this process made inside the host's
//! namespace, so one costs microseconds and not a program start.

use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{Host, LabError};

/// What became of an attempt to reach a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connect {
    /// It answered.
    Open,
    /// The host answered that nobody listens, or a rule rejects.
    Refused,
    /// Nothing came back in time: packets were dropped.
    Filtered,
    /// The network or the host cannot be reached: no route, no neighbour, or an ICMP error says so.
    Unreachable,
    /// The probe itself could not be made, for instance because the source address is not on the host.
    Impossible(String),
}

impl Connect {
    /// Turns a finding into a condition: `host.can_connect(..).must_be(Connect::Filtered)?`.
    ///
    /// # Errors
    /// [`LabError::Connect`] if it is anything else.
    pub fn must_be(self, wanted: Self) -> Result<(), LabError> {
        if self == wanted { Ok(()) } else { Err(LabError::Connect { found: self, wanted }) }
    }

    fn from_error(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::Filtered,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::Unreachable,
            _ => Self::Impossible(error.to_string()),
        }
    }
}

impl fmt::Display for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::Refused => f.write_str("refused"),
            Self::Filtered => f.write_str("filtered"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Impossible(why) => write!(f, "impossible to probe ({why})"),
        }
    }
}

impl Host {
    /// Tries to open TCP to a port. A lost first packet is sent again after a second, so with `within` below that it is
    /// one packet's fate.
    #[must_use]
    pub fn can_connect(&self, to: SocketAddr, within: Duration) -> Connect {
        self.connect(None, to, within)
    }

    /// As [`Host::can_connect`], from this one of the host's addresses.
    #[must_use]
    pub fn can_connect_from(&self, from: IpAddr, to: SocketAddr, within: Duration) -> Connect {
        self.connect(Some(from), to, within)
    }

    /// Sends one datagram to an [`EchoServer`](crate::EchoServer) and waits for it to come back. A port that swallows
    /// it looks like a filtered one.
    #[must_use]
    pub fn can_udp_echo(&self, to: SocketAddr, within: Duration) -> Connect {
        let made = self.inside(|| UdpSocket::bind(unspecified(to)));
        self.reach(made, within, move |socket| async move { exchange(socket, to, b"echo").await })
    }

    /// One ICMP echo; the time until its answer, or none within `within`.
    #[must_use]
    pub fn ping(&self, to: IpAddr, within: Duration) -> Option<Duration> {
        let made = self.inside(|| ping_socket(to));
        let start = Instant::now();
        let echo_request = if to.is_ipv4() { 8 } else { 128 };
        let request = [echo_request, 0, 0, 0, 0, 0, 0, 1];
        let to = SocketAddr::new(to, 0);
        let answered = self.reach(made, within, move |socket| async move { exchange(socket, to, &request).await });
        (answered == Connect::Open).then(|| start.elapsed())
    }

    /// Opens TCP, for a probe or a stream.
    pub(crate) fn open(&self, from: Option<IpAddr>, to: SocketAddr) -> Result<io::Result<TcpSocket>, LabError> {
        self.inside(|| {
            let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            if let Some(from) = from {
                socket.bind(SocketAddr::new(from, 0))?;
            }
            socket.set_nodelay(true)?;
            Ok(socket)
        })
    }

    fn connect(&self, from: Option<IpAddr>, to: SocketAddr, within: Duration) -> Connect {
        self.reach(self.open(from, to), within, move |socket: TcpSocket| async move {
            socket.connect(to).await.map(|_: TcpStream| ())
        })
    }

    /// Uses a socket made inside, and tells what came of it.
    fn reach<S, F>(
        &self,
        made: Result<io::Result<S>, LabError>,
        within: Duration,
        attempt: impl FnOnce(S) -> F + Send + 'static,
    ) -> Connect
    where
        S: Send + 'static,
        F: Future<Output = io::Result<()>> + Send,
    {
        let socket = match made {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return Connect::Impossible(error.to_string()),
            Err(error) => return Connect::Impossible(error.to_string()),
        };
        match self.shared.wait_for(async move { timeout(within, attempt(socket)).await }) {
            Ok(Ok(Ok(()))) => Connect::Open,
            Ok(Ok(Err(error))) => Connect::from_error(&error),
            Ok(Err(_)) => Connect::Filtered,
            Err(gone) => Connect::Impossible(gone.to_string()),
        }
    }
}

/// A socket for ICMP echoes, made where the calling thread is. The kernel fills in identifier and checksum of an
/// unprivileged ping socket, and gives it its own answers only.
pub(crate) fn ping_socket(to: IpAddr) -> io::Result<UdpSocket> {
    let (family, protocol) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    // A ping socket is a datagram socket, which is all that the type means.
    let made: OwnedFd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol)?;
    Ok(UdpSocket::from(made))
}

/// Sends one datagram and waits for one back.
async fn exchange(socket: UdpSocket, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UdpSocket::from_std(socket)?;
    socket.connect(to).await?;
    socket.send(datagram).await?;
    socket.recv(&mut [0; 64]).await.map(drop)
}

fn unspecified(to: SocketAddr) -> SocketAddr {
    let address = if to.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { IpAddr::from(Ipv6Addr::UNSPECIFIED) };
    SocketAddr::new(address, 0)
}

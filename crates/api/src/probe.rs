//! Knocking at ports: one TCP connection or a datagram each, and what came back. What that means is decided elsewhere.

use picket_model::{GuardedPort, Protocol};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    num::NonZeroU16,
    thread,
    time::Duration,
};

/// TCP ports that are tried beside the guarded ones: SSH, which shows that the host is there, and what else listens on hosts
/// like these.
pub const USUAL_PORTS: [u16; 5] = [22, 80, 443, 8080, 9090];
/// A packet without an answer for this long was dropped. One that was lost is sent again after a second.
const SILENT: Duration = Duration::from_millis(2500);
/// Datagrams that one port is sent: nobody sends a lost one again.
const DATAGRAMS: u32 = 2;
/// What they say, for whoever finds them in a log.
const DATAGRAM: &[u8] = b"picket audit";

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// A connection, or a datagram in answer.
    Open,
    /// An answer that nobody listens: the packet got through.
    NobodyListens,
    /// No answer: dropped on its way, or there is no such host. A UDP port may be silent with a listener.
    Silent,
    /// It did not get as far, and why.
    Unreachable(String),
}

/// What one machine found at an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The machine's own address towards it.
    pub from: IpAddr,
    /// Where it knocked.
    pub address: IpAddr,
    /// What it found, in order of port.
    pub ports: Vec<ProbedPort>,
}

/// What was found at one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbedPort {
    /// Protocol and number.
    pub at: GuardedPort,
    /// What became of the packet.
    pub found: Found,
}

/// The usual ports and these, as TCP.
pub fn with_usual(more: impl IntoIterator<Item = NonZeroU16>) -> BTreeSet<GuardedPort> {
    let usual = USUAL_PORTS.into_iter().filter_map(NonZeroU16::new);
    more.into_iter().chain(usual).map(|port| GuardedPort { protocol: Protocol::Tcp, port }).collect()
}

/// Knocks at each port, all at once, and waits for the last answer: some seconds at most. Connections are closed as soon as
/// they are open.
///
/// # Errors
/// Where there is no way to the address.
pub fn knock(address: IpAddr, ports: &BTreeSet<GuardedPort>) -> io::Result<Probe> {
    let from = own_address(address)?;
    let ports = thread::scope(|scope| {
        let knock = |at: GuardedPort| {
            let to = SocketAddr::new(address, at.port.get());
            let tried = match at.protocol {
                Protocol::Tcp => TcpStream::connect_timeout(&to, SILENT).map(drop),
                Protocol::Udp => exchange(to),
            };
            ProbedPort { at, found: found(tried) }
        };
        let tries: Vec<_> = ports.iter().map(|at| scope.spawn(move || knock(*at))).collect();
        // A thread that panicked found nothing, and a port that is missing is no kept promise.
        tries.into_iter().filter_map(|tried| tried.join().ok()).collect()
    });
    Ok(Probe { from, address, ports })
}

/// The address from which packets to that one leave. No packet is sent.
fn own_address(to: IpAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind((unspecified(to), 0))?;
    socket.connect((to, 9))?;
    Ok(socket.local_addr()?.ip())
}

fn exchange(to: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind((unspecified(to.ip()), 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(SILENT / DATAGRAMS))?;
    for _ in 0..DATAGRAMS {
        socket.send(DATAGRAM)?;
        match socket.recv(&mut [0; 64]) {
            Ok(_) => return Ok(()),
            // What Linux says of a time limit that has passed, socket(7), and where this process was stopped meanwhile, signal(7).
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::TimedOut.into())
}

fn found(tried: io::Result<()>) -> Found {
    match tried {
        Ok(()) => Found::Open,
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => Found::NobodyListens,
            ErrorKind::TimedOut => Found::Silent,
            _ => Found::Unreachable(error.to_string()),
        },
    }
}

fn unspecified(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { [0; 4].into() } else { [0; 16].into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::TcpListener, sync::mpsc};

    #[test]
    fn each_port_is_found_as_it_is() {
        let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let port = |protocol, address: SocketAddr| GuardedPort { protocol, port: address.port().try_into().unwrap() };
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let ports = [
            (port(Protocol::Tcp, tcp.local_addr().unwrap()), Found::Open),
            (port(Protocol::Udp, udp.local_addr().unwrap()), Found::Open),
            (port(Protocol::Tcp, gone), Found::NobodyListens),
        ];
        let (said, heard) = mpsc::channel();
        let echo = thread::spawn(move || {
            let mut datagram = [0; 64];
            let (length, from) = udp.recv_from(&mut datagram).unwrap();
            said.send(datagram[..length].to_vec()).unwrap();
            udp.send_to(b"!", from).unwrap();
        });
        let probe = knock([127, 0, 0, 1].into(), &ports.iter().map(|(at, _)| *at).collect()).unwrap();
        echo.join().unwrap();
        assert_eq!(heard.recv().unwrap(), DATAGRAM);
        assert_eq!((probe.from, probe.ports.len()), ([127, 0, 0, 1].into(), 3));
        for (at, found) in ports {
            assert!(probe.ports.contains(&ProbedPort { at, found }), "{at}: {:?}", probe.ports);
        }
        // Two datagrams at most, so that a silent listener ends it as well; and nobody at all is told of.
        let closed = BTreeSet::from([GuardedPort { protocol: Protocol::Udp, port: gone.port().try_into().unwrap() }]);
        let closed = knock([127, 0, 0, 1].into(), &closed).unwrap();
        assert_eq!(closed.ports[0].found, Found::NobodyListens);
    }

    #[test]
    fn what_was_found_travels_as_it_is_and_nothing_else_is_taken_for_it() {
        let at = GuardedPort { protocol: Protocol::Udp, port: 7100.try_into().unwrap() };
        let ports = vec![
            ProbedPort { at, found: Found::Silent },
            ProbedPort { at, found: Found::Unreachable("No route to host".into()) },
        ];
        let probe = Probe { from: [192, 0, 2, 1].into(), address: [192, 0, 2, 2].into(), ports };
        let text = serde_json::to_string(&probe).unwrap();
        assert_eq!(serde_json::from_str::<Probe>(&text).unwrap(), probe);
        assert!(serde_json::from_str::<Probe>(&text.replace("\"from\"", "\"form\"")).is_err());
        assert!(serde_json::from_str::<Probe>(&text.replace("silent", "closed")).is_err());
    }
}

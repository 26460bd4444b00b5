//! A name server on a host's loopback, told what names give: many addresses, or others at each question. Over UDP, and
//! over TCP for what does not fit into a datagram (RFC 1035).

use crate::{Host, LabError};
use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 53);
/// Bytes before the question.
const HEADER: usize = 12;
/// Largest answer over UDP.
const DATAGRAM: usize = 512;
/// Type of a record with an IPv4 address.
const TYPE_A: u16 = 1;
/// A response to a whole question, and the same cut off.
const ANSWER: u16 = 0x8180;
const TRUNCATED: u16 = 0x8380;
const NO_SUCH_NAME: u16 = 0x8183;
/// Seconds for which an answer stands.
const TIME_TO_LIVE: u32 = 1;

/// Handle to a name server; clones speak of the same one.
#[derive(Clone, Debug, Default)]
pub struct NameServer(Arc<Mutex<Names>>);

#[derive(Debug, Default)]
struct Names {
    given: BTreeMap<String, Given>,
    asked: usize,
}

/// What a name gives.
#[derive(Clone, Debug, Default)]
struct Given {
    addresses: Vec<Ipv4Addr>,
    at_once: usize,
    next: usize,
}

impl Host {
    /// Serves names on the host's loopback, for all programs that are started on it from now on.
    ///
    /// # Errors
    /// [`LabError::Io`] if the port is taken, or the machine has no /etc/resolv.conf to be put in place of.
    pub fn name_server(&self) -> Result<NameServer, LabError> {
        let cannot = |error| LabError::io(format!("serve names on {}", self.name()), error);
        let bound = self.inside(|| -> io::Result<(UdpSocket, TcpListener)> {
            let (udp, tcp) = (UdpSocket::bind(ADDRESS)?, TcpListener::bind(ADDRESS)?);
            udp.set_nonblocking(true)?;
            tcp.set_nonblocking(true)?;
            Ok((udp, tcp))
        })?;
        let (udp, tcp) = bound.map_err(cannot)?;
        self.namespace.write_file("resolv.conf", &format!("nameserver {}\n", ADDRESS.0))?;
        let server = NameServer::default();
        // They end with the lab's runtime.
        self.shared.runtime().spawn(server.clone().datagrams(udp));
        self.shared.runtime().spawn(server.clone().connections(tcp));
        Ok(server)
    }
}

impl NameServer {
    /// The name gives all of these addresses from now on.
    pub fn set(&self, name: &str, addresses: impl IntoIterator<Item = Ipv4Addr>) {
        let addresses: Vec<Ipv4Addr> = addresses.into_iter().collect();
        let at_once = addresses.len();
        self.give(name, Given { addresses, at_once, next: 0 });
    }

    /// The name gives one of these addresses, and the next one at each question.
    pub fn rotate(&self, name: &str, addresses: impl IntoIterator<Item = Ipv4Addr>) {
        self.give(name, Given { addresses: addresses.into_iter().collect(), at_once: 1, next: 0 });
    }

    /// Questions for IPv4 addresses so far.
    pub fn asked(&self) -> usize {
        self.lock().asked
    }

    fn give(&self, name: &str, given: Given) {
        self.lock().given.insert(name.to_owned(), given);
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn datagrams(self, udp: UdpSocket) -> io::Result<()> {
        let udp = tokio::net::UdpSocket::from_std(udp)?;
        let mut question = [0; DATAGRAM];
        loop {
            let (length, from): (usize, SocketAddr) = udp.recv_from(&mut question).await?;
            if let Some(answer) = question.get(..length).and_then(|question| self.answer(question, DATAGRAM)) {
                udp.send_to(&answer, from).await?;
            }
        }
    }

    async fn connections(self, tcp: TcpListener) -> io::Result<()> {
        let tcp = tokio::net::TcpListener::from_std(tcp)?;
        loop {
            let (stream, _) = tcp.accept().await?;
            // A client that goes away is not the server's end.
            tokio::spawn(self.clone().connection(stream));
        }
    }

    async fn connection(self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let mut question = vec![0; stream.read_u16().await?.into()];
            stream.read_exact(&mut question).await?;
            if let Some(answer) = self.answer(&question, usize::from(u16::MAX)) {
                stream.write_u16(u16::try_from(answer.len()).unwrap_or(u16::MAX)).await?;
                stream.write_all(&answer).await?;
            }
        }
    }

    /// An answer of at most so many bytes; `None` to what is no question.
    fn answer(&self, message: &[u8], most: usize) -> Option<Vec<u8>> {
        let (name, kind, question) = question(message)?;
        let given = self.given(&name, kind == TYPE_A);
        let code = if given.is_some() { ANSWER } else { NO_SUCH_NAME };
        let id = message.get(..2)?;
        let whole = reply(id, code, question, &given.unwrap_or_default());
        Some(if whole.len() > most { reply(id, TRUNCATED, question, &[]) } else { whole })
    }

    /// What a name gives now, if there is such a name; nothing to a question for another type.
    fn given(&self, name: &str, is_asked: bool) -> Option<Vec<Ipv4Addr>> {
        let mut names = self.lock();
        names.asked += usize::from(is_asked);
        let given = names.given.get_mut(name)?;
        if !is_asked {
            return Some(Vec::new());
        }
        let addresses = given.addresses.iter().cycle().skip(given.next).take(given.at_once).copied().collect();
        if given.at_once < given.addresses.len() {
            given.next = (given.next + 1) % given.addresses.len();
        }
        Some(addresses)
    }
}

/// Name in lower case, type, and bytes of a message's question.
fn question(message: &[u8]) -> Option<(String, u16, &[u8])> {
    let mut labels = Vec::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*message.get(at)?);
        let label = message.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
    }
    let kind = u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]);
    Some((labels.join("."), kind, message.get(HEADER..at + 4)?))
}

fn reply(id: &[u8], code: u16, question: &[u8], addresses: &[Ipv4Addr]) -> Vec<u8> {
    let count = u16::try_from(addresses.len()).unwrap_or(u16::MAX);
    let mut reply = id.to_vec();
    for field in [code, 1, count, 0, 0] {
        reply.extend(field.to_be_bytes());
    }
    reply.extend(question);
    for address in addresses {
        // The name is that of the question, which begins after the header.
        reply.extend([0xc0, 0x0c, 0, 1, 0, 1]);
        reply.extend(TIME_TO_LIVE.to_be_bytes());
        reply.extend([0, 4]);
        reply.extend(address.octets());
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "v.example";

    fn ask(server: &NameServer, kind: u8, most: usize) -> Vec<u8> {
        let mut message = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend(b"\x01V\x07Example\0");
        message.extend([0, kind, 0, 1]);
        server.answer(&message, most).unwrap()
    }

    #[test]
    fn a_name_gives_what_it_was_told_to() {
        let server = NameServer::default();
        assert_eq!(ask(&server, 1, DATAGRAM)[..8], [7, 9, 0x81, 0x83, 0, 1, 0, 0]);
        server.set(NAME, [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)]);
        let answer = ask(&server, 1, DATAGRAM);
        assert_eq!(
            (&answer[..8], &answer[answer.len() - 4..]),
            (&[7, 9, 0x81, 0x80, 0, 1, 0, 2][..], &[192, 0, 2, 2][..])
        );
        assert_eq!(ask(&server, 28, DATAGRAM)[..8], [7, 9, 0x81, 0x80, 0, 1, 0, 0]);
    }

    #[test]
    fn what_does_not_fit_is_cut_off() {
        let server = NameServer::default();
        server.set(NAME, (0..1000).map(|number| Ipv4Addr::from_bits(0x0800_0000 + number)));
        assert_eq!(ask(&server, 1, DATAGRAM)[2..8], [0x83, 0x80, 0, 1, 0, 0]);
        assert_eq!(ask(&server, 1, usize::from(u16::MAX))[6..8], 1000_u16.to_be_bytes());
    }

    #[test]
    fn a_name_that_rotates_gives_another_address_each_time() {
        let server = NameServer::default();
        server.rotate(NAME, (1..=3).map(|last| Ipv4Addr::new(192, 0, 2, last)));
        let last: Vec<u8> = (0..4).map(|_| *ask(&server, 1, DATAGRAM).last().unwrap()).collect();
        assert_eq!(last, [1, 2, 3, 1]);
    }
}

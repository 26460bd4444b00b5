//! A name server on loopback that answers as a test tells it to, over UDP and TCP.

use hickory_resolver::proto::{
    op::{Message, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata::CNAME},
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
};

/// Largest message over TCP, RFC 1035 section 4.2.2.
const LARGEST: usize = 65_535;

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Udp,
    Tcp,
}

/// What is answered to one question.
pub(crate) enum Reply {
    Records(Vec<Record>),
    Code(ResponseCode),
    /// Only that the answer is too long for UDP.
    Truncated,
    Silence,
    /// Bytes that are no message.
    Garbage,
}

type Answer = dyn Fn(&Query, Way) -> Reply + Send + Sync;

pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, Way)>>>,
}

impl NameServer {
    pub(crate) async fn start(answer: impl Fn(&Query, Way) -> Reply + Send + Sync + 'static) -> Self {
        let (udp, tcp) = bind().await;
        let served = Served {
            answer: Arc::new(answer) as Arc<Answer>,
            asked: Arc::default(),
            udp: Arc::new(udp),
            tcp: Arc::new(tcp),
        };
        let server = Self { address: served.udp.local_addr().unwrap(), asked: Arc::clone(&served.asked) };
        tokio::spawn(served.clone().datagrams());
        tokio::spawn(served.connections());
        server
    }

    /// Names and ways of all questions for IPv4 addresses so far.
    pub(crate) fn asked(&self) -> Vec<(String, Way)> {
        self.asked.lock().unwrap().clone()
    }
}

/// Both protocols on one port.
async fn bind() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

#[derive(Clone)]
struct Served {
    answer: Arc<Answer>,
    asked: Arc<Mutex<Vec<(String, Way)>>>,
    udp: Arc<UdpSocket>,
    tcp: Arc<TcpListener>,
}

impl Served {
    async fn datagrams(self) {
        let mut question = vec![0; LARGEST];
        loop {
            let (length, from) = self.udp.recv_from(&mut question).await.unwrap();
            if let Some(answer) = self.reply(&question[..length], Way::Udp) {
                self.udp.send_to(&answer, from).await.unwrap();
            }
        }
    }

    async fn connections(self) {
        loop {
            let (mut stream, _) = self.tcp.accept().await.unwrap();
            let served = self.clone();
            tokio::spawn(async move {
                while let Some(question) = message(&mut stream).await {
                    if let Some(answer) = served.reply(&question, Way::Tcp) {
                        stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
                        stream.write_all(&answer).await.unwrap();
                    }
                }
            });
        }
    }

    fn reply(&self, question: &[u8], way: Way) -> Option<Vec<u8>> {
        let question = Message::from_vec(question).unwrap();
        let query = question.queries[0].clone();
        if query.query_type() == RecordType::A {
            self.asked.lock().unwrap().push((query.name().to_string(), way));
        }
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        match (self.answer)(&query, way) {
            Reply::Records(records) => drop(answer.add_answers(records)),
            Reply::Code(code) => answer.metadata.response_code = code,
            Reply::Truncated => answer.metadata.truncation = true,
            Reply::Silence => return None,
            Reply::Garbage => return Some([question.metadata.id.to_be_bytes().as_slice(), &[0xff; 40]].concat()),
        }
        answer.metadata.recursion_available = true;
        answer.add_query(query);
        Some(answer.to_vec().unwrap())
    }
}

async fn message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let length = stream.read_u16().await.ok()?;
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await.ok()?;
    Some(message)
}

/// The records among these addresses that the question is for, under the name it is for.
pub(crate) fn addresses(query: &Query, addresses: &[(&str, u32)]) -> Reply {
    let parsed = addresses.iter().map(|(address, seconds)| (address.parse().unwrap(), *seconds));
    let asked =
        parsed.filter(|(address, _): &(IpAddr, u32)| address.is_ipv4() == (query.query_type() == RecordType::A));
    Reply::Records(asked.map(|(address, seconds)| record(query.name(), seconds, address)).collect())
}

pub(crate) fn record(name: &Name, seconds: u32, address: IpAddr) -> Record {
    Record::from_rdata(name.clone(), seconds, RData::from(address))
}

pub(crate) fn alias(name: &str, seconds: u32, to: &str) -> Record {
    let [name, to] = [name, to].map(|name| Name::from_ascii(name).unwrap());
    Record::from_rdata(name, seconds, RData::CNAME(CNAME(to)))
}

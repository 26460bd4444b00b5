//! Two hosts with a tunnel between two engines, and transfers through it whose bytes are compared.

use picket_lab::{
    Host, Lab,
    tunnels::{Carrier, Clock, End, PeerWish, Wish, private_key, public_key},
    undisturbed, wait_until,
};
use ring::digest::{Context, SHA256};
use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Longest that anything takes that happens at all, on a loaded machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// An answer takes well under a millisecond.
pub(crate) const ANSWER: Duration = Duration::from_millis(300);
pub(crate) const PORT: u16 = 51820;
/// As much as flows before and after something that happens meanwhile.
pub(crate) const SOME: u64 = 256 << 10;
const CHUNK: usize = 32 << 10;
/// Datagrams of junk: as many as a stranger's home line carries in a second or so.
const JUNK: u64 = 20_000;
/// Addresses of the two hosts, and below them those inside the tunnel.
const OUTER_V4: [&str; 2] = ["203.0.113.1", "203.0.113.2"];
const OUTER_V6: [&str; 2] = ["2001:db8::1", "2001:db8::2"];
const INNER_V4: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
const INNER_V6: [&str; 2] = ["fd86::1", "fd86::2"];

/// What the packets between the engines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outside {
    V4,
    V6,
}

impl Outside {
    pub(crate) fn address(self, host: usize) -> IpAddr {
        match self {
            Self::V4 => OUTER_V4[host].parse().unwrap(),
            Self::V6 => OUTER_V6[host].parse().unwrap(),
        }
    }
}

/// Two hosts; the first calls the second, which does not know where the first is.
pub(crate) struct Pair {
    pub(crate) ends: [End; 2],
    // Last: it ends all that runs on the hosts.
    _lab: Arc<Lab>,
}

impl Pair {
    /// Engines of these kinds that know each other. `calls` is where the first calls the second, if not at its address.
    pub(crate) fn new(lab: &Arc<Lab>, carriers: [Carrier; 2], outside: Outside, calls: Option<SocketAddr>) -> Self {
        Self::by([None, None], lab, carriers, outside, calls)
    }

    /// As [`Pair::new`], by these clocks.
    fn by(
        clocks: [Option<&Clock>; 2],
        lab: &Arc<Lab>,
        carriers: [Carrier; 2],
        outside: Outside,
        calls: Option<SocketAddr>,
    ) -> Self {
        let end = |own: usize| {
            let host = lab.host(["caller", "called"][own]);
            let host = host.address(&format!("{}/24", OUTER_V4[own])).address(&format!("{}/64", OUTER_V6[own]));
            let inside = [format!("{}/24", INNER_V4[own]), format!("{}/64", INNER_V6[own])];
            let inside = [inside[0].as_str(), inside[1].as_str()];
            End::start_by(clocks[own], &host.create().unwrap(), carriers[own], &inside, 1420).unwrap()
        };
        let pair = Self { ends: [end(0), end(1)], _lab: lab.clone() };
        let called = calls.unwrap_or_else(|| SocketAddr::new(outside.address(1), PORT));
        pair.ends[1].set(&own(1, vec![peer(0, None)])).unwrap();
        pair.ends[0].set(&own(0, vec![peer(1, Some(called))])).unwrap();
        pair
    }

    /// As [`Pair::new`], in a lab of its own, with packets seen to pass.
    pub(crate) fn joined(carriers: [Carrier; 2], outside: Outside) -> Self {
        // Shown where a test fails.
        println!("{carriers:?} over {outside:?}");
        let lab = Arc::new(Lab::new("tunnels").unwrap());
        let pair = Self::new(&lab, carriers, outside, None);
        pair.wait_passing();
        pair
    }

    /// As [`Pair::joined`], by these clocks.
    pub(crate) fn joined_by(clocks: [Option<&Clock>; 2], carriers: [Carrier; 2]) -> Self {
        println!("{carriers:?} by clocks of the test");
        let lab = Arc::new(Lab::new("tunnels").unwrap());
        let pair = Self::by(clocks, &lab, carriers, Outside::V4, None);
        pair.wait_passing();
        pair
    }

    pub(crate) fn host(&self, number: usize) -> &Host {
        &self.ends[number].host
    }

    /// Until an echo comes back through the tunnel.
    pub(crate) fn wait_passing(&self) {
        let answered = || self.host(0).ping(inner(1, Outside::V4), ANSWER).ok_or("no answer");
        wait_until("a packet through the tunnel", SOON, answered).unwrap();
    }

    /// When both ends last shook hands.
    pub(crate) fn handshakes(&self) -> [u128; 2] {
        [0, 1].map(|own| self.ends[own].peers().unwrap()[&public_key(number(1 - own))].last_handshake_nanos)
    }
}

/// The lab's number of the key of an end.
fn number(end: usize) -> u16 {
    if end == 0 { 1 } else { 2 }
}

/// An address inside the tunnel.
pub(crate) fn inner(host: usize, family: Outside) -> IpAddr {
    match family {
        Outside::V4 => INNER_V4[host].parse().unwrap(),
        Outside::V6 => INNER_V6[host].parse().unwrap(),
    }
}

/// What an end is to be, with these peers.
pub(crate) fn own(end: usize, peers: Vec<PeerWish>) -> Wish {
    Wish { private_key: Some(private_key(number(end))), listen_port: Some(PORT), peers }
}

/// An end as the other's peer.
pub(crate) fn peer(end: usize, endpoint: Option<SocketAddr>) -> PeerWish {
    PeerWish {
        key: public_key(number(end)),
        preshared_key: Some([0x77; 32]),
        endpoint,
        allowed_ips: [Outside::V4, Outside::V6].map(|family| inner(end, family).into()).into(),
        ..PeerWish::default()
    }
}

/// One peer added or changed.
pub(crate) fn peers(peer: PeerWish) -> Wish {
    Wish { peers: vec![peer], ..Wish::default() }
}

/// A peer that goes.
pub(crate) fn without(end: usize) -> Wish {
    peers(PeerWish { key: public_key(number(end)), remove: true, ..PeerWish::default() })
}

/// Bytes that follow from a number, none of which repeats soon.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) {
        for part in buffer.chunks_mut(8) {
            // xorshift64 (Marsaglia)
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            part.copy_from_slice(&self.0.to_le_bytes()[..part.len()]);
        }
    }
}

/// Length and SHA-256 of a stream.
type Sum = (u64, Vec<u8>);

/// A TCP stream from one host to another that flows until it is finished.
pub(crate) struct Transfer {
    came: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    ways: [JoinHandle<io::Result<Sum>>; 2],
}

impl Transfer {
    pub(crate) fn start(from: &Host, to: &Host, address: IpAddr) -> Self {
        Self::of(from, to, address, u64::MAX)
    }

    /// One that ends by itself after so many bytes.
    pub(crate) fn of(from: &Host, to: &Host, address: IpAddr, most: u64) -> Self {
        let listener = to.inside(|| TcpListener::bind((address, 0))).unwrap().unwrap();
        let at = listener.local_addr().unwrap();
        let stream = from.inside(|| TcpStream::connect_timeout(&at, SOON)).unwrap().unwrap();
        let (taken, _) = listener.accept().unwrap();
        for end in [&stream, &taken] {
            end.set_read_timeout(Some(SOON)).unwrap();
            end.set_write_timeout(Some(SOON)).unwrap();
        }
        let (came, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, told) = (came.clone(), stop.clone());
        let seed = u64::from(at.port()) + 1;
        let ways =
            [thread::spawn(move || send(stream, seed, most, &told)), thread::spawn(move || take(taken, &counter))];
        Self { came, stop, ways }
    }

    /// Until so many more bytes came.
    pub(crate) fn wait_more(&self, bytes: u64) {
        let before = self.came.load(Ordering::Relaxed);
        let more = || self.came.load(Ordering::Relaxed) - before;
        let enough = || (more() >= bytes).then_some(()).ok_or_else(|| format!("{} bytes more", more()));
        wait_until("the transfer to go on", SOON, enough).unwrap();
    }

    /// Ends it: what was sent is what came, to the byte.
    pub(crate) fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.whole();
    }

    /// Waits for the end of one that ends by itself.
    pub(crate) fn whole(self) {
        let [sent, came] = self.ways.map(|way| way.join().unwrap().unwrap());
        assert_eq!(sent, came);
        assert!(came.0 >= SOME, "{} bytes are no transfer", came.0);
    }
}

fn send(mut stream: TcpStream, seed: u64, most: u64, stop: &AtomicBool) -> io::Result<Sum> {
    let (mut noise, mut sum, mut length, mut chunk) = (Noise(seed), Context::new(&SHA256), 0, vec![0; CHUNK]);
    while length < most && !stop.load(Ordering::Relaxed) {
        noise.fill(&mut chunk);
        stream.write_all(&chunk)?;
        sum.update(&chunk);
        length += CHUNK as u64;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    Ok((length, sum.finish().as_ref().to_vec()))
}

fn take(mut stream: TcpStream, came: &AtomicU64) -> io::Result<Sum> {
    let (mut sum, mut chunk) = (Context::new(&SHA256), vec![0; CHUNK]);
    loop {
        match undisturbed(|| stream.read(&mut chunk))? {
            0 => return Ok((came.load(Ordering::Relaxed), sum.finish().as_ref().to_vec())),
            length => {
                sum.update(&chunk[..length]);
                came.fetch_add(length as u64, Ordering::Relaxed);
            }
        }
    }
}

/// A TCP transfer from the one end to the other, without anything meanwhile.
pub(crate) fn transfer(pair: &Pair, from: usize, family: Outside) {
    let transfer = Transfer::start(pair.host(from), pair.host(1 - from), inner(1 - from, family));
    transfer.wait_more(SOME);
    transfer.finish();
}

/// A datagram of each size there and back, the same byte for byte.
pub(crate) fn datagrams(pair: &Pair, from: usize, family: Outside, sizes: &[usize]) {
    let to = inner(1 - from, family);
    let echo = pair.host(1 - from).listen_echo((to, 0).into()).unwrap();
    let socket = pair.host(from).inside(|| UdpSocket::bind((inner(from, family), 0))).unwrap().unwrap();
    socket.set_read_timeout(Some(ANSWER * 3)).unwrap();
    socket.connect(echo.address()).unwrap();
    for size in sizes {
        let (mut sent, mut came) = (vec![0; *size], vec![0; 65_536]);
        Noise(*size as u64 + 1).fill(&mut sent);
        // A datagram may be lost; a wrong one may not come.
        wait_until(&format!("a datagram of {size} bytes to come back over {family:?}"), SOON, || {
            socket.send(&sent).map_err(|error| error.to_string())?;
            let length = undisturbed(|| socket.recv(&mut came)).map_err(|error| error.to_string())?;
            let late = length != *size;
            if late { Err(format!("one of {length} bytes came")) } else { Ok(()) }
        })
        .unwrap();
        assert!(came[..*size] == sent[..], "a datagram of {size} bytes came back changed");
    }
}

/// Sends the second end datagrams that are no peer's.
pub(crate) fn junk(pair: &Pair) {
    let socket = pair.host(0).inside(|| UdpSocket::bind((Outside::V4.address(0), 0))).unwrap().unwrap();
    socket.connect((Outside::V4.address(1), PORT)).unwrap();
    let (mut noise, mut datagram) = (Noise(7), [0; 1472]);
    // Lengths of the protocol's own messages with their first bytes, lengths of none, nothing at all.
    let shapes = [(1_u8, 148), (2, 92), (3, 64), (4, 32), (4, 1472), (4, 31), (1, 147), (9, 200), (0, 0), (4, 1)];
    for number in 0..JUNK {
        noise.fill(&mut datagram);
        let (kind, length) = shapes[usize::try_from(number).unwrap() % shapes.len()];
        datagram[..4].copy_from_slice(&[kind, 0, 0, 0]);
        // Full buffers are the flood's own loss.
        let _ = socket.send(&datagram[..length]);
    }
}

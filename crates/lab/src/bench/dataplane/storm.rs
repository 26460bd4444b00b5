//! Handshakes of many peers at once, each from an address of its own: how many a second one device answers, cookies
//! included where it asks for them. The callers are boringtun's state machine, which does no IO.

use super::{
    Table,
    place::{Cable, OUTER, PORT, connect},
};
use crate::{
    Lab, command,
    tunnels::{Carrier, End, PeerWish, Wish, private_key, public_key},
    undisturbed,
};
use anyhow::{Context as _, ensure};
use boringtun::{
    noise::{Tunn, TunnResult},
    x25519::{PublicKey, StaticSecret},
};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

/// How many call; each has a socket, and more than 1,024 a process may not open everywhere.
const CALLERS: u16 = 512;
/// How many wait for an answer at one time.
const AT_ONCE: usize = 64;
/// A caller that has no answer calls again after so long.
const AGAIN: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(30);
/// The device's own number among the lab's keys, and that of the first caller.
const DEVICE: u16 = 1;
const FIRST: u16 = 1_000;

pub(super) fn measure(carrier: Carrier, table: &mut Table) -> anyhow::Result<()> {
    let lab = Lab::new("storm")?;
    let hosts = [lab.host("callers").create()?, lab.host("called").create()?];
    connect(&hosts, Cable::Card)?;
    // 198.18.0.0/15 is for benches (RFC 2544).
    command::ip(Some(hosts[0].namespace()), "route add local 198.18.0.0/15 dev lo\n")?;
    command::ip(Some(hosts[1].namespace()), &format!("route add 198.18.0.0/15 via {}\n", OUTER[0]))?;
    let end = End::start(&hosts[1], carrier, &["192.0.2.1/24"], super::place::MTU)?;
    let peers =
        (0..CALLERS).map(|number| PeerWish { key: public_key(FIRST + number), ..PeerWish::default() }).collect();
    end.set(&Wish { private_key: Some(private_key(DEVICE)), listen_port: Some(PORT), peers })?;
    let mut callers = hosts[0].inside(|| (0..CALLERS).map(Caller::new).collect::<anyhow::Result<Vec<_>>>())??;
    let (before, begun) = (end.cpu()?, Instant::now());
    let cookies = call(&mut callers)?;
    let (took, cpu) = (begun.elapsed(), end.cpu()? - before);
    let count = f64::from(CALLERS);
    let beside = [("cpu_us_per_handshake", cpu.as_secs_f64() * 1e6 / count), ("cookies", f64::from(cookies))];
    table.add("handshakes", &carrier.to_string(), "handshakes_per_second", count / took.as_secs_f64(), &beside);
    Ok(())
}

struct Caller {
    tunnel: Tunn,
    socket: UdpSocket,
    called: Option<Instant>,
    is_done: bool,
}

impl Caller {
    /// Made inside the callers' host.
    fn new(number: u16) -> anyhow::Result<Self> {
        let device = PublicKey::from(public_key(DEVICE));
        let own = StaticSecret::from(private_key(FIRST + number));
        let [high, low] = number.to_be_bytes();
        let socket = UdpSocket::bind((Ipv4Addr::new(198, 18, high, low), 0)).context("open a caller's socket")?;
        socket.connect(SocketAddr::from((OUTER[1], PORT)))?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            tunnel: Tunn::new(own, device, None, None, number.into(), None),
            socket,
            called: None,
            is_done: false,
        })
    }

    fn call(&mut self) -> anyhow::Result<()> {
        let mut buffer = [0; 256];
        if let TunnResult::WriteToNetwork(packet) = self.tunnel.format_handshake_initiation(&mut buffer, true) {
            self.socket.send(packet).context("call")?;
        }
        self.called = Some(Instant::now());
        Ok(())
    }

    /// Takes what came, if anything; whether it was a cookie.
    fn listen(&mut self) -> anyhow::Result<Option<bool>> {
        /// First byte of a handshake's answer and of a cookie (the protocol's paper, 5.4).
        const RESPONSE: u8 = 2;
        const COOKIE: u8 = 3;
        let (mut datagram, mut buffer) = ([0; 256], [0; 256]);
        let length = match undisturbed(|| self.socket.recv(&mut datagram)) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error).context("listen for an answer"),
        };
        let understood = self.tunnel.decapsulate(None, &datagram[..length], &mut buffer);
        match (datagram[0], understood) {
            (RESPONSE, TunnResult::WriteToNetwork(packet)) => {
                self.socket.send(packet).context("confirm")?;
                self.is_done = true;
                Ok(Some(false))
            }
            (COOKIE, TunnResult::Done) => {
                self.call()?;
                Ok(Some(true))
            }
            _ => Ok(Some(false)),
        }
    }
}

/// Until all have an answer; how many cookies came.
fn call(callers: &mut [Caller]) -> anyhow::Result<u32> {
    let (begun, mut cookies, mut next) = (Instant::now(), 0, 0);
    let mut waiting: Vec<usize> = Vec::new();
    while next < callers.len() || !waiting.is_empty() {
        ensure!(begun.elapsed() < PATIENCE, "{} of {} callers got no answer", waiting.len(), callers.len());
        while waiting.len() < AT_ONCE && next < callers.len() {
            callers[next].call()?;
            waiting.push(next);
            next += 1;
        }
        let mut came = 0;
        for number in &waiting {
            let caller = &mut callers[*number];
            match caller.listen()? {
                Some(cookie) => (came, cookies) = (came + 1, cookies + u32::from(cookie)),
                None if caller.called.is_some_and(|called| called.elapsed() > AGAIN) => caller.call()?,
                None => {}
            }
        }
        waiting.retain(|number| !callers[*number].is_done);
        if came == 0 {
            // The device has the other core, or this one.
            thread::park_timeout(Duration::from_micros(50));
        }
    }
    Ok(cookies)
}

//! What a flood of senseless datagrams at the engine's port leaves of a TCP stream. Who floods runs on the same cores, so the pair
//! without a tunnel, where nobody listens at that port, shows what that alone takes.

use super::{
    Table,
    place::{OUTER, PORT, Pair},
    traffic,
};
use crate::Host;
use anyhow::{Context as _, anyhow};
use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Datagrams a second: 130 Mbit/s of them.
const RATE: u32 = 20_000;
/// They leave some at a time.
const PACE: Duration = Duration::from_millis(1);
/// First byte and length: initiations, which cost the most to tell from real ones, and data of full size.
const SHAPES: [(u8, usize); 2] = [(1, 148), (4, 1472)];

pub(super) fn measure(pair: &Pair, length: Duration, table: &mut Table) -> anyhow::Result<()> {
    let alone = traffic::stream(pair, length)?;
    let flood = Flood::start(&pair.hosts[0])?;
    let beside = traffic::stream(pair, length)?;
    let rate = flood.stop()?;
    let figures = [("junk_per_second", rate), ("alone_gbit_s", alone / 1e9), ("beside_gbit_s", beside / 1e9)];
    table.add("junk", &pair.name, "percent_kept", beside / alone * 100.0, &figures);
    Ok(())
}

struct Flood {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<f64>,
}

impl Flood {
    fn start(from: &Host) -> anyhow::Result<Self> {
        let socket = from.inside(|| UdpSocket::bind((OUTER[0], 0)))?.context("a socket for junk")?;
        socket.connect((OUTER[1], PORT))?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        Ok(Self { stop, sender: thread::spawn(move || send(&socket, &told)) })
    }

    /// Ends it. How many a second there were.
    fn stop(self) -> anyhow::Result<f64> {
        self.stop.store(true, Ordering::Relaxed);
        self.sender.join().map_err(|_| anyhow!("the flood did not end by itself"))
    }
}

fn send(socket: &UdpSocket, stop: &AtomicBool) -> f64 {
    let (begun, mut sent, mut datagram) = (Instant::now(), 0_u32, [0x5a; 1472]);
    while !stop.load(Ordering::Relaxed) {
        let due = begun.elapsed().as_secs_f64() * f64::from(RATE);
        while f64::from(sent) < due {
            let (kind, length) = SHAPES[sent as usize % SHAPES.len()];
            datagram[..8].copy_from_slice(&[kind, 0, 0, 0, 1, 0, 0, 0]);
            datagram[8..12].copy_from_slice(&sent.to_le_bytes());
            // Lost, or refused by a host where nobody listens: sent either way.
            let _ = socket.send(&datagram[..length]);
            sent += 1;
        }
        thread::park_timeout(PACE);
    }
    f64::from(sent) / begun.elapsed().as_secs_f64()
}

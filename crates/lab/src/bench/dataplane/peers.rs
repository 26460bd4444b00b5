//! Many peers that are silent: what they weigh, what one more and one less costs, and what an engine takes to wait for them.

use super::Table;
use crate::{
    Lab,
    bench::{Figures, millis},
    tunnels::{Carrier, End, KeyBytes, PeerWish, Wish, private_key},
};
use ipnet::IpNet;
use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

/// How many, and how the figure is called.
const SIZES: [(u16, &str); 3] = [(1, "memory-1"), (1_000, "memory-1000"), (10_000, "memory-10000")];
/// Times that one comes and goes among the most.
const CHANGES: u16 = 20;

pub(super) fn measure(carrier: Carrier, length: Duration, table: &mut Table) -> anyhow::Result<()> {
    let lab = Lab::new("peers")?;
    let host = lab.host("many").address("203.0.113.1/24").create()?;
    let name = carrier.to_string();
    for (count, case) in SIZES {
        let end = End::start(&host, carrier, &["192.0.2.1/24"], 1420)?;
        let begun = Instant::now();
        let peers = (0..count).map(peer).collect();
        end.set(&Wish { private_key: Some(private_key(1)), listen_port: Some(51820), peers })?;
        let per_peer = millis(begun.elapsed()) * 1000.0 / f64::from(count);
        let kib = u32::try_from(end.process.resident_memory_bytes()? / 1024)?;
        table.add(case, &name, "mib", f64::from(kib) / 1024.0, &[("adding_us_per_peer", per_peer)]);
        if count < SIZES[SIZES.len() - 1].0 {
            continue;
        }
        changes(&end, count, &name, table)?;
        // The first window is for what the changes left to be done, such as collecting garbage.
        let windows = [idle(&end, length)?, idle(&end, length)?];
        table.add("idle-cpu-10000", &name, "percent_of_one_core", windows[1] * 100.0, &[]);
    }
    Ok(())
}

/// The share of one core that an engine takes for doing nothing.
fn idle(end: &End, length: Duration) -> anyhow::Result<f64> {
    let (begun, before) = (Instant::now(), end.cpu()?);
    // Nothing is awaited but time itself: this is what it costs.
    while begun.elapsed() < length {
        std::thread::park_timeout(length.saturating_sub(begun.elapsed()));
    }
    Ok((end.cpu()? - before).as_secs_f64() / begun.elapsed().as_secs_f64())
}

fn changes(end: &End, count: u16, name: &str, table: &mut Table) -> anyhow::Result<()> {
    let (mut come, mut go) = (Figures::default(), Figures::default());
    for number in count..count + CHANGES {
        let begun = Instant::now();
        end.set(&Wish { peers: vec![peer(number)], ..Wish::default() })?;
        come.add(millis(begun.elapsed()) * 1000.0);
        let gone = PeerWish { key: key(number), remove: true, ..PeerWish::default() };
        let begun = Instant::now();
        end.set(&Wish { peers: vec![gone], ..Wish::default() })?;
        go.add(millis(begun.elapsed()) * 1000.0);
    }
    table.add("add-one-at-10000", name, "us", come.median(), &[("p99_us", come.p99())]);
    table.add("remove-one-at-10000", name, "us", go.median(), &[("p99_us", go.p99())]);
    Ok(())
}

fn key(number: u16) -> KeyBytes {
    let [high, low] = number.to_be_bytes();
    let mut key = [7; 32];
    (key[0], key[1]) = (high, low);
    key
}

/// A peer that nobody has heard of and that is not dialled.
fn peer(number: u16) -> PeerWish {
    let [high, low] = number.to_be_bytes();
    let network = IpNet::from(IpAddr::from(Ipv4Addr::new(10, 86, high, low)));
    PeerWish { key: key(number), allowed_ips: vec![network], ..PeerWish::default() }
}

//! An engine under a hard limit of memory, with everything coming at once.

use crate::support::{Outside, Pair, SOME, Transfer, inner, junk};
use picket_lab::tunnels::{Carrier, KeyBytes, PeerWish, Wish};
use std::{fs, process::Command};

/// What it may have beyond what it has with one tunnel that carried packets.
const MORE_BYTES: u64 = 24 << 20;
const STREAMS: usize = 32;
/// Silent peers that fit, and that do not.
const PEERS: u32 = 5_000;
const TOO_MANY: u32 = 200_000;

/// Writable memory of its own that a process has asked for: what its limit of data counts.
fn data_bytes(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

fn silent(count: u32) -> Wish {
    let key = |number: u32| -> KeyBytes { std::array::from_fn(|at| if at < 4 { number.to_be_bytes()[at] } else { 7 }) };
    let peers = (0..count).map(|number| PeerWish { key: key(number), ..PeerWish::default() });
    Wish { peers: peers.collect(), ..Wish::default() }
}

#[test]
fn streams_junk_and_peers_at_once_fit_a_hard_limit_of_memory() {
    let pair = Pair::joined([Carrier::WireguardGo, Carrier::Picket], Outside::V4);
    let engine = &pair.ends[1];
    let process = engine.process.id();
    let limit = (data_bytes(process) + MORE_BYTES).to_string();
    let limited =
        Command::new("prlimit").args(["--pid", &process.to_string(), &format!("--data={limit}")]).status().unwrap();
    assert!(limited.success(), "the limit was not set");
    let ways = (0..STREAMS).map(|number| number % 2);
    let streams: Vec<_> = ways
        .map(|from| Transfer::of(pair.host(from), pair.host(1 - from), inner(1 - from, Outside::V4), SOME))
        .collect();
    engine.set(&silent(PEERS)).unwrap();
    junk(&pair);
    streams.into_iter().for_each(Transfer::whole);
    engine.process.must_run().unwrap();
    pair.wait_passing();
    // And there is a limit: it ends who asks for much more.
    assert!(engine.set(&silent(TOO_MANY)).is_err(), "{TOO_MANY} peers fit {limit} bytes");
}

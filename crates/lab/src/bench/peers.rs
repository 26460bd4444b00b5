//! Many peers on one interface: how long they take to come, what they weigh, and how long one takes to go.

use super::{
    Figures, Report,
    bare::End,
    figures::{resident_kib, rounded},
    millis, ratio,
};
use crate::Lab;
use picket_model::WireGuardPublicKey;
use picket_wireguard::{DeviceConfig, PeerConfig, PrivateKey};
use serde_json::json;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

/// As many as a host's guard lets it have.
const PEERS: u16 = 1_000;

pub(super) fn run(report: &Report, runs: u8) -> anyhow::Result<()> {
    let lab = Lab::new("bench")?;
    let host = lab.host("many").address("203.0.113.1/24").create()?;
    let end = End::open(&host, "many0")?;
    let (mut come, mut one, mut alone) = (Figures::default(), Figures::default(), Figures::default());
    let mut grown = 0;
    for _ in 0..runs {
        let before = resident_kib();
        come.add(took(&end, &device(PEERS))?);
        grown = grown.max(resident_kib().saturating_sub(before));
        one.add(took(&end, &device(PEERS - 1))?);
        took(&end, &device(1))?;
        alone.add(took(&end, &device(0))?);
    }
    report.row(&json!({
        "case": "all come", "peers": PEERS, "median_ms": rounded(come.median()),
        "p99_ms": rounded(come.p99()), "runs": runs,
        "memory_kib": grown, "memory_kib_a_peer": rounded(f64::from(grown) / f64::from(PEERS)),
    }))?;
    report.row(&json!({
        "case": "one of them goes", "peers": PEERS, "median_ms": rounded(one.median()),
        "p99_ms": rounded(one.p99()), "runs": runs,
        "beside": { "what": "the only peer of a device goes", "figures": alone.row() },
        "ratio": ratio(&one, &alone),
    }))
}

fn took(end: &End, wanted: &DeviceConfig) -> anyhow::Result<f64> {
    let started = Instant::now();
    end.apply(wanted)?;
    Ok(millis(started.elapsed()))
}

/// A device with its first so many peers.
fn device(peers: u16) -> DeviceConfig {
    let peer = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let mut key = [7; 32];
        (key[0], key[1]) = (high, low);
        let config = PeerConfig {
            allowed_ips: [IpAddr::from(Ipv4Addr::new(10, 86, high, low)).into()].into(),
            ..PeerConfig::default()
        };
        WireGuardPublicKey::new(key).ok().map(|key| (key, config))
    };
    DeviceConfig {
        name: "many0".to_owned(),
        private_key: PrivateKey::from_random([9; 32]),
        listen_port: 51820,
        addresses: [IpAddr::from(Ipv4Addr::new(10, 86, 255, 1)).into()].into(),
        mtu: 1420,
        steering: picket_wireguard::Steering::default(),
        peers: (1..=peers).filter_map(peer).collect::<BTreeMap<_, _>>(),
    }
}

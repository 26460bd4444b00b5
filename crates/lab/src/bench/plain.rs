//! Fail-over without Picket, to compare with: plain WireGuard with two tunnels, both kept alive, and a script that takes the other
//! when nothing has come through the one for longer than a keepalive. The same engine, the same nodes.

use super::{Figures, bare::End, failover::Cut, millis};
use crate::{
    Host, Lab, LabError,
    mesh::SOON,
    p2p::{Network, Place},
};
use picket_wireguard::{DeviceConfig, DeviceState, PeerConfig, PrivateKey};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::mpsc::{self, RecvTimeoutError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// What is measured here, in words.
pub(super) const WHAT: &str = "plain WireGuard: two tunnels, keepalive 25 s, a script that looks each second and switches after 30 s without a byte";

/// As WireGuard's own manual has it, wg(8).
const KEEPALIVE: u16 = 25;
/// A keepalive, and five seconds for it to come: shorter, and a quiet tunnel is a dead one.
const SILENCE: Duration = Duration::from_secs(30);
/// How often the script looks.
const LOOK: Duration = Duration::from_secs(1);

const PORT: u16 = 51820;
const NODE: u16 = 7100;
/// The host with two tunnels, and the two relays that they end at.
const OUTER: [Ipv4Addr; 3] =
    [Ipv4Addr::new(203, 0, 113, 201), Ipv4Addr::new(203, 0, 113, 202), Ipv4Addr::new(203, 0, 113, 203)];
const INNER: [Ipv4Addr; 3] =
    [Ipv4Addr::new(192, 0, 2, 201), Ipv4Addr::new(192, 0, 2, 202), Ipv4Addr::new(192, 0, 2, 203)];
/// Whom its node calls through them.
const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 201);

/// From the cut of the tunnel in use to the first block through the other, `runs` times.
pub(super) fn measure(cut: Cut, runs: u8) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    for _ in 0..runs {
        figures.add(millis(once(cut)?));
    }
    Ok(figures)
}

fn once(cut: Cut) -> anyhow::Result<Duration> {
    let lab = Lab::new("plain")?;
    let host = |name: &str, at: Ipv4Addr| lab.host(name).address(&format!("{at}/24")).create();
    let hosts = [host("plain", OUTER[0])?, host("relay-1", OUTER[1])?, host("relay-2", OUTER[2])?];
    let far = host("far", FAR)?;
    let mut relays = Vec::new();
    for (number, relay) in hosts.iter().enumerate().skip(1) {
        relay.sysctl("net/ipv4/ip_forward", "1")?;
        relay.load_nft(
            "table ip relay { chain out { type nat hook postrouting priority 100; oifname eth0 masquerade; }; }",
        )?;
        let end = End::open(relay, "plain0")?;
        end.apply(&device(number, 0))?;
        relays.push(end);
    }
    let script = Script::start(&hosts[0])?;
    let places = vec![
        Place { advertised: vec![(FAR, NODE).into()], port: NODE, host: far },
        // Nobody forwards to it: its own calls are the links.
        Place { advertised: vec![(OUTER[1], NODE).into()], port: NODE, host: hosts[0].clone() },
    ];
    let nodes = Network::start(&lab, places)?;
    nodes.wait_relinked(Instant::now(), SOON)?;
    match cut {
        Cut::Kill => drop(relays.remove(0)),
        Cut::BlackHole => hosts[1].unplug()?,
    }
    let moment = Instant::now();
    let took = nodes.wait_relinked(moment, SILENCE + SOON * 2)?;
    script.end()?;
    Ok(took.values().max().copied().unwrap_or_default())
}

/// Looks at both tunnels, and moves the far end's address to the one that lives.
struct Script {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Script {
    fn start(host: &Host) -> anyhow::Result<Self> {
        let end = End::open(host, "plain0")?;
        let mut in_use = 1;
        let mut heard = Heard::default();
        heard.look(&end.apply(&device(0, in_use))?);
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                heard.look(&end.apply(&device(0, in_use))?);
                if heard.silence(in_use) >= SILENCE && heard.silence(3 - in_use) < SILENCE {
                    in_use = 3 - in_use;
                    end.apply(&device(0, in_use))?;
                }
            }
            Ok(())
        });
        Ok(Self { stop, thread })
    }

    fn end(self) -> anyhow::Result<()> {
        drop(self.stop);
        self.thread.join().map_err(|_| LabError::Gone)?
    }
}

/// When which relay's tunnel last brought anything.
#[derive(Default)]
struct Heard(BTreeMap<usize, (u64, Option<Instant>)>);

impl Heard {
    fn look(&mut self, device: &DeviceState) {
        for relay in [1, 2] {
            let bytes = device.peers.get(&key(relay).public()).map_or(0, |peer| peer.received_bytes);
            let (before, at) = self.0.entry(relay).or_insert((0, None));
            if bytes > *before {
                (*before, *at) = (bytes, Some(Instant::now()));
            }
        }
    }

    fn silence(&self, relay: usize) -> Duration {
        self.0.get(&relay).and_then(|(_, at)| *at).map_or(SILENCE, |at| at.elapsed())
    }
}

fn key(end: usize) -> PrivateKey {
    PrivateKey::from_random([u8::try_from(end + 1).unwrap_or(u8::MAX); 32])
}

/// What one end wants; the host's with the far end behind the relay in use.
fn device(own: usize, in_use: usize) -> DeviceConfig {
    let peers = if own == 0 { 1..3 } else { 0..1 };
    let peer = |other: usize| {
        let mut allowed_ips =
            std::collections::BTreeSet::from([IpAddr::from(INNER.get(other).copied().unwrap_or(FAR)).into()]);
        if own == 0 && other == in_use {
            allowed_ips.insert(IpAddr::from(FAR).into());
        }
        PeerConfig {
            endpoint: OUTER.get(other).filter(|_| own == 0).map(|at| (*at, PORT).into()),
            allowed_ips,
            keepalive_seconds: Some(KEEPALIVE),
            preshared_key: None,
        }
    };
    DeviceConfig {
        name: "plain0".to_owned(),
        private_key: key(own),
        listen_port: PORT,
        addresses: INNER.get(own).map(|own| IpAddr::from(*own).into()).into_iter().collect(),
        mtu: 1420,
        steering: picket_wireguard::Steering::default(),
        peers: peers.map(|other| (key(other).public(), peer(other))).collect(),
    }
}

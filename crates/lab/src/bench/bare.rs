//! WireGuard without Picket, to compare with: two hosts, the same engine, peers set by hand and nothing around them.

use super::wait_for_ping;
use crate::{Host, Lab};
use anyhow::{Context as _, anyhow};
use picket_wireguard::{DeviceConfig, DeviceState, PeerConfig, Preference, PrivateKey, Tunnel};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

const PORT: u16 = 51820;
/// Where the two hosts are, on the lab's bridge; below it their addresses inside the tunnel.
const OUTER: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 201), Ipv4Addr::new(203, 0, 113, 202)];
const INNER: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 201), Ipv4Addr::new(192, 0, 2, 202)];

/// One end: a device on a thread of its own in a host's network.
pub(super) struct End {
    jobs: UnboundedSender<(DeviceConfig, mpsc::Sender<Result<DeviceState, String>>)>,
}

impl End {
    /// A device on a host.
    pub(super) fn open(host: &Host, name: &'static str) -> anyhow::Result<Self> {
        let (jobs, mut inbox) = unbounded_channel::<(DeviceConfig, mpsc::Sender<Result<DeviceState, String>>)>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = async move {
            let mut tunnel = Tunnel::open(name, Preference::Userspace, None).await;
            while let Some((wanted, done)) = inbox.recv().await {
                let applied = match &mut tunnel {
                    Ok(tunnel) => apply(tunnel, &wanted).await.map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                // Whoever asked may have given up.
                let _ = done.send(applied);
            }
        };
        // A thread that is started inside stays inside.
        host.inside(|| thread::spawn(move || runtime.block_on(work)))?;
        Ok(Self { jobs })
    }

    /// Makes the device the wanted one; how it stands then.
    pub(super) fn apply(&self, wanted: &DeviceConfig) -> anyhow::Result<DeviceState> {
        let (sender, done) = mpsc::channel();
        self.jobs.send((wanted.clone(), sender)).map_err(|_| anyhow!("the device is gone"))?;
        done.recv().context("the device is gone")?.map_err(|error| anyhow!(error))
    }
}

async fn apply(tunnel: &mut Tunnel, wanted: &DeviceConfig) -> Result<DeviceState, picket_wireguard::Error> {
    tunnel.prepare(wanted).await?;
    tunnel.connect(wanted).await?;
    tunnel.observe().await
}

/// Two hosts that can be joined and cut.
pub(super) struct Bare {
    hosts: [Host; 2],
    ends: [End; 2],
}

impl Bare {
    pub(super) fn new(lab: &Lab) -> anyhow::Result<Self> {
        let host = |name: &str, at: Ipv4Addr| lab.host(name).address(&format!("{at}/24")).create();
        let hosts = [host("bare-1", OUTER[0])?, host("bare-2", OUTER[1])?];
        let ends = [End::open(&hosts[0], "bare0")?, End::open(&hosts[1], "bare0")?];
        Ok(Self { hosts, ends })
    }

    /// Gives both ends new keys and each other as peers; from there to the first packet.
    pub(super) fn join(&self, seed: u8) -> anyhow::Result<Duration> {
        let started = Instant::now();
        self.ends[1].apply(&device(1, seed, true))?;
        self.ends[0].apply(&device(0, seed, true))?;
        wait_for_ping(&self.hosts[0], INNER[1].into())?;
        Ok(started.elapsed())
    }

    /// Takes the peer away on one end, with a stream running; from the call to the last packet.
    pub(super) fn cut(&self, seed: u8) -> anyhow::Result<Duration> {
        let echo = self.hosts[1].listen_echo((INNER[1], 7100).into())?;
        let stream = self.hosts[0].stream((INNER[1], 7100).into())?;
        let started = Instant::now();
        self.ends[1].apply(&device(1, seed, false))?;
        let last = stream.wait_dead(super::revoke::QUIET, crate::mesh::SOON)?;
        drop(echo);
        Ok(last.saturating_duration_since(started))
    }
}

/// What one of the two ends wants.
fn device(own: usize, seed: u8, connected: bool) -> DeviceConfig {
    let key = |end: usize| PrivateKey::from_random([seed.wrapping_mul(2).wrapping_add(u8::from(end == 1)); 32]);
    let other = 1 - own;
    let peer = PeerConfig {
        endpoint: (own == 0).then_some((OUTER[other], PORT).into()),
        allowed_ips: [IpAddr::from(INNER[other]).into()].into(),
        keepalive_seconds: (own == 0).then_some(25),
        preshared_key: None,
    };
    DeviceConfig {
        name: "bare0".to_owned(),
        private_key: key(own),
        listen_port: PORT,
        addresses: [IpAddr::from(INNER[own]).into()].into(),
        mtu: 1420,
        steering: picket_wireguard::Steering::default(),
        peers: if connected { BTreeMap::from([(key(other).public(), peer)]) } else { BTreeMap::new() },
    }
}

/// Joins two ends `runs` times, and cuts them again: the figures of both, in milliseconds.
pub(super) fn measure(lab: &Lab, runs: u8) -> anyhow::Result<(super::Figures, super::Figures)> {
    let bare = Bare::new(lab)?;
    let (mut joins, mut cuts) = (super::Figures::default(), super::Figures::default());
    for seed in 1..=runs {
        joins.add(super::millis(bare.join(seed)?));
        cuts.add(super::millis(bare.cut(seed)?));
    }
    Ok((joins, cuts))
}

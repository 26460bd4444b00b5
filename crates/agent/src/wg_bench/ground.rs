//! Two networks with a cable and a tunnel between them. Each is the network namespace of one thread and has no name, so the
//! kernel takes it away with all that is in it as soon as this process ends, however it ends.

use anyhow::{Context as _, Result, anyhow};
use nix::{net::if_::if_nametoindex, sched::CloneFlags};
use picket_wireguard::{DeviceConfig, PeerConfig, Preference, PrivateKey, Steering, Tunnel};
use rtnetlink::{LinkUnspec, LinkVeth};
use std::{
    collections::BTreeMap,
    fs::File,
    net::{IpAddr, Ipv4Addr},
    os::fd::AsRawFd as _,
    sync::mpsc,
    thread,
};
use tokio::runtime::{Builder, Runtime};

/// The ends of the cable, and below them the addresses inside the tunnel (documentation ranges, RFC 5737).
const OUTER: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 2)];
pub(super) const INNER: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
const CABLE: [&str; 2] = ["cable0", "cable1"];
const TUNNEL: &str = "bench0";
const PORT: u16 = 51820;
/// As on a link of 1,500 bytes over IPv6.
const MTU: u16 = 1420;

type Job = Box<dyn FnOnce(&Runtime) + Send>;

/// One network: a thread in a namespace of its own.
pub(super) struct Side {
    jobs: mpsc::Sender<Job>,
}

/// Both, joined. The tunnels end first, then the threads and with them the networks.
pub(super) struct Ground {
    _tunnels: Vec<Tunnel>,
    pub(super) sides: [Side; 2],
}

impl Side {
    fn open() -> Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, opened) = mpsc::channel();
        thread::Builder::new().name("wg-bench".to_owned()).spawn(move || {
            let runtime = nix::sched::unshare(CloneFlags::CLONE_NEWNET)
                .context("make a network namespace: it takes root, and a container needs CAP_SYS_ADMIN")
                // Its threads are in the namespace, as this one is.
                .and_then(|()| Ok(Builder::new_multi_thread().worker_threads(1).enable_all().build()?));
            match runtime {
                Ok(runtime) => {
                    // Whoever asked waits.
                    let _ = ready.send(Ok(()));
                    inbox.iter().for_each(|job| job(&runtime));
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        })?;
        opened.recv().context("the thread of a network namespace ended")??;
        Ok(Self { jobs })
    }

    /// Does something in this network. Sockets made inside stay inside, wherever they are used.
    pub(super) fn inside<T: Send + 'static>(&self, work: impl FnOnce(&Runtime) -> T + Send + 'static) -> Result<T> {
        let (sender, done) = mpsc::channel();
        let job = Box::new(move |runtime: &Runtime| drop(sender.send(work(runtime))));
        self.jobs.send(job).map_err(|_| anyhow!("the thread of a network namespace ended"))?;
        done.recv().context("the thread of a network namespace ended")
    }
}

impl Ground {
    /// Two networks with a tunnel of the wanted engine.
    pub(super) fn new(preference: Preference) -> Result<Self> {
        let sides = [Side::open()?, Side::open()?];
        let far = sides[1].inside(|_| File::open("/proc/thread-self/ns/net"))?.context("open a network namespace")?;
        sides[0].inside(move |runtime| runtime.block_on(lay_cable(&far)))?.context("lay a cable between them")?;
        let keys = [picket_pki::random()?, picket_pki::random()?].map(PrivateKey::from_random);
        let mut tunnels = Vec::new();
        for (own, side) in sides.iter().enumerate() {
            let wanted = device(own, &keys);
            let opened = side.inside(move |runtime| runtime.block_on(bring_up(own, preference, wanted)))?;
            tunnels.push(opened?);
        }
        Ok(Self { _tunnels: tunnels, sides })
    }
}

async fn lay_cable(far: &File) -> Result<()> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    handle.link().add(LinkVeth::new(CABLE[0], CABLE[1]).build()).execute().await?;
    let other = if_nametoindex(CABLE[1])?;
    handle.link().set(LinkUnspec::new_with_index(other).setns_by_fd(far.as_raw_fd()).build()).execute().await?;
    Ok(())
}

async fn bring_up(own: usize, preference: Preference, wanted: DeviceConfig) -> Result<Tunnel> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    let cable = if_nametoindex(CABLE[own])?;
    handle.address().add(cable, OUTER[own].into(), 24).execute().await.context("give the cable an address")?;
    handle.link().set(LinkUnspec::new_with_index(cable).up().build()).execute().await.context("bring up the cable")?;
    let mut tunnel = Tunnel::open(TUNNEL, preference, None).await?;
    tunnel.prepare(&wanted).await?;
    tunnel.connect(&wanted).await?;
    Ok(tunnel)
}

fn device(own: usize, keys: &[PrivateKey; 2]) -> DeviceConfig {
    let other = 1 - own;
    let peer = PeerConfig {
        endpoint: Some((OUTER[other], PORT).into()),
        allowed_ips: [IpAddr::from(INNER[other]).into()].into(),
        keepalive_seconds: None,
        preshared_key: None,
    };
    DeviceConfig {
        name: TUNNEL.to_owned(),
        private_key: keys[own].clone(),
        listen_port: PORT,
        addresses: [IpAddr::from(INNER[own]).into()].into(),
        mtu: MTU,
        peers: BTreeMap::from([(keys[other].public(), peer)]),
        steering: Steering::default(),
    }
}

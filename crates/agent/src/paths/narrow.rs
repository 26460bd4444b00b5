//! The tasks that find out how large packets may be inside each tunnel: a validator's host asks its sentries, a sentry answers.
//! What is concluded is `mtu`. Sockets of their own, whose packets are never taken apart, whatever the routes say.

use super::{inside::Inside, mtu, mtu::Mtu};
use nix::{
    libc,
    sys::socket::{setsockopt, sockopt, sockopt::SetStruct},
};
use picket_firewall::InterfaceName;
use picket_model::{NodeConfig, NodeName};
use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tracing::{debug, info, warn};

/// How often it is looked whether something is due.
const TICK: Duration = Duration::from_millis(200);
/// How often a sentry looks whether its tunnel is still the one it listens on.
const LOOK: Duration = Duration::from_secs(1);
/// More than any link carries.
const LARGEST: usize = 9216;

#[derive(Clone, Copy, Debug)]
struct PathMtuDiscovery;
nix::setsockopt_impl!(PathMtuDiscovery, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::c_int, SetStruct<libc::c_int>);

/// ECT(1), RFC 3168 section 5.
const MARK: libc::c_int = 1;

/// A socket whose packets go whole or not at all, as large as the link lets them be: `ip(7)`, `IP_PMTUDISC_PROBE`. And each by
/// itself: what many packets leave a host in, bridges let pass whatever the packets' size, and the tunnels' engine joins only
/// those of one mark, which nothing else bears.
async fn open(interface: &InterfaceName, address: SocketAddr) -> io::Result<Inside> {
    let inside = Inside::open(interface, address).await?;
    setsockopt(&inside.socket, PathMtuDiscovery, &libc::IP_PMTUDISC_PROBE)?;
    setsockopt(&inside.socket, sockopt::Ipv4Tos, &MARK)?;
    Ok(inside)
}

/// What each tunnel carries that carries less than is wanted.
pub type Narrow = BTreeMap<NodeName, u16>;

/// The task that asks; ends with this value.
#[derive(Debug)]
pub struct Asker {
    wanted: watch::Sender<Option<NodeConfig>>,
    found: watch::Receiver<Narrow>,
    task: JoinHandle<()>,
}

impl Asker {
    /// Begins, with nobody to ask yet.
    pub fn start(interface: InterfaceName) -> Self {
        let (wanted, orders) = watch::channel(None);
        let (tell, found) = watch::channel(Narrow::new());
        let asking = Asking { interface, orders, tell, wanted: None, known: BTreeMap::new() };
        Self { wanted, found, task: tokio::spawn(asking.work()) }
    }

    /// Asks the peers of this wanted state from now on.
    pub fn follow(&self, config: Option<&NodeConfig>) {
        self.wanted.send_if_modified(|wanted| {
            let changed = wanted.as_ref() != config;
            if changed {
                *wanted = config.cloned();
            }
            changed
        });
    }

    /// Waits until a tunnel carries more or less than before.
    pub async fn moved(&mut self) {
        if self.found.changed().await.is_err() {
            // The task is gone with its runtime.
            std::future::pending::<()>().await;
        }
    }

    /// Peers whose tunnels carry less than is wanted.
    pub fn narrow(&self) -> Narrow {
        self.found.borrow().clone()
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Asking {
    interface: InterfaceName,
    orders: watch::Receiver<Option<NodeConfig>>,
    tell: watch::Sender<Narrow>,
    wanted: Option<NodeConfig>,
    known: BTreeMap<IpAddr, (NodeName, Mtu)>,
}

impl Asking {
    async fn work(mut self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut inside: Option<Inside> = None;
        let mut datagram = vec![0; LARGEST];
        loop {
            tokio::select! {
                changed = self.orders.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.follow(Instant::now());
                    inside = None;
                }
                _ = tick.tick(), if !self.known.is_empty() => {
                    if inside.as_ref().is_none_or(Inside::is_stale) {
                        inside = self.socket().await;
                    }
                    self.ask(inside.as_ref()).await;
                }
                Some((length, from)) = super::inside::hear(inside.as_ref(), &mut datagram) => {
                    let number = datagram.get(..length).and_then(mtu::answered);
                    if let (Some(number), Some((_, mtu))) = (number, self.known.get_mut(&from.ip())) {
                        mtu.answered(number, Instant::now());
                    }
                    self.say();
                }
            }
        }
    }

    fn follow(&mut self, now: Instant) {
        self.wanted = self.orders.borrow_and_update().clone();
        let mut before = std::mem::take(&mut self.known);
        let Some(config) = &self.wanted else { return };
        for peer in config.wireguard.peers.values() {
            let Some(address) = peer.allowed_ips.iter().map(|net| net.addr()).find(IpAddr::is_ipv4) else { continue };
            let kept = before.remove(&address).filter(|(_, mtu)| mtu.is_of(config.wireguard.mtu));
            let known = kept.unwrap_or_else(|| (peer.name.clone(), Mtu::new(config.wireguard.mtu, now)));
            self.known.insert(address, known);
        }
        self.say();
    }

    async fn socket(&self) -> Option<Inside> {
        let own = self.wanted.as_ref()?.wireguard.addresses.iter().map(|net| net.addr()).find(IpAddr::is_ipv4)?;
        // The tunnels are on their way where there is none.
        open(&self.interface, SocketAddr::new(own, 0)).await.inspect_err(|error| debug!(%error, "no socket yet")).ok()
    }

    async fn ask(&mut self, inside: Option<&Inside>) {
        let Some(inside) = inside else { return };
        for (address, (_, mtu)) in &mut self.known {
            for (number, size) in mtu.due(Instant::now()) {
                let to = SocketAddr::new(*address, mtu::PORT);
                if let Err(error) = inside.socket.send_to(&mtu::probe(number, size), to).await {
                    // Lost like any other.
                    debug!(%error, %to, size, "probe not sent");
                }
            }
        }
        self.say();
    }

    /// Tells of what is otherwise than before.
    fn say(&self) {
        let narrow = self.known.values().filter(|(_, mtu)| mtu.is_narrow());
        let narrow: Narrow = narrow.map(|(name, mtu)| (name.clone(), mtu.in_force())).collect();
        self.tell.send_if_modified(|told| {
            let is_news = *told != narrow;
            if is_news {
                narrow
                    .iter()
                    .filter(|(name, mtu)| told.get(*name) != Some(mtu))
                    .for_each(|(peer, mtu)| warn!(%peer, mtu, "tunnel carries less than it should"));
                told.keys()
                    .filter(|name| !narrow.contains_key(*name))
                    .for_each(|peer| info!(%peer, "tunnel carries all"));
                *told = narrow;
            }
            is_news
        });
    }
}

/// The task that answers on a sentry; ends with this value.
#[derive(Debug)]
pub struct Answerer {
    task: JoinHandle<()>,
}

impl Answerer {
    /// Answers on the sentry's own address inside the mesh as soon as there is one.
    pub fn start(interface: InterfaceName, own: Ipv4Addr) -> Self {
        Self { task: tokio::spawn(answer(interface, own)) }
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(interface: InterfaceName, own: Ipv4Addr) {
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut inside: Option<Inside> = None;
    let mut datagram = vec![0; LARGEST];
    loop {
        tokio::select! {
            _ = tick.tick() => {
                if inside.as_ref().is_none_or(Inside::is_stale) {
                    inside = open(&interface, SocketAddr::new(own.into(), mtu::PORT)).await.ok();
                }
            }
            Some((length, from)) = super::inside::hear(inside.as_ref(), &mut datagram) => {
                if let (Some(message), Some(inside)) = (datagram.get_mut(..length), &inside)
                    && mtu::answer(message)
                {
                    // Lost like any other datagram; whoever asks hears that nothing comes.
                    inside.socket.send_to(message, from).await.ok();
                }
            }
        }
    }
}

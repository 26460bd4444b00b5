//! Sockets that hear and speak inside the tunnels alone, and the two tasks on them: a validator's host asks its sentries at
//! their pace, a sentry answers. What is decided from it is `paths`.

use super::{
    Move, Paths,
    health::{PERIOD, Way},
    probe,
};
use picket_firewall::InterfaceName;
use picket_model::{NodeConfig, NodeId};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};
use tokio::{
    net::UdpSocket,
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tracing::{debug, info};

/// How often a sentry looks whether its tunnel is still the one it listens on.
const LOOK: Duration = Duration::from_secs(1);

/// A socket bound to the tunnels' interface: what comes in has been authenticated by one of them.
#[derive(Debug)]
pub(super) struct Inside {
    pub(super) socket: UdpSocket,
    interface: InterfaceName,
    index: u32,
}

impl Inside {
    pub(super) async fn open(interface: &InterfaceName, address: SocketAddr) -> io::Result<Self> {
        let index = nix::net::if_::if_nametoindex(interface.as_str())?;
        let socket = UdpSocket::bind(address).await?;
        socket.bind_device(Some(interface.as_str().as_bytes()))?;
        Ok(Self { socket, interface: interface.clone(), index })
    }

    /// Whether the interface it was bound to is gone, or another by now.
    pub(super) fn is_stale(&self) -> bool {
        nix::net::if_::if_nametoindex(self.interface.as_str()) != Ok(self.index)
    }
}

/// The task that asks a hidden validator's sentries; ends with this value.
#[derive(Debug)]
pub struct Prober {
    wanted: watch::Sender<Option<NodeConfig>>,
    found: watch::Receiver<Option<Paths>>,
    task: JoinHandle<()>,
}

impl Prober {
    /// Begins, with nothing to ask yet.
    pub fn start(interface: InterfaceName) -> Self {
        let (wanted, orders) = watch::channel(None);
        let (tell, found) = watch::channel(None);
        let task =
            tokio::spawn(Asking { interface, orders, tell, paths: None, sentries: BTreeMap::new(), told: None }.work());
        Self { wanted, found, task }
    }

    /// Asks the sentries of this wanted state from now on; nobody where the host is not hidden, or has no tunnels.
    pub fn follow(&mut self, config: Option<&NodeConfig>, now: Instant) -> Option<Paths> {
        let config = config.filter(|config| config.firewall.hidden.is_some());
        let changed = self.wanted.borrow().as_ref() != config;
        if changed {
            self.wanted.send_replace(config.cloned());
        }
        // The task has not seen it yet: until then what it last knew, led on.
        let known = self.found.borrow().clone();
        let mut paths = match (known, config) {
            (_, None) => return None,
            (Some(known), Some(config)) => known.following(config, now),
            (None, Some(config)) => Paths::of(config, now)?,
        };
        paths.step(now);
        Some(paths)
    }

    /// Addresses of sentries through which nothing comes back.
    pub fn silent(&self) -> BTreeSet<Ipv4Addr> {
        let (found, wanted) = (self.found.borrow(), self.wanted.borrow());
        let (Some(paths), Some(config)) = (found.as_ref(), wanted.as_ref()) else { return BTreeSet::new() };
        let silent = paths.silent();
        let addresses = addresses_of_sentries(config).into_iter().filter(|(_, sentry)| silent.contains(&sentry));
        addresses.filter_map(|(address, _)| v4(address)).collect()
    }

    /// Waits until something moved, or a way stands otherwise than before.
    pub async fn moved(&mut self) {
        if self.found.changed().await.is_err() {
            // The task is gone with its runtime.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Asking {
    interface: InterfaceName,
    orders: watch::Receiver<Option<NodeConfig>>,
    tell: watch::Sender<Option<Paths>>,
    paths: Option<Paths>,
    sentries: BTreeMap<IpAddr, NodeId>,
    told: Option<Stands>,
}

impl Asking {
    async fn work(mut self) {
        let mut tick = interval(PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut inside: Option<Inside> = None;
        let mut own = None;
        loop {
            let mut datagram = [0; probe::LENGTH + 1];
            tokio::select! {
                changed = self.orders.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let address = self.follow(Instant::now());
                    if address != own {
                        (own, inside) = (address, None);
                    }
                }
                _ = tick.tick(), if self.paths.is_some() => {
                    if inside.as_ref().is_none_or(Inside::is_stale) {
                        inside = self.open(own).await;
                    }
                    self.ask(inside.as_ref()).await;
                }
                Some((length, from)) = hear(inside.as_ref(), &mut datagram) => {
                    let answer = datagram.get(..length).and_then(probe::answered);
                    if let (Some(number), Some(sentry), Some(paths)) =
                        (answer, self.sentries.get(&from.ip()), &mut self.paths)
                    {
                        paths.answered(sentry, number, Instant::now());
                    }
                }
            }
        }
    }

    /// Takes the wanted state; the address to speak from.
    fn follow(&mut self, now: Instant) -> Option<Ipv4Addr> {
        let config = self.orders.borrow_and_update().clone();
        let known = self.paths.take();
        self.paths = match (&config, known) {
            (None, _) => None,
            (Some(config), Some(known)) => Some(known.following(config, now)),
            (Some(config), None) => Paths::of(config, now),
        };
        self.sentries = config.iter().flat_map(addresses_of_sentries).collect();
        self.step(now);
        config.and_then(|config| config.wireguard.addresses.iter().find_map(|net| v4(net.addr())))
    }

    async fn open(&self, own: Option<Ipv4Addr>) -> Option<Inside> {
        let address = SocketAddr::new(own?.into(), 0);
        match Inside::open(&self.interface, address).await {
            Ok(inside) => Some(inside),
            Err(error) => {
                // The tunnels are on their way.
                debug!(%error, %address, "no socket inside the tunnels yet");
                None
            }
        }
    }

    async fn ask(&mut self, inside: Option<&Inside>) {
        let Some(paths) = &mut self.paths else { return };
        for (address, sentry) in &self.sentries {
            let Some(number) = paths.probe(sentry, Instant::now()) else { continue };
            if let Some(inside) = inside {
                // One that is not sent is lost like any other.
                let to = SocketAddr::new(*address, probe::PORT);
                if let Err(error) = inside.socket.send_to(&probe::probe(number), to).await {
                    debug!(%error, %to, "probe not sent");
                }
            }
        }
        self.step(Instant::now());
    }

    /// Decides. What is known is passed on each time, so that nobody decides by what was so a while ago; it is told of where
    /// anything is otherwise than before.
    fn step(&mut self, now: Instant) {
        let moves = self.paths.as_mut().map(|paths| paths.step(now)).unwrap_or_default();
        if let Some((cause, of)) = summary(&moves) {
            info!(moved = moves.len(), cause, of, "destinations have another sentry");
        }
        let stands = self.paths.as_ref().map(|paths| Stands {
            ways: paths.ways().into_iter().map(|(sentry, way)| (sentry.clone(), way)).collect(),
            steered: paths.is_steered(now),
        });
        let is_news = !moves.is_empty() || stands != self.told;
        self.told = stands;
        self.tell.send_if_modified(|known| {
            known.clone_from(&self.paths);
            is_news
        });
    }
}

/// What is news where it changes.
#[derive(PartialEq, Eq)]
struct Stands {
    ways: BTreeMap<NodeId, Way>,
    steered: bool,
}

/// Why most of them moved, and from whom.
fn summary(moves: &[Move]) -> Option<(String, String)> {
    let first = moves.first()?;
    Some((first.cause.to_string(), first.from.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string)))
}

/// The sentries' IPv4 addresses inside the mesh.
fn addresses_of_sentries(config: &NodeConfig) -> Vec<(IpAddr, NodeId)> {
    let Some(hidden) = &config.firewall.hidden else { return Vec::new() };
    let peers = config.wireguard.peers.values().filter(|peer| hidden.sentries.contains_key(&peer.node));
    let address = |peer: &picket_model::WireGuardPeer| peer.allowed_ips.iter().find_map(|net| v4(net.addr()));
    peers.filter_map(|peer| Some((address(peer)?.into(), peer.node.clone()))).collect()
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    }
}

/// The next datagram; waits for ever without a socket.
pub(super) async fn hear(inside: Option<&Inside>, datagram: &mut [u8]) -> Option<(usize, SocketAddr)> {
    match inside {
        // A socket whose interface went away says so, and is replaced at the next tick.
        Some(inside) => inside.socket.recv_from(datagram).await.ok(),
        None => std::future::pending().await,
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
    loop {
        let mut datagram = [0; probe::LENGTH + 1];
        tokio::select! {
            _ = tick.tick() => {
                if inside.as_ref().is_none_or(Inside::is_stale) {
                    inside = Inside::open(&interface, SocketAddr::new(own.into(), probe::PORT)).await.ok();
                }
            }
            Some((length, from)) = hear(inside.as_ref(), &mut datagram) => {
                let answer = datagram.get(..length).and_then(probe::answer);
                if let (Some(answer), Some(inside)) = (answer, &inside) {
                    // Lost like any other datagram; whoever asks hears that nothing comes.
                    inside.socket.send_to(&answer, from).await.ok();
                }
            }
        }
    }
}

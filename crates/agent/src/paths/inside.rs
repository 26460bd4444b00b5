//! Sockets that hear and speak inside the tunnels alone, and the two tasks on them: a validator's host asks its sentries at
//! their pace, a sentry answers. What is decided from it is `paths`.

use super::{
    Carried, Move, Paths,
    flows::Flows,
    health::{PERIOD, Way},
    probe,
};
use crate::pairing::Moment;
use ipnet::IpNet;
use picket_firewall::InterfaceName;
use picket_model::{NodeConfig, NodeId, PathsReport, Timestamp, paths::Condition};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    net::UdpSocket,
    sync::{Notify, watch},
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tracing::{debug, info};

/// One round of probes in so many goes with the question how the sentry fares: once a second.
const QUESTIONS: u64 = 5;
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

/// What the task and the agent share: one owner of what is decided, whoever asks first.
#[derive(Debug, Default)]
struct Shared {
    config: Option<NodeConfig>,
    paths: Option<Paths>,
    /// By address inside the mesh.
    sentries: BTreeMap<Ipv4Addr, NodeId>,
    told: Option<Stands>,
}

/// The task that asks a hidden validator's sentries; ends with this value.
#[derive(Debug)]
pub struct Prober {
    shared: Arc<Mutex<Shared>>,
    /// What was carried when the agent started, until it is asked for.
    before: BTreeMap<IpNet, Carried>,
    wake: Arc<Notify>,
    tell: watch::Sender<()>,
    news: watch::Receiver<()>,
    task: JoinHandle<()>,
}

impl Prober {
    /// Begins, with nothing to ask yet; goes on with what was carried `before` the agent started.
    pub fn start(interface: InterfaceName, before: BTreeMap<IpNet, Carried>) -> Self {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (wake, (tell, news)) = (Arc::new(Notify::new()), watch::channel(()));
        let asking = Asking { interface, shared: shared.clone(), wake: wake.clone(), tell: tell.clone() };
        Self { shared, before, wake, tell, news, task: tokio::spawn(asking.work()) }
    }

    /// Asks the sentries of this wanted state from now on; nobody where the host is not hidden, or has no tunnels. The ways as they
    /// are to be in force.
    pub fn follow(&mut self, config: Option<&NodeConfig>, now: Moment) -> Option<Paths> {
        let config = config.filter(|config| config.firewall.hidden.is_some());
        let mut shared = lock(&self.shared);
        if shared.config.as_ref() != config {
            shared.config = config.cloned();
            shared.sentries = config.map(addresses_of_sentries).unwrap_or_default();
            self.wake.notify_one();
        }
        let Some(config) = config else {
            // Where it comes back soon, it goes on with what it had.
            if let Some(paths) = shared.paths.take() {
                self.before = paths.carried().clone();
            }
            shared.told = None;
            return None;
        };
        match &mut shared.paths {
            Some(paths) => paths.follow(config, now),
            None => shared.paths = Paths::of(config, &std::mem::take(&mut self.before), now),
        }
        // Whoever asked may want something else than to put it in force: then it is asked for once more.
        if shared.step(now.steady, None) {
            self.tell.send_replace(());
        }
        shared.paths.clone()
    }

    /// What is told of the ways; `None` where the host is not hidden.
    pub fn report(&self, run: Timestamp, now: Moment) -> Option<PathsReport> {
        lock(&self.shared).paths.as_ref().map(|paths| paths.report(run, now))
    }

    /// Addresses of sentries whose connections are to be reset.
    pub fn to_reset(&self, now: Instant) -> BTreeSet<Ipv4Addr> {
        lock(&self.shared).addresses(|paths| paths.to_reset(now))
    }

    /// Addresses of sentries through which nothing comes back.
    pub fn silent(&self, now: Instant) -> BTreeSet<Ipv4Addr> {
        lock(&self.shared).addresses(|paths| paths.silent(now))
    }

    /// Waits until something moved, or a way stands otherwise than before.
    pub async fn moved(&mut self) {
        if self.news.changed().await.is_err() {
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

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn addresses(&self, which: impl FnOnce(&Paths) -> BTreeSet<&NodeId>) -> BTreeSet<Ipv4Addr> {
        let Some(paths) = &self.paths else { return BTreeSet::new() };
        let which = which(paths);
        self.sentries.iter().filter(|(_, sentry)| which.contains(sentry)).map(|(address, _)| *address).collect()
    }

    /// Decides, with the connections of now where they were looked at; whether anything is otherwise than before.
    fn step(&mut self, now: Instant, flows: Option<&Flows>) -> bool {
        let Some(paths) = &mut self.paths else { return false };
        let addresses = self.sentries.iter().map(|(address, sentry)| (sentry.clone(), *address)).collect();
        let moves = paths.step(now, flows.map(|flows| (flows, &addresses)));
        if let Some((cause, of)) = summary(&moves) {
            info!(moved = moves.len(), cause, of, "destinations have another sentry");
        }
        let has_line = paths.close_log(now);
        let ways = paths.ways().into_iter().map(|(sentry, stands)| (sentry.clone(), stands)).collect();
        let reset = paths.to_reset(now).into_iter().cloned().collect();
        let stands = Some(Stands { ways, reset, steered: paths.is_steered(now) });
        let is_news = !moves.is_empty() || has_line || stands != self.told;
        self.told = stands;
        is_news
    }
}

struct Asking {
    interface: InterfaceName,
    shared: Arc<Mutex<Shared>>,
    wake: Arc<Notify>,
    tell: watch::Sender<()>,
}

impl Asking {
    async fn work(self) {
        let mut tick = interval(PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut inside: Option<Inside> = None;
        let mut own = None;
        let mut rounds: u64 = 0;
        loop {
            let is_asking = lock(&self.shared).paths.is_some();
            let mut datagram = [0; probe::LONG + 1];
            tokio::select! {
                () = self.wake.notified() => {
                    let address = self.own_address();
                    if address != own {
                        (own, inside) = (address, None);
                    }
                }
                _ = tick.tick(), if is_asking => {
                    if inside.as_ref().is_none_or(Inside::is_stale) {
                        inside = self.open(own).await;
                    }
                    self.ask(inside.as_ref(), rounds.is_multiple_of(QUESTIONS)).await;
                    rounds += 1;
                }
                Some((length, from)) = hear(inside.as_ref(), &mut datagram) => {
                    if let (Some(datagram), IpAddr::V4(from)) = (datagram.get(..length), from.ip()) {
                        self.hear(datagram, from);
                    }
                }
            }
        }
    }

    fn own_address(&self) -> Option<Ipv4Addr> {
        let shared = lock(&self.shared);
        shared.config.as_ref().and_then(|config| config.wireguard.addresses.iter().find_map(|net| v4(net.addr())))
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

    fn hear(&self, datagram: &[u8], from: Ipv4Addr) {
        let mut shared = lock(&self.shared);
        let Shared { sentries, paths: Some(paths), .. } = &mut *shared else { return };
        let Some(sentry) = sentries.get(&from) else { return };
        if let Some(number) = probe::answered(datagram) {
            paths.answered(sentry, number, Instant::now());
        } else if let Some(condition) = probe::heard(datagram) {
            paths.told(sentry, condition, Instant::now());
        }
    }

    async fn ask(&self, inside: Option<&Inside>, how_they_fare: bool) {
        for (address, number) in self.numbers() {
            let Some(inside) = inside else { continue };
            let to = SocketAddr::new(address.into(), probe::PORT);
            // One that is not sent is lost like any other.
            if let Err(error) = inside.socket.send_to(&probe::probe(number), to).await {
                debug!(%error, %to, "probe not sent");
            }
            if how_they_fare {
                inside.socket.send_to(&probe::question(), to).await.ok();
            }
        }
        let now = Instant::now();
        let is_to_look = lock(&self.shared).paths.as_mut().is_some_and(|paths| paths.wants_flows(now));
        // Others do not wait while a long listing is read.
        let flows = is_to_look.then(Flows::now).flatten();
        if lock(&self.shared).step(now, flows.as_ref()) {
            self.tell.send_replace(());
        }
    }

    /// The number of the next probe to each sentry, which none can guess.
    fn numbers(&self) -> Vec<(Ipv4Addr, u64)> {
        let mut shared = lock(&self.shared);
        let Shared { sentries, paths: Some(paths), .. } = &mut *shared else { return Vec::new() };
        let now = Instant::now();
        let mut draw = |sentry| getrandom::u64().ok().filter(|number| paths.probe(sentry, *number, now));
        sentries.iter().filter_map(|(address, sentry)| Some((*address, draw(sentry)?))).collect()
    }
}

/// What is news where it changes.
#[derive(Debug, PartialEq, Eq)]
struct Stands {
    ways: BTreeMap<NodeId, (Way, Option<&'static str>)>,
    reset: BTreeSet<NodeId>,
    steered: bool,
}

/// Why most of them moved, and from whom.
fn summary(moves: &[Move]) -> Option<(String, String)> {
    let first = moves.first()?;
    Some((first.cause.to_string(), first.from.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string)))
}

/// The sentries by their IPv4 addresses inside the mesh.
fn addresses_of_sentries(config: &NodeConfig) -> BTreeMap<Ipv4Addr, NodeId> {
    let Some(hidden) = &config.firewall.hidden else { return BTreeMap::new() };
    let peers = config.wireguard.peers.values().filter(|peer| hidden.sentries.contains_key(&peer.node));
    let address = |peer: &picket_model::WireGuardPeer| peer.allowed_ips.iter().find_map(|net| v4(net.addr()));
    peers.filter_map(|peer| Some((address(peer)?, peer.node.clone()))).collect()
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
    /// Answers on the sentry's own address inside the mesh as soon as there is one; says how the sentry fares by what was looked
    /// at last.
    pub fn start(interface: InterfaceName, own: Ipv4Addr, fares: watch::Receiver<Condition>) -> Self {
        Self { task: tokio::spawn(answer(interface, own, fares)) }
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(interface: InterfaceName, own: Ipv4Addr, fares: watch::Receiver<Condition>) {
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut inside: Option<Inside> = None;
    loop {
        let mut datagram = [0; probe::LONG + 1];
        tokio::select! {
            _ = tick.tick() => {
                if inside.as_ref().is_none_or(Inside::is_stale) {
                    inside = Inside::open(&interface, SocketAddr::new(own.into(), probe::PORT)).await.ok();
                }
            }
            Some((length, from)) = hear(inside.as_ref(), &mut datagram) => {
                let (Some(datagram), Some(inside)) = (datagram.get(..length), &inside) else { continue };
                let condition = *fares.borrow();
                // Lost like any other datagram; whoever asks hears that nothing comes.
                if let Some(answer) = probe::answer(datagram) {
                    inside.socket.send_to(&answer, from).await.ok();
                } else if let Some(said) = probe::said(datagram, condition) {
                    inside.socket.send_to(&said, from).await.ok();
                }
            }
        }
    }
}

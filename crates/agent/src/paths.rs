//! Which sentry each of a hidden validator's calls leaves through, and when that changes: at once where a sentry is lost, and
//! one destination at a time where it merely could be better. Values in, values out; `now` is passed in. What is decided here
//! is cryptokey routing: a destination is an allowed IP of exactly one sentry's tunnel, which moves in one step, and which
//! also says where answers may come from.

pub mod health;
pub mod inside;
pub mod mtu;
pub mod narrow;
pub mod probe;
pub mod spread;

use health::{Health, Way};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use picket_model::{Hidden, NodeConfig, NodeId, Purpose, Reason, WireGuardConfig};
use spread::{Weight, spread};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

/// So long a sentry of which nothing was heard yet is thought to be there: its tunnel is just coming up.
const YOUNG: Duration = Duration::from_secs(2);
/// Each move breaks the destination's connections, so that moves for the better come one by one.
const PACE: Duration = Duration::from_secs(1);

/// Why a destination has another sentry than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It had none.
    New,
    /// Its sentry is no longer one of this host's.
    Gone,
    /// The way through its sentry fails.
    Lost(Way),
    /// Its own sentry is back, or came.
    Better,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("new"),
            Self::Gone => f.write_str("its sentry is gone"),
            Self::Lost(way) => write!(f, "its sentry is {}", way.name()),
            Self::Better => f.write_str("its own sentry is there"),
        }
    }
}

/// A destination that has another sentry from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// What moves.
    pub destination: IpNet,
    /// Which sentry had it.
    pub from: Option<NodeId>,
    /// Which has it.
    pub to: NodeId,
    /// Why.
    pub cause: Cause,
}

/// The ways of one hidden validator.
#[derive(Clone, Debug)]
pub struct Paths {
    hidden: Hidden,
    destinations: BTreeSet<IpNet>,
    health: BTreeMap<NodeId, Health>,
    carried: BTreeMap<IpNet, (NodeId, Instant)>,
    next_better: Instant,
}

impl Paths {
    /// The ways of a host with this wanted state; `None` where it is not hidden.
    pub fn of(config: &NodeConfig, now: Instant) -> Option<Self> {
        let hidden = Hidden::clone(config.firewall.hidden.as_ref()?);
        let mut paths = Self {
            hidden,
            destinations: BTreeSet::new(),
            health: BTreeMap::new(),
            carried: BTreeMap::new(),
            next_better: now,
        };
        paths.follow(config, now);
        Some(paths)
    }

    /// Follows another wanted state; what is known of sentries that stay is kept.
    pub fn follow(&mut self, config: &NodeConfig, now: Instant) {
        if let Some(hidden) = &config.firewall.hidden {
            self.hidden = Hidden::clone(hidden);
        }
        self.destinations = destinations(config);
        let sentries = &self.hidden.sentries;
        self.health.retain(|sentry, _| sentries.contains_key(sentry));
        for sentry in sentries.keys() {
            self.health.entry(sentry.clone()).or_insert_with(|| Health::new(now));
        }
        self.carried.retain(|destination, _| self.destinations.contains(destination));
    }

    /// The same ways under another wanted state.
    pub fn following(mut self, config: &NodeConfig, now: Instant) -> Self {
        self.follow(config, now);
        self
    }

    /// The number of a probe that is sent to a sentry now; `None` if it is none of this host's.
    pub fn probe(&mut self, sentry: &NodeId, now: Instant) -> Option<u64> {
        self.health.get_mut(sentry).map(|health| health.send(now))
    }

    /// A sentry answered a probe.
    pub fn answered(&mut self, sentry: &NodeId, number: u64, now: Instant) {
        if let Some(health) = self.health.get_mut(sentry) {
            health.answered(number, now);
        }
    }

    /// What moves now.
    pub fn step(&mut self, now: Instant) -> Vec<Move> {
        let ways: BTreeMap<NodeId, Way> =
            self.health.iter_mut().map(|(sentry, health)| (sentry.clone(), health.look(now))).collect();
        let ideal = spread(&self.destinations, &self.usable(&ways, now));
        let mut moves = Vec::new();
        for (destination, to) in ideal {
            let from = self.carried.get(&destination).map(|(sentry, _)| sentry.clone());
            let is_good = ways.get(&to).is_some_and(|way| way.is_good());
            let Some(cause) = self.cause(from.as_ref(), &to, is_good, &ways, now) else { continue };
            if cause == Cause::Better {
                self.next_better = now + PACE;
            }
            self.carried.insert(destination, (to.clone(), now));
            moves.push(Move { destination, from, to, cause });
        }
        moves
    }

    /// Why a destination is to move; `None` where it stays, for now.
    fn cause(
        &self,
        from: Option<&NodeId>,
        to: &NodeId,
        to_is_good: bool,
        ways: &BTreeMap<NodeId, Way>,
        now: Instant,
    ) -> Option<Cause> {
        let Some(from) = from else { return Some(Cause::New) };
        let Some(way) = ways.get(from) else { return Some(Cause::Gone) };
        if from == to || !to_is_good {
            return None;
        }
        if !way.is_good() && !self.is_young(from, *way, now) {
            return Some(Cause::Lost(*way));
        }
        (now >= self.next_better).then_some(Cause::Better)
    }

    /// The sentries to choose among: those that carry packets; where there are none, all.
    fn usable(&self, ways: &BTreeMap<NodeId, Way>, now: Instant) -> BTreeMap<NodeId, Weight> {
        let carries =
            |sentry: &NodeId| ways.get(sentry).is_some_and(|way| way.is_good() || self.is_young(sentry, *way, now));
        let all = || self.hidden.sentries.iter().map(|(sentry, share)| (sentry.clone(), Weight::from(*share)));
        let carrying: BTreeMap<NodeId, Weight> = all().filter(|(sentry, _)| carries(sentry)).collect();
        if carrying.is_empty() { all().collect() } else { carrying }
    }

    fn is_young(&self, sentry: &NodeId, way: Way, now: Instant) -> bool {
        let since = self.health.get(sentry).map(Health::since);
        way == Way::Unheard && since.is_some_and(|since| now.saturating_duration_since(since) < YOUNG)
    }

    /// Whether calls are to leave through sentries at all: always where the host is strict, else as long as one carries packets.
    pub fn is_steered(&self, now: Instant) -> bool {
        let alive = |(sentry, health): (&NodeId, &Health)| {
            let way = health.clone().look(now);
            way.is_good() || way == Way::Lossy || self.is_young(sentry, way, now)
        };
        self.hidden.strict || self.health.iter().any(alive)
    }

    /// Sentries through which nothing comes back: connections that came in through one are of no use to either end. None where all
    /// are: then it may be this host's own line, and there is no other way to call anew by.
    pub fn silent(&self) -> Vec<&NodeId> {
        let silent = self.health.iter().filter(|(_, health)| health.way() == Way::Silent).map(|(sentry, _)| sentry);
        Some(silent.collect()).filter(|silent: &Vec<_>| silent.len() < self.health.len()).unwrap_or_default()
    }

    /// How the way through each sentry stood when it was last looked at.
    pub fn ways(&self) -> BTreeMap<&NodeId, Way> {
        self.health.iter().map(|(sentry, health)| (sentry, health.way())).collect()
    }

    /// Every destination with its sentry, and since when.
    pub fn carried(&self) -> &BTreeMap<IpNet, (NodeId, Instant)> {
        &self.carried
    }

    /// The tunnels with each destination behind the sentry that carries it.
    pub fn steer(&self, wireguard: &WireGuardConfig) -> WireGuardConfig {
        let mut steered = wireguard.clone();
        for (destination, (sentry, _)) in &self.carried {
            // A next key has no addresses until it takes all of them over.
            let mut keys =
                steered.peers.values_mut().filter(|peer| &peer.node == sentry && !peer.allowed_ips.is_empty());
            if let Some(peer) = keys.next() {
                peer.allowed_ips.insert(*destination);
            }
        }
        steered
    }
}

/// What is spread over sentries: each validator by itself, and all the rest of each family.
fn destinations(config: &NodeConfig) -> BTreeSet<IpNet> {
    let validators =
        [Purpose::P2p, Purpose::Rpc].into_iter().flat_map(|purpose| config.firewall.allowed(purpose).0.iter());
    let is_validator = |reason: &Reason| matches!(reason, Reason::Prep { .. });
    let validators = validators.filter(|(_, reasons)| reasons.iter().any(is_validator)).map(|(network, _)| *network);
    let rest =
        [Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0).into(), Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0).into()];
    validators.chain(rest).collect()
}

#[cfg(test)]
#[path = "paths/tests.rs"]
mod tests;

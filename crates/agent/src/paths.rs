//! Which sentry each of a hidden validator's calls leaves through, and when that changes: at once where a sentry is lost, and
//! one destination at a time where it merely could be better. Values in, values out; `now` is passed in. What is decided here
//! is cryptokey routing: a destination is an allowed IP of exactly one sentry's tunnel, which moves in one step, and which
//! also says where answers may come from.

pub mod burden;
pub mod flows;
pub mod health;
pub mod inside;
pub mod kept;
pub mod moves;
pub mod mtu;
pub mod narrow;
pub mod near;
pub mod probe;
pub mod spread;
mod telling;

use crate::pairing::Moment;
use burden::Burden;
use flows::Flows;
use health::{Health, Way};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use moves::MoveLog;
pub use moves::{Cause, Move};
use near::Distances;
use picket_model::{Hidden, NodeConfig, NodeId, Purpose, Reason, WireGuardConfig, paths::Condition};
use spread::{Weight, spread};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

/// So long a sentry of which nothing was heard yet is thought to be there: its tunnel is just coming up.
const YOUNG: Duration = Duration::from_secs(2);
/// So long a sentry of which nothing was heard may be late: the first packet of its handshake is repeated after 5 s (WireGuard's
/// whitepaper, section 6.1: Rekey-Timeout). After that, what came in through it is dead.
const LATE: Duration = Duration::from_secs(6);
/// Each move breaks the destination's connections, so that moves for the better come one by one.
const PACE: Duration = Duration::from_secs(1);
/// For so long after a drain's end what came in through the sentry is reset: a node always has something to send, or TCP's own
/// repetition has, and each end that is told calls anew.
const RESETS: Duration = Duration::from_secs(30);
/// How often the kernel is asked which connections are alive, while that decides anything.
const LOOK: Duration = Duration::from_secs(1);

/// Which sentry carries a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The sentry.
    pub sentry: NodeId,
    /// Since when.
    pub since: Instant,
    /// Why it came to it.
    pub cause: Cause,
}

/// The ways of one hidden validator.
#[derive(Clone, Debug)]
pub struct Paths {
    hidden: Hidden,
    destinations: BTreeSet<IpNet>,
    health: BTreeMap<NodeId, Health>,
    burdens: BTreeMap<NodeId, Burden>,
    distances: Distances,
    /// Sentries that are to be left, each with when what still runs through it is cut.
    draining: BTreeMap<NodeId, Instant>,
    /// Connections that came in through those, when they were last counted.
    inward: BTreeMap<NodeId, usize>,
    carried: BTreeMap<IpNet, Carried>,
    next_better: Instant,
    next_look: Instant,
    log: MoveLog,
}

/// How a sentry stands beside others when something is to be given to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Fails,
    Draining,
    Burdened,
    /// Nearer ones carry packets, or it is not known yet how far it is.
    Far,
    Good,
}

impl Paths {
    /// The ways of a host with this wanted state, as they were `before` the agent started; `None` where it is not hidden.
    pub fn of(config: &NodeConfig, before: &BTreeMap<IpNet, Carried>, now: Moment) -> Option<Self> {
        let hidden = Hidden::clone(config.firewall.hidden.as_ref()?);
        let mut paths = Self {
            hidden,
            destinations: BTreeSet::new(),
            health: BTreeMap::new(),
            burdens: BTreeMap::new(),
            distances: Distances::default(),
            draining: BTreeMap::new(),
            inward: BTreeMap::new(),
            carried: before.clone(),
            next_better: now.steady,
            next_look: now.steady,
            log: MoveLog::default(),
        };
        paths.follow(config, now);
        paths.carried.retain(|_, carried| paths.hidden.sentries.contains_key(&carried.sentry));
        Some(paths)
    }

    /// Follows another wanted state; what is known of sentries that stay is kept.
    pub fn follow(&mut self, config: &NodeConfig, now: Moment) {
        if let Some(hidden) = &config.firewall.hidden {
            self.hidden = Hidden::clone(hidden);
        }
        self.destinations = destinations(config);
        let sentries = &self.hidden.sentries;
        self.health.retain(|sentry, _| sentries.contains_key(sentry));
        self.burdens.retain(|sentry, _| sentries.contains_key(sentry));
        let is_measured = self.hidden.near_milliseconds.is_some();
        self.distances.retain(|sentry| is_measured && sentries.contains_key(sentry));
        for sentry in sentries.keys() {
            self.health.entry(sentry.clone()).or_insert_with(|| Health::new(now.steady));
        }
        self.carried.retain(|destination, _| self.destinations.contains(destination));
        let draining = self.hidden.draining.iter().filter(|(sentry, _)| sentries.contains_key(*sentry));
        // What is over is over: by the clock that does not jump, as long ago as the host's own clock says.
        let end = |until: &picket_model::Timestamp| {
            let over = now.wall.since(*until);
            now.steady.checked_sub(over).unwrap_or(now.steady) + until.since(now.wall)
        };
        self.draining = draining.map(|(sentry, until)| (sentry.clone(), end(until))).collect();
        self.inward.retain(|sentry, _| self.draining.contains_key(sentry));
    }

    /// A probe of this number is sent to a sentry now; whether it is one of this host's.
    pub fn probe(&mut self, sentry: &NodeId, number: u64, now: Instant) -> bool {
        self.health.get_mut(sentry).map(|health| health.send(number, now)).is_some()
    }

    /// A sentry answered a probe.
    pub fn answered(&mut self, sentry: &NodeId, number: u64, now: Instant) {
        if let Some(health) = self.health.get_mut(sentry) {
            health.answered(number, now);
        }
    }

    /// A sentry said how it fares.
    pub fn told(&mut self, sentry: &NodeId, condition: Condition, now: Instant) {
        if self.hidden.sentries.contains_key(sentry) {
            self.burdens.entry(sentry.clone()).or_default().note(condition, now);
        }
    }

    /// Whether the next step is to be given the connections that are alive: they decide while a sentry is drained. Whoever asks
    /// looks, or finds that nothing can be seen: it is not asked for again at once.
    pub fn wants_flows(&mut self, now: Instant) -> bool {
        let is_open = |(sentry, end): (&NodeId, &Instant)| {
            now < *end + RESETS || self.carried.values().any(|carried| &carried.sentry == sentry)
        };
        let is_due = now >= self.next_look && self.draining.iter().any(is_open);
        if is_due {
            self.next_look = now + LOOK;
        }
        is_due
    }

    /// What moves now. `flows` are the connections of this moment; where they are not known, all are thought to be alive.
    pub fn step(&mut self, now: Instant, flows: Option<(&Flows, &BTreeMap<NodeId, Ipv4Addr>)>) -> Vec<Move> {
        let ways: BTreeMap<NodeId, Way> =
            self.health.iter_mut().map(|(sentry, health)| (sentry.clone(), health.look(now))).collect();
        self.weigh(now);
        self.measure(&ways, now);
        let alive = flows.map(|(flows, addresses)| {
            let address = |sentry: &NodeId| addresses.get(sentry).map(|address| (*address).into());
            let counts = self.draining.keys().filter_map(|sentry| Some((sentry.clone(), flows.with(address(sentry)?))));
            self.inward = counts.collect();
            flows.alive(&self.destinations, &self.hidden.calls)
        });
        let ranks = self.ranks(&ways, now);
        let ideal = spread(&self.destinations, &self.usable(&ranks));
        let mut moves = Vec::new();
        for (destination, to) in ideal {
            let from = self.carried.get(&destination).map(|carried| carried.sentry.clone());
            let is_alive = alive.as_ref().is_none_or(|alive| alive.contains(&destination));
            let Some(cause) = self.cause(from.as_ref(), &to, is_alive, (&ways, &ranks), now) else { continue };
            if matches!(cause, Cause::Better | Cause::Nearer | Cause::Burdened) {
                self.next_better = now + PACE;
            }
            self.carried.insert(destination, Carried { sentry: to.clone(), since: now, cause });
            moves.push(Move { destination, from, to, cause });
        }
        self.log.note(&moves, now);
        moves
    }

    /// Closes the lines about what moved; whether there is a new one.
    pub fn close_log(&mut self, now: Instant) -> bool {
        self.log.close(now)
    }

    /// Judges each sentry's burden beside the best height that two tell of: one alone may say anything. A sentry that is behind is
    /// never one of the two for itself.
    fn weigh(&mut self, now: Instant) {
        let height = |burden: &Burden| burden.condition(now).and_then(|said| said.height);
        let mut heights: Vec<u64> = self.burdens.values().filter_map(height).collect();
        heights.sort_unstable();
        let best = heights.iter().rev().nth(1).copied();
        for burden in self.burdens.values_mut() {
            burden.look(best, now);
        }
    }

    /// Judges how far the sentries are that carry packets, where that matters.
    fn measure(&mut self, ways: &BTreeMap<NodeId, Way>, now: Instant) {
        let Some(within) = self.hidden.near_milliseconds else { return };
        let good = self.health.iter().filter(|(sentry, _)| ways.get(*sentry).is_some_and(|way| way.is_good()));
        let round_trips = good.filter_map(|(sentry, health)| Some((sentry, health.round_trip()?))).collect();
        self.distances.look(Duration::from_millis(within.get().into()), &round_trips, now);
    }

    /// Why a destination is to move; `None` where it stays, for now.
    fn cause(
        &self,
        from: Option<&NodeId>,
        to: &NodeId,
        is_alive: bool,
        (ways, ranks): (&BTreeMap<NodeId, Way>, &BTreeMap<NodeId, Rank>),
        now: Instant,
    ) -> Option<Cause> {
        let Some(from) = from else { return Some(Cause::New) };
        let Some(way) = ways.get(from) else { return Some(Cause::Gone) };
        if from == to || !ways.get(to).is_some_and(|way| way.is_good()) {
            return None;
        }
        let rank = |sentry| ranks.get(sentry).copied().unwrap_or(Rank::Fails);
        let is_due = now >= self.next_better;
        match (rank(from), rank(to)) {
            (Rank::Fails, _) => Some(Cause::Lost(*way)),
            (Rank::Draining, to) if to > Rank::Draining => {
                let is_over = self.draining.get(from).is_some_and(|end| now >= *end);
                (is_over || !is_alive).then_some(Cause::Drained)
            }
            (Rank::Burdened, Rank::Far | Rank::Good) => is_due.then_some(Cause::Burdened),
            (Rank::Far, Rank::Good) => is_due.then_some(Cause::Nearer),
            (Rank::Far, Rank::Far) | (Rank::Good, Rank::Good) => is_due.then_some(Cause::Better),
            // Nothing is given to one that is drained or burdened while its own sentry carries packets.
            _ => None,
        }
    }

    fn ranks(&self, ways: &BTreeMap<NodeId, Way>, now: Instant) -> BTreeMap<NodeId, Rank> {
        let rank = |sentry: &NodeId, way: Way| match way {
            way if !way.is_good() && !self.is_young(sentry, way, now) => Rank::Fails,
            _ if self.draining.contains_key(sentry) => Rank::Draining,
            _ if self.burdens.get(sentry).is_some_and(|burden| burden.why().is_some()) => Rank::Burdened,
            _ if self.hidden.near_milliseconds.is_some() && self.distances.is_near(sentry) != Some(true) => Rank::Far,
            _ => Rank::Good,
        };
        ways.iter().map(|(sentry, way)| (sentry.clone(), rank(sentry, *way))).collect()
    }

    /// The sentries to choose among: those of the best rank that any has.
    fn usable(&self, ranks: &BTreeMap<NodeId, Rank>) -> BTreeMap<NodeId, Weight> {
        let best = ranks.values().max();
        let all = self.hidden.sentries.iter().filter(|(sentry, _)| ranks.get(*sentry) == best);
        all.map(|(sentry, share)| (sentry.clone(), Weight::from(*share))).collect()
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

    /// Sentries through which nothing comes back, or whose drain just ended: connections that came in through one are of no use to
    /// either end. None that is silent where all are: then it may be this host's own line, and there is no other way to call anew
    /// by; and none that is drained without another that is good.
    pub fn to_reset(&self, now: Instant) -> BTreeSet<&NodeId> {
        let has_another = self.that_are(Way::Good).any(|sentry| !self.draining.contains_key(sentry));
        let ended = |end: &Instant| now >= *end && now.saturating_duration_since(*end) < RESETS;
        let drained = self.draining.iter().filter(|(_, end)| has_another && ended(end)).map(|(sentry, _)| sentry);
        self.silent(now).into_iter().chain(drained).collect()
    }

    /// Sentries through which nothing comes back, or never came since the agent began to ask; none where all are, which may be this
    /// host's own line.
    pub fn silent(&self, now: Instant) -> BTreeSet<&NodeId> {
        let is_late = |health: &Health| now.saturating_duration_since(health.since()) >= LATE;
        let is_silent = |health: &Health| match health.way() {
            Way::Silent => true,
            Way::Unheard => is_late(health),
            Way::Good | Way::Lossy | Way::Returning => false,
        };
        let silent = self.health.iter().filter(|(_, health)| is_silent(health)).map(|(sentry, _)| sentry);
        Some(silent.collect::<BTreeSet<_>>()).filter(|silent| silent.len() < self.health.len()).unwrap_or_default()
    }

    fn that_are(&self, way: Way) -> impl Iterator<Item = &NodeId> {
        self.health.iter().filter(move |(_, health)| health.way() == way).map(|(sentry, _)| sentry)
    }

    /// How the way through each sentry stood when it was last looked at, and what it bears.
    pub fn ways(&self) -> BTreeMap<&NodeId, (Way, Option<&'static str>)> {
        self.health.iter().map(|(sentry, health)| (sentry, (health.way(), self.why_not(sentry)))).collect()
    }

    /// Why a sentry gets nothing new though its way is good.
    fn why_not(&self, sentry: &NodeId) -> Option<&'static str> {
        let is_far = || self.distances.is_near(sentry) == Some(false);
        self.burdens.get(sentry).and_then(Burden::why).or_else(|| is_far().then_some("others are nearer"))
    }

    /// Every destination with its sentry, and since when.
    pub fn carried(&self) -> &BTreeMap<IpNet, Carried> {
        &self.carried
    }

    /// The tunnels with each destination behind the sentry that carries it.
    pub fn steer(&self, wireguard: &WireGuardConfig) -> WireGuardConfig {
        let mut steered = wireguard.clone();
        for (destination, Carried { sentry, .. }) in &self.carried {
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

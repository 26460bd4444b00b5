//! The ways of a hidden validator's calls, kept in force: sentries are asked all the time, and what moves is moved at once.
//! On a sentry, the answers.

use super::{Agent, Held};
use crate::{
    fares::Fares,
    forwarding::pass_packets_on,
    host,
    identity::Identity,
    pairing::Moment,
    paths::{
        Paths,
        inside::{Answerer, Prober},
        kept::Keeper,
        narrow::{self, Narrow},
    },
    reconcile::{HostTunnels, Tunnels as _, filter_alone},
    state::StateDir,
};
use picket_chain::node::Goloop;
use picket_firewall::InterfaceName;
use picket_model::{FirewallPolicy, Hidden, NodeConfig, NodeRole, PathsReport, Timestamp, WireGuardConfig};
use picket_wireguard::Steering;
use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    num::NonZeroU16,
    time::{Duration, Instant},
};
use tracing::{info, warn};

/// What looks after the ways on this host.
#[derive(Debug)]
pub(super) enum Ways {
    /// A validator's host asks.
    Asks {
        /// The task.
        prober: Prober,
        /// The task that asks how large packets may be.
        sizes: narrow::Asker,
        /// Ports that are never steered: those on which this host's own controllers are called.
        never: BTreeSet<NonZeroU16>,
        /// What outlives the agent.
        keeper: Keeper,
        /// When the agent started.
        run: Timestamp,
        /// Which sentries did not answer when the controller was last told.
        told: BTreeSet<Ipv4Addr>,
    },
    /// A sentry answers.
    Answers {
        /// The task.
        _task: Answerer,
        /// What it says of the sentry.
        _fares: Fares,
        /// The one for large packets.
        _sizes: narrow::Answerer,
    },
}

/// What moves one by one is told of together.
const TOLD_AFTER: Duration = Duration::from_secs(2);

fn moment() -> Moment {
    Moment { steady: Instant::now(), wall: host::now() }
}

impl Ways {
    /// `node` is what runs on a sentry and tells a height.
    pub(super) fn new(interface: InterfaceName, identity: &Identity, state: &StateDir, node: Option<Goloop>) -> Self {
        let never = identity.controller_ports();
        match identity.role {
            NodeRole::Prep => {
                let (keeper, now) = (Keeper::new(state.clone()), moment());
                Self::Asks {
                    prober: Prober::start(interface.clone(), keeper.load(now)),
                    sizes: narrow::Asker::start(interface),
                    never,
                    keeper,
                    run: now.wall,
                    told: BTreeSet::new(),
                }
            }
            NodeRole::Sentry => {
                let fares = Fares::start(node);
                Self::Answers {
                    _task: Answerer::start(interface.clone(), identity.overlay.v4, fares.heard()),
                    _fares: fares,
                    _sizes: narrow::Answerer::start(interface, identity.overlay.v4),
                }
            }
        }
    }

    /// What is told of the ways; `None` on a host that is not hidden.
    pub(super) fn report(&self) -> Option<PathsReport> {
        match self {
            Self::Asks { prober, run, .. } => prober.report(*run, moment()),
            Self::Answers { .. } => None,
        }
    }

    /// Waits until something is to be moved; for ever on a sentry.
    pub(super) async fn moved(&mut self) {
        match self {
            Self::Asks { prober, sizes, .. } => tokio::select! {
                () = prober.moved() => {}
                () = sizes.moved() => {}
            },
            Self::Answers { .. } => std::future::pending().await,
        }
    }

    /// Peers whose tunnels carry less than is wanted.
    pub(super) fn narrow(&self) -> Narrow {
        match self {
            Self::Asks { sizes, .. } => sizes.narrow(),
            Self::Answers { .. } => Narrow::new(),
        }
    }

    /// Tells the firewall which sentries do not answer, or are left now.
    pub(super) fn note_silent(&self, wanted: Option<&mut FirewallPolicy>) {
        if let (Self::Asks { prober, .. }, Some(hidden)) = (self, wanted.and_then(|wanted| wanted.hidden.as_mut())) {
            hidden.silent = prober.to_reset(Instant::now());
        }
    }

    /// Which sentries do not answer, for a report that is made now.
    pub(super) fn tell_silent(&mut self) -> BTreeSet<Ipv4Addr> {
        match self {
            Self::Asks { prober, told, .. } => {
                *told = prober.silent(Instant::now());
                told.clone()
            }
            Self::Answers { .. } => BTreeSet::new(),
        }
    }

    /// Whether others do not answer than the last report said.
    pub(super) fn has_news(&self) -> bool {
        matches!(self, Self::Asks { prober, told, .. } if prober.silent(Instant::now()) != *told)
    }

    /// The tunnels of a wanted state, with what is behind each right now.
    pub(super) fn steer(&mut self, tunnels: &mut HostTunnels, config: Option<&NodeConfig>) -> Option<WireGuardConfig> {
        let now = moment();
        let (paths, never) = match self {
            Self::Asks { prober, never, keeper, sizes, .. } => {
                sizes.follow(config);
                let paths = prober.follow(config, now);
                paths.iter().for_each(|paths| keeper.keep(paths.carried(), now));
                (paths, never.clone())
            }
            Self::Answers { .. } => (None, BTreeSet::new()),
        };
        let config = config?;
        if !config.firewall.forwards.is_empty() {
            pass_packets_on();
        }
        // What is found of one tunnel all are held to: validators move from one to the other.
        let mtu = self.narrow().into_values().min();
        let (Some(paths), Some(hidden)) = (paths.filter(|paths| paths.is_steered(now.steady)), &config.firewall.hidden)
        else {
            tunnels.steer(Steering { mtu, ..Steering::default() });
            return Some(config.wireguard.clone());
        };
        tunnels.steer(Steering { mtu, ..steering(&paths, hidden, &never) });
        Some(paths.steer(&config.wireguard))
    }
}

fn steering(paths: &Paths, hidden: &Hidden, never: &BTreeSet<NonZeroU16>) -> Steering {
    Steering {
        ports: hidden.calls.difference(never).copied().collect(),
        networks: paths.carried().keys().copied().collect(),
        mtu: None,
    }
}

impl Agent {
    /// Puts what moved in force: nothing but allowed IPs, and rules where the host begins or ends to call directly.
    pub(super) async fn reroute(&mut self) {
        // Peers come with their filter and not before it.
        if self.found.as_ref().is_none_or(|found| !found.is_in_force()) {
            return;
        }
        let Held { ledger, guard, .. } = &self.held;
        let Ok(Some(config)) = ledger.admitted(guard) else { return };
        let Some(wireguard) = self.ways.steer(&mut self.tunnels, Some(&config)) else { return };
        let begun = Instant::now();
        match self.tunnels.connect(&wireguard).await {
            Ok(()) => info!(microseconds = begun.elapsed().as_micros(), "ways in force"),
            Err(error) => warn!(error = format!("{error:#}"), "ways not in force"),
        }
        // After the move: whoever is told that a connection is gone finds its new way.
        let wanted = self.shielded(self.held.ledger.firewall(&self.held.guard, self.posture()));
        if let Some(found) = &mut self.found {
            filter_alone(&mut self.filter, wanted.as_ref(), found).await;
        }
        self.close_unguarded().await;
        self.tell_after(TOLD_AFTER);
        // Names that lead to the sentries follow at once.
        if self.ways.has_news() || self.ways.narrow() != self.told_narrow {
            self.tell();
        }
    }
}

//! The ways of a hidden validator's calls, kept in force: sentries are asked all the time, and what moves is moved at once.
//! On a sentry, the answers.

use super::{Agent, Held};
use crate::{
    identity::Identity,
    paths::{
        Paths,
        inside::{Answerer, Prober},
        narrow::{self, Narrow},
    },
    reconcile::{HostTunnels, Tunnels as _, filter_alone},
};
use picket_firewall::InterfaceName;
use picket_model::{FirewallPolicy, Hidden, NodeConfig, NodeRole, WireGuardConfig};
use picket_wireguard::Steering;
use std::{collections::BTreeSet, num::NonZeroU16, time::Instant};
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
    },
    /// A sentry answers.
    Answers {
        /// The task.
        _task: Answerer,
        /// The one for large packets.
        _sizes: narrow::Answerer,
    },
}

impl Ways {
    pub(super) fn new(interface: InterfaceName, identity: &Identity) -> Self {
        let never = identity.controller_ports();
        match identity.role {
            NodeRole::Prep => {
                Self::Asks { prober: Prober::start(interface.clone()), sizes: narrow::Asker::start(interface), never }
            }
            NodeRole::Sentry => Self::Answers {
                _task: Answerer::start(interface.clone(), identity.overlay.v4),
                _sizes: narrow::Answerer::start(interface, identity.overlay.v4),
            },
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

    /// Tells the firewall which sentries do not answer.
    pub(super) fn note_silent(&self, wanted: Option<&mut FirewallPolicy>) {
        if let (Self::Asks { prober, .. }, Some(hidden)) = (self, wanted.and_then(|wanted| wanted.hidden.as_mut())) {
            hidden.silent = prober.silent();
        }
    }

    /// The tunnels of a wanted state, with what is behind each right now.
    pub(super) fn steer(&mut self, tunnels: &mut HostTunnels, config: Option<&NodeConfig>) -> Option<WireGuardConfig> {
        let now = Instant::now();
        let (paths, never) = match self {
            Self::Asks { prober, never, sizes } => {
                sizes.follow(config);
                (prober.follow(config, now), never.clone())
            }
            Self::Answers { .. } => (None, BTreeSet::new()),
        };
        let config = config?;
        if !config.firewall.forwards.is_empty() {
            forward_packets();
        }
        // What is found of one tunnel all are held to: validators move from one to the other.
        let mtu = self.narrow().into_values().min();
        let (Some(paths), Some(hidden)) = (paths.filter(|paths| paths.is_steered(now)), &config.firewall.hidden) else {
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

/// Lets the kernel pass IPv4 on. IPv6 is left as it is: a host that passes it on takes no routes from its router any more
/// (`Documentation/networking/ip-sysctl.rst`, `accept_ra`), which only its operator can know to be well.
fn forward_packets() {
    const FORWARDING: &str = "/proc/sys/net/ipv4/conf/all/forwarding";
    let is_on = std::fs::read_to_string(FORWARDING).is_ok_and(|text| text.trim() == "1");
    if !is_on {
        match std::fs::write(FORWARDING, "1") {
            Ok(()) => info!("this host passes IPv4 on from now on, for the validators behind it"),
            Err(error) => {
                warn!(%error, "{FORWARDING} cannot be set to 1: nothing is forwarded to the validators behind this host");
            }
        }
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
        if self.ways.narrow() != self.told_narrow {
            self.tell();
        }
    }
}

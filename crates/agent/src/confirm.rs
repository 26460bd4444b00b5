//! A change that could cut the host off is on trial until the controller was reached by a new connection; where it was
//! not, what was confirmed before returns. Values in, values out: `now` and the evidence are passed in.

use crate::{
    additions::{Additions, added},
    ledger::Ledger,
};
use ipnet::IpNet;
use picket_model::{AllowSet, FirewallPolicy, NodeConfig, Purpose, TakenBack, Timestamp, WireGuardConfig};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};

/// A change that is not confirmed yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// What was confirmed last; `None` where nothing was.
    pub before: Option<NodeConfig>,
    /// When the change was taken.
    pub since: Timestamp,
    /// Whether no new connection to the controller came about before the change either.
    pub was_away: bool,
    /// What had been let in within the hour before it.
    #[serde(default, skip_serializing_if = "Additions::is_empty")]
    pub additions: Additions,
}

/// What was seen of the world since the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// A controller answered over a new connection.
    pub answered: bool,
    /// The newest handshake of any tunnel.
    pub handshake: Option<Timestamp>,
}

/// What becomes of a trial whose time is over, or that has an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The controller was reached.
    Reached,
    /// It was away before already, and a peer's handshake shows that packets get through.
    PeerHeard,
    /// It was away before already: its silence says nothing about the change.
    WasAway,
    /// It was there before, and is not any more.
    TakeBack,
}

/// Whether a change can cut the host off from whoever keeps it: rules and ports, admin networks, the device, and routes
/// that come. Elements and tunnels that go cannot, and a revoke waits for nothing.
pub fn can_cut_off(before: Option<&NodeConfig>, offered: &NodeConfig) -> bool {
    let Some(before) = before else { return true };
    let device = |wireguard: &WireGuardConfig| (wireguard.listen_port, wireguard.addresses.clone(), wireguard.mtu);
    let admin =
        |firewall: &FirewallPolicy| firewall.allowed(Purpose::Admin).0.keys().copied().collect::<BTreeSet<IpNet>>();
    before.firewall.guarded != offered.firewall.guarded
        || admin(&before.firewall) != admin(&offered.firewall)
        || device(&before.wireguard) != device(&offered.wireguard)
        || hides_more(&before.firewall, &offered.firewall)
        || before.firewall.forwards != offered.firewall.forwards
        || !routes(&offered.wireguard).is_subset(&routes(&before.wireguard))
}

/// Whether calls are steered or dropped that were not before. That sentries come or go changes who carries them.
fn hides_more(before: &FirewallPolicy, offered: &FirewallPolicy) -> bool {
    let Some(hidden) = &offered.hidden else { return false };
    let known = before.hidden.as_ref();
    known.is_none_or(|known| hidden.strict && !known.strict || !hidden.calls.is_subset(&known.calls))
}

fn routes(wireguard: &WireGuardConfig) -> BTreeSet<IpNet> {
    wireguard.peers.values().flat_map(|peer| peer.allowed_ips.iter().copied()).collect()
}

/// The ledger after a wanted state is taken; what was confirmed last stays in it while the trial is on. A change of mere
/// elements neither begins a trial nor ends one.
pub fn taken(held: &Ledger, offered: NodeConfig, was_away: bool, now: Timestamp) -> Ledger {
    let begins = can_cut_off(held.config.as_ref(), &offered);
    let trial = match (&held.trial, begins) {
        (Some(open), false) => Some(open.clone()),
        // What the first one broke is no excuse for the second.
        (Some(open), true) => Some(Trial { since: now, was_away: open.was_away && was_away, ..open.clone() }),
        (None, true) => {
            Some(Trial { before: held.config.clone(), since: now, was_away, additions: held.additions.clone() })
        }
        (None, false) => None,
    };
    let additions = match &held.config {
        Some(before) => held.additions.plus(added(Some(&before.firewall), &offered.firewall), now),
        None => held.additions.clone(),
    };
    // An interrupted revision that is taken once more keeps its mark until it is confirmed.
    let interrupted = held.interrupted.filter(|interrupted| *interrupted == offered.revision);
    Ledger {
        standing: held.standing,
        config: Some(offered),
        trial,
        interrupted,
        taken_back: None,
        suspected: None,
        additions,
    }
}

/// What becomes of the trial.
pub fn verdict(trial: &Trial, evidence: Evidence) -> Verdict {
    match evidence {
        Evidence { answered: true, .. } => Verdict::Reached,
        Evidence { handshake: Some(at), .. } if trial.was_away && at >= trial.since => Verdict::PeerHeard,
        _ if trial.was_away => Verdict::WasAway,
        _ => Verdict::TakeBack,
    }
}

/// The ledger after a change was confirmed.
pub fn confirmed(held: &Ledger) -> Ledger {
    Ledger { trial: None, interrupted: None, ..held.clone() }
}

/// The ledger after a change was taken back; the same where there is no trial.
pub fn taken_back(held: &Ledger, waited: Duration, now: Timestamp) -> Ledger {
    let reason = format!("no controller could be reached by a new connection within {} s", waited.as_secs());
    let suspected = held.config.clone().filter(|_| held.trial.is_some());
    Ledger { suspected, ..back(held, now, reason) }
}

/// The ledger once it is known whether a controller is reached without the change that was taken back. Where it is, the change
/// is to blame. Where it is not, the silence had another cause, which is no order: the change is held again.
pub fn cleared_up(held: &Ledger, answered: bool, now: Timestamp) -> Ledger {
    match &held.suspected {
        Some(change) if !answered => confirmed(&taken(held, change.clone(), true, now)),
        _ => Ledger { suspected: None, ..held.clone() },
    }
}

/// The moment from which a controller is looked for: of the change on trial, or of the one that is suspected.
pub fn sought_since(held: &Ledger) -> Option<Timestamp> {
    let suspected = held.taken_back.as_ref().filter(|_| held.suspected.is_some());
    held.trial.as_ref().map(|trial| trial.since).or(suspected.map(|taken| taken.at))
}

/// The ledger of an agent that finds a trial which nobody watched to its end: what was confirmed last is held again. The
/// change may be tried once more, and is taken back where that is interrupted too: it may be what ends the agent.
pub fn interrupted(held: &Ledger, now: Timestamp) -> Ledger {
    match (&held.trial, &held.config) {
        (Some(trial), Some(config)) if held.interrupted == Some(config.revision) => {
            let since = trial.since;
            back(held, now, format!("the agent ended twice while it was on trial, the last one since {since}"))
        }
        (Some(trial), Some(config)) => {
            let again = Some(config.revision);
            let (additions, config) = (trial.additions.clone(), returned(trial, config));
            Ledger { config, trial: None, interrupted: again, additions, ..held.clone() }
        }
        _ => held.clone(),
    }
}

fn back(held: &Ledger, at: Timestamp, reason: String) -> Ledger {
    let (Some(trial), Some(config)) = (&held.trial, &held.config) else { return held.clone() };
    let taken_back = Some(TakenBack { revision: config.revision, at, reason });
    let (additions, config) = (trial.additions.clone(), returned(trial, config));
    Ledger { config, trial: None, interrupted: None, taken_back, additions, ..held.clone() }
}

fn returned(trial: &Trial, newer: &NodeConfig) -> Option<NodeConfig> {
    trial.before.clone().map(|before| without_cut(before, newer))
}

/// A wanted state without whom a newer one cut: nobody who was revoked or left the list stays, or comes back. Admin networks
/// stay whole, they are the way in.
pub fn without_cut(mut config: NodeConfig, newer: &NodeConfig) -> NodeConfig {
    config.wireguard.peers.retain(|key, _| newer.wireguard.peers.contains_key(key));
    for (purpose, set) in config.firewall.allow.iter_mut().filter(|(purpose, _)| **purpose != Purpose::Admin) {
        *set = kept(set, newer.firewall.allowed(*purpose));
    }
    config
}

/// What both let in, for the reasons that the newer one has.
fn kept(older: &AllowSet, newer: &AllowSet) -> AllowSet {
    let mut kept = AllowSet::default();
    for network in older.0.keys() {
        let covering = newer.0.iter().filter(|(wider, _)| wider.contains(network));
        covering.flat_map(|(_, reasons)| reasons).for_each(|reason| kept.insert(*network, reason.clone()));
    }
    kept
}

#[cfg(test)]
#[path = "confirm_tests.rs"]
mod tests;

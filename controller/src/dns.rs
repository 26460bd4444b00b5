//! What the controller knows of names that lead to sentries: each sentry as far as a name goes, and how each name stands. What a
//! name shall be is decided in `picket-dns`; `tasks/dns` carries it out.

use crate::{
    controller::Controller,
    lag::{SILENCE, lag},
    store::StoreError,
    wanted::HostWanted,
};
use picket_api::dns::NameView;
use picket_dns::{
    DnsLines,
    wish::{Reported, Rules, Sentry, concerns, fault},
};
use picket_model::{
    Drains, HiddenPrep, Host, Node, NodeId, NodeName, NodeRole, Timestamp,
    network::{PRIVATE4, PRIVATE6},
};
use picket_plan::{Finding, SentryFacts};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The names, and how they stand.
#[derive(Debug)]
pub(crate) struct Names {
    lines: Vec<DnsLines>,
    stands: Mutex<BTreeMap<String, (NameView, Vec<Finding>)>>,
    /// When this run of the controller began: before, nobody could be heard.
    started_at: Timestamp,
}

impl Names {
    pub(crate) fn new(lines: Vec<DnsLines>, started_at: Timestamp) -> Self {
        Self { lines, stands: Mutex::default(), started_at }
    }

    /// How a name stands by now, and what is wrong with it.
    pub(crate) fn put(&self, view: NameView, findings: Vec<Finding>) {
        self.lock().insert(view.name.clone(), (view, findings));
    }

    /// How all of them stand, in order of name.
    pub(crate) fn views(&self) -> Vec<NameView> {
        self.lock().values().map(|(view, _)| view.clone()).collect()
    }

    /// Everything that is wrong with them.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        self.lock().values().flat_map(|(_, findings)| findings.clone()).collect()
    }

    /// Where others reach a sentry: as the configuration says, else where its tunnels are reached.
    pub(crate) fn addresses(&self, node: &Node, line: &HiddenPrep) -> BTreeSet<IpAddr> {
        let said =
            self.lines.iter().filter(|lines| is_for(lines, line)).find_map(|lines| lines.sentries.get(&node.name));
        addresses(node, said, std::iter::once(line))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (NameView, Vec<Finding>)>> {
        self.stands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a line of the policy advertises a name.
pub(crate) fn is_for(lines: &DnsLines, line: &HiddenPrep) -> bool {
    line.advertise.as_ref().is_some_and(|host| *host == Host::Name(lines.name.clone()))
}

fn addresses<'a>(
    node: &Node,
    said: Option<&BTreeSet<IpAddr>>,
    mut lines: impl Iterator<Item = &'a HiddenPrep>,
) -> BTreeSet<IpAddr> {
    if let Some(said) = said {
        return said.clone();
    }
    let own = node.endpoint.map(|endpoint| endpoint.ip().to_canonical()).filter(|own| !is_near(*own));
    // Where the policy says at which addresses the port is a validator's, no other leads to it.
    own.filter(|own| lines.all(|line| line.addresses.is_empty() || line.addresses.contains(own))).into_iter().collect()
}

/// Whether an address leads nowhere, or to somebody else, for whoever is on the internet.
fn is_near(address: IpAddr) -> bool {
    let is_private = match address {
        IpAddr::V4(v4) => PRIVATE4.iter().any(|net| net.contains(&v4)),
        IpAddr::V6(v6) => PRIVATE6.iter().any(|net| net.contains(&v6)),
    };
    is_private || address.is_loopback() || address.is_unspecified()
}

/// The lines that a name is decided by: those whose host is in the mesh, for nobody forwards to others; all where none is.
fn decisive<'a>(hidden: Vec<&'a HiddenPrep>, nodes: &BTreeMap<NodeId, Node>) -> Vec<&'a HiddenPrep> {
    let is_there = |line: &&HiddenPrep| nodes.values().any(|node| node.name == line.prep && node.is_meshed());
    if hidden.iter().any(is_there) { hidden.into_iter().filter(is_there).collect() } else { hidden }
}

/// Everything by which a name is decided, with `stands` as its addresses now.
pub(crate) async fn gather(
    controller: &Controller,
    lines: &DnsLines,
    stands: &BTreeSet<IpAddr>,
    now: Timestamp,
) -> Result<(Rules, Vec<Sentry>), StoreError> {
    let mut tx = controller.store.read().await?;
    let (nodes, drains, policy) = (tx.nodes().await?, tx.drains().await?, tx.policy().await?.unwrap_or_default().1);
    drop(tx);
    let hidden = decisive(policy.hidden.iter().filter(|line| is_for(lines, line)).collect(), &nodes);
    let rules = Rules {
        preps: hidden.iter().map(|line| line.prep.clone()).collect(),
        returns_after: Duration::from_secs(lines.return_seconds),
        silence: SILENCE,
        most: lines.most,
    };
    let of = |node: &Node| addresses(node, lines.sentries.get(&node.name), hidden.iter().copied());
    // Rows of the revoked stay for ever; those whose addresses stand there still are of interest.
    let concerns = |node: &&Node| node.role == NodeRole::Sentry && (node.is_active() || !of(node).is_disjoint(stands));
    let sentries =
        nodes.values().filter(concerns).map(|node| sentry(controller, node, of(node), (&nodes, &drains), &hidden, now));
    Ok((rules, sentries.collect()))
}

/// A sentry as the controller knows it, as far as these validators go.
fn sentry(
    controller: &Controller,
    node: &Node,
    addresses: BTreeSet<IpAddr>,
    (nodes, drains): (&BTreeMap<NodeId, Node>, &Drains),
    hidden: &[&HiddenPrep],
    now: Timestamp,
) -> Sentry {
    let target = controller.wanted.target();
    let planned = target.as_ref().and_then(|target| target.plan.nodes.get(&node.id)).filter(|_| node.is_meshed());
    let forwards: BTreeSet<NodeName> = match planned {
        Some(config) => config.firewall.forwards.iter().map(|forward| forward.name.clone()).collect(),
        None => hidden.iter().filter(|line| line.is_behind(&node.name)).map(|line| line.prep.clone()).collect(),
    };
    let closed = planned.into_iter().flat_map(|config| &config.firewall.forwards).filter(|forward| forward.is_closed);
    let closed_for = closed.map(|forward| forward.name.clone()).collect();
    let report = controller.reports.get(&node.id).map(|received| received.stored);
    let (mut silent_for, mut joined_to) = (BTreeSet::new(), BTreeSet::new());
    for prep in hidden.iter().filter_map(|line| nodes.values().find(|node| node.name == line.prep && node.is_active()))
    {
        let Some(said) = controller.reports.get(&prep.id).filter(|_| unheard(controller, &prep.id, now) < SILENCE)
        else {
            continue;
        };
        let said = said.stored.report;
        if said.silent.contains(&node.overlay.v4) {
            silent_for.insert(prep.name.clone());
        }
        if said.peers.get(&node.wireguard_key).is_some_and(|peer| peer.last_handshake.is_some()) {
            joined_to.insert(prep.name.clone());
        }
    }
    let is_latest = matches!(controller.wanted.of(&node.id), HostWanted::Content { .. })
        && lag(controller, &node.id, now).is_none();
    Sentry {
        id: node.id.clone(),
        name: node.name.clone(),
        addresses,
        is_member: node.is_meshed(),
        is_leaving: drains.contains_key(&node.id),
        forwards,
        closed_for,
        report: report.map(|stored| Reported {
            in_force: stored.report.wireguard.is_in_force()
                && stored.report.firewall.is_in_force()
                && stored.report.refused.is_none(),
            is_latest,
        }),
        unheard: unheard(controller, &node.id, now),
        silent_for,
        joined_to,
    }
}

/// How long a host has not been heard.
fn unheard(controller: &Controller, node: &NodeId, now: Timestamp) -> Duration {
    if controller.wanted.is_followed(node) {
        return Duration::ZERO;
    }
    let heard_at = controller.reports.get(node).map(|received| received.stored.received_at);
    now.since(heard_at.unwrap_or(controller.dns.started_at).max(controller.dns.started_at))
}

/// The sentries that are to forward for one validator, and whether they do.
pub(crate) fn facts(
    controller: &Controller,
    (nodes, drains): (&BTreeMap<NodeId, Node>, &Drains),
    line: &HiddenPrep,
    now: Timestamp,
) -> Vec<SentryFacts> {
    let rules =
        Rules { preps: [line.prep.clone()].into(), returns_after: Duration::ZERO, silence: SILENCE, most: usize::MAX };
    let behind =
        nodes.values().filter(|node| node.role == NodeRole::Sentry && node.is_active() && line.is_behind(&node.name));
    let sentries: Vec<Sentry> = behind
        .map(|node| sentry(controller, node, controller.dns.addresses(node, line), (nodes, drains), &[line], now))
        .collect();
    // Where others reach it is asked elsewhere: a forward works at an address that the controller does not know.
    let facts = sentries.into_iter().filter(|sentry| concerns(sentry, &rules)).map(|sentry| SentryFacts {
        fault: fault(&sentry, &rules, true),
        name: sentry.name,
        addresses: sentry.addresses,
    });
    let mut facts: Vec<SentryFacts> = facts.collect();
    facts.sort_by(|a, b| a.name.cmp(&b.name));
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{NodeState, fixture};

    fn line(text: &str) -> HiddenPrep {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn no_private_address_comes_into_a_name_but_by_the_configurations_word() {
        let own = |endpoint: &str| {
            let node = Node { endpoint: Some(endpoint.parse().unwrap()), ..fixture::node("s-1", NodeRole::Sentry, 1) };
            addresses(&node, None, std::iter::empty())
        };
        assert_eq!(own("198.51.100.1:51820"), ["198.51.100.1".parse().unwrap()].into());
        assert_eq!(own("[::ffff:198.51.100.1]:51820"), ["198.51.100.1".parse().unwrap()].into());
        for near in ["10.0.0.1:1", "100.64.0.1:1", "127.0.0.1:1", "0.0.0.0:1", "[fd00::1]:1", "[fe80::1]:1", "[::1]:1"]
        {
            assert_eq!(own(near), BTreeSet::new(), "{near}");
        }
        let said = ["10.0.0.1".parse().unwrap()].into();
        let node = fixture::node("s-1", NodeRole::Sentry, 1);
        assert_eq!(addresses(&node, Some(&said), std::iter::empty()), said);
    }

    #[test]
    fn a_validator_that_is_not_there_keeps_no_name_of_others() {
        let (one, two) = (line(r#"{"prep": "prep-1"}"#), line(r#"{"prep": "prep-2"}"#));
        let mut nodes = BTreeMap::new();
        let names = |nodes: &BTreeMap<NodeId, Node>| -> Vec<String> {
            decisive(vec![&one, &two], nodes).into_iter().map(|line| line.prep.to_string()).collect()
        };
        assert_eq!(names(&nodes), ["prep-1", "prep-2"]);
        for (number, name) in [(1, "prep-1"), (2, "prep-2")] {
            let node = fixture::node(name, NodeRole::Prep, number);
            nodes.insert(node.id.clone(), node);
        }
        assert_eq!(names(&nodes), ["prep-1", "prep-2"]);
        nodes.values_mut().next_back().unwrap().state = NodeState::Quarantined { since: Timestamp::from_millis(0) };
        assert_eq!(names(&nodes), ["prep-1"]);
    }
}

//! The difference between two plans as lines an operator reads: for the audit log and for dry runs. A change that is the
//! same on many hosts is one line.

use crate::{Differences, Plan};
use ipnet::IpNet;
use picket_model::{Node, NodeConfig, NodeId, Purpose, Reason, SetChanges};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// One line per change, with the hosts it is on; hosts that come and go first.
pub fn changes(from: Option<&Plan>, to: &Plan, nodes: &BTreeMap<NodeId, Node>) -> Vec<String> {
    let name = |id: &NodeId| nodes.get(id).map_or_else(|| id.to_string(), |node| node.name.to_string());
    let Differences { came, changed, went } = to.differences(from);
    let mut lines: Vec<String> =
        came.iter().map(|after| format!("+ host {} ({})", name(&after.node), after.role)).collect();
    lines.extend(went.iter().map(|old| format!("- host {} ({})", name(&old.node), old.role)));

    let mut hosts_by_change: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut known = Known::new();
    for (before, after) in changed {
        for change in on_host(before, after, &mut known) {
            hosts_by_change.entry(change).or_default().push(name(&after.node));
        }
    }
    let kept = to.nodes.len() - came.len();
    lines.extend(hosts_by_change.into_iter().map(|(change, hosts)| format!("{change} [{}]", on(&hosts, kept))));
    lines
}

fn on(hosts: &[String], kept: usize) -> String {
    if hosts.len() == kept && kept > 1 { format!("all {kept} hosts") } else { hosts.join(", ") }
}

/// Changes of sets that were looked at, by the sets before and after: hosts have theirs in common.
type Known = BTreeMap<(usize, usize), SetChanges>;

fn on_host(before: &NodeConfig, after: &NodeConfig, known: &mut Known) -> Vec<String> {
    let mut lines = Vec::new();
    let (old, new) = (&before.wireguard.peers, &after.wireguard.peers);
    for (key, peer) in new {
        match old.get(key) {
            None => lines.push(format!("+ tunnel to {}", peer.name)),
            Some(known) if known != peer => lines.push(format!("~ tunnel to {}", peer.name)),
            Some(_) => {}
        }
    }
    lines.extend(
        old.iter().filter(|(key, _)| !new.contains_key(key)).map(|(_, peer)| format!("- tunnel to {}", peer.name)),
    );
    for ((network, sign, why), purposes) in grants(before, after, known) {
        lines.push(format!("{sign} {network} for {}: {why}", purposes.join(", ")));
    }
    let (old, new) = (&before.firewall.guarded, &after.firewall.guarded);
    lines.extend(new.keys().filter(|port| !old.contains_key(port)).map(|port| format!("+ guard {port}")));
    lines.extend(old.keys().filter(|port| !new.contains_key(port)).map(|port| format!("- guard {port}")));
    lines
}

/// Networks that are let in no more, newly, or for another reason, with the purposes that share the change.
fn grants(before: &NodeConfig, after: &NodeConfig, known: &mut Known) -> BTreeMap<(IpNet, char, String), Vec<String>> {
    let mut changed: BTreeMap<(IpNet, char, String), Vec<String>> = BTreeMap::new();
    for purpose in Purpose::ALL {
        let (old, new) = (before.firewall.allowed(purpose), after.firewall.allowed(purpose));
        if old == new {
            continue;
        }
        // The plans hold their sets for as long as this takes, so that no other has their address.
        let key = (Arc::as_ptr(&old.0).addr(), Arc::as_ptr(&new.0).addr());
        let changes = known.entry(key).or_insert_with(|| old.changes_to(new));
        for (network, reasons) in &changes.0 {
            let (sign, reasons) = match (old.0.get(network), reasons) {
                (Some(_), Some(reasons)) => ('~', reasons),
                (None, Some(reasons)) => ('+', reasons),
                (Some(gone), None) => ('-', gone),
                (None, None) => continue,
            };
            changed.entry((*network, sign, joined(reasons))).or_default().push(purpose.to_string());
        }
    }
    changed
}

fn joined(reasons: &BTreeSet<Reason>) -> String {
    reasons.iter().map(Reason::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        PlanInput,
        fixture::{node, validators},
        plan,
    };
    use picket_model::{MeshId, NodeRole, Policy};

    fn nodes(all: &[Node]) -> BTreeMap<NodeId, Node> {
        all.iter().map(|node| (node.id.clone(), node.clone())).collect()
    }

    #[test]
    fn a_new_sentry_and_a_lost_validator_read_as_lines() {
        let mesh: MeshId = "m-1".parse().unwrap();
        let policy = Policy::default();
        let make = |all: &[Node], count, parent: Option<&Plan>| {
            let (nodes, validators) = (nodes(all), validators(count));
            let (mesh, policy) = (&mesh, &policy);
            plan(&PlanInput {
                mesh,
                policy,
                policy_version: 1,
                validators: &validators,
                validators_version: 1,
                nodes: &nodes,
                meshed: None,
                next_keys: &crate::NextKeys::new(),
                shield: &picket_model::ShieldOrders::default(),
                drains: &picket_model::Drains::new(),
                parent,
                now: picket_model::Timestamp::from_millis(0),
                epochs: crate::Epochs::default(),
            })
        };
        let all = [
            node("prep-1", NodeRole::Prep, 1),
            node("prep-2", NodeRole::Prep, 2),
            node("sentry-1", NodeRole::Sentry, 3),
        ];
        let first = make(&all[..2], 2, None);
        let second = make(&all, 1, Some(&first));
        let prep = "P-Rep hx0000000000000000000000000000000000000001 at 5.0.0.1:7100, named by s-0 since height 100";
        let expected = [
            "+ host sentry-1 (sentry)".to_owned(),
            "+ 192.0.2.3/32 for overlay: mesh host sentry-1 (sentry-1) [all 2 hosts]".to_owned(),
            "+ fd00::3/128 for overlay: mesh host sentry-1 (sentry-1) [all 2 hosts]".to_owned(),
            "+ tunnel to sentry-1 [all 2 hosts]".to_owned(),
            format!("- 5.0.0.1/32 for p2p, rpc: {prep} [all 2 hosts]"),
        ];
        assert_eq!(changes(Some(&first), &second, &nodes(&all)), expected);
        assert_eq!(changes(Some(&second), &second, &nodes(&all)), Vec::<String>::new());
        let third = make(&all[1..], 1, Some(&second));
        let lines = changes(Some(&second), &third, &nodes(&all));
        assert_eq!(lines[0], "- host prep-1 (prep)");
        assert!(lines.contains(&"- tunnel to prep-1 [sentry-1]".to_owned()), "{lines:?}");
    }
}

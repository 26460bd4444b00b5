//! The difference between two plans as lines an operator reads: for the audit log and for dry runs.

use crate::Plan;
use picket_model::{NodeConfig, Purpose, Reason};
use std::collections::BTreeSet;

/// One line per change, host by host.
pub fn changes(from: Option<&Plan>, to: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for (id, after) in &to.nodes {
        match from.and_then(|from| from.nodes.get(id)) {
            None => lines.push(format!("+ host {id} ({})", after.role)),
            Some(before) => node_changes(before, after, &mut lines),
        }
    }
    let gone =
        from.into_iter().flat_map(|from| from.nodes.values()).filter(|before| !to.nodes.contains_key(&before.node));
    lines.extend(gone.map(|before| format!("- host {} ({})", before.node, before.role)));
    lines
}

fn node_changes(before: &NodeConfig, after: &NodeConfig, lines: &mut Vec<String>) {
    let id = &after.node;
    let (old, new) = (&before.wireguard.peers, &after.wireguard.peers);
    for (key, peer) in new {
        match old.get(key) {
            None => lines.push(format!("{id}: + tunnel to {}", peer.name)),
            Some(known) if known != peer => lines.push(format!("{id}: ~ tunnel to {}", peer.name)),
            Some(_) => {}
        }
    }
    lines.extend(
        old.iter().filter(|(key, _)| !new.contains_key(key)).map(|(_, p)| format!("{id}: - tunnel to {}", p.name)),
    );
    for purpose in Purpose::ALL {
        let (old, new) = (before.firewall.allowed(purpose), after.firewall.allowed(purpose));
        for (network, reasons) in new.0.iter() {
            match old.0.get(network) {
                None => lines.push(format!("{id}: + {network} for {purpose}: {}", joined(reasons))),
                Some(known) if known != reasons => {
                    lines.push(format!("{id}: ~ {network} for {purpose}: {}", joined(reasons)));
                }
                Some(_) => {}
            }
        }
        let gone = old.0.iter().filter(|(network, _)| !new.0.contains_key(network));
        lines.extend(gone.map(|(network, reasons)| format!("{id}: - {network} for {purpose}: {}", joined(reasons))));
    }
    let (old, new) = (&before.firewall.guarded, &after.firewall.guarded);
    lines.extend(new.keys().filter(|port| !old.contains_key(port)).map(|port| format!("{id}: + guard {port}")));
    lines.extend(old.keys().filter(|port| !new.contains_key(port)).map(|port| format!("{id}: - guard {port}")));
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

    #[test]
    fn a_new_sentry_and_a_lost_validator_read_as_lines() {
        let mesh: MeshId = "m-1".parse().unwrap();
        let policy = Policy::default();
        let make = |nodes: &[picket_model::Node], count, parent: Option<&Plan>| {
            let nodes = nodes.iter().map(|node| (node.id.clone(), node.clone())).collect();
            let validators = validators(count);
            let input = PlanInput {
                mesh: &mesh,
                policy: &policy,
                policy_version: 1,
                validators: &validators,
                nodes: &nodes,
                parent,
            };
            plan(&input)
        };
        let all = [node("prep-1", NodeRole::Prep, 1), node("sentry-1", NodeRole::Sentry, 2)];
        let first = make(&all[..1], 2, None);
        let second = make(&all, 1, Some(&first));
        let lines = changes(Some(&first), &second);
        let expected = [
            "prep-1: + tunnel to sentry-1",
            "prep-1: - 5.0.0.1/32 for p2p: P-Rep hx0000000000000000000000000000000000000001 at 5.0.0.1:7100, named by s-0 since height 100",
            "prep-1: - 5.0.0.1/32 for rpc: P-Rep hx0000000000000000000000000000000000000001 at 5.0.0.1:7100, named by s-0 since height 100",
            "prep-1: + 192.0.2.2/32 for overlay: mesh host sentry-1 (sentry-1)",
            "prep-1: + fd00::2/128 for overlay: mesh host sentry-1 (sentry-1)",
            "+ host sentry-1 (sentry)",
        ];
        assert_eq!(lines, expected);
        assert_eq!(changes(Some(&second), &second), Vec::<String>::new());
    }
}

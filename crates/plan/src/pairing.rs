//! Which identity key and which epoch the two ends of a tunnel are told, so that both derive the same preshared key.

use crate::Plan;
use picket_model::{Node, NodeId, Pairing};
use std::collections::BTreeSet;

/// What is known about epochs when a plan is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epochs<'a> {
    /// The epoch of now; any number that changes with it.
    pub now: u64,
    /// Hosts that hold exactly what is wanted of them: only between two of these does an epoch move on, so that neither end
    /// of a tunnel is ever more than one epoch behind, however long it hears of nothing.
    pub confirmed: Option<&'a BTreeSet<NodeId>>,
}

/// What `node` is told about its tunnel to `other`; nothing where one of them has no identity key. The same for both ends
/// but for whose key it is.
pub(crate) fn pairing(epochs: Epochs<'_>, parent: Option<&Plan>, node: &Node, other: &Node) -> Option<Pairing> {
    let identity = other.identity_key.filter(|_| node.identity_key.is_some())?;
    let told_to = |one: &Node, two: &Node| {
        parent.and_then(|parent| parent.nodes.get(&one.id)?.wireguard.peers.get(&two.wireguard_key)?.pairing)
    };
    // With another key of either end it is another tunnel.
    let told = told_to(node, other).filter(|_| told_to(other, node).is_some());
    let (epoch, before) = match told {
        None => (epochs.now, None),
        Some(told) if !is_confirmed(epochs, node, other) => (told.epoch, told.before),
        // Both have it: none falls back any more, so that an end which hears late of the next epoch stays with this one, and
        // the other, which tries both, meets it.
        Some(told) if told.before.is_some() => (told.epoch, None),
        Some(told) if told.epoch == epochs.now => (told.epoch, None),
        Some(told) => (epochs.now, Some(told.epoch)),
    };
    Some(Pairing { identity, epoch, before })
}

fn is_confirmed(epochs: Epochs<'_>, node: &Node, other: &Node) -> bool {
    epochs.confirmed.is_some_and(|confirmed| confirmed.contains(&node.id) && confirmed.contains(&other.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        PlanInput,
        fixture::{node, validators},
        plan,
    };
    use picket_model::{IdentityKey, NodeRole, Policy, Timestamp, WireGuardPublicKey};

    fn host(name: &str, role: NodeRole, number: u8) -> Node {
        let identity = IdentityKey(WireGuardPublicKey::new([number + 100; 32]).unwrap());
        Node { identity_key: Some(identity), ..node(name, role, number) }
    }

    fn planned(nodes: &[Node], now: u64, confirmed: &[&str], parent: Option<&Plan>) -> Plan {
        let nodes = nodes.iter().map(|node| (node.id.clone(), node.clone())).collect();
        let confirmed = confirmed.iter().map(|id| id.parse().unwrap()).collect();
        plan(&PlanInput {
            mesh: &"m-1".parse().unwrap(),
            policy: &Policy::default(),
            policy_version: 1,
            validators: &validators(3),
            validators_version: 1,
            nodes: &nodes,
            meshed: None,
            next_keys: &crate::NextKeys::new(),
            shield: &picket_model::ShieldOrders::default(),
            drains: &picket_model::Drains::new(),
            parent,
            now: Timestamp::from_millis(0),
            epochs: Epochs { now, confirmed: Some(&confirmed) },
        })
    }

    /// Epoch and the one before, as each of the two ends is told about the other.
    fn told(plan: &Plan, ends: [&str; 2]) -> Option<(u64, Option<u64>)> {
        let of = |own: &str, other: &str| {
            let peers = &plan.nodes[&own.parse::<NodeId>().unwrap()].wireguard.peers;
            peers.values().find(|peer| peer.node.as_str() == other).unwrap().pairing
        };
        let (one, two) = (of(ends[0], ends[1]), of(ends[1], ends[0]));
        let numbers = |pairing: Option<Pairing>| pairing.map(|pairing| (pairing.epoch, pairing.before));
        assert_eq!(numbers(one), numbers(two), "both ends are told the same");
        assert!(one.is_none() || one.map(|one| one.identity) != two.map(|two| two.identity), "each the other's key");
        numbers(one)
    }

    #[test]
    fn an_epoch_moves_on_between_hosts_that_hold_the_last_one() {
        let hosts = [host("prep-1", NodeRole::Prep, 1), host("sentry-1", NodeRole::Sentry, 2)];
        let ends = ["prep-1", "sentry-1"];
        let first = planned(&hosts, 7, &[], None);
        assert_eq!(told(&first, ends), Some((7, None)));
        // One end has not said that it holds the seventh: it stays, for days if need be, and the plan is the same.
        assert_eq!(planned(&hosts, 8, &["prep-1"], Some(&first)), first);
        assert_eq!(planned(&hosts, 30, &["sentry-1"], Some(&first)), first);
        let second = planned(&hosts, 30, &ends, Some(&first));
        assert_eq!(told(&second, ends), Some((30, Some(7))));
        // One end may not have heard of it: both fall back to the seventh where the thirtieth gets no answer.
        assert_eq!(planned(&hosts, 30, &["prep-1"], Some(&second)), second);
        assert_eq!(planned(&hosts, 99, &["prep-1"], Some(&second)), second);
        // Both have it: the seventh is over, and only then the next one may begin.
        let settled = planned(&hosts, 99, &ends, Some(&second));
        assert_eq!(told(&settled, ends), Some((30, None)));
        assert_eq!(planned(&hosts, 30, &ends, Some(&settled)), settled);
        assert_eq!(planned(&hosts, 99, &["prep-1"], Some(&settled)), settled);
        // A clock that was set back is an epoch like any other.
        assert_eq!(told(&planned(&hosts, 9, &ends, Some(&settled)), ends), Some((9, Some(30))));
    }

    #[test]
    fn a_host_without_an_identity_key_has_tunnels_as_before() {
        let hosts = [host("prep-1", NodeRole::Prep, 1), node("sentry-1", NodeRole::Sentry, 2)];
        let plan = planned(&hosts, 7, &[], None);
        assert_eq!(told(&plan, ["prep-1", "sentry-1"]), None);
    }

    #[test]
    fn a_next_key_is_known_to_peers_before_and_keeps_the_epoch_when_it_takes_over() {
        let mut hosts = [host("prep-1", NodeRole::Prep, 1), host("sentry-1", NodeRole::Sentry, 2)];
        let next = WireGuardPublicKey::new([9; 32]).unwrap();
        let with = |hosts: &[Node], next_keys: &crate::NextKeys, parent: &Plan| {
            let nodes = hosts.iter().map(|node| (node.id.clone(), node.clone())).collect();
            let (mesh, policy, validators) = ("m-1".parse().unwrap(), Policy::default(), validators(3));
            let input = PlanInput {
                mesh: &mesh,
                policy: &policy,
                policy_version: 1,
                validators: &validators,
                validators_version: 1,
                nodes: &nodes,
                meshed: None,
                next_keys,
                shield: &picket_model::ShieldOrders::default(),
                drains: &picket_model::Drains::new(),
                parent: Some(parent),
                now: Timestamp::from_millis(0),
                epochs: Epochs { now: 30, confirmed: None },
            };
            let plan = plan(&input);
            assert!(crate::lint(&plan, &input).iter().all(|finding| finding.severity != crate::Severity::Error));
            plan
        };
        let first = planned(&hosts, 7, &[], None);
        let keys = crate::NextKeys::from([(hosts[1].id.clone(), next)]);
        let both = with(&hosts, &keys, &first);
        let peers = |plan: &Plan| plan.nodes[&"prep-1".parse::<NodeId>().unwrap()].wireguard.peers.clone();
        let (now, waiting) = (&peers(&both)[&hosts[1].wireguard_key], &peers(&both)[&next]);
        assert!(waiting.allowed_ips.is_empty() && now.allowed_ips.len() == 2);
        assert_eq!((waiting.pairing, waiting.endpoint, &waiting.node), (now.pairing, now.endpoint, &now.node));
        let unchanged = |plan: &Plan| plan.nodes[&hosts[1].id].clone();
        assert!(unchanged(&both).same_content(&unchanged(&first)), "the host itself is told nothing");
        assert_eq!(with(&hosts, &keys, &both), both);
        // It takes over: the old key is gone, and neither end begins another epoch.
        let before = hosts[1].wireguard_key;
        hosts[1].wireguard_key = next;
        let after = with(&hosts, &crate::NextKeys::new(), &both);
        assert!(!peers(&after).contains_key(&before) && peers(&after)[&next].allowed_ips.len() == 2);
        assert_eq!(told(&after, ["prep-1", "sentry-1"]), Some((7, None)));
    }

    #[test]
    fn a_new_key_of_a_tunnel_begins_with_the_epoch_of_now() {
        let mut hosts = [host("prep-1", NodeRole::Prep, 1), host("sentry-1", NodeRole::Sentry, 2)];
        let first = planned(&hosts, 7, &[], None);
        hosts[1].wireguard_key = WireGuardPublicKey::new([9; 32]).unwrap();
        assert_eq!(told(&planned(&hosts, 8, &[], Some(&first)), ["prep-1", "sentry-1"]), Some((8, None)));
    }
}

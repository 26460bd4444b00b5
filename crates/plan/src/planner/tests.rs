//! Tests of the planner: who is whose peer, who is let in, and which change touches which host.

use super::*;
use crate::fixture::{node, prep, validators};
use picket_model::{Denied, NodeState, PolicyAllow, PolicyDeny};

fn planned(nodes: &[Node], validators: &ValidatorSet, parent: Option<&Plan>) -> Plan {
    planned_by(&Policy::default(), nodes, validators, parent, 0)
}

fn planned_by(policy: &Policy, nodes: &[Node], validators: &ValidatorSet, parent: Option<&Plan>, seconds: i64) -> Plan {
    ordered(policy, &ShieldOrders::default(), nodes, validators, parent, seconds)
}

fn ordered(
    policy: &Policy,
    shield: &ShieldOrders,
    nodes: &[Node],
    validators: &ValidatorSet,
    parent: Option<&Plan>,
    seconds: i64,
) -> Plan {
    let nodes = nodes.iter().map(|node| (node.id.clone(), node.clone())).collect();
    let mesh = "m-1".parse().unwrap();
    plan(&PlanInput {
        mesh: &mesh,
        policy,
        policy_version: 1,
        validators,
        validators_version: 1,
        nodes: &nodes,
        meshed: None,
        next_keys: &NextKeys::new(),
        shield,
        drains: &picket_model::Drains::new(),
        parent,
        now: at(seconds),
        epochs: Epochs::default(),
    })
}

fn of<'a>(plan: &'a Plan, name: &str) -> &'a NodeConfig {
    &plan.nodes[&name.parse::<NodeId>().unwrap()]
}

fn star() -> [Node; 3] {
    [node("prep-1", NodeRole::Prep, 1), node("sentry-1", NodeRole::Sentry, 2), node("sentry-2", NodeRole::Sentry, 3)]
}

#[test]
fn validators_dial_all_sentries_and_sentries_wait() {
    let plan = planned(&star(), &validators(3), None);
    let (prep, sentry) = (of(&plan, "prep-1"), of(&plan, "sentry-1"));
    assert_eq!(prep.wireguard.peers.len(), 2);
    assert!(prep.wireguard.peers.values().all(|p| p.endpoint.is_some() && p.keepalive_seconds == Some(25)));
    assert_eq!(prep.wireguard.listen_port, 0);
    assert_eq!(sentry.wireguard.peers.len(), 1);
    assert!(sentry.wireguard.peers.values().all(|p| p.endpoint.is_none() && p.keepalive_seconds.is_none()));
    assert_eq!(sentry.wireguard.listen_port, 51820);
}

#[test]
fn an_address_of_two_validators_is_in_once_with_both_reasons() {
    let mut list = validators(3);
    let shared = list.0[&prep(0)].addresses.clone();
    list.0.get_mut(&prep(1)).unwrap().addresses = shared;
    let plan = planned(&star(), &list, None);
    let allowed = of(&plan, "prep-1").firewall.allowed(Purpose::P2p);
    assert_eq!(allowed.0.len(), 2);
    let reasons = &allowed.0[&"5.0.0.0/32".parse().unwrap()];
    let named = |number: usize| reasons.iter().any(|reason| reason.to_string().contains(&prep(number).to_string()));
    assert_eq!((reasons.len(), named(0), named(1)), (2, true, true));
}

#[test]
fn the_same_input_makes_no_new_generation() {
    let first = planned(&star(), &validators(3), None);
    assert_eq!(first.generation, Generation(1));
    assert_eq!(planned(&star(), &validators(3), Some(&first)), first);
}

#[test]
fn hosts_have_their_sets_in_common_and_those_that_stay_are_the_parents() {
    let one = |set: &AllowSet| std::sync::Arc::as_ptr(&set.0);
    let all = star();
    let first = planned(&all, &validators(3), None);
    let second = planned(&all[..2], &validators(3), Some(&first));
    let third = planned(&all[..2], &validators(4), Some(&second));
    let allowed = |plan, name, purpose| of(plan, name).firewall.allowed(purpose).clone();
    let p2p = allowed(&first, "prep-1", Purpose::P2p);
    for (plan, name) in [(&first, "sentry-1"), (&first, "sentry-2"), (&second, "prep-1"), (&second, "sentry-1")] {
        assert_eq!(one(&allowed(plan, name, Purpose::P2p)), one(&p2p), "{name}");
        assert_eq!(one(&allowed(plan, name, Purpose::Rpc)), one(&p2p), "{name}");
    }
    assert_ne!(one(&allowed(&third, "prep-1", Purpose::P2p)), one(&p2p));
    let overlay = |plan, name| one(&allowed(plan, name, Purpose::Overlay));
    assert_eq!(overlay(&first, "sentry-1"), overlay(&first, "sentry-2"));
    assert_eq!(overlay(&second, "sentry-1"), overlay(&first, "sentry-1"));
    assert_ne!(overlay(&second, "prep-1"), overlay(&first, "prep-1"));
    assert_eq!(overlay(&third, "prep-1"), overlay(&second, "prep-1"));
}

#[test]
fn a_new_sentry_touches_the_validator_and_no_other_sentry() {
    let all = star();
    let first = planned(&all[..2], &validators(3), None);
    let second = planned(&all, &validators(3), Some(&first));
    assert_eq!(of(&second, "prep-1").revision, Generation(2));
    assert_eq!(of(&second, "sentry-2").revision, Generation(2));
    assert_eq!(of(&second, "sentry-1").revision, Generation(1));
    let before = &first.nodes[&all[1].id];
    assert!(std::sync::Arc::ptr_eq(&second.nodes[&all[1].id], before), "what is as before is the parent's");
}

#[test]
fn a_revoked_sentry_is_nobodys_peer_and_in_no_allow_set() {
    let mut all = star();
    let first = planned(&all, &validators(3), None);
    all[1].state = NodeState::Revoked { at: Timestamp::from_millis(1) };
    let second = planned(&all, &validators(3), Some(&first));
    let prep = of(&second, "prep-1");
    assert!(!prep.wireguard.peers.contains_key(&all[1].wireguard_key));
    let revoked = all[1].overlay.networks();
    let overlay = prep.firewall.allowed(Purpose::Overlay);
    assert!(revoked.iter().all(|network| !overlay.0.contains_key(network)));
    assert!(!second.nodes.contains_key(&all[1].id));
}

#[test]
fn a_validator_that_leaves_touches_every_host() {
    let first = planned(&star(), &validators(3), None);
    let second = planned(&star(), &validators(2), Some(&first));
    assert!(second.nodes.values().all(|config| config.revision == Generation(2)));
    assert_eq!(of(&second, "prep-1").firewall.allowed(Purpose::P2p).0.len(), 2);
}

#[test]
fn a_stranger_who_names_an_address_of_ours_gains_nothing() {
    let sentry = &star()[1];
    let ours = [sentry.overlay.v4.into(), sentry.endpoint.unwrap().ip(), "2001:db8:ad::1".parse().unwrap()];
    let mut validators = validators(1);
    validators.0.values_mut().for_each(|stranger| stranger.addresses.extend(ours));
    let plan = planned(&star(), &validators, None);
    for config in plan.nodes.values() {
        for address in ours {
            let let_in = |purpose| config.firewall.allowed(purpose).covering(address).next().is_some();
            assert!(let_in(Purpose::P2p) && !let_in(Purpose::Admin), "{address}");
        }
        // Inside the mesh only hosts are let in, each for itself: the grant is the tunnel's, not the address's.
        let overlay = config.firewall.allowed(Purpose::Overlay);
        let reasons = overlay.0.values().flatten();
        assert!(reasons.into_iter().all(|reason| matches!(reason, Reason::Node { .. })));
        assert!(config.wireguard.peers.values().all(|peer| peer.allowed_ips.iter().all(|net| net.addr() != ours[1])));
    }
}

#[test]
fn an_empty_validator_set_still_guards() {
    let plan = planned(&star(), &ValidatorSet::default(), None);
    let firewall = &of(&plan, "prep-1").firewall;
    assert_eq!(firewall.guarded.len(), 6);
    assert!(firewall.allowed(Purpose::P2p).0.is_empty());
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

#[test]
fn lines_of_the_policy_end_by_themselves_and_deny_wins_over_the_list() {
    let deny = |whom, until| PolicyDeny { whom, comment: "rogue".into(), until };
    let allow = |network: &str, until| PolicyAllow {
        purpose: Purpose::P2p,
        network: network.parse().unwrap(),
        comment: "friend".into(),
        until,
    };
    let policy = Policy {
        deny: vec![
            deny(Denied::Prep(prep(1)), None),
            deny(Denied::Network("5.0.0.2/32".parse().unwrap()), Some(at(20))),
        ],
        allow: vec![allow("5.0.0.1/32", Some(at(10))), allow("8.8.0.0/24", None)],
        ..Policy::default()
    };
    let at_time = |parent: Option<&Plan>, seconds| {
        let plan = planned_by(&policy, &star(), &validators(3), parent, seconds);
        let networks = of(&plan, "prep-1").firewall.allowed(Purpose::P2p).0.keys().map(ToString::to_string);
        (networks.collect::<Vec<_>>(), plan)
    };
    // An allow line of the operator's own stands beside a deny line, which is about the list.
    let (networks, first) = at_time(None, 0);
    assert_eq!(networks, ["5.0.0.0/32", "5.0.0.1/32", "8.8.0.0/24"]);
    assert_eq!(policy.next_end(at(0)), Some(at(10)));
    let (networks, second) = at_time(Some(&first), 10);
    assert_eq!(networks, ["5.0.0.0/32", "8.8.0.0/24"]);
    assert_eq!((second.generation, policy.next_end(at(10))), (Generation(2), Some(at(20))));
    let (networks, third) = at_time(Some(&second), 20);
    assert_eq!(networks, ["5.0.0.0/32", "5.0.0.2/32", "8.8.0.0/24"]);
    assert_eq!((third.generation, policy.next_end(at(20))), (Generation(3), None));
    assert_eq!(at_time(Some(&third), 30).1, third);
}

#[test]
fn ports_are_public_by_role_and_limits_go_to_every_host() {
    let limits = picket_model::Limits { p2p_connections: 5, ..Default::default() };
    let mut policy = Policy { limits: Some(limits), ..Policy::default() };
    policy.public.sentry.insert(9000.try_into().unwrap());
    let first = planned_by(&policy, &star(), &validators(3), None, 0);
    for (name, public) in [("prep-1", 0), ("sentry-1", 1), ("sentry-2", 1)] {
        let firewall = &of(&first, name).firewall;
        assert_eq!((firewall.public_ports().count(), firewall.limits), (public, Some(limits)), "{name}");
        let guarded = |number: u16| GuardedPort { protocol: Protocol::Tcp, port: number.try_into().unwrap() };
        assert_eq!(firewall.guarded.get(&guarded(9000)), Some(&Purpose::Rpc), "an agent of before keeps it closed");
    }
    let (plain, policy) = (Policy::default(), Policy { public: Default::default(), ..policy });
    let second = planned_by(&policy, &star(), &validators(3), Some(&first), 0);
    let revisions = |plan: &Plan| ["prep-1", "sentry-1"].map(|name| of(plan, name).revision);
    assert_eq!(revisions(&second), [Generation(1), Generation(2)], "a public port touches the hosts that have it");
    let third = planned_by(&plain, &star(), &validators(3), Some(&second), 0);
    assert_eq!(revisions(&third), [Generation(3), Generation(3)]);
}

#[test]
fn an_order_goes_before_the_policys_shield_until_it_ends_and_touches_nobody_else() {
    let policy = Policy { shield: Shield::Auto, ..Policy::default() };
    let order = |shield, until: i64| picket_model::ShieldOrder {
        shield,
        by: "op-1".parse().unwrap(),
        at: at(0),
        until: Some(at(until)),
    };
    let mut orders = ShieldOrders::default();
    let shields = |plan: &Plan| ["prep-1", "sentry-1", "sentry-2"].map(|name| of(plan, name).firewall.shield);
    let by = |orders: &ShieldOrders, parent: Option<&Plan>, seconds| {
        ordered(&policy, orders, &star(), &validators(3), parent, seconds)
    };
    let first = by(&orders, None, 0);
    assert_eq!(shields(&first), [Shield::Auto; 3]);
    orders.hosts.insert("sentry-1".parse().unwrap(), order(Shield::On, 60));
    let second = by(&orders, Some(&first), 1);
    assert_eq!(shields(&second), [Shield::Auto, Shield::On, Shield::Auto]);
    assert_eq!((of(&second, "sentry-1").revision, of(&second, "prep-1").revision), (Generation(2), Generation(1)));
    orders.all = Some(order(Shield::Off, 30));
    let third = by(&orders, Some(&second), 2);
    assert_eq!(shields(&third), [Shield::Off, Shield::On, Shield::Off]);
    assert_eq!(shields(&by(&orders, Some(&third), 30)), [Shield::Auto, Shield::On, Shield::Auto]);
    let last = by(&orders, Some(&third), 60);
    assert_eq!(shields(&last), [Shield::Auto; 3]);
    assert_eq!(last.generation, Generation(4));
}

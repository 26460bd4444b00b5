//! Tests of the plan's part about hidden validators.

use super::*;
use crate::{
    Epochs, NextKeys, Plan, PlanInput,
    fixture::{node, validators},
    plan,
};
use picket_model::{Drain, Drains, NodeConfig, NodeId, Timestamp};

fn planned(policy: &Policy) -> Plan {
    drained(policy, &Drains::new(), 0)
}

fn drained(policy: &Policy, drains: &Drains, seconds: i64) -> Plan {
    let nodes = [
        node("prep-1", NodeRole::Prep, 1),
        node("prep-2", NodeRole::Prep, 2),
        node("eu-1", NodeRole::Sentry, 3),
        node("us-1", NodeRole::Sentry, 4),
    ];
    let nodes = nodes.into_iter().map(|node| (node.id.clone(), node)).collect();
    let mesh = "m-1".parse().unwrap();
    let mut list = validators(3);
    let places = ["5.0.0.0:8300", "5.0.0.1:7100", "5.0.0.2:443"];
    for (validator, place) in list.0.values_mut().zip(places) {
        validator.endpoint = place.parse().unwrap();
    }
    plan(&PlanInput {
        mesh: &mesh,
        policy,
        policy_version: 1,
        validators: &list,
        validators_version: 1,
        nodes: &nodes,
        next_keys: &NextKeys::new(),
        shield: &picket_model::ShieldOrders::default(),
        drains,
        parent: None,
        now: Timestamp::from_millis(seconds * 1000),
        epochs: Epochs::default(),
    })
}

fn of<'a>(plan: &'a Plan, name: &str) -> &'a NodeConfig {
    &plan.nodes[&name.parse::<NodeId>().unwrap()]
}

fn policy(lines: &str) -> Policy {
    Policy { hidden: serde_json::from_str(lines).unwrap(), ..Policy::default() }
}

#[test]
fn without_a_line_nobody_forwards_and_nobody_hides() {
    let plan = planned(&Policy::default());
    assert!(plan.nodes.values().all(|config| config.firewall.forwards.is_empty() && config.firewall.hidden.is_none()));
}

#[test]
fn sentries_forward_and_the_hidden_host_calls_through_them() {
    let plan =
        planned(&policy(r#"[{"prep": "prep-1", "to_port": 7200, "weights": {"us-1": 3}, "near_milliseconds": 30}]"#));
    for sentry in ["eu-1", "us-1"] {
        let forwards: Vec<_> = of(&plan, sentry).firewall.forwards.iter().collect();
        let [forward] = forwards.as_slice() else { panic!("{forwards:?}") };
        assert_eq!((forward.port.get(), forward.to_port.get(), forward.prep.as_str()), (7100, 7200, "prep-1"));
        assert_eq!(of(&plan, "prep-1").wireguard.addresses, forward.to.networks().into());
    }
    let hidden = of(&plan, "prep-1").firewall.hidden.as_ref().unwrap();
    let shares: Vec<_> = hidden.sentries.iter().map(|(node, share)| (node.as_str(), share.get())).collect();
    assert_eq!(shares, [("eu-1", 1), ("us-1", 3)]);
    assert!(hidden.strict);
    assert_eq!(hidden.near_milliseconds.map(NonZeroU16::get), Some(30));
    // 443 is no port to send a host's calls through sentries for, whoever registers it.
    let calls: Vec<u16> = hidden.calls.iter().map(|port| port.get()).collect();
    assert_eq!(calls, [7100, 8300, 9000, 9080]);
    assert!(of(&plan, "prep-2").firewall.hidden.is_none() && of(&plan, "prep-1").firewall.forwards.is_empty());
}

#[test]
fn a_line_may_name_its_sentries() {
    let lines = r#"[{"prep": "prep-1", "sentries": ["eu-*"]}, {"prep": "prep-2", "port": 7101, "strict": false}]"#;
    let plan = planned(&policy(lines));
    let behind = |name: &str| of(&plan, name).firewall.hidden.as_ref().unwrap().sentries.len();
    assert_eq!((behind("prep-1"), behind("prep-2")), (1, 2));
    let ports =
        |name: &str| of(&plan, name).firewall.forwards.iter().map(|forward| forward.port.get()).collect::<Vec<_>>();
    assert_eq!((ports("eu-1"), ports("us-1")), (vec![7100, 7101], vec![7101]));
    assert!(!of(&plan, "prep-2").firewall.hidden.as_ref().unwrap().strict);
}

#[test]
fn a_drained_sentry_stays_one_and_forwards_until_its_drain_is_over() {
    let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
    let drain = Drain { by: "op-1".to_owned(), at: at(0), until: at(10) };
    // A drain of somebody who is no sentry of anybody is none.
    let drains: Drains =
        [("eu-1", drain.clone()), ("n-9", drain)].map(|(id, drain)| (id.parse().unwrap(), drain)).into();
    let policy = policy(r#"[{"prep": "prep-1"}, {"prep": "prep-2", "port": 7101, "sentries": ["us-*"]}]"#);
    for (seconds, is_closed) in [(9, false), (10, true)] {
        let plan = drained(&policy, &drains, seconds);
        let hidden = |name: &str| of(&plan, name).firewall.hidden.clone().unwrap();
        assert_eq!(hidden("prep-1").draining, [("eu-1".parse().unwrap(), at(10))].into());
        assert_eq!((hidden("prep-1").sentries.len(), hidden("prep-2").draining.len()), (2, 0));
        let closed = |name: &str| -> Vec<bool> {
            of(&plan, name).firewall.forwards.iter().map(|forward| forward.is_closed).collect()
        };
        assert_eq!((closed("eu-1"), closed("us-1")), (vec![is_closed], vec![false; 2]), "{seconds}");
    }
}

#[test]
fn sentries_serve_a_nodes_rpc_to_its_lines_citizens_and_nobody_else_serves_any() {
    let lines = r#"[{"prep": "prep-1", "citizens": ["198.51.100.0/24"], "websocket": ["block"]},
        {"prep": "prep-2", "port": 9080, "to_port": 9000, "sentries": ["eu-*"]},
        {"port": 9100, "to_port": 9080, "sentries": ["us-*"]}]"#;
    let plan = planned(&Policy { sync: serde_json::from_str(lines).unwrap(), ..Policy::default() });
    let served = |name: &str| -> Vec<String> {
        let paths = of(&plan, name).firewall.syncs.iter();
        paths.map(|path| format!("{} {} {}", path.port, path.to, path.to_port)).collect()
    };
    assert_eq!(served("eu-1"), ["9000 prep-1 9000", "9080 prep-2 9000"]);
    assert_eq!(served("us-1"), ["9000 prep-1 9000", "9100 own node 9080"]);
    assert!(served("prep-1").is_empty() && served("prep-2").is_empty());
    let path = of(&plan, "eu-1").firewall.syncs.first().unwrap();
    assert_eq!((path.citizens.len(), path.websocket.len()), (1, 1));
    // The port stays an RPC port to an agent of before, which refuses the rest.
    let rpc = picket_model::Purpose::Rpc;
    assert!(of(&plan, "eu-1").firewall.guarded.values().any(|purpose| *purpose == rpc));
}

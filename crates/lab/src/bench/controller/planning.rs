//! How long the pure plan of a whole mesh takes, and its lint: with one validator for nine sentries or the other way round, as
//! far as a host may have tunnels.

use super::super::{Figures, Report, figures::rounded, millis};
use picket_model::{
    Drains, Generation, Grade, Node, NodeRole, NodeState, OverlayAddresses, Policy, Provenance, Shield, ShieldOrder,
    ShieldOrders, Timestamp, Validator, ValidatorSet, WireGuardPublicKey,
};
use picket_plan::{Epochs, NextKeys, Plan, PlanInput, lint, plan};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
    time::Instant,
};

/// Hosts in all.
const HOSTS: [u32; 3] = [10, 1_000, 10_000];
/// Validators with an agent of ours: each has a tunnel to every sentry, and a host has a thousand at most.
const PREPS: u32 = 1;
/// Sentries beyond these have no tunnel, because no validator could have that many.
const SENTRIES: u32 = 900;
/// Entries of the list.
const VALIDATORS: u32 = 100;

pub(super) fn measure(report: &Report, runs: u8) -> anyhow::Result<()> {
    for hosts in HOSTS {
        report.say(&format!("plans {hosts} hosts"));
        let nodes: BTreeMap<_, _> = (0..hosts).map(node).collect::<anyhow::Result<_>>()?;
        let validators = validators()?;
        let mesh = "m-1".parse()?;
        let policy = Policy::default();
        let (next_keys, drains) = (NextKeys::new(), Drains::new());
        let input = |shield, parent| PlanInput {
            mesh: &mesh,
            policy: &policy,
            policy_version: 1,
            validators: &validators,
            validators_version: 1,
            nodes: &nodes,
            meshed: None,
            next_keys: &next_keys,
            parent,
            shield,
            drains: &drains,
            now: Timestamp::from_millis(0),
            epochs: Epochs::default(),
        };
        let nobody = ShieldOrders::default();
        let first = plan(&input(&nobody, None));
        let order = ShieldOrder { shield: Shield::On, by: "o-1".parse()?, at: Timestamp::from_millis(0), until: None };
        let changed = nodes.keys().next().cloned().map(|node| (node, order)).into_iter().collect();
        let shield = ShieldOrders { hosts: changed, ..ShieldOrders::default() };
        let (mut planned, mut linted) = (Figures::default(), Figures::default());
        for _ in 0..runs {
            let input = input(&shield, Some(&first));
            let started = Instant::now();
            let next: Plan = plan(&input);
            planned.add(millis(started.elapsed()));
            let started = Instant::now();
            drop(lint(&next, &input));
            linted.add(millis(started.elapsed()));
            anyhow::ensure!(next.generation == Generation(2), "the order changed nothing");
        }
        report.row(&json!({
            "case": "planning", "hosts": hosts, "validators": VALIDATORS, "runs": runs, "of": "one host changed",
            "plan_ms": rounded(planned.median()), "lint_ms": rounded(linted.median()),
        }))?;
    }
    Ok(())
}

fn node(number: u32) -> anyhow::Result<(picket_model::NodeId, Node)> {
    let mut key = [7; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    let role = if number < PREPS { NodeRole::Prep } else { NodeRole::Sentry };
    let state =
        if number > SENTRIES { NodeState::Quarantined { since: Timestamp::from_millis(0) } } else { NodeState::Active };
    let node = Node {
        id: format!("n-{number}").parse()?,
        name: format!("host-{number}").parse()?,
        role,
        wireguard_key: WireGuardPublicKey::new(key)?,
        tls_key_sha256: format!("{number:064x}"),
        overlay: OverlayAddresses {
            v4: Ipv4Addr::from_bits((10 << 24) + number),
            v6: Ipv6Addr::from_bits((0xfd00 << 112) + u128::from(number)),
        },
        endpoint: (role == NodeRole::Sentry).then(|| (Ipv4Addr::from_bits((20 << 24) + number), 51820).into()),
        identity_key: None,
        issued: false,
        pool: None,
        machine_id: None,
        enrolled_at: Timestamp::from_millis(0),
        state,
    };
    Ok((node.id.clone(), node))
}

fn validators() -> anyhow::Result<ValidatorSet> {
    let validator = |number: u32| {
        let address = Ipv4Addr::from_bits((5 << 24) + number);
        anyhow::Ok(Validator {
            prep: format!("hx{number:040x}").parse()?,
            name: String::new(),
            node_address: format!("hx{number:040x}").parse()?,
            grade: Grade::Main,
            endpoint: format!("{address}:7100").parse()?,
            addresses: BTreeSet::from([address.into()]),
            provenance: Provenance {
                sources: BTreeSet::from(["s-0".parse()?]),
                since_height: 100,
                advertised: BTreeMap::new(),
            },
            absent_since: None,
        })
    };
    (0..VALIDATORS).map(validator).collect::<anyhow::Result<Vec<_>>>().map(|all| all.into_iter().collect())
}

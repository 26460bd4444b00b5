//! Contents of hosts: what is equal is kept once, what no plan names goes, and what was kept whole before can be read.

use super::*;
use picket_lab::icon::ChainState;
use picket_model::{AllowSet, Grade, NodeConfig, Provenance, Purpose, Validator};
use std::{collections::BTreeSet, sync::Arc};

const HOSTS: u8 = 50;

/// Mainnet's list, but for the few P-Reps that are known by a name.
fn mainnet() -> ValidatorSet {
    let sources = ["ctz.solidwallet.io", "preps.net.solidwallet.io", "api.icon.community"];
    let preps = ChainState::mainnet().preps;
    let validators = preps.iter().filter_map(|prep| {
        let text = |key: &str| prep[key].as_str().unwrap();
        let endpoint: picket_model::P2pEndpoint = text("p2pEndpoint").parse().ok()?;
        let picket_model::Host::Address(address) = endpoint.host else { return None };
        Some(Validator {
            prep: text("address").parse().unwrap(),
            name: text("name").to_owned(),
            node_address: text("nodeAddress").parse().unwrap(),
            grade: Grade::Main,
            endpoint,
            addresses: [address.into()].into(),
            provenance: Provenance {
                sources: sources.map(|id| id.parse().unwrap()).into(),
                since_height: 31_000_000,
                advertised: [].into(),
            },
            absent_since: None,
        })
    });
    validators.collect()
}

async fn planned(store: &Store, validators: &ValidatorSet) -> Plan {
    let mut tx = store.read().await.unwrap();
    let (nodes, parent) = (tx.nodes().await.unwrap(), tx.target().await.unwrap().map(|target| target.plan));
    let (mesh, policy) = ("m-1".parse().unwrap(), Policy::default());
    plan(&PlanInput {
        mesh: &mesh,
        policy: &policy,
        policy_version: 1,
        validators,
        validators_version: 1,
        nodes: &nodes,
        next_keys: &picket_plan::NextKeys::new(),
        shield: &picket_model::ShieldOrders::default(),
        drains: &picket_model::Drains::new(),
        parent: parent.as_ref(),
        now: NOW,
        epochs: picket_plan::Epochs::default(),
    })
}

/// Bytes of text in contents, their parts and plans.
async fn bytes(store: &Store) -> i64 {
    let sum = "SELECT (SELECT SUM(LENGTH(content) + LENGTH(digest) + LENGTH(mesh) + 16) FROM parts)
                    + (SELECT SUM(LENGTH(mesh) + LENGTH(node) + 48) FROM configs)
                    + (SELECT SUM(LENGTH(mesh) + LENGTH(basis) + LENGTH(revisions) + 32) FROM plans) AS bytes";
    let mut tx = store.read().await.unwrap();
    row::number(&query(sum).fetch_one(&mut tx.sql).await.unwrap(), "bytes").unwrap()
}

/// Fifty hosts and mainnet's list, of which one P-Rep leaves: every host's state changes.
#[tokio::test]
async fn a_change_of_the_list_is_written_once_for_all_hosts() {
    on_both(async |store, _own| {
        let role = |number| if number % 2 == 0 { NodeRole::Sentry } else { NodeRole::Prep };
        let hosts: Vec<Node> =
            (1..=HOSTS).map(|number| node(&format!("host-{number}"), role(number), number)).collect();
        enter(&store, &hosts).await;
        let mut validators = mainnet();
        assert!(validators.len() > 90);
        assert!(commit(&store, &planned(&store, &validators).await).await);
        let before = bytes(&store).await;
        validators.0.pop_last();
        let next = planned(&store, &validators).await;
        let whole: usize = next.nodes.values().map(|config| serde_json::to_string(&**config).unwrap().len()).sum();
        assert!(commit(&store, &next).await);
        let after = bytes(&store).await - before;
        // Measured: 2,568,042 bytes kept whole, 25,139 in parts.
        assert!(whole > 2_000_000 && after < 40_000, "{whole} bytes whole, {after} in parts");

        let target = store.read().await.unwrap().target().await.unwrap().unwrap();
        assert_eq!(target.plan, next);
        // In memory, too, they are one.
        let sets =
            target.plan.nodes.values().map(|config| Arc::as_ptr(&config.firewall.allowed(Purpose::P2p).0).addr());
        assert_eq!(sets.collect::<BTreeSet<_>>().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn old_plans_go_with_what_they_alone_named_and_the_others_stay_whole() {
    on_both(async |store, _own| {
        let nodes = [
            node("prep-1", NodeRole::Prep, 1),
            node("sentry-1", NodeRole::Sentry, 2),
            node("still", NodeRole::Sentry, 3),
        ];
        enter(&store, &nodes).await;
        let mut target = next_plan(&store).await;
        assert!(commit(&store, &target).await);
        let first_parts = store.read().await.unwrap().rows_kept().await.2;
        let mut tx = store.write().await.unwrap();
        for _ in 0..1100 {
            let generation = target.generation.next();
            let mut next = Plan { generation, parent: target.generation, ..target };
            for config in next.nodes.values_mut().map(std::sync::Arc::make_mut) {
                if config.node.as_str() != "still" {
                    (config.generation, config.revision) = (generation, generation);
                    // A set that both hosts have, and no other plan.
                    let mut set = AllowSet::default();
                    let line = generation.to_string();
                    set.insert("192.0.2.0/24".parse().unwrap(), picket_model::Reason::Policy { line });
                    config.firewall.allow.insert(Purpose::Admin, set);
                }
            }
            assert!(tx.commit_plan(&next, NOW).await.unwrap());
            target = next;
        }
        tx.commit().await.unwrap();
        let mut tx = store.read().await.unwrap();
        assert_eq!(tx.target().await.unwrap().unwrap().plan, target);
        // Of the host that stays as it is, one content; of the others, one for each plan. A set for each plan.
        assert_eq!(tx.rows_kept().await, (1000, 2001, first_parts + 1000));
        assert_eq!(tx.plans_kept().await.unwrap(), Some((Generation(102), Generation(1101))));
        assert_eq!(tx.kept_plan(Generation(101)).await.unwrap(), None);
        let oldest = tx.kept_plan(Generation(102)).await.unwrap().unwrap().plan;
        let line = |name: &str| {
            let config: &NodeConfig = &oldest.nodes[&name.parse::<NodeId>().unwrap()];
            config.firewall.allowed(Purpose::Admin).0.values().flatten().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!((line("prep-1"), line("still")), (vec!["policy: 102".to_owned()], vec![]));
    })
    .await;
}

/// The database of a controller before parts, with the plan of two hosts in it.
#[tokio::test]
async fn contents_that_were_kept_whole_are_taken_apart_and_read_as_they_were() {
    let (store, dir) = store().await;
    enter(&store, &[node("prep-1", NodeRole::Prep, 1), node("sentry-1", NodeRole::Sentry, 2)]).await;
    let before = planned(&store, &mainnet()).await;
    assert!(commit(&store, &before).await);
    let mut tx = store.write().await.unwrap();
    for statement in [
        "DROP TABLE configs",
        "DROP TABLE parts",
        "DROP TABLE validator_changes",
        "DROP TABLE observations",
        "DROP TABLE observation_days",
        "DROP TABLE orders",
        "ALTER TABLE validator_sets DROP COLUMN version",
        "ALTER TABLE validator_sets DROP COLUMN oldest_version",
        "ALTER TABLE validator_sets DROP COLUMN pruned_at",
        "DELETE FROM _sqlx_migrations WHERE version = 3",
        "CREATE TABLE configs (mesh TEXT NOT NULL, node TEXT NOT NULL REFERENCES nodes (id), revision INTEGER NOT NULL,
             config TEXT NOT NULL, PRIMARY KEY (mesh, node, revision)) STRICT",
    ] {
        query(statement).execute(&mut tx.sql).await.unwrap();
    }
    for config in before.nodes.values() {
        query("INSERT INTO configs VALUES ('m-1', $1, $2, $3)")
            .bind(config.node.as_str())
            .bind(i64::try_from(config.revision.0).unwrap())
            .bind(serde_json::to_string(&**config).unwrap())
            .execute(&mut tx.sql)
            .await
            .unwrap();
    }
    let set = serde_json::to_string(&mainnet()).unwrap();
    query("INSERT INTO validator_sets VALUES ('m-1', $1, '[]', 'null', '[]', 7, 500, '{}')")
        .bind(set)
        .execute(&mut tx.sql)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    store.close().await;

    let store = Store::open(&dir.path().join("db"), "m-1".parse().unwrap()).await.unwrap();
    let mut tx = store.read().await.unwrap();
    assert_eq!(tx.target().await.unwrap().unwrap().plan, before);
    // Two bodies, the list's two sets, and each host's own overlay set.
    let distinct = before.nodes.values().flat_map(|config| config.firewall.allow.values());
    let distinct: BTreeSet<String> = distinct.map(|set| serde_json::to_string(set).unwrap()).collect();
    assert_eq!(tx.rows_kept().await, (1, 2, 2 + i64::try_from(distinct.len()).unwrap()));
    assert_eq!(tx.set_of(1).await.unwrap(), Some(mainnet()));
    drop(tx);
    // The next plan takes over from it, and nothing of the old is lost.
    let mut fewer = mainnet();
    fewer.0.pop_first();
    let after = planned(&store, &fewer).await;
    assert!(commit(&store, &after).await);
    let mut tx = store.read().await.unwrap();
    assert_eq!(tx.target().await.unwrap().unwrap().plan, after);
    assert_eq!(tx.kept_plan(before.generation).await.unwrap().unwrap().plan, before);
}

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
        meshed: None,
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
                    + (SELECT SUM(LENGTH(mesh) + LENGTH(basis) + 32) FROM plans) AS bytes";
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

        // A host that comes later, one of which more is otherwise, and few that are under a revision of their own.
        enter(&store, &[node("late", NodeRole::Sentry, HOSTS + 1)]).await;
        assert!(commit(&store, &planned(&store, &validators).await).await);
        for change in 0..3 {
            validators.0.pop_last();
            let mut next = planned(&store, &validators).await;
            let config = Arc::make_mut(next.nodes.values_mut().nth(change).unwrap());
            config.wireguard.mtu -= 1;
            assert!(commit(&store, &next).await);
            let mut tx = store.read().await.unwrap();
            assert_eq!(tx.target().await.unwrap().unwrap().plan, next);
            assert_eq!(tx.kept_plan(target.plan.generation).await.unwrap().unwrap(), target);
            assert_eq!(miscounted(&mut tx).await, 0);
        }
    })
    .await;
}

/// Parts that say that more or fewer contents name them than do.
async fn miscounted(tx: &mut Transaction) -> i64 {
    let count = "SELECT COUNT(*) AS parts FROM parts WHERE named <> (SELECT COUNT(*) FROM configs WHERE body = parts.id)
        + (SELECT COUNT(*) FROM configs WHERE p2p = parts.id) + (SELECT COUNT(*) FROM configs WHERE rpc = parts.id)
        + (SELECT COUNT(*) FROM configs WHERE admin = parts.id) + (SELECT COUNT(*) FROM configs WHERE overlay = parts.id)";
    row::number(&query(count).fetch_one(&mut tx.sql).await.unwrap(), "parts").unwrap()
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
            let mut next = Plan { generation, parent: target.generation, ..target.clone() };
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
            assert!(tx.commit_plan(Some(&target), &next, NOW).await.unwrap());
            target = next;
        }
        tx.commit().await.unwrap();
        let mut tx = store.read().await.unwrap();
        assert_eq!(tx.target().await.unwrap().unwrap().plan, target);
        // Of the host that stays as it is, one content; of the others, one for each plan. A set for each plan.
        // They were dropped last with plan 1100.
        assert_eq!(tx.rows_kept().await, (1001, 2003, first_parts + 1001));
        assert_eq!(tx.plans_kept().await.unwrap(), Some((Generation(101), Generation(1101))));
        assert_eq!(tx.kept_plan(Generation(100)).await.unwrap(), None);
        let oldest = tx.kept_plan(Generation(101)).await.unwrap().unwrap().plan;
        let line = |name: &str| {
            let config: &NodeConfig = &oldest.nodes[&name.parse::<NodeId>().unwrap()];
            config.firewall.allowed(Purpose::Admin).0.values().flatten().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!((line("prep-1"), line("still")), (vec!["policy: 101".to_owned()], vec![]));
    })
    .await;
}

/// Plans by hand, one after another, each with the hosts that it is to have; in brackets those that are otherwise.
async fn commit_all(store: &Store, first: &Plan, plans: &[&str]) -> Vec<Plan> {
    let mut tx = store.write().await.unwrap();
    let mut all = vec![first.clone()];
    for hosts in plans {
        let before = all.last().unwrap();
        let generation = before.generation.next();
        let mut next = Plan { generation, parent: before.generation, ..before.clone() };
        next.nodes = Default::default();
        for host in hosts.split_whitespace() {
            let id: NodeId = host.trim_matches(['[', ']']).parse().unwrap();
            let mut config = NodeConfig::clone(before.nodes.get(&id).unwrap_or(&first.nodes[&id]));
            if host.starts_with('[') || !before.nodes.contains_key(&id) {
                (config.generation, config.revision) = (generation, generation);
                config.wireguard.mtu = u16::try_from(1300 + generation.0 % 100).unwrap();
            }
            next.nodes.insert(id, Arc::new(config));
        }
        assert!(tx.commit_plan(Some(before), &next, NOW).await.unwrap());
        all.push(next);
    }
    tx.commit().await.unwrap();
    all
}

#[tokio::test]
async fn every_plan_has_the_hosts_that_it_had_whoever_came_went_and_came_back() {
    on_both(async |store, own| {
        enter(&store, &[node("a", NodeRole::Prep, 1), node("b", NodeRole::Sentry, 2), node("c", NodeRole::Sentry, 3)])
            .await;
        let first = next_plan(&store).await;
        assert!(commit(&store, &first).await);
        let plans = ["a c", "[a] c", "a b c", "", "b", "a b", "a b [b]", "a", "a b c"];
        let all = commit_all(&store, &first, &plans).await;
        let target = |plan: &Plan| Target { plan: plan.clone(), planned_at: NOW };
        let mut tx = store.read().await.unwrap();
        for plan in &all {
            assert_eq!(tx.kept_plan(plan.generation).await.unwrap(), Some(target(plan)));
            // Whatever a controller knew last, it comes to the same.
            let newer = plan.generation < all.last().unwrap().generation;
            let found = tx.target_after(&target(plan)).await.unwrap();
            assert_eq!(found, newer.then(|| target(all.last().unwrap())), "after {}", plan.generation);
        }
        // In a copy too.
        let folder = tempfile::tempdir().unwrap();
        store.back_up(&folder.path().join("copy"), &picket_progress::Progress::silent()).await.unwrap();
        let copy = Store::open(&folder.path().join("copy"), "m-1".parse().unwrap()).await.unwrap();
        let mut tx = copy.read().await.unwrap();
        for plan in &all {
            assert_eq!(tx.kept_plan(plan.generation).await.unwrap(), Some(target(plan)));
        }
        drop((tx, own));
        copy.close().await;
    })
    .await;
}

/// A host that was in quarantine once and has been at peace since, a thousand plans about others ago.
#[tokio::test]
async fn a_host_that_was_cut_once_and_came_back_keeps_its_content_however_old() {
    on_both(async |store, _own| {
        enter(&store, &[node("a", NodeRole::Prep, 1), node("b", NodeRole::Sentry, 2)]).await;
        let first = next_plan(&store).await;
        assert!(commit(&store, &first).await);
        let mut tx = store.write().await.unwrap();
        let cut = Cut { generation: first.generation, hosts: vec!["b".parse().unwrap()] };
        tx.put_cut(&"a".parse().unwrap(), &cut).await.unwrap();
        tx.commit().await.unwrap();
        let mut plans = vec!["[a] b", "a", "a b"];
        plans.extend(["a [b]"; 1060]);
        let all = commit_all(&store, &first, &plans).await;
        let mut tx = store.read().await.unwrap();
        let (last, (oldest, _)) = (all.last().unwrap(), tx.plans_kept().await.unwrap().unwrap());
        assert!(last.nodes[&"a".parse::<NodeId>().unwrap()].revision < oldest);
        let target = |plan: &Plan| Target { plan: plan.clone(), planned_at: NOW };
        assert_eq!(tx.target().await.unwrap(), Some(target(last)));
        // Who was away for so long that the departure is older than any plan kept learns of it all the same.
        assert_eq!(tx.target_after(&target(&all[1])).await.unwrap(), Some(target(last)));
        assert_eq!(tx.target_after(&target(&all[2])).await.unwrap(), Some(target(last)));
    })
    .await;
}

/// The database of a controller whose plans each had the list of all hosts: who departed is found in those.
#[tokio::test]
async fn who_departed_is_found_in_the_lists_of_before() {
    let (store, dir) = store().await;
    enter(&store, &[node("a", NodeRole::Prep, 1), node("b", NodeRole::Sentry, 2), node("c", NodeRole::Sentry, 3)])
        .await;
    let first = next_plan(&store).await;
    assert!(commit(&store, &first).await);
    let all = commit_all(&store, &first, &["a c", "[a] c", "a b c", "", "b", "a b"]).await;
    let mut tx = store.write().await.unwrap();
    for statement in [
        "DROP TABLE departures",
        "ALTER TABLE plans ADD COLUMN revisions TEXT NOT NULL DEFAULT ''",
        "DELETE FROM _sqlx_migrations WHERE version = 18",
        "DELETE FROM plans WHERE generation <= 2",
    ] {
        query(statement).execute(&mut tx.sql).await.unwrap();
    }
    for plan in &all {
        let revisions: std::collections::BTreeMap<&NodeId, Generation> =
            plan.nodes.iter().map(|(id, config)| (id, config.revision)).collect();
        query("UPDATE plans SET revisions = $1 WHERE generation = $2")
            .bind(serde_json::to_string(&revisions).unwrap())
            .bind(i64::try_from(plan.generation.0).unwrap())
            .execute(&mut tx.sql)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    store.close().await;

    let store = Store::open(&dir.path().join("db"), "m-1".parse().unwrap()).await.unwrap();
    let mut tx = store.read().await.unwrap();
    for plan in &all[2..] {
        assert_eq!(tx.kept_plan(plan.generation).await.unwrap().unwrap().plan, *plan);
    }
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

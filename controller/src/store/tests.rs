//! The database as a whole: what goes in comes out, losers of a race write nothing, damage is an error.

mod both;
mod changed;
mod contents;
mod history;
mod log;
mod mixed;
mod observed;
mod planners;
mod queue;
mod races;
mod reports;

use super::{statement::query, *};
use both::{Own, on_both};
use picket_model::{
    Generation, IdentityKey, Node, NodeId, NodeRole, NodeState, OverlayAddresses, OverlayPrefixes, Policy, Timestamp,
    TokenId, ValidatorSet, WireGuardPublicKey, fixture,
};
use picket_plan::{Plan, PlanInput, overlay, plan};
use std::collections::BTreeMap;
use tempfile::TempDir;

const NOW: Timestamp = Timestamp::from_millis(1_000);

/// A file of SQLite's, for what is of no other database.
async fn store() -> (Store, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("db"), "m-1".parse().unwrap()).await.unwrap();
    enter_mesh(&store).await;
    (store, dir)
}

async fn enter_mesh(store: &Store) {
    let prefixes = OverlayPrefixes { v4: "10.86.0.0/16".parse().unwrap(), v6: overlay::ula_prefix([1; 5]) };
    let mut tx = store.write().await.unwrap();
    tx.enter_mesh(&prefixes, NOW).await.unwrap();
    tx.commit().await.unwrap();
}

fn node(name: &str, role: NodeRole, number: u8) -> Node {
    Node {
        overlay: OverlayAddresses { v4: [10, 86, 0, number].into(), v6: format!("fd01::{number:x}").parse().unwrap() },
        endpoint: Some("192.0.2.1:51820".parse().unwrap()),
        identity_key: Some(IdentityKey(WireGuardPublicKey::new([number + 100; 32]).unwrap())),
        machine_id: Some("abc".into()),
        enrolled_at: NOW,
        ..fixture::node(name, role, number)
    }
}

fn token() -> TokenId {
    "t-1".parse().unwrap()
}

async fn enter(store: &Store, nodes: &[Node]) {
    let mut tx = store.write().await.unwrap();
    for node in nodes {
        tx.insert_node(node, &token()).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn next_plan(store: &Store) -> Plan {
    planned(store).await.0
}

/// The next plan, and the generation of the target that it was made from.
async fn planned(store: &Store) -> (Plan, Generation) {
    let mut tx = store.read().await.unwrap();
    let (nodes, parent) = (tx.nodes().await.unwrap(), tx.target().await.unwrap().map(|target| target.plan));
    let (mesh, policy, validators) = ("m-1".parse().unwrap(), Policy::default(), ValidatorSet::default());
    let next = plan(&PlanInput {
        mesh: &mesh,
        policy: &policy,
        policy_version: 1,
        validators: &validators,
        validators_version: 1,
        nodes: &nodes,
        meshed: None,
        next_keys: &picket_plan::NextKeys::new(),
        shield: &picket_model::ShieldOrders::default(),
        drains: &picket_model::Drains::new(),
        parent: parent.as_ref(),
        now: NOW,
        epochs: picket_plan::Epochs::default(),
    });
    (next, parent.map(|parent| parent.generation).unwrap_or_default())
}

async fn commit(store: &Store, plan: &Plan) -> bool {
    let mut tx = store.write().await.unwrap();
    let parent = tx.target().await.unwrap();
    let won = tx.commit_plan(parent.as_ref().map(|parent| &parent.plan), plan, NOW).await.unwrap();
    if won {
        tx.commit().await.unwrap();
    }
    won
}

#[tokio::test]
async fn a_plan_comes_back_as_it_went_in() {
    on_both(async |store, _own| {
        enter(&store, &[node("prep-1", NodeRole::Prep, 1)]).await;
        let first = next_plan(&store).await;
        assert!(commit(&store, &first).await);
        enter(&store, &[node("sentry-1", NodeRole::Sentry, 2), node("sentry-2", NodeRole::Sentry, 3)]).await;
        let second = next_plan(&store).await;
        assert!(commit(&store, &second).await);
        assert_eq!(store.read().await.unwrap().target().await.unwrap().unwrap().plan, second);
    })
    .await;
}

#[tokio::test]
async fn only_one_child_of_a_plan_becomes_the_target() {
    on_both(async |store, _own| {
        enter(&store, &[node("prep-1", NodeRole::Prep, 1)]).await;
        let plan = next_plan(&store).await;
        assert!(commit(&store, &plan).await);
        assert!(!commit(&store, &plan).await);
        assert_eq!(store.read().await.unwrap().target_generation().await.unwrap(), Generation(1));
        assert_eq!(store.read().await.unwrap().rows_kept().await.0, 1);
    })
    .await;
}

#[tokio::test]
async fn hosts_come_back_revoked_ones_too() {
    on_both(async |store, _own| {
        let (mut one, two) = (node("prep-1", NodeRole::Prep, 1), node("sentry-1", NodeRole::Sentry, 2));
        enter(&store, &[one.clone(), two.clone()]).await;
        let mut tx = store.write().await.unwrap();
        assert!(tx.revoke_node(&one.id, NOW).await.unwrap());
        assert!(!tx.revoke_node(&one.id, Timestamp::from_millis(2_000)).await.unwrap());
        one.state = NodeState::Revoked { at: NOW };
        let all: BTreeMap<NodeId, Node> = [one.clone(), two].into_iter().map(|node| (node.id.clone(), node)).collect();
        assert_eq!(*tx.nodes().await.unwrap(), all);
        assert_eq!(tx.addresses_given().await.unwrap(), 2);
        assert_eq!(tx.nodes_with_key(&one.wireguard_key, "none").await.unwrap()[0].token, token());
    })
    .await;
}

#[tokio::test]
async fn a_name_means_the_member_before_the_revoked() {
    on_both(async |store, _own| {
        let (old, new) = (node("n-1", NodeRole::Prep, 1), node("n-2", NodeRole::Prep, 2));
        let named = |node: &Node| Node { name: "prep".parse().unwrap(), ..node.clone() };
        enter(&store, &[named(&old)]).await;
        let mut tx = store.write().await.unwrap();
        tx.revoke_node(&old.id, NOW).await.unwrap();
        assert_eq!(tx.node_called("prep").await.unwrap().unwrap().id, old.id);
        tx.insert_node(&named(&new), &token()).await.unwrap();
        assert_eq!(tx.node_called("prep").await.unwrap().unwrap().id, new.id);
        assert_eq!(tx.node_called("n-1").await.unwrap().unwrap().id, old.id);
        assert_eq!(tx.node_called("nobody").await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_damaged_row_is_an_error_that_names_it() {
    on_both(async |store, _own| {
        enter(&store, &[node("prep-1", NodeRole::Prep, 1)]).await;
        assert!(commit(&store, &next_plan(&store).await).await);
        let damage = async |statement: &'static str| {
            let mut tx = store.write().await.unwrap();
            query(statement).execute(&mut tx.sql).await.unwrap();
            tx.commit().await.unwrap();
        };
        damage("UPDATE nodes SET wireguard_key = 'short'").await;
        let error = store.read().await.unwrap().nodes().await.unwrap_err().to_string();
        assert!(error.contains("host prep-1, column wireguard_key"), "{error}");
        damage("UPDATE parts SET content = '{}'").await;
        let error = store.read().await.unwrap().target().await.unwrap_err().to_string();
        assert!(error.contains("content 1 of host prep-1"), "{error}");
        damage("DELETE FROM parts").await;
        let error = store.read().await.unwrap().target().await.unwrap_err().to_string();
        assert!(error.contains("it is missing"), "{error}");
    })
    .await;
}

/// The database of a controller before pools, with a host and a token in it.
#[tokio::test]
async fn hosts_and_tokens_from_before_pools_are_in_none() {
    let (store, dir) = store().await;
    let old = node("sentry-1", NodeRole::Sentry, 2);
    enter(&store, std::slice::from_ref(&old)).await;
    let given = |id: &str, pool: Option<&str>| Token {
        id: id.parse().unwrap(),
        secret_hash: picket_pki::TokenSecret::from_bytes([1; 32]).hash(),
        role: NodeRole::Sentry,
        uses: 1,
        used: 0,
        created_at: NOW,
        expires_at: NOW,
        terms: TokenTerms { pool: pool.map(|pool| pool.parse().unwrap()), ..TokenTerms::default() },
        made_by: None,
        revoked_at: None,
    };
    let mut tx = store.write().await.unwrap();
    tx.insert_token(&given("t-1", None)).await.unwrap();
    for statement in [
        "ALTER TABLE tokens DROP COLUMN pool",
        "ALTER TABLE nodes DROP COLUMN pool",
        "DELETE FROM _sqlx_migrations WHERE version = 10",
    ] {
        query(statement).execute(&mut tx.sql).await.unwrap();
    }
    tx.commit().await.unwrap();
    store.close().await;

    let store = Store::open(&dir.path().join("db"), "m-1".parse().unwrap()).await.unwrap();
    let (new, token) = (node("sentry-2", NodeRole::Sentry, 3), given("t-2", Some("edge")));
    let new = Node { pool: Some("edge".parse().unwrap()), ..new };
    enter(&store, std::slice::from_ref(&new)).await;
    let mut tx = store.write().await.unwrap();
    tx.insert_token(&token).await.unwrap();
    assert_eq!(tx.token(&"t-1".parse().unwrap()).await.unwrap(), Some(given("t-1", None)));
    assert_eq!(tx.token(&token.id).await.unwrap(), Some(token));
    assert_eq!(tx.nodes().await.unwrap().values().cloned().collect::<Vec<_>>(), [old, new]);
    query("UPDATE nodes SET pool = 'Edge 1' WHERE id = 'sentry-2'").execute(&mut tx.sql).await.unwrap();
    let error = tx.nodes().await.unwrap_err().to_string();
    assert!(error.contains("host sentry-2, column pool"), "{error}");
}

#[tokio::test]
async fn a_dropped_change_leaves_nothing() {
    on_both(async |store, _own| {
        let mut tx = store.write().await.unwrap();
        tx.record(NOW, &Actor::Controller, "test", "x", "").await.unwrap();
        drop(tx);
        assert_eq!(store.read().await.unwrap().events(10).await.unwrap(), []);
    })
    .await;
}

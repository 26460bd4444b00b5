//! Several controllers on one PostgreSQL database behave as one: whatever is changed through one of them reaches the hosts of the
//! others at once, nothing is done twice, and one that ends is missed by nobody.

use crate::fixture::{Agent, Host, Mesh, eventually, report};
use picket_api::{
    AgentClient, ApiError, ProblemKind,
    operator::{CreateToken, RevokeQuery},
    shield::{OrderShield, ShieldWish},
    validators::HoldRequest,
};
use picket_controller::store::Actor;
use picket_lab::Postgres;
use picket_model::{Generation, Lease, NodeRole, Policy, Timestamp};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant, SystemTime},
};
use tokio::{sync::watch, time::timeout};

/// What an operator notices; a look at the rows each second is the worst case.
const AT_ONCE: Duration = Duration::from_secs(1);

async fn two() -> (Mesh, Mesh) {
    let one = Mesh::start_on(&Postgres::shared().database().unwrap(), "").await;
    let two = one.beside().await;
    (one, two)
}

/// Has a host of `through` wait, does something elsewhere, and gives what the host is told.
async fn told<T>(agent: &Agent, through: &Mesh, doing: impl Future<Output = T>) -> (Generation, T) {
    let before = agent.wanted().await;
    let poll = agent.waiting(through, &before).await;
    let done = doing.await;
    let since = Instant::now();
    let news = poll.await.unwrap().unwrap().unwrap();
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
    assert!(news.revision > before.revision);
    (news.revision, done)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_changed_through_one_reaches_the_hosts_of_the_other_within_a_second() {
    let (a, b) = two().await;
    let prep = a.join(NodeRole::Prep, "prep-1").await.connected(&b);
    let mut generations = Vec::new();
    let (generation, sentry) = told(&prep, &b, a.join(NodeRole::Sentry, "sentry-1")).await;
    generations.push(generation);
    let (generation, other) = told(&prep, &b, a.join(NodeRole::Sentry, "sentry-2")).await;
    generations.push(generation);
    let shield = OrderShield { shield: ShieldWish::On, hosts: Vec::new(), seconds: Some(60) };
    generations.push(told(&prep, &b, async { a.operator().order_shield(&shield).await.unwrap() }).await.0);
    // A host of the one is cut through the other: its peers, and its own requests and connections.
    let (sentry, other) = (sentry.connected(&a), other.connected(&b));
    let wait = RevokeQuery { wait_ms: Some(10_000) };
    let revoke = async {
        let receipt = b.operator().revoke(sentry.node.as_str(), &RevokeQuery { wait_ms: Some(0) }).await.unwrap();
        assert_eq!(receipt.missing.len(), 1);
    };
    let waits = sentry.waiting(&a, &sentry.wanted().await).await;
    generations.push(told(&prep, &b, revoke).await.0);
    match waits.await.unwrap() {
        Err(ApiError::Problem(problem)) => assert_eq!(problem.kind, ProblemKind::NodeRevoked),
        // Closed under it.
        Err(_) => {}
        Ok(news) => panic!("a revoked host is told {news:?}"),
    }
    assert_eq!(sentry.client().config(Generation(0)).await.unwrap_err().kind(), Some(ProblemKind::NodeRevoked));
    // Hosts that report to the one confirm to the other.
    prep.client().report(&report(&prep.wanted().await)).await.unwrap();
    let receipt = a.operator().revoke("sentry-1", &wait).await.unwrap();
    assert_eq!((receipt.in_force.len(), receipt.missing.len()), (1, 0));
    // A wish that makes no plan reaches its host too.
    let poll = other.waiting(&b, &other.wanted().await).await;
    a.operator().replace_key("sentry-2").await.unwrap();
    assert_eq!(poll.await.unwrap().unwrap(), None);
    assert!(generations.is_sorted_by(|a, b| a < b), "{generations:?}");
    assert_eq!(a.status().await.generation, b.status().await.generation);
    assert!(b.operator().verify_events().await.unwrap().broken.is_none());
}

/// The one that asks for the list, and the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_asks_for_the_list_and_another_does_once_that_one_is_gone() {
    let (mut a, b) = two().await;
    let prep = b.join(NodeRole::Prep, "prep-1").await;
    let asked = a.icon.requests();
    // Orders through the one that does not judge are in force when it says so.
    let hold = HoldRequest { comment: "a look".to_owned(), seconds: None };
    let receipt = b.operator().hold(&hold).await.unwrap();
    assert!(receipt.held.is_some() || receipt.orders.hold.is_some(), "{receipt:?}");
    b.operator().release().await.unwrap();
    eventually("the list to be asked for", async || a.icon.requests() > asked).await;
    let seen = b.status().await.sources[0].seen_at;
    assert!(seen.is_some());

    a.stop().await;
    eventually("the other one to ask", async || b.status().await.sources[0].seen_at > seen).await;
    let before = prep.wanted().await;
    let gone = crate::fixture::preps(&b.icon)[3];
    b.icon.remove(gone).unwrap();
    let news = prep.client().config(before.revision).await.unwrap().unwrap();
    assert!(news.revision > before.revision);
    // And it is told once of each thing.
    let events = b.operator().events().await.unwrap();
    let changed = events.iter().filter(|event| event.action == "validators.changed").count();
    assert_eq!(changed, 2, "{events:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_sent_to_two_with_one_key_is_carried_out_once() {
    let (a, b) = two().await;
    let token = a.token_of_operator();
    let request = CreateToken::new(NodeRole::Sentry, 1, 60);
    for round in 0..10 {
        let ask = async |mesh: &Mesh| {
            let call = crate::operators::http(mesh).post(format!("{}/v1/tokens", mesh.operators_url()));
            let key = format!("k-{round}");
            let answer = call.bearer_auth(&token).header("idempotency-key", key).json(&request).send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };
        let (one, two) = tokio::join!(ask(&a), ask(&b));
        let good = [&one, &two].iter().filter(|answer| answer.0 == 200).count();
        assert!(good >= 1, "{one:?} {two:?}");
        // Repeated, both have the same answer.
        let (one, two) = (ask(&a).await, ask(&b).await);
        assert_eq!(one, two);
        assert_eq!(a.operator().tokens().await.unwrap().len(), round + 1);
    }
}

#[tokio::test]
async fn a_controller_without_the_meshs_ca_makes_none_of_its_own() {
    let mesh = Mesh::start_on(&Postgres::shared().database().unwrap(), "").await;
    let folder = tempfile::tempdir().unwrap();
    let error = picket_controller::App::start(mesh.parsed(), folder.path()).await.unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("copy ca.pem and ca.key") && text.contains(mesh.status().await.mesh.as_str()), "{text}");
    assert!(!folder.path().join("ca.key").exists());
}

/// A change of which only the row is there, and no poll of the list that would make a plan by the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_controller_did_not_live_to_plan_is_planned_by_another() {
    let mut mesh = Mesh::start_on(&Postgres::shared().database().unwrap(), "").await;
    mesh.stop().await;
    mesh.config = mesh.config.replace("poll_seconds = 1\n", "poll_seconds = 3600\n");
    let seen = Timestamp::from(SystemTime::now());
    mesh.resume().await;
    eventually("the only poll", async || mesh.status().await.sources[0].seen_at > Some(seen)).await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let sentry = mesh.join(NodeRole::Sentry, "sentry-1").await;
    let poll = prep.waiting(&mesh, &prep.wanted().await).await;
    let (store, now) = (mesh.store().await, Timestamp::from(SystemTime::now()));
    let mut tx = store.write().await.unwrap();
    assert!(tx.revoke_node(&sentry.node, now).await.unwrap());
    tx.record(now, &Actor::Controller, "node.revoked", "sentry-1", "").await.unwrap();
    tx.commit().await.unwrap();
    let news = timeout(Duration::from_secs(10), poll).await.expect("a plan without it").unwrap().unwrap().unwrap();
    assert!(news.full.wireguard.peers.is_empty(), "{news:?}");
}

/// Waits at the one that does not sweep, whose word in the database the other one goes by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_renewed_at_one_is_not_ended_by_the_other() {
    const HOUR: Duration = Duration::from_hours(1);
    /// Longer than from one round of a controller to the next.
    const LEFT: Duration = Duration::from_secs(7);
    let a = Mesh::start_on(&Postgres::shared().database().unwrap(), "[leases]\ngrace_seconds = 0\n").await;
    let b = a.beside().await;
    let prep = a.join(NodeRole::Prep, "prep-1").await;
    let _prep = prep.waiting(&a, &prep.wanted().await).await;
    let kept = a.join(NodeRole::Sentry, "kept").await.connected(&b);
    let gone = a.join(NodeRole::Sentry, "gone").await;
    let _kept = kept.waiting(&b, &kept.wanted().await).await;
    let begun = Timestamp::from(SystemTime::now() - HOUR + LEFT);
    let store = a.store().await;
    let mut tx = store.write().await.unwrap();
    for host in [&kept, &gone] {
        tx.grant_lease(&host.node, &Lease::granted(Some(HOUR), begun), "127.0.0.1".parse().unwrap()).await.unwrap();
    }
    tx.commit().await.unwrap();
    eventually("the lease of the one that nobody hears to end", async || {
        let events = a.operator().events().await.unwrap();
        events.iter().any(|event| event.action == "node.lease-ended" && event.subject == "gone")
    })
    .await;
    let nodes = a.operator().nodes().await.unwrap();
    let view = nodes.iter().find(|view| view.node.id == kept.node).unwrap();
    assert!(view.node.is_active() && !view.lease.is_over(SystemTime::now().into()), "{view:?}");
    let events = a.operator().events().await.unwrap();
    assert_eq!(events.iter().filter(|event| event.action == "node.lease-ended").count(), 1);
}

/// An agent that asks each controller in turn, and is never told to take a step back.
async fn follow(clients: [AgentClient; 3], until: watch::Receiver<bool>) -> Vec<Generation> {
    let mut held = Vec::new();
    let mut after = Generation(0);
    for client in clients.iter().cycle() {
        if *until.borrow() {
            break;
        }
        if let Ok(Ok(Some(news))) = timeout(Duration::from_millis(50), client.config(after)).await {
            assert!(news.revision > after, "{} after {after}", news.revision);
            after = news.revision;
            held.push(after);
        }
    }
    held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_that_plan_at_once_under_joins_revokes_and_policy_edits_lose_nothing() {
    const HOSTS: usize = 6;
    let (a, b) = two().await;
    let c = a.beside().await;
    let watcher = a.join(NodeRole::Prep, "watcher").await;
    let store = a.store().await;
    let tokens =
        [a.token(NodeRole::Sentry, 20).await, b.token(NodeRole::Sentry, 20).await, c.token(NodeRole::Sentry, 20).await];
    let (stop, until) = watch::channel(false);
    let followed = tokio::spawn(follow([&a, &b, &c].map(|mesh| watcher.pinning(mesh, &[mesh.ca()])), until));
    // Joins through each, every second host revoked through another one.
    let meshes = [&a, &b, &c];
    let work = (0..3).map(|which| {
        let token = &tokens[which];
        async move {
            let mut left = Vec::new();
            for number in 0..HOSTS {
                let name = format!("host-{which}-{number}");
                let host = Host::new(NodeRole::Sentry, &name);
                let response = host.enroll(meshes[which], token).await.unwrap();
                if number % 2 == 0 {
                    let cut = RevokeQuery { wait_ms: Some(0) };
                    let other = meshes[(which + 1) % 3].operator();
                    other.revoke(response.node.as_str(), &cut).await.unwrap();
                } else {
                    left.push(response.node);
                }
            }
            left
        }
    });
    let edits = async {
        for version in 2..12_u64 {
            let mut tx = store.write().await.unwrap();
            let (newest, policy) = tx.policy().await.unwrap().unwrap();
            assert_eq!(newest + 1, version);
            let mut policy: Policy = policy;
            policy.brakes.min_size = usize::try_from(version).unwrap();
            let now = Timestamp::from(SystemTime::now());
            tx.insert_policy(version, &policy, now).await.unwrap();
            tx.record(now, &Actor::Controller, "policy.changed", "version", "").await.unwrap();
            tx.commit().await.unwrap();
        }
    };
    let (left, ()) = tokio::join!(futures_util::future::join_all(work), edits);
    let expected: BTreeSet<_> = left.into_iter().flatten().collect();
    // All of them come to the same end.
    eventually("one target everywhere", async || {
        let of = [a.status().await.generation, b.status().await.generation, c.status().await.generation];
        of.iter().all(|generation| *generation == of[0])
    })
    .await;
    stop.send_replace(true);
    let held = followed.await.unwrap();
    assert!(held.len() > 3 && held.is_sorted_by(|a, b| a < b), "{held:?}");
    let mut tx = store.read().await.unwrap();
    let target = tx.target().await.unwrap().unwrap().plan;
    let planned: BTreeSet<_> = target.nodes.keys().filter(|id| expected.contains(*id)).cloned().collect();
    assert_eq!((planned, target.nodes.len()), (expected, 3 * HOSTS / 2 + 1));
    assert_eq!(tx.policy().await.unwrap().unwrap().0, 11);
    // Each generation is one plan, in order and without a gap.
    let events = tx.events(1_000).await.unwrap();
    let committed = events.iter().filter(|event| event.action == "plan.committed");
    let numbers: Vec<u64> = committed.map(|event| event.subject.parse().unwrap()).collect();
    let expected: Vec<u64> = (1..=target.generation.0).collect();
    assert_eq!(numbers, expected);
    assert!(tx.verify_log().await.unwrap().broken.is_none());
}

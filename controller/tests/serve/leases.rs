//! Leases: who is not heard goes, who is heard or pinned stays, and the brakes for the day when nobody is.

use crate::fixture::{Agent, Mesh, eventually};
use picket_api::{ProblemKind, operator::NodeView};
use picket_model::{Lease, NodeRole, Timestamp};
use std::time::{Duration, SystemTime};

const SENTRY: NodeRole = NodeRole::Sentry;
const HOUR: Duration = Duration::from_hours(1);

fn now() -> Timestamp {
    SystemTime::now().into()
}

/// The host was last heard two hours ago; its lease of this length began then.
async fn silent(mesh: &Mesh, agent: &Agent, length: Option<Duration>) {
    let then = Timestamp::from_millis(now().as_millis() - 2 * 3_600_000);
    let store = mesh.store().await;
    let mut tx = store.write().await.unwrap();
    tx.grant_lease(&agent.node, &Lease::granted(length, then), "127.0.0.1".parse().unwrap()).await.unwrap();
    tx.commit().await.unwrap();
}

async fn view(mesh: &Mesh, agent: &Agent) -> NodeView {
    let nodes = mesh.operator().nodes().await.unwrap();
    nodes.into_iter().find(|view| view.node.id == agent.node).unwrap()
}

async fn ended(mesh: &Mesh) -> Vec<String> {
    let events = mesh.operator().events().await.unwrap();
    events.into_iter().filter(|event| event.action == "node.lease-ended").map(|event| event.subject).collect()
}

#[tokio::test]
async fn who_is_not_heard_goes_and_who_is_heard_or_pinned_stays() {
    let mesh = Mesh::start_with("[leases]\ngrace_seconds = 0\n").await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let (gone, heard) = (mesh.join(SENTRY, "gone").await, mesh.join(SENTRY, "heard").await);
    let (pinned, other) = (mesh.join(SENTRY, "pinned").await, mesh.join(SENTRY, "other").await);
    let wanted = prep.wanted().await;
    assert_eq!(wanted.full.wireguard.peers.len(), 4);
    let poll = prep.waiting(&mesh, &wanted).await;
    let _open = heard.waiting(&mesh, &heard.wanted().await).await;
    silent(&mesh, &heard, Some(HOUR)).await;
    silent(&mesh, &pinned, None).await;
    silent(&mesh, &gone, Some(HOUR)).await;

    // Its peers hear of it at once, and it itself for good.
    let news = poll.await.unwrap().unwrap().unwrap();
    assert_eq!(news.full.wireguard.peers.len(), 3);
    assert_eq!(gone.client().config(wanted.revision).await.unwrap_err().kind(), Some(ProblemKind::NodeRevoked));
    assert_eq!(ended(&mesh).await, ["gone"]);
    for member in [&heard, &pinned, &other] {
        assert!(view(&mesh, member).await.node.is_active());
    }
    // Its name is free again.
    assert_ne!(mesh.join(SENTRY, "gone").await.node, gone.node);
}

#[tokio::test]
async fn a_request_renews_and_no_request_is_a_write_each() {
    let mesh = Mesh::start().await;
    let sentry = mesh.join(SENTRY, "sentry-1").await;
    let first = view(&mesh, &sentry).await.lease;
    assert_eq!(first.length(), Some(6 * HOUR));
    sentry.confirm(&sentry.wanted().await).await;
    assert_eq!(view(&mesh, &sentry).await.lease, first);
    // Not swept yet: whoever comes back in time is a member as before.
    silent(&mesh, &sentry, Some(HOUR)).await;
    assert!(view(&mesh, &sentry).await.lease.is_over(now()));
    sentry.wanted().await;
    let renewed = view(&mesh, &sentry).await.lease;
    assert!(!renewed.is_over(now()) && renewed.length() == Some(HOUR), "{renewed:?}");
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    assert_eq!(view(&mesh, &prep).await.lease.until, None);
}

#[tokio::test]
async fn the_last_sentry_stays_and_an_alarm_says_so() {
    let mesh = Mesh::start_with("[leases]\ngrace_seconds = 0\n").await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let only = mesh.join(SENTRY, "sentry-1").await;
    let _open = prep.waiting(&mesh, &prep.wanted().await).await;
    silent(&mesh, &only, Some(HOUR)).await;
    eventually("the alarm", async || {
        mesh.status().await.alarms.iter().any(|alarm| alarm.contains("no sentry at all is heard"))
    })
    .await;
    assert!(view(&mesh, &only).await.node.is_active());
    assert_eq!(ended(&mesh).await, Vec::<String>::new());
    // Once there is another one, it goes.
    let other = mesh.join(SENTRY, "sentry-2").await;
    let _heard = other.waiting(&mesh, &other.wanted().await).await;
    eventually("its lease to end", async || ended(&mesh).await == ["sentry-1"]).await;
}

#[tokio::test]
async fn a_controller_that_has_just_started_lets_hosts_come_back() {
    let mut mesh = Mesh::start().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let (gone, back) = (mesh.join(SENTRY, "gone").await, mesh.join(SENTRY, "back").await);
    silent(&mesh, &gone, Some(HOUR)).await;
    silent(&mesh, &back, Some(HOUR)).await;
    mesh.stop().await;
    mesh.config = mesh.config.replace("[chain]", "[leases]\ngrace_seconds = 7\n[chain]");
    mesh.resume().await;
    // Hosts come back within the grace, one does not.
    let (prep, back) = (prep.connected(&mesh), back.connected(&mesh));
    let _open = prep.waiting(&mesh, &prep.wanted().await).await;
    let _heard = back.waiting(&mesh, &back.wanted().await).await;
    assert_eq!(ended(&mesh).await, Vec::<String>::new());
    eventually("the lease to end", async || ended(&mesh).await == ["gone"]).await;
    assert!(view(&mesh, &back).await.node.is_active());
}

#[tokio::test]
async fn a_host_that_leaves_is_gone_everywhere_and_its_name_is_free() {
    let mesh = Mesh::start().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let leaver = mesh.join(SENTRY, "sentry-1").await;
    let wanted = prep.wanted().await;
    let (poll, own) = (prep.waiting(&mesh, &wanted).await, leaver.waiting(&mesh, &leaver.wanted().await).await);
    leaver.client().leave().await.unwrap();
    let news = poll.await.unwrap().unwrap().unwrap();
    assert_eq!(news.full.wireguard.peers.len(), 0);
    assert_eq!(own.await.unwrap().unwrap_err().kind(), Some(ProblemKind::NodeRevoked));
    let leaver = leaver.connected(&mesh);
    assert_eq!(leaver.client().leave().await.unwrap_err().kind(), Some(ProblemKind::NodeRevoked));
    mesh.join(SENTRY, "sentry-1").await;
    let events = mesh.operator().events().await.unwrap();
    let left: Vec<_> = events.iter().filter(|event| event.action == "node.left").collect();
    assert_eq!((left.len(), left[0].actor.as_str()), (1, leaver.node.as_str()));
}

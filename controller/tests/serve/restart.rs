//! A restart loses nothing and changes nothing.

use crate::fixture::{Host, Mesh, eventually, report};
use picket_controller::store::StoredReport;
use picket_lab::icon::Behaviour;
use picket_model::{Generation, NodeRole, Timestamp};

#[tokio::test]
async fn everything_is_as_it_was() {
    let mut mesh = Mesh::start().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let sentry = mesh.join(NodeRole::Sentry, "sentry-1").await;
    mesh.join(NodeRole::Sentry, "sentry-2").await;
    mesh.operator().revoke("sentry-2", &Default::default()).await.unwrap();
    let token = mesh.token(NodeRole::Sentry, 1).await;
    let wanted = prep.wanted().await;
    prep.confirm(&wanted).await;
    // The chain's endpoint is away when the controller comes back.
    mesh.icon.set_behaviour(Behaviour::EmptyPreps);
    eventually("the hold", async || mesh.operator().validators().await.unwrap().held.is_some()).await;
    let (status, validators) = (mesh.status().await, mesh.operator().validators().await.unwrap());

    mesh.icon.set_behaviour(Behaviour::Stall);
    mesh.stop().await;
    mesh.resume().await;

    assert_eq!(mesh.operator().validators().await.unwrap(), validators);
    let after = mesh.status().await;
    assert_eq!(
        (after.generation, after.planned_at, after.validators, after.nodes, after.in_force),
        (status.generation, status.planned_at, status.validators, status.nodes, status.in_force)
    );
    assert_eq!(after.sources[0].height, status.sources[0].height);
    let prep = prep.connected(&mesh);
    assert_eq!(prep.wanted().await, wanted);
    let poll = prep.waiting(&mesh, &wanted).await;
    let nodes = mesh.operator().nodes().await.unwrap();
    assert_eq!(nodes.iter().filter(|view| view.node.is_active()).count(), 2);
    assert!(nodes.iter().find(|view| view.node.id == prep.node).unwrap().in_force);
    assert!(sentry.connected(&mesh).wanted().await.revision > Generation(0));
    assert!(!poll.is_finished());
    Host::new(NodeRole::Sentry, "sentry-3").enroll(&mesh, &token).await.unwrap();
    assert!(poll.await.unwrap().unwrap().unwrap().revision > wanted.revision);
}

#[tokio::test]
async fn a_new_policy_in_the_file_is_the_next_version() {
    let mut mesh = Mesh::start_with("[policy]\nadmin = [\"192.0.2.0/24\"]\n").await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let before = prep.wanted().await;
    mesh.stop().await;
    mesh.resume().await;
    let prep = prep.connected(&mesh);
    assert_eq!(prep.wanted().await, before);

    mesh.stop().await;
    mesh.config = mesh.config.replace("192.0.2.0/24", "198.51.100.0/24");
    mesh.resume().await;
    let prep = prep.connected(&mesh);
    let after = prep.wanted().await;
    assert!(after.revision > before.revision);
    let admin = after.full.firewall.allowed(picket_model::Purpose::Admin);
    assert_eq!(admin.0.keys().map(ToString::to_string).collect::<Vec<_>>(), ["198.51.100.0/24"]);

    // A file without a policy has no opinion.
    mesh.stop().await;
    mesh.config = mesh.config.split("[policy]").next().unwrap().to_owned();
    mesh.resume().await;
    assert_eq!(prep.connected(&mesh).wanted().await, after);
    let events = mesh.operator().events().await.unwrap();
    let versions = events.iter().filter(|event| event.action == "policy.changed").map(|event| event.subject.as_str());
    assert_eq!(versions.collect::<Vec<_>>(), ["version 1", "version 2"]);
}

#[tokio::test]
async fn a_policy_that_would_lock_the_operator_out_is_stopped_and_shown() {
    let mut mesh = Mesh::start().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let before = prep.wanted().await;
    mesh.stop().await;
    mesh.config.push_str("[policy.ports]\nrpc = [22]\n");
    mesh.resume().await;
    assert_eq!(prep.connected(&mesh).wanted().await, before);
    let alarms = mesh.status().await.alarms;
    assert!(alarms.iter().any(|alarm| alarm.contains("locked out")), "{alarms:?}");
}

#[tokio::test]
async fn a_host_that_fell_silent_is_in_force_again_once_it_is_heard() {
    let mut mesh = Mesh::start().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let wanted = prep.wanted().await;
    prep.confirm(&wanted).await;
    assert_eq!(mesh.status().await.in_force, 1);
    let store = mesh.store().await;
    mesh.stop().await;
    let received_at = Timestamp::from_millis(Timestamp::from(std::time::SystemTime::now()).as_millis() - 300_000);
    let mut tx = store.write().await.unwrap();
    tx.put_reports(&[(prep.node.clone(), StoredReport { report: report(&wanted), received_at })]).await.unwrap();
    tx.commit().await.unwrap();
    mesh.resume().await;
    let status = mesh.status().await;
    assert_eq!(status.in_force, 0);
    assert!(status.alarms.contains(&"host prep-1 has been silent for 5 min".to_owned()), "{:?}", status.alarms);
    assert!(!mesh.operator().nodes().await.unwrap()[0].in_force);
    // Whoever waits for news is alive, and so is whoever reports.
    let prep = prep.connected(&mesh);
    let poll = prep.waiting(&mesh, &wanted).await;
    assert_eq!(mesh.status().await.in_force, 1);
    poll.abort();
    eventually("the poll to end", async || mesh.status().await.in_force == 0).await;
    prep.confirm(&wanted).await;
    assert_eq!(mesh.status().await.in_force, 1);
}

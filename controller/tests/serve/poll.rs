//! The long poll: who is woken, how soon, and who is left alone.

use crate::fixture::{Mesh, eventually};
use picket_api::ProblemKind;
use picket_model::{Generation, NodeRole};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_join_wakes_the_other_side_before_the_new_host_is_answered() {
    let mesh = Mesh::start().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let before = prep.wanted().await;
    let poll = prep.waiting(&mesh, &before).await;
    let sentry = mesh.join(NodeRole::Sentry, "sentry-1").await;
    let news = poll.await.unwrap().unwrap().unwrap();
    assert!(news.revision > before.revision);
    assert!(news.full.wireguard.peers.values().any(|peer| peer.node == sentry.node));
}

#[tokio::test]
async fn a_change_leaves_untouched_hosts_waiting() {
    let mesh = Mesh::start().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let first = mesh.join(NodeRole::Sentry, "sentry-1").await;
    let (p, s) = (prep.wanted().await, first.wanted().await);
    let (prep_poll, sentry_poll) = (prep.waiting(&mesh, &p).await, first.waiting(&mesh, &s).await);
    mesh.join(NodeRole::Sentry, "sentry-2").await;
    assert!(prep_poll.await.unwrap().unwrap().is_some());
    assert!(!sentry_poll.is_finished());
    assert_eq!(first.wanted().await.revision, s.revision);
    sentry_poll.abort();
}

#[tokio::test]
async fn a_waiting_host_has_a_change_within_milliseconds() {
    let mesh = Mesh::start().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    mesh.join(NodeRole::Sentry, "sentry-1").await;
    let before = prep.wanted().await;
    let poll = prep.waiting(&mesh, &before).await;
    let operator = mesh.operator();
    operator.status().await.unwrap();
    let start = Instant::now();
    let revoke = tokio::spawn(async move { operator.revoke("sentry-1", &Default::default()).await });
    assert!(poll.await.unwrap().unwrap().unwrap().full.wireguard.peers.is_empty());
    // Two orders below what waiting on any timer would take, and room for a busy machine.
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    revoke.abort();
}

#[tokio::test]
async fn only_a_members_certificate_opens_the_agents_calls() {
    let mesh = Mesh::start().await;
    let tls = picket_pki::client_config(mesh.ca(), None).unwrap();
    let stranger = picket_api::AgentClient::new(mesh.agents_url(), tls).unwrap();
    assert_eq!(stranger.config(Generation(0)).await.unwrap_err().kind(), Some(ProblemKind::Unauthorized));
}

#[tokio::test]
async fn a_stop_answers_waiting_polls_and_takes_less_than_two_seconds() {
    let mut mesh = Mesh::start().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let before = prep.wanted().await;
    let poll = prep.waiting(&mesh, &before).await;
    let start = Instant::now();
    mesh.stop().await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(poll.await.unwrap().unwrap().is_none());
}

#[tokio::test]
async fn a_host_that_holds_more_than_the_controller_knows_is_pointed_out() {
    let mesh = Mesh::start().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let mut ahead = prep.wanted().await;
    ahead.revision = Generation(900);
    prep.confirm(&ahead).await;
    eventually("the alarm", async || mesh.status().await.alarms.iter().any(|alarm| alarm.contains("older database")))
        .await;
}

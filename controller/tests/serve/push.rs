//! What sources push: a change is planned within a block however seldom the clock polls, and nothing else depends on it.

use crate::fixture::{Mesh, eventually, preps};
use picket_lab::icon::Behaviour;
use picket_model::{NodeRole, Purpose};
use std::time::{Duration, Instant};

/// ICON's time between two blocks.
const BLOCK: Duration = Duration::from_secs(2);

/// Polled once, at the start, and then not for an hour.
async fn seldom_polled() -> Mesh {
    let mut mesh = Mesh::start().await;
    mesh.stop().await;
    mesh.config = mesh.config.replace("poll_seconds = 1\n", "poll_seconds = 3600\n");
    let height = mesh.icon.next_block();
    mesh.resume().await;
    eventually("the first poll", async || mesh.status().await.sources[0].height == Some(height)).await;
    connected(&mesh).await;
    mesh
}

async fn connected(mesh: &Mesh) {
    eventually("the subscription", async || {
        let push = mesh.status().await.sources[0].push.clone();
        push.is_some_and(|push| push.starts_with("connected since"))
    })
    .await;
}

#[tokio::test]
async fn a_pushed_removal_is_planned_within_a_block() {
    let mesh = seldom_polled().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let before = prep.wanted().await;
    let poll = prep.waiting(&mesh, &before).await;
    let start = Instant::now();
    mesh.icon.remove(preps(&mesh.icon)[0]).unwrap();
    let after = poll.await.unwrap().unwrap().unwrap();
    assert!(start.elapsed() < BLOCK, "{:?}", start.elapsed());
    let allowed = |answer: &picket_api::ConfigAnswer| answer.full.firewall.allowed(Purpose::P2p).0.len();
    assert_eq!(allowed(&after), allowed(&before) - 1);
}

#[tokio::test]
async fn a_removal_is_not_missed_while_the_connection_is_lost() {
    let mesh = seldom_polled().await;
    mesh.icon.drop_sessions();
    mesh.icon.remove(preps(&mesh.icon)[0]).unwrap();
    eventually("the removal", async || mesh.status().await.validators == 99).await;
    connected(&mesh).await;
}

#[tokio::test]
async fn a_source_that_floods_us_with_events_is_asked_at_most_once_a_second() {
    let mesh = seldom_polled().await;
    let prep = preps(&mesh.icon)[0];
    let (asked, start) = (mesh.icon.requests(), Instant::now());
    while start.elapsed() < Duration::from_secs(3) {
        mesh.icon.set_endpoint(prep, "198.51.100.7:7100").unwrap();
        tokio::task::yield_now().await;
    }
    let asked = mesh.icon.requests() - asked;
    assert!((1..=4).contains(&asked), "{asked}");
}

#[tokio::test]
async fn a_source_without_websocket_is_polled_and_raises_no_alarm() {
    let mut mesh = Mesh::start().await;
    mesh.stop().await;
    mesh.config.push_str("channel = \"other\"\n");
    mesh.resume().await;
    eventually("the reason", async || {
        let push = mesh.status().await.sources[0].push.clone();
        push.is_some_and(|push| push.contains("no WebSocket for events there (HTTP 404)"))
    })
    .await;
    let alarms = mesh.status().await.alarms;
    assert!(!alarms.iter().any(|alarm| alarm.contains("WebSocket")), "{alarms:?}");
    mesh.icon.remove(preps(&mesh.icon)[0]).unwrap();
    eventually("the removal", async || mesh.status().await.validators == 99).await;
}

#[tokio::test]
async fn push_can_be_turned_off() {
    let mesh = Mesh::start_with("push = false\n").await;
    let asked = mesh.icon.requests();
    eventually("two more polls", async || mesh.icon.requests() > asked + 1).await;
    assert_eq!((mesh.icon.open_sessions(), mesh.status().await.sources[0].push.clone()), (0, None));
}

#[tokio::test]
async fn a_source_that_breaks_is_polled_all_the_same_and_followed_again() {
    let mesh = Mesh::start().await;
    connected(&mesh).await;
    mesh.icon.set_behaviour(Behaviour::Status(502));
    mesh.icon.drop_sessions();
    eventually("the reason", async || {
        mesh.status().await.sources[0].push.as_ref().is_some_and(|push| push == "no WebSocket now: HTTP 502")
    })
    .await;
    mesh.icon.set_behaviour(Behaviour::Normal);
    connected(&mesh).await;
}

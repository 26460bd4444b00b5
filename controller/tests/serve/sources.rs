//! Several sources of one chain at different heights, what of it is an alarm, and what operators and alerts see of that.

use crate::{
    fixture::{Mesh, eventually, preps},
    operators::http,
};
use picket_lab::icon::{Behaviour, FakeIcon};
use std::net::Ipv4Addr;
use tokio::net::TcpListener;

/// A mesh with two more endpoints of the same chain, polled each second and told nothing by push.
async fn with_three_sources() -> (Mesh, Vec<FakeIcon>) {
    let mut mesh = Mesh::start_with("push = false\n").await;
    mesh.stop().await;
    let mut others = Vec::new();
    let mut urls = String::new();
    for _ in 0..2 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        urls.push_str(&format!(", \"http://{}\"", listener.local_addr().unwrap()));
        let endpoint = mesh.icon.chain().endpoint();
        tokio::spawn(endpoint.clone().serve(listener, None));
        others.push(endpoint);
    }
    mesh.config = mesh.config.replace("]\npoll", &format!("{urls}]\npoll"));
    mesh.resume().await;
    eventually("all sources", async || mesh.status().await.sources.iter().all(|source| source.height.is_some())).await;
    (mesh, others)
}

async fn heights(mesh: &Mesh) -> Vec<u64> {
    let mut heights: Vec<u64> = mesh.status().await.sources.iter().filter_map(|source| source.height).collect();
    heights.sort_unstable();
    heights
}

async fn metric(mesh: &Mesh, line: &str) -> bool {
    let url = format!("http://{}/metrics", mesh.running().health);
    let text = http(mesh).get(url).send().await.unwrap().text().await.unwrap();
    text.lines().any(|found| found.starts_with(line))
}

#[tokio::test]
async fn where_lists_differ_sources_are_compared_at_one_height() {
    let (mesh, others) = with_three_sources().await;
    others.iter().for_each(|endpoint| endpoint.set_behaviour(Behaviour::Behind(1)));
    let gone = preps(&mesh.icon)[0];
    let ahead = mesh.icon.remove(gone).unwrap();
    // The one that is ahead is asked again at the height of the two others, whose list still has the P-Rep.
    eventually("one height", async || heights(&mesh).await == [ahead - 1; 3]).await;
    let status = mesh.status().await;
    assert_eq!(status.validators, 100);
    assert!(!status.alarms.iter().any(|alarm| alarm.contains(&gone.to_string())), "{:?}", status.alarms);
    // A block later the two have reached what it saw.
    mesh.icon.next_block();
    eventually("the removal", async || mesh.status().await.validators == 99).await;
}

#[tokio::test]
async fn a_source_that_keeps_no_past_counts_as_it_first_answered() {
    let (mesh, others) = with_three_sources().await;
    others.iter().for_each(|endpoint| endpoint.set_behaviour(Behaviour::Behind(1)));
    mesh.icon.set_behaviour(Behaviour::Pruned(1));
    let ahead = mesh.icon.remove(preps(&mesh.icon)[0]).unwrap();
    eventually("both heights", async || heights(&mesh).await == [ahead - 1, ahead - 1, ahead]).await;
    let status = mesh.status().await;
    assert_eq!(status.validators, 100);
    assert!(status.sources.iter().all(|source| source.error.is_none()), "{:?}", status.sources);
}

#[tokio::test]
async fn all_sources_down_is_a_line_an_event_and_a_metric_and_the_set_stays() {
    let mesh = Mesh::start().await;
    mesh.icon.set_behaviour(Behaviour::Status(500));
    eventually("the events", async || {
        let events = mesh.operator().events().await.unwrap();
        let raised = |subject: &str| {
            events.iter().any(|event| event.action == "alarm.raised" && event.subject.starts_with(subject))
        };
        raised("source-failing 127.0.0.1-") && raised("no-quorum")
    })
    .await;
    let status = mesh.status().await;
    assert_eq!(status.validators, 100);
    let line = status.alarms.iter().find(|alarm| alarm.starts_with("source 127.0.0.1-")).unwrap();
    assert!(line.contains(": no answer since 20") && line.contains("HTTP 500"), "{line}");
    let source = status.sources[0].id.clone();
    for line in [
        "picket_alarms{kind=\"source-failing\"} 1".to_owned(),
        "picket_alarms{kind=\"no-quorum\"} 1".to_owned(),
        "picket_alarms{kind=\"entry-disputed\"} 0".to_owned(),
        "picket_validators_held 1".to_owned(),
        "picket_validators_version 1".to_owned(),
        format!("picket_source_up{{source=\"{source}\"}} 0"),
        format!("picket_source_height{{source=\"{source}\"}} {}", status.sources[0].height.unwrap()),
    ] {
        eventually(&line, async || metric(&mesh, &line).await).await;
    }

    // It comes back: nothing is an alarm any more, and nothing was written twice.
    mesh.icon.set_behaviour(Behaviour::Normal);
    eventually("the recovery", async || metric(&mesh, "picket_alarms{kind=\"source-failing\"} 0").await).await;
    assert!(metric(&mesh, &format!("picket_source_up{{source=\"{source}\"}} 1")).await);
    mesh.icon.set_behaviour(Behaviour::Status(500));
    eventually("the alarm again", async || metric(&mesh, "picket_alarms{kind=\"source-failing\"} 1").await).await;
    // Two looks later a second line would be there.
    let asked = mesh.icon.requests();
    eventually("two more polls", async || mesh.icon.requests() >= asked + 2).await;
    let events = mesh.operator().events().await.unwrap();
    assert_eq!(events.iter().filter(|event| event.subject.starts_with("source-failing")).count(), 1, "{events:?}");
}

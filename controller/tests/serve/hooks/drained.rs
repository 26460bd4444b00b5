//! A cloud takes a sentry that hidden validators are behind: it is left first, cut then, and the cloud is told after both.

use super::{Clouds, HOST, INSTANCE, taken};
use crate::fixture::{Agent, eventually, report};
use picket_model::{
    NodeReport, NodeRole, PathsReport, Timestamp,
    paths::{Carried, SentryWay},
};
use std::time::{Duration, Instant};

const LINE: &str = "[[policy.hidden]]\nprep = \"prep-1\"\n";

/// A hidden validator behind sentries of these names, of which the first is an instance.
async fn hidden(hooks: &str, sentries: &[&str]) -> (Clouds, Agent, Vec<Agent>) {
    let clouds = Clouds::start_with(hooks, LINE).await;
    let prep = clouds.mesh.join(NodeRole::Prep, "prep-1").await;
    let mut joined = Vec::new();
    for name in sentries {
        joined.push(clouds.mesh.join(NodeRole::Sentry, name).await);
    }
    for host in joined.iter().chain([&prep]) {
        host.confirm(&host.wanted().await).await;
    }
    (clouds, prep, joined)
}

async fn draining(prep: &Agent, sentry: &Agent) -> Option<Timestamp> {
    prep.wanted().await.full.firewall.hidden.unwrap().draining.get(&sentry.node).copied()
}

/// What the validator's host says: it has all in force, and so many connections that came in through the sentry are alive.
async fn says(prep: &Agent, sentry: &Agent, still_carries: bool, inward: u32) {
    let since = Timestamp::from_millis(1);
    let way = SentryWay { way: "good".into(), since, draining: true, inward: Some(inward), ..SentryWay::default() };
    let carried = Carried {
        sentry: sentry.node.clone(),
        since,
        cause: "new".into(),
        destinations: vec!["0.0.0.0/0".parse().unwrap()],
    };
    let paths = PathsReport {
        sentries: [(sentry.node.clone(), way)].into(),
        carried: still_carries.then_some(carried).into_iter().collect(),
        ..PathsReport::default()
    };
    let report = NodeReport { paths: Some(Box::new(paths)), ..report(&prep.wanted().await) };
    prep.client().report(&report).await.unwrap();
}

/// The actions of these in the audit log, in order.
async fn order(clouds: &Clouds) -> Vec<String> {
    let told = ["node.drained", "node.revoked", "hook.completed"];
    let events = clouds.log("").await.into_iter().map(|event| event.action);
    events.filter(|action| told.contains(&action.as_str())).collect()
}

#[tokio::test]
async fn a_terminating_sentry_is_left_before_it_is_cut_and_its_cloud_is_told_after_both() {
    let (clouds, prep, sentries) = hidden("drain_seconds = 600\ncut_seconds = 600", &[HOST, "other"]).await;
    let [host, other] = sentries.as_slice() else { panic!("two joined") };
    taken(clouds.event(&clouds.autoscaling.terminate(INSTANCE)).await, "taken");
    eventually("the drain to be planned", async || draining(&prep, host).await.is_some()).await;
    assert_eq!(draining(&prep, other).await, None);
    // Neither what it still carries nor what came in through it is cut. What is told of a drain says that it was looked at.
    for (still_carries, inward) in [(true, 0), (false, 2)] {
        says(&prep, host, still_carries, inward).await;
        let views = clouds.mesh.operator().paths(&Default::default()).await.unwrap().drains;
        let [drain] = views.as_slice() else { panic!("{views:?}") };
        let told = &drain.hosts[0];
        assert_eq!((told.left, told.inward), (Some(usize::from(still_carries)), Some(inward)), "{drain:?}");
        assert!(clouds.is_member(host).await && order(&clouds).await == ["node.drained"]);
        assert_eq!(clouds.autoscaling.state(INSTANCE), "Terminating:Wait");
    }
    // All is over, long before its time: it is cut at once, and the cloud waits for the receipt.
    says(&prep, host, false, 0).await;
    clouds.revoked(host).await;
    assert_eq!(clouds.autoscaling.state(INSTANCE), "Terminating:Wait", "prep-1 has not said that it is cut");
    // The plan without it follows the word that it is none any more, and is what is confirmed.
    eventually("Terminated", async || {
        prep.confirm(&prep.wanted().await).await;
        clouds.autoscaling.state(INSTANCE) == "Terminated"
    })
    .await;
    eventually("the log's line", async || order(&clouds).await.len() == 3).await;
    assert_eq!(order(&clouds).await, ["node.drained", "node.revoked", "hook.completed"]);
    let detail = &clouds.log("hook.completed").await[0].detail;
    // The other sentry never had anything to do with it.
    assert!(detail.contains("in force on 1 of 1 hosts"), "{detail}");
    assert_eq!(clouds.log("node.drained").await[0].actor, clouds.log("node.revoked").await[0].actor);
}

#[tokio::test]
async fn a_terminating_sentry_that_is_not_left_in_time_is_cut_all_the_same() {
    let (clouds, prep, sentries) = hidden("drain_seconds = 1\ncut_seconds = 1", &[HOST, "other"]).await;
    let sent = Instant::now();
    taken(clouds.event(&clouds.autoscaling.terminate(INSTANCE)).await, "taken");
    eventually("the drain to be planned", async || draining(&prep, &sentries[0]).await.is_some()).await;
    says(&prep, &sentries[0], true, 3).await;
    clouds.revoked(&sentries[0]).await;
    assert!(sent.elapsed() >= Duration::from_secs(1), "{:?}", sent.elapsed());
    clouds.becomes(INSTANCE, "Terminated").await;
}

#[tokio::test]
async fn the_last_sentry_and_one_with_no_time_to_be_left_are_cut_at_once() {
    for (hooks, sentries) in [("drain_seconds = 600", &[HOST][..]), ("drain_seconds = 0", &[HOST, "other"])] {
        let (clouds, _, sentries) = hidden(&format!("{hooks}\ncut_seconds = 1"), sentries).await;
        taken(clouds.event(&clouds.autoscaling.terminate(INSTANCE)).await, "taken");
        clouds.revoked(&sentries[0]).await;
        clouds.becomes(INSTANCE, "Terminated").await;
        eventually("the log's line", async || order(&clouds).await.len() == 2).await;
        assert_eq!(order(&clouds).await, ["node.revoked", "hook.completed"], "{hooks}");
    }
}

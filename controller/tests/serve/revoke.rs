//! A revoke: done when those it touches have said so, and final.

use crate::fixture::{Mesh, eventually, report};
use crate::operators::http;
use picket_api::{
    ProblemKind,
    operator::{CutStep, RevokeQuery},
};
use picket_model::{Generation, NodeRole, NodeState, Timestamp};

const AT_ONCE: RevokeQuery = RevokeQuery { wait_ms: Some(0) };
const PATIENT: RevokeQuery = RevokeQuery { wait_ms: Some(20_000) };

#[tokio::test]
async fn the_receipt_names_who_has_read_the_cut_back() {
    let mesh = Mesh::start().await;
    let (one, two) = (mesh.join(NodeRole::Prep, "prep-1").await, mesh.join(NodeRole::Prep, "prep-2").await);
    mesh.join(NodeRole::Sentry, "sentry-1").await;
    mesh.join(NodeRole::Sentry, "sentry-2").await;
    let polls = [one.waiting(&mesh, &one.wanted().await).await, two.waiting(&mesh, &two.wanted().await).await];
    let operator = mesh.operator();
    let revoke = tokio::spawn(async move { operator.revoke("sentry-1", &PATIENT).await });
    let [first, second] = polls;
    one.confirm(&first.await.unwrap().unwrap().unwrap()).await;
    let news = second.await.unwrap().unwrap().unwrap();
    assert!(!revoke.is_finished());
    two.confirm(&news).await;
    let receipt = revoke.await.unwrap().unwrap();
    let names: Vec<&str> = receipt.in_force.iter().map(|host| host.name.as_str()).collect();
    assert_eq!((names, receipt.missing.len()), (vec!["prep-1", "prep-2"], 0));
    assert_eq!(receipt.generation, news.revision);
}

#[tokio::test]
async fn silent_hosts_are_named_and_a_repeated_revoke_asks_again() {
    let mesh = Mesh::start().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let sentry = mesh.join(NodeRole::Sentry, "sentry-1").await;
    let first = mesh.operator().revoke(sentry.node.as_str(), &AT_ONCE).await.unwrap();
    assert_eq!((first.in_force.len(), first.missing[0].as_str()), (0, "prep-1"));
    prep.confirm(&prep.wanted().await).await;
    let again = mesh.operator().revoke("sentry-1", &AT_ONCE).await.unwrap();
    assert_eq!((again.in_force.len(), again.missing.len()), (1, 0));
    assert_eq!((again.generation, &again.node), (first.generation, &first.node));
    let events = mesh.operator().events().await.unwrap();
    let revokes: Vec<_> = events.iter().filter(|event| event.action == "node.revoked").collect();
    assert_eq!((revokes.len(), revokes[0].subject.as_str()), (1, "sentry-1"));
    assert!(revokes[0].actor.starts_with("op-"));
}

#[tokio::test]
async fn a_higher_number_than_the_cuts_is_no_receipt() {
    let mesh = Mesh::start().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let sentry = mesh.join(NodeRole::Sentry, "sentry-1").await;
    // As after an older database was restored: the host holds a plan that this controller has never made.
    let mut ahead = report(&prep.wanted().await);
    ahead.applied = Generation(1000);
    prep.client().report(&ahead).await.unwrap();
    let receipt = mesh.operator().revoke(sentry.node.as_str(), &AT_ONCE).await.unwrap();
    assert_eq!((receipt.in_force.len(), receipt.missing[0].as_str()), (0, "prep-1"));
    // Nor is the right number with other content.
    let wanted = prep.wanted().await;
    let other = picket_model::NodeReport { digest: ahead.digest, ..report(&wanted) };
    prep.client().report(&other).await.unwrap();
    let receipt = mesh.operator().revoke(sentry.node.as_str(), &AT_ONCE).await.unwrap();
    assert_eq!(receipt.missing.len(), 1);
    prep.confirm(&wanted).await;
    let receipt = mesh.operator().revoke(sentry.node.as_str(), &AT_ONCE).await.unwrap();
    assert_eq!(receipt.missing.len(), 0);
}

#[tokio::test]
async fn a_revoked_hosts_poll_is_answered_at_once_and_its_connection_closed() {
    let mesh = Mesh::start().await;
    mesh.join(NodeRole::Prep, "prep-1").await;
    let sentry = mesh.join(NodeRole::Sentry, "sentry-1").await;
    let wanted = sentry.wanted().await;
    let poll = sentry.waiting(&mesh, &wanted).await;
    mesh.operator().revoke("sentry-1", &AT_ONCE).await.unwrap();
    assert_eq!(poll.await.unwrap().unwrap_err().kind(), Some(ProblemKind::NodeRevoked));
    // On a new connection too, for good.
    let sentry = sentry.connected(&mesh);
    let error = sentry.client().config(wanted.revision).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::NodeRevoked));
    let error = sentry.client().report(&crate::fixture::report(&wanted)).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::NodeRevoked));
    let nodes = mesh.operator().nodes().await.unwrap();
    let view = nodes.iter().find(|view| view.node.id == sentry.node).unwrap();
    assert_eq!((view.wanted, view.in_force), (None, false));
}

#[tokio::test]
async fn nobody_is_not_found() {
    let mesh = Mesh::start().await;
    let error = mesh.operator().revoke("nobody", &AT_ONCE).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::NotFound));
}

#[tokio::test]
async fn a_revoke_is_followed_from_host_to_host() {
    let mesh = Mesh::start().await;
    let (one, two) = (mesh.join(NodeRole::Prep, "prep-1").await, mesh.join(NodeRole::Prep, "prep-2").await);
    mesh.join(NodeRole::Sentry, "sentry-1").await;
    let polls = [one.waiting(&mesh, &one.wanted().await).await, two.waiting(&mesh, &two.wanted().await).await];
    let operator = mesh.operator().because(Some("its disk was stolen".to_owned()));
    let mut steps = operator.revoke_in_steps("sentry-1", &PATIENT).await.unwrap();
    let Some(CutStep::Planned { hosts }) = steps.next().await.unwrap() else { panic!("the plan comes first") };
    assert_eq!(hosts.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["prep-1", "prep-2"]);
    // Each step is heard before the next host has said anything.
    for ((agent, poll), name) in [&one, &two].into_iter().zip(polls).zip(["prep-1", "prep-2"]) {
        agent.confirm(&poll.await.unwrap().unwrap().unwrap()).await;
        let Some(CutStep::Confirmed { host }) = steps.next().await.unwrap() else { panic!("{name} has confirmed") };
        assert_eq!(host.name.as_str(), name);
    }
    let Some(CutStep::Done { receipt }) = steps.next().await.unwrap() else { panic!("the receipt comes last") };
    assert_eq!((receipt.in_force.len(), receipt.missing.len()), (2, 0));
    assert_eq!(steps.next().await.unwrap(), None);
    let events = mesh.operator().events().await.unwrap();
    let revoked = events.iter().find(|event| event.action == "node.revoked").unwrap();
    assert_eq!(revoked.reason.as_deref(), Some("its disk was stolen"));
    // A problem is a problem before the first line.
    let error = mesh.operator().revoke_in_steps("nobody", &AT_ONCE).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::NotFound));
}

#[tokio::test]
async fn a_revoked_host_that_comes_back_is_refused_and_told_of_once() {
    let mesh = Mesh::start().await;
    let sentry = mesh.join(NodeRole::Sentry, "sentry-1").await;
    let report = report(&sentry.wanted().await);
    // As if it had been revoked a while ago: what it asks in the first seconds is only how it hears of it.
    let store = mesh.store().await;
    let mut tx = store.write().await.unwrap();
    assert!(tx.revoke_node(&sentry.node, Timestamp::from_millis(1_000)).await.unwrap());
    tx.commit().await.unwrap();
    for _ in 0..3 {
        let error = sentry.client().report(&report).await.unwrap_err();
        assert_eq!(error.kind(), Some(ProblemKind::NodeRevoked));
    }
    let events = mesh.operator().events().await.unwrap();
    let refused: Vec<_> = events.iter().filter(|event| event.action == "node.refused").collect();
    assert_eq!((refused.len(), refused[0].subject.as_str(), refused[0].actor.as_str()), (1, "sentry-1", "127.0.0.1"));
    let alarms = mesh.status().await.alarms;
    assert!(alarms.iter().any(|alarm| alarm.contains("sentry-1") && alarm.contains("came back 3 times")), "{alarms:?}");
    let url = format!("http://{}/metrics", mesh.running().health);
    let metrics = http(&mesh).get(url).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("picket_revoked_refused_total 3\n"), "{metrics}");
}

#[tokio::test]
async fn a_quarantined_host_loses_its_peers_and_goes_on_reporting() {
    let mesh = Mesh::start().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let sentry = mesh.join(NodeRole::Sentry, "sentry-1").await;
    let state = async || {
        let nodes = mesh.operator().nodes().await.unwrap();
        nodes.into_iter().find(|view| view.node.id == sentry.node).unwrap()
    };
    let mut steps = mesh.operator().quarantine("sentry-1", &AT_ONCE).await.unwrap();
    let mut last = None;
    while let Some(step) = steps.next().await.unwrap() {
        last = Some(step);
    }
    let Some(CutStep::Done { receipt }) = last else { panic!("{last:?}") };
    assert_eq!(receipt.missing.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["prep-1"]);
    let mentions = |text: String| text.contains(sentry.node.as_str());
    assert!(!mentions(serde_json::to_string(&prep.wanted().await.full).unwrap()));
    let wanted = sentry.wanted().await;
    assert!(wanted.full.wireguard.peers.is_empty() && !wanted.full.firewall.guarded.is_empty());
    sentry.confirm(&wanted).await;
    let view = state().await;
    assert!(matches!(view.node.state, NodeState::Quarantined { .. }) && view.in_force, "{view:?}");
    // It survives a restart of the controller, as any state does.
    let stored = mesh.store().await.read().await.unwrap().node(&sentry.node).await.unwrap().unwrap();
    assert_eq!(stored.state, view.node.state);

    mesh.operator().readmit("sentry-1").await.unwrap();
    assert_eq!(state().await.node.state, NodeState::Active);
    eventually("the tunnel to be wanted again", async || {
        prep.wanted().await.full.wireguard.peers.values().any(|peer| peer.node == sentry.node)
    })
    .await;
    let events = mesh.operator().events().await.unwrap();
    let count = |action| events.iter().filter(|event| event.action == action).count();
    assert_eq!((count("node.quarantined"), count("node.readmitted")), (1, 1));
    mesh.operator().revoke("sentry-1", &AT_ONCE).await.unwrap();
    for error in [
        mesh.operator().quarantine("sentry-1", &AT_ONCE).await.unwrap_err(),
        mesh.operator().readmit("sentry-1").await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), Some(ProblemKind::Conflict));
    }
}

#[tokio::test]
async fn a_host_revoked_out_of_quarantine_is_still_to_be_confirmed_by_those_it_had_to_do_with() {
    let mesh = Mesh::start().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    mesh.join(NodeRole::Sentry, "sentry-1").await;
    mesh.operator().quarantine("sentry-1", &AT_ONCE).await.unwrap();
    let receipt = mesh.operator().revoke("sentry-1", &AT_ONCE).await.unwrap();
    assert_eq!(receipt.missing.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["prep-1"]);
    prep.confirm(&prep.wanted().await).await;
    let receipt = mesh.operator().revoke("sentry-1", &AT_ONCE).await.unwrap();
    assert_eq!((receipt.in_force.len(), receipt.missing.len()), (1, 0));
}

//! A revoke: done when those it touches have said so, and final.

use crate::fixture::{Mesh, report};
use picket_api::{ProblemKind, operator::RevokeQuery};
use picket_model::{Generation, NodeRole};

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

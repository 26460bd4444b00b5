//! What people order about the validator list: whoever may, and what comes of it.

use crate::fixture::{Mesh, eventually, preps};
use picket_api::{
    ApiError, OperatorClient, ProblemKind,
    validators::{ApproveRequest, HeldView, HistoryQuery, HoldRequest},
};
use picket_lab::icon::Behaviour;
use picket_model::{NodeRole, Timestamp};
use std::time::SystemTime;

async fn held(mesh: &Mesh, kind: &str) -> HeldView {
    eventually(kind, async || mesh.operator().validators().await.unwrap().held.is_some_and(|held| held.kind == kind))
        .await;
    mesh.operator().validators().await.unwrap().held.unwrap()
}

fn order(comment: &str, seconds: Option<u64>) -> HoldRequest {
    HoldRequest { comment: comment.to_owned(), seconds }
}

async fn approve(operator: &OperatorClient, digest: &str) -> Result<picket_api::validators::OrderReceipt, ApiError> {
    operator.approve(&ApproveRequest { digest: digest.to_owned() }).await
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, ApiError>) -> (ProblemKind, String) {
    let error = answer.unwrap_err();
    (error.kind().unwrap(), error.to_string())
}

async fn actions(mesh: &Mesh) -> Vec<(String, String)> {
    let events = mesh.operator().events().await.unwrap();
    events.into_iter().filter(|event| event.action.starts_with("validators.")).map(|e| (e.action, e.actor)).collect()
}

#[tokio::test]
async fn a_held_mass_removal_goes_through_by_its_digest_alone() {
    let mesh = Mesh::start().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let operator = mesh.operator();
    let (kind, text) = refusal(approve(&operator, "0123456789ab").await);
    assert_eq!((kind, text.contains("nothing is held back")), (ProblemKind::Conflict, true), "{text}");

    let (before, full) = (prep.wanted().await, mesh.status().await.validators);
    mesh.icon.set_behaviour(Behaviour::HalfPreps);
    let digest = held(&mesh, "list-held").await.digest.unwrap();
    let (kind, text) = refusal(approve(&operator, "0123\u{1b}[2J").await);
    assert_eq!(kind, ProblemKind::Conflict);
    assert!(text.contains(&digest) && text.contains("max_removed") && !text.contains('\u{1b}'), "{text}");
    assert_eq!(prep.wanted().await.revision, before.revision);

    let receipt = approve(&operator, &digest).await.unwrap();
    assert_eq!((receipt.held, receipt.validators < full), (None, true));
    assert!(receipt.generation > before.revision);
    // What the receipt says is what hosts are told by then.
    assert_eq!(prep.wanted().await.revision, receipt.generation);
    let actions = actions(&mesh).await;
    let by = |action: &str| actions.iter().find(|(done, _)| done == action).map(|(_, actor)| actor.as_str());
    assert!(by("validators.approved").is_some_and(|actor| actor != "controller"), "{actions:?}");
    assert_eq!(by("validators.approved-change-applied"), Some("controller"));
}

#[tokio::test]
async fn a_list_that_cannot_be_approved_says_so() {
    let mesh = Mesh::start().await;
    mesh.icon.set_behaviour(Behaviour::EmptyPreps);
    eventually("the hold", async || mesh.operator().validators().await.unwrap().held.is_some()).await;
    let (kind, text) = refusal(approve(&mesh.operator(), "0123456789ab").await);
    assert_eq!(kind, ProblemKind::Conflict);
    assert!(text.contains("cannot be approved"), "{text}");
}

#[tokio::test]
async fn a_frozen_set_stays_through_a_restart_until_it_is_released() {
    let mut mesh = Mesh::start().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let (before, full) = (prep.wanted().await, mesh.status().await.validators);
    let receipt = mesh.operator().hold(&order("incident 7\n\u{1b}[2J", Some(3600))).await.unwrap();
    let frozen = receipt.orders.hold.unwrap();
    assert_eq!((receipt.validators, frozen.until.is_some()), (full, true));
    mesh.icon.remove(preps(&mesh.icon)[0]).unwrap();
    let text = held(&mesh, "held-by-operator").await.text;
    assert!(text.contains(r"incident 7\n\u{1b}[2J"), "{text}");
    // What the list would change can be approved meanwhile.
    let approvable =
        async || mesh.operator().validators().await.unwrap().held.is_some_and(|held| held.digest.is_some());
    eventually("the change that is held", approvable).await;

    mesh.stop().await;
    mesh.resume().await;
    let prep = prep.connected(&mesh);
    held(&mesh, "held-by-operator").await;
    assert_eq!(mesh.operator().validators().await.unwrap().orders.hold, Some(frozen));
    assert_eq!(prep.wanted().await.revision, before.revision);

    let receipt = mesh.operator().release().await.unwrap();
    assert_eq!((receipt.held, receipt.orders.hold, receipt.validators), (None, None, full - 1));
    assert!(prep.wanted().await.revision > before.revision);
    let (kind, text) = refusal(mesh.operator().release().await);
    assert_eq!(kind, ProblemKind::Conflict, "{text}");
    let actions = actions(&mesh).await;
    for action in ["validators.frozen", "validators.unfrozen"] {
        assert!(actions.iter().any(|(done, actor)| done == action && actor != "controller"), "{actions:?}");
    }
}

#[tokio::test]
async fn a_hold_ends_by_its_time() {
    let mesh = Mesh::start().await;
    let full = mesh.status().await.validators;
    let receipt = mesh.operator().hold(&order("for a moment", Some(3))).await.unwrap();
    let until = receipt.orders.hold.unwrap().until.unwrap();
    mesh.icon.remove(preps(&mesh.icon)[0]).unwrap();
    eventually("its end", async || mesh.status().await.validators == full - 1).await;
    assert!(Timestamp::from(SystemTime::now()) >= until);
    let view = mesh.operator().validators().await.unwrap();
    assert_eq!((view.held, view.orders.hold), (None, None));
}

#[tokio::test]
async fn a_hold_without_a_reason_is_refused() {
    let mesh = Mesh::start().await;
    let operator = mesh.operator();
    for wrong in [order("", None), order(" \n", None), order(&"x".repeat(201), None), order("why", Some(0))] {
        let (kind, text) = refusal(operator.hold(&wrong).await);
        assert_eq!(kind, ProblemKind::BadRequest, "{wrong:?}: {text}");
    }
    assert_eq!(operator.validators().await.unwrap().orders.hold, None);
}

#[tokio::test]
async fn a_viewer_orders_nothing_and_sees_the_history() {
    let mesh = Mesh::start().await;
    let viewer = mesh.operator_with(&mesh.add_operator("viewer").await);
    assert_eq!(refusal(viewer.hold(&order("why", None)).await).0, ProblemKind::Forbidden);
    assert_eq!(refusal(viewer.release().await).0, ProblemKind::Forbidden);
    assert_eq!(refusal(approve(&viewer, "0123456789ab").await).0, ProblemKind::Forbidden);
    assert!(!viewer.history(&HistoryQuery::default()).await.unwrap().is_empty());
    assert_eq!(mesh.operator().validators().await.unwrap().orders, Default::default());
}

//! What may be changed from the status page, by whom, and that what comes of it is shown as it happens.

use crate::{
    fixture::{Mesh, eventually},
    page::{Browser, PAGE, field, location},
};
use picket_lab::icon::Behaviour;
use picket_model::{NodeRole, NodeState};
use reqwest::{StatusCode, header};
use std::time::Duration;
use tokio::time::timeout;

async fn state(mesh: &Mesh, name: &str) -> NodeState {
    let nodes = mesh.operator().nodes().await.unwrap();
    nodes.into_iter().find(|view| view.node.name.as_str() == name).unwrap().node.state
}

#[tokio::test]
async fn a_viewer_has_no_buttons_and_a_forged_form_changes_nothing() {
    let mesh = Mesh::start_with(PAGE).await;
    mesh.join(NodeRole::Sentry, "sentry-1").await;
    let mut viewer = Browser::of(&mesh, &mesh.add_operator("viewer").await).await;
    let mut admin = Browser::of(&mesh, &mesh.add_operator("admin").await).await;
    let (host, validators) = (viewer.text("/hosts/sentry-1").await, viewer.text("/validators").await);
    assert!(!host.contains("Revoke") && !host.contains("/quarantine") && !validators.contains("Freeze"), "{host}");
    assert_eq!(viewer.get("/hosts/sentry-1/revoke").await.status(), StatusCode::FORBIDDEN);
    let host = admin.text("/hosts/sentry-1").await;
    assert!(host.contains("/hosts/sentry-1/revoke") && admin.text("/validators").await.contains("Freeze"), "{host}");

    let forms = [
        ("/hosts/sentry-1/revoke", vec![("reason", "x")]),
        ("/hosts/sentry-1/quarantine", vec![]),
        ("/hosts/sentry-1/readmit", vec![]),
        ("/validators/approve", vec![("digest", "0")]),
        ("/validators/hold", vec![("comment", "x")]),
        ("/validators/release", vec![]),
    ];
    let (viewers, admins) = (viewer.csrf().await, admin.csrf().await);
    for (path, fields) in &forms {
        let with = |csrf| [&[("csrf", csrf)], fields.as_slice()].concat();
        let tries = [
            ("a viewer's own form", viewer.post(path, &with(&viewers)).await),
            ("an admin's form from a viewer", viewer.post(path, &with(&admins)).await),
            ("no proof", admin.post(path, fields).await),
            ("another's proof", admin.post(path, &with(&viewers)).await),
            ("another site", admin.post_from(path, &with(&admins), "cross-site").await),
            ("a neighbour's site", admin.post_from(path, &with(&admins), "same-site").await),
        ];
        for (what, answer) in tries {
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path}: {what}");
        }
        // Nobody, who is led to the login.
        assert_eq!(location(&Browser::new(&mesh).post(path, fields).await), "/login", "{path}");
    }
    assert_eq!(state(&mesh, "sentry-1").await, NodeState::Active);
    let validators = mesh.operator().validators().await.unwrap();
    assert_eq!(validators.orders.hold, None);
}

#[tokio::test]
async fn a_revoke_is_seen_host_by_host() {
    let mesh = Mesh::start_with(PAGE).await;
    let (one, two) = (mesh.join(NodeRole::Prep, "prep-1").await, mesh.join(NodeRole::Prep, "prep-2").await);
    mesh.join(NodeRole::Sentry, "sentry-1").await;
    let mut admin = Browser::of(&mesh, &mesh.add_operator("admin").await).await;
    let form = admin.text("/hosts/sentry-1/revoke").await;
    assert!(form.contains("2 hosts will read the cut back: prep-1 and prep-2"), "{form}");
    let fields = [("csrf", &*field(&form, "csrf")), ("reason", "its disk was stolen")];
    let answer = admin.post("/hosts/sentry-1/revoke", &fields).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let page = location(&answer).to_owned();
    assert!(admin.text(&page).await.contains("0 of 2"));
    let mut live = admin.get("/live").await;
    assert_eq!(live.headers()[header::CONTENT_TYPE], "text/event-stream");
    for (agent, expect) in [(&one, "1 of 2"), (&two, "2 of 2")] {
        agent.confirm(&agent.wanted().await).await;
        let said = timeout(Duration::from_secs(20), live.chunk()).await.unwrap().unwrap().unwrap();
        assert!(said.starts_with(b"event: changed\n"), "{said:?}");
        assert!(admin.text(&page).await.contains(expect), "{expect}");
    }
    let events = mesh.operator().events().await.unwrap();
    let revoked = events.iter().find(|event| event.action == "node.revoked").unwrap();
    assert_eq!(revoked.reason.as_deref(), Some("its disk was stolen"));
    assert!(revoked.actor.starts_with("op-") && revoked.address.is_some(), "{revoked:?}");
    assert!(matches!(state(&mesh, "sentry-1").await, NodeState::Revoked { .. }));
}

#[tokio::test]
async fn a_quarantine_is_ended_from_the_page() {
    let mesh = Mesh::start_with(PAGE).await;
    mesh.join(NodeRole::Sentry, "sentry-1").await;
    let mut admin = Browser::of(&mesh, &mesh.add_operator("admin").await).await;
    let csrf = admin.csrf().await;
    let answer = admin.post("/hosts/sentry-1/quarantine", &[("csrf", &csrf)]).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert!(matches!(state(&mesh, "sentry-1").await, NodeState::Quarantined { .. }));
    assert!(admin.text("/hosts/sentry-1").await.contains("in quarantine"));
    admin.post("/hosts/sentry-1/readmit", &[("csrf", &csrf)]).await;
    assert_eq!(state(&mesh, "sentry-1").await, NodeState::Active);
}

#[tokio::test]
async fn what_a_brake_holds_is_let_through_and_the_set_is_frozen_and_released() {
    let mesh = Mesh::start_with(PAGE).await;
    let mut admin = Browser::of(&mesh, &mesh.add_operator("admin").await).await;
    let mut viewer = Browser::of(&mesh, &mesh.add_operator("viewer").await).await;
    let before = mesh.status().await.validators;
    mesh.icon.set_behaviour(Behaviour::HalfPreps);
    eventually("the change to be held", async || admin.text("/validators").await.contains("Held back")).await;
    assert!(!viewer.text("/validators").await.contains("/validators/approve"));
    assert_eq!(viewer.get("/validators/approve").await.status(), StatusCode::FORBIDDEN);
    assert!(viewer.text("/").await.contains("A change of the list is held back"));
    // The page that follows what happens leads to one that stays, with all that would change.
    let followed = admin.text("/validators").await;
    assert!(followed.contains("/validators/approve") && !followed.contains("name=\"digest\""), "{followed}");
    let form = admin.text("/validators/approve").await;
    let (csrf, digest) = (field(&form, "csrf"), field(&form, "digest"));
    let held = mesh.operator().validators().await.unwrap().held.unwrap();
    assert!(held.changes.len() > 20 && held.changes.iter().all(|change| change.verb() == "leave"), "{held:?}");
    for change in &held.changes {
        assert!(form.contains(&change.prep.to_string()), "{change:?}");
    }
    assert!(held.changes.iter().any(|change| !change.name.is_empty()) && !form.contains("data-live"));
    let wrong = admin.post("/validators/approve", &[("csrf", &csrf), ("digest", "0123")]).await;
    assert_eq!(wrong.status(), StatusCode::CONFLICT);
    let answer = admin.post("/validators/approve", &[("csrf", &csrf), ("digest", &digest)]).await;
    assert_eq!((answer.status(), location(&answer)), (StatusCode::SEE_OTHER, "/validators"));
    assert!(mesh.status().await.validators < before);
    assert_eq!(admin.get("/validators/approve").await.status(), StatusCode::CONFLICT);

    let hold = admin.post("/validators/hold", &[("csrf", &csrf), ("comment", "<i>incident 7"), ("hours", "2")]).await;
    assert_eq!(location(&hold), "/validators");
    let page = admin.text("/validators").await;
    assert!(page.contains("Frozen by a person") && page.contains("&lt;i&gt;incident 7"), "{page}");
    let order = mesh.operator().validators().await.unwrap().orders.hold.unwrap();
    assert_eq!(order.until.unwrap().since(order.at).as_secs(), 7200);
    admin.post("/validators/release", &[("csrf", &csrf)]).await;
    assert_eq!(mesh.operator().validators().await.unwrap().orders.hold, None);
    let again = admin.post("/validators/release", &[("csrf", &csrf)]).await;
    assert_eq!(again.status(), StatusCode::CONFLICT);
}

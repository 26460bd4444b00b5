//! Join tokens: whom they let in, who sees and revokes them; and copies of hosts, which are refused and flagged.

use crate::{
    fixture::{Host, Mesh},
    operators::http,
};
use picket_api::{Problem, ProblemKind, Proof, operator::CreateToken};
use picket_model::{Lease, NodeRole};
use serde_json::json;
use std::time::{Duration, SystemTime};

const SENTRY: NodeRole = NodeRole::Sentry;

#[tokio::test]
async fn a_token_is_for_names_networks_and_a_lease_of_its_own() {
    let mesh = Mesh::start().await;
    let narrow = CreateToken {
        lease_seconds: Some(600),
        name: Some("sentry-*".parse().unwrap()),
        from: vec!["127.0.0.0/8".parse().unwrap()],
        comment: "group eu-1".to_owned(),
        ..CreateToken::new(SENTRY, 2, 600)
    };
    let elsewhere = CreateToken { from: vec!["192.0.2.0/24".parse().unwrap()], ..narrow.clone() };
    let (operator, made) = (mesh.operator(), mesh.operator().create_token(&narrow).await.unwrap());
    let refused = async |token: &str, name: &str, expect| {
        let error = Host::new(SENTRY, name).enroll(&mesh, token).await.unwrap_err();
        assert_eq!(error.kind(), Some(expect), "{error}");
    };
    refused(&made.token, "other-1", ProblemKind::TokenName).await;
    refused(&operator.create_token(&elsewhere).await.unwrap().token, "sentry-1", ProblemKind::TokenSource).await;
    Host::new(SENTRY, "sentry-1").enroll(&mesh, &made.token).await.unwrap();
    assert_eq!(operator.nodes().await.unwrap()[0].lease.length(), Some(Duration::from_secs(600)));
    let pinned = CreateToken { lease_seconds: Some(0), ..CreateToken::new(SENTRY, 1, 60) };
    let pinned = operator.create_token(&pinned).await.unwrap();
    Host::new(SENTRY, "sentry-2").enroll(&mesh, &pinned.token).await.unwrap();
    assert_eq!(operator.nodes().await.unwrap()[1].lease.until, None);

    let all = operator.tokens().await.unwrap();
    assert_eq!((all.len(), &all[0].id, all[0].used, all[0].comment.as_str()), (3, &made.id, 1, "group eu-1"));
    assert_eq!(all[2].used, 1);

    operator.revoke_token(&made.id).await.unwrap();
    let again = operator.revoke_token(&made.id).await.unwrap();
    assert!(again.revoked_at.is_some());
    refused(&made.token, "sentry-3", ProblemKind::TokenRevoked).await;
    assert_eq!(mesh.status().await.nodes, 2);
    let metrics = format!("http://{}/metrics", mesh.running().health);
    let metrics = http(&mesh).get(metrics).send().await.unwrap().text().await.unwrap();
    for reason in ["token-name", "token-source", "token-revoked"] {
        assert!(metrics.contains(&format!("picket_enrolments_refused_total{{reason=\"{reason}\"}} 1")), "{metrics}");
    }
}

#[tokio::test]
async fn a_host_is_in_the_pool_that_its_token_says_and_in_no_other() {
    let mesh = Mesh::start().await;
    let operator = mesh.operator();
    let edge = CreateToken { pool: Some("edge".parse().unwrap()), ..CreateToken::new(SENTRY, 2, 60) };
    let (made, host) = (operator.create_token(&edge).await.unwrap(), Host::new(SENTRY, "sentry-1"));
    let pool = async |name: &str| {
        let nodes = operator.nodes().await.unwrap();
        nodes.into_iter().find(|view| view.node.name.as_str() == name).unwrap().node.pool.map(String::from)
    };
    // It cannot name one itself.
    let mut request = host.request.clone();
    request.proof = Proof::JoinToken { token: made.token.clone() };
    let mut wish = serde_json::to_value(&request).unwrap();
    wish["pool"] = "core".into();
    let answer = http(&mesh).post(mesh.agents_url().join("v1/enroll").unwrap()).json(&wish).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 400);
    assert_eq!((mesh.status().await.nodes, operator.tokens().await.unwrap()[0].used), (0, 0));

    let (first, again) =
        (host.enroll(&mesh, &made.token).await.unwrap(), host.enroll(&mesh, &made.token).await.unwrap());
    assert_eq!(first.node, again.node);
    Host::new(SENTRY, "sentry-2").enroll(&mesh, &mesh.token(SENTRY, 1).await).await.unwrap();
    assert_eq!((pool("sentry-1").await.as_deref(), pool("sentry-2").await), (Some("edge"), None));
    let pools: Vec<_> = operator.tokens().await.unwrap().into_iter().map(|token| token.pool).collect();
    assert_eq!(pools, [edge.pool, None]);
    let events = operator.events().await.unwrap();
    let said = |action: &str, subject: &str| {
        let event = events.iter().find(|event| event.action == action && event.subject == subject).unwrap();
        event.detail.contains(", pool edge")
    };
    assert!(said("token.created", made.id.as_str()) && said("node.enrolled", "sentry-1"));
    assert!(!said("node.enrolled", "sentry-2"));

    let admin = mesh.token_of_operator();
    for bad in ["Edge", "", "a b", "../x", "a\nb", &"a".repeat(64)] {
        let request = json!({"role": "sentry", "uses": 1, "ttl_seconds": 60, "pool": bad});
        let tokens = format!("{}/v1/tokens", mesh.operators_url());
        let answer = http(&mesh).post(tokens).bearer_auth(&admin).json(&request).send().await.unwrap();
        let problem: Problem = answer.json().await.unwrap();
        assert!(problem.status == 400 && problem.detail.contains("pool name"), "{bad:?}: {problem}");
    }
    assert_eq!(operator.tokens().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_token_has_limits() {
    let mesh = Mesh::start().await;
    let good = CreateToken::new(SENTRY, 1, 60);
    let bad = [
        CreateToken { uses: 1001, ..good.clone() },
        CreateToken { ttl_seconds: 31 * 24 * 3600, ..good.clone() },
        CreateToken { lease_seconds: Some(30), ..good.clone() },
        CreateToken { comment: "two\nlines".to_owned(), ..good.clone() },
        CreateToken { from: vec!["192.0.2.0/24".parse().unwrap(); 65], ..good.clone() },
    ];
    for request in bad {
        let error = mesh.operator().create_token(&request).await.unwrap_err();
        assert_eq!(error.kind(), Some(ProblemKind::BadRequest), "{request:?}");
    }
    assert_eq!(mesh.operator().tokens().await.unwrap().len(), 0);
}

#[tokio::test]
async fn an_enroller_makes_tokens_and_sees_hosts_and_nothing_else() {
    let mesh = Mesh::start().await;
    let others = mesh.operator().create_token(&CreateToken::new(SENTRY, 1, 60)).await.unwrap();
    let enroller = mesh.operator_with(&mesh.add_operator("enroller").await);
    let own = enroller.create_token(&CreateToken::new(SENTRY, 1, 60)).await.unwrap();
    Host::new(SENTRY, "sentry-1").enroll(&mesh, &own.token).await.unwrap();
    assert_eq!(enroller.nodes().await.unwrap().len(), 1);
    let seen = enroller.tokens().await.unwrap();
    assert_eq!(seen.iter().map(|token| &token.id).collect::<Vec<_>>(), [&own.id]);
    let error = enroller.revoke_token(&others.id).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::NotFound));
    enroller.revoke_token(&own.id).await.unwrap();
    let forbidden = [
        enroller.status().await.unwrap_err(),
        enroller.events().await.unwrap_err(),
        enroller.validators().await.unwrap_err(),
        enroller.release().await.unwrap_err(),
        enroller.revoke("sentry-1", &Default::default()).await.unwrap_err(),
        enroller.clear_node("sentry-1").await.unwrap_err(),
    ];
    assert!(forbidden.iter().all(|error| error.kind() == Some(ProblemKind::Forbidden)), "{forbidden:?}");
    // A viewer looks at more and makes nothing.
    let viewer = mesh.operator_with(&mesh.add_operator("viewer").await);
    viewer.status().await.unwrap();
    let error = viewer.create_token(&CreateToken::new(SENTRY, 1, 60)).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::Forbidden));
    assert_eq!(viewer.revoke_token(&others.id).await.unwrap_err().kind(), Some(ProblemKind::Forbidden));
}

#[tokio::test]
async fn a_copy_of_a_hosts_keys_is_refused_and_both_are_named_until_somebody_looked() {
    let mesh = Mesh::start().await;
    let (mut host, token) = (Host::new(SENTRY, "sentry-1"), mesh.token(SENTRY, 5).await);
    host.enroll(&mesh, &token).await.unwrap();
    host.request.machine_id = Some("another".into());
    host.request.name = "copy-1".parse().unwrap();
    for _ in 0..2 {
        assert_eq!(host.enroll(&mesh, &token).await.unwrap_err().kind(), Some(ProblemKind::KeyTaken));
    }
    let alarms = mesh.status().await.alarms;
    let named =
        |alarm: &String| ["sentry-1", "copy-1", "127.0.0.1", "same keys"].iter().all(|part| alarm.contains(part));
    assert_eq!(alarms.iter().filter(|alarm| named(alarm)).count(), 1, "{alarms:?}");
    let events = mesh.operator().events().await.unwrap();
    assert_eq!(events.iter().filter(|event| event.action == "node.cloned").count(), 1);
    assert_eq!(mesh.operator().tokens().await.unwrap()[0].used, 1);

    mesh.operator().clear_node("sentry-1").await.unwrap();
    assert!(!mesh.status().await.alarms.iter().any(named));
    assert_eq!(mesh.operator().clear_node("sentry-1").await.unwrap_err().kind(), Some(ProblemKind::Conflict));
    assert_eq!(mesh.operator().clear_node("nobody").await.unwrap_err().kind(), Some(ProblemKind::NotFound));
    // Or until it is revoked.
    host.enroll(&mesh, &token).await.unwrap_err();
    assert!(mesh.status().await.alarms.iter().any(named));
    mesh.operator().revoke("sentry-1", &Default::default()).await.unwrap();
    assert!(!mesh.status().await.alarms.iter().any(named));
}

#[tokio::test]
async fn a_machine_id_from_elsewhere_is_a_copy_and_from_the_same_place_is_not() {
    let mesh = Mesh::start().await;
    let token = mesh.token(SENTRY, 5).await;
    let original = Host::new(SENTRY, "sentry-1").enroll(&mesh, &token).await.unwrap();
    // The fixture's hosts are all at one address.
    Host::new(SENTRY, "sentry-2").enroll(&mesh, &token).await.unwrap();
    mesh.operator().revoke("sentry-2", &Default::default()).await.unwrap();
    let store = mesh.store().await;
    let mut tx = store.write().await.unwrap();
    let lease = Lease::granted(None, SystemTime::now().into());
    tx.grant_lease(&original.node, &lease, "192.0.2.1".parse().unwrap()).await.unwrap();
    tx.commit().await.unwrap();
    let copy = Host::new(SENTRY, "sentry-3");
    let error = copy.enroll(&mesh, &token).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::MachineTaken), "{error}");
    let alarms = mesh.status().await.alarms;
    assert!(alarms.iter().any(|alarm| alarm.contains("same machine id") && alarm.contains("sentry-3")), "{alarms:?}");
    mesh.operator().revoke("sentry-1", &Default::default()).await.unwrap();
    copy.enroll(&mesh, &token).await.unwrap();
}

//! Joining: who gets in, who does not, and that a lost answer costs nothing.

use crate::fixture::{Host, Mesh, forged};
use picket_api::ProblemKind;
use picket_controller::store::{Token, TokenTerms};
use picket_model::{NodeRole, Timestamp};
use picket_pki::JoinToken;
use std::{collections::BTreeSet, time::SystemTime};

const SENTRY: NodeRole = NodeRole::Sentry;

#[tokio::test]
async fn a_host_joins_and_is_in_force_once_it_says_so() {
    let mesh = Mesh::start().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let sentry = mesh.join(SENTRY, "sentry-1").await;
    let (p, s) = (prep.wanted().await, sentry.wanted().await);
    assert_eq!(p.digest, p.full.digest());
    assert_eq!(p.full.wireguard.peers.values().next().unwrap().endpoint, Some("127.0.0.1:51820".parse().unwrap()));
    assert_eq!((p.full.wireguard.peers.len(), s.full.wireguard.peers.len()), (1, 1));
    assert!(p.full.firewall.allowed(picket_model::Purpose::P2p).0.len() > 90);

    prep.confirm(&p).await;
    let status = mesh.status().await;
    assert_eq!((status.nodes, status.in_force), (2, 1));
    assert!(status.alarms.iter().any(|alarm| alarm == "host sentry-1 has not reported yet"), "{:?}", status.alarms);
    sentry.confirm(&s).await;
    assert_eq!(mesh.status().await.in_force, 2);
    let actions: Vec<String> = mesh.operator().events().await.unwrap().into_iter().map(|e| e.action).collect();
    for action in
        ["mesh.created", "policy.changed", "validators.changed", "token.created", "node.enrolled", "plan.committed"]
    {
        assert!(actions.iter().any(|known| known == action), "{action} in {actions:?}");
    }
}

#[tokio::test]
async fn a_token_that_is_not_good_lets_nobody_in() {
    let mesh = Mesh::start().await;
    let check = async |token: &str, role, expect| {
        let error = Host::new(role, "sentry-1").enroll(&mesh, token).await.unwrap_err();
        assert_eq!(error.kind(), Some(expect), "{error}");
    };
    let good = mesh.token(SENTRY, 1).await;
    let parsed: JoinToken = good.parse().unwrap();
    check(&forged(&good), SENTRY, ProblemKind::TokenUnknown).await;
    check(&good.replace(parsed.id.as_str(), "t-other"), SENTRY, ProblemKind::TokenUnknown).await;
    check(&good, NodeRole::Prep, ProblemKind::TokenRole).await;
    check("picket1.short", SENTRY, ProblemKind::BadRequest).await;

    let store = mesh.store().await;
    let mut tx = store.write().await.unwrap();
    let old = JoinToken { id: "t-old".parse().unwrap(), ..parsed.clone() };
    let now = Timestamp::from(SystemTime::now());
    let row = Token {
        id: old.id.clone(),
        secret_hash: old.secret_hash(),
        role: SENTRY,
        uses: 1,
        used: 0,
        created_at: now,
        expires_at: Timestamp::from_millis(now.as_millis() - 1),
        terms: TokenTerms::default(),
        made_by: None,
        revoked_at: None,
    };
    tx.insert_token(&row).await.unwrap();
    tx.commit().await.unwrap();
    check(&good.replace(parsed.id.as_str(), "t-old"), SENTRY, ProblemKind::TokenExpired).await;

    Host::new(SENTRY, "sentry-0").enroll(&mesh, &good).await.unwrap();
    check(&good, SENTRY, ProblemKind::TokenUsed).await;
    assert_eq!(mesh.status().await.nodes, 1);
    let events = mesh.operator().events().await.unwrap();
    assert_eq!(events.iter().filter(|event| event.action == "enroll.refused").count(), 5);
    let text = format!("{events:?}");
    assert!(!good.split('.').next_back().is_some_and(|secret| text.contains(secret)));
}

#[tokio::test]
async fn a_lost_answer_costs_neither_the_node_nor_the_token() {
    let mesh = Mesh::start().await;
    let (token, other) = (mesh.token(SENTRY, 1).await, mesh.token(SENTRY, 1).await);
    let mut host = Host::new(SENTRY, "sentry-1");
    let first = host.enroll(&mesh, &token).await.unwrap();
    host.request.name = "sentry-one".parse().unwrap();
    let again = host.enroll(&mesh, &token).await.unwrap();
    assert_eq!((&again.node, again.overlay), (&first.node, first.overlay));
    assert_ne!(again.certificate_pem, first.certificate_pem);
    let agent = host.agent(&mesh, &again);
    assert_eq!(agent.wanted().await.full.node, first.node);
    assert_eq!(mesh.operator().nodes().await.unwrap()[0].node.name.as_str(), "sentry-one");
    // A clone of the machine has the keys and the token too.
    host.request.machine_id = Some("another".into());
    assert_eq!(host.enroll(&mesh, &token).await.unwrap_err().kind(), Some(ProblemKind::KeyTaken));
    assert_eq!(host.enroll(&mesh, &other).await.unwrap_err().kind(), Some(ProblemKind::KeyTaken));
}

#[tokio::test]
async fn keys_and_names_belong_to_one_host() {
    let mesh = Mesh::start().await;
    let (host, token) = (Host::new(SENTRY, "sentry-1"), mesh.token(SENTRY, 2).await);
    let response = host.enroll(&mesh, &token).await.unwrap();
    let mut thief = Host::new(SENTRY, "sentry-2");
    thief.request.wireguard_key = host.request.wireguard_key;
    assert_eq!(thief.enroll(&mesh, &token).await.unwrap_err().kind(), Some(ProblemKind::KeyTaken));
    let namesake = Host::new(SENTRY, "sentry-1");
    assert_eq!(namesake.enroll(&mesh, &token).await.unwrap_err().kind(), Some(ProblemKind::NameTaken));

    mesh.operator().revoke("sentry-1", &Default::default()).await.unwrap();
    assert_eq!(host.enroll(&mesh, &token).await.unwrap_err().kind(), Some(ProblemKind::KeyTaken));
    // None of the refusals used the token up, the name is free again, and the address is not.
    let next = namesake.enroll(&mesh, &token).await.unwrap();
    assert_ne!(next.overlay.v4, response.overlay.v4);
}

#[tokio::test]
async fn a_request_that_is_not_one_is_refused() {
    let mesh = Mesh::start().await;
    let token = mesh.token(SENTRY, 1).await;
    let mut host = Host::new(SENTRY, "sentry-1");
    host.request.csr_pem = "nonsense".into();
    assert_eq!(host.enroll(&mesh, &token).await.unwrap_err().kind(), Some(ProblemKind::BadRequest));
    let mut host = Host::new(SENTRY, "sentry-1");
    host.request.endpoint = Some("192.0.2.1:0".parse().unwrap());
    assert_eq!(host.enroll(&mesh, &token).await.unwrap_err().kind(), Some(ProblemKind::BadRequest));
    assert!(Host::new(SENTRY, "sentry-1").enroll(&mesh, &token).await.is_ok());
}

#[tokio::test]
async fn an_endpoint_on_a_guarded_port_is_refused_at_first_and_when_repeated() {
    let mesh = Mesh::start_with("[policy.ports]\np2p = [7100]\nrpc = [9000, 9001]\n").await;
    let token = mesh.token(SENTRY, 1).await;
    let mut host = Host::new(SENTRY, "sentry-1");
    let refused = async |host: &mut Host, port: u16| {
        host.request.endpoint = Some(([192, 0, 2, 1], port).into());
        let error = host.enroll(&mesh, &token).await.unwrap_err();
        assert_eq!(error.kind(), Some(ProblemKind::BadRequest));
        assert!(error.to_string().contains(&format!("port {port}, which the policy guards")), "{error}");
    };
    refused(&mut host, 7100).await;
    refused(&mut host, 9001).await;
    host.request.endpoint = Some("192.0.2.1:51820".parse().unwrap());
    host.enroll(&mesh, &token).await.unwrap();
    refused(&mut host, 9000).await;
    let endpoint = mesh.operator().nodes().await.unwrap()[0].node.endpoint;
    assert_eq!(endpoint, Some("192.0.2.1:51820".parse().unwrap()));
}

#[tokio::test]
async fn twenty_hosts_join_at_once() {
    let mesh = Mesh::start().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let token = mesh.token(SENTRY, 20).await;
    let hosts: Vec<Host> = (0..20).map(|number| Host::new(SENTRY, &format!("sentry-{number}"))).collect();
    let joined = futures_util::future::join_all(hosts.iter().map(|host| host.enroll(&mesh, &token))).await;
    let addresses: BTreeSet<_> = joined.into_iter().map(|response| response.unwrap().overlay.v4).collect();
    assert_eq!(addresses.len(), 20);
    assert_eq!(prep.wanted().await.full.wireguard.peers.len(), 20);
    assert_eq!(Host::new(SENTRY, "late").enroll(&mesh, &token).await.unwrap_err().kind(), Some(ProblemKind::TokenUsed));
}

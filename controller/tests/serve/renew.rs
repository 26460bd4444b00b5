//! Certificates are renewed by who holds the key, with or without the old one, and by nobody else.

use crate::fixture::{Host, Mesh};
use picket_api::{AgentClient, ApiError, ProblemKind, node::RenewRequest, node::RenewResponse, operator::RevokeQuery};
use picket_model::{Generation, NodeId, NodeRole};
use picket_pki::{client_config, validity_of};
use sqlx::Connection as _;

const SENTRY: NodeRole = NodeRole::Sentry;

/// Asks on a connection that shows no certificate, as a host does whose certificate is over.
async fn renew(mesh: &Mesh, node: &NodeId, csr_pem: &str) -> Result<RenewResponse, ApiError> {
    let client = AgentClient::new(mesh.agents_url(), client_config(mesh.ca(), None).unwrap()).unwrap();
    client.renew(&RenewRequest { node: node.clone(), csr_pem: csr_pem.to_owned() }).await
}

#[tokio::test]
async fn a_host_gets_its_next_certificate_with_and_without_the_old_one() {
    let mesh = Mesh::start().await;
    let host = Host::new(SENTRY, "sentry-1");
    let token = mesh.token(SENTRY, 1).await;
    let mut response = host.enroll(&mesh, &token).await.unwrap();
    let agent = host.agent(&mesh, &response);
    let request = RenewRequest { node: agent.node.clone(), csr_pem: host.request.csr_pem.clone() };
    let with_old = agent.client().renew(&request).await.unwrap();
    let without = renew(&mesh, &agent.node, &host.request.csr_pem).await.unwrap();
    assert_ne!(with_old.certificate_pem, without.certificate_pem);
    for renewed in [with_old, without] {
        let validity = validity_of(&renewed.certificate_pem).unwrap();
        assert_eq!(validity.not_after, renewed.not_after);
        assert_eq!(validity.not_after.since(validity.made_at).as_secs(), 8 * 3600);
        response.certificate_pem = renewed.certificate_pem;
        let wanted = host.agent(&mesh, &response).wanted().await;
        assert_eq!(wanted.full.node, agent.node);
    }
}

#[tokio::test]
async fn a_certificate_is_out_once_its_host_has_used_a_newer_one() {
    let mut mesh = Mesh::start().await;
    let (host, token) = (Host::new(SENTRY, "sentry-1"), mesh.token(SENTRY, 1).await);
    let response = host.enroll(&mesh, &token).await.unwrap();
    let old = host.agent(&mesh, &response);
    let request = RenewRequest { node: old.node.clone(), csr_pem: host.request.csr_pem.clone() };
    let wanted = old.wanted().await;
    let poll = old.waiting(&mesh, &wanted).await;
    // An answer that is lost changes nothing: the host goes on with what it has, and renews again.
    let lost = old.client().renew(&request).await.unwrap().certificate_pem;
    old.wanted().await;
    let next = old.client().renew(&request).await.unwrap().certificate_pem;
    old.confirm(&wanted).await;
    assert!(!poll.is_finished());

    let new = host.renewed(&mesh, &old.node, &next);
    new.wanted().await;
    let ended = tokio::time::timeout(std::time::Duration::from_secs(10), poll).await;
    assert!(ended.expect("the open poll ends").unwrap().is_err());
    let lost = host.renewed(&mesh, &old.node, &lost);
    for restart in [false, true] {
        if restart {
            mesh.stop().await;
            mesh.resume().await;
        }
        for replaced in [&old, &lost] {
            let client = replaced.pinning(&mesh, &[mesh.ca()]);
            let error = client.config(Generation(0)).await.unwrap_err();
            assert_eq!(error.kind(), Some(ProblemKind::Unauthorized), "{error}");
            assert!(error.to_string().contains("newer certificate"), "{error}");
        }
        new.pinning(&mesh, &[mesh.ca()]).config(Generation(0)).await.unwrap().unwrap();
    }
    // Nobody is alarmed by it, and who holds the key alone, as after a restored backup, gets a certificate by it.
    let status = mesh.status().await;
    assert!(!status.alarms.iter().any(|alarm| alarm.contains("certificate")), "{status:?}");
    let again = renew(&mesh, &old.node, &host.request.csr_pem).await.unwrap();
    host.renewed(&mesh, &old.node, &again.certificate_pem).wanted().await;
}

#[tokio::test]
async fn a_host_from_before_shows_the_certificate_that_it_has_until_it_uses_another() {
    let mesh = Mesh::start().await;
    let (host, token) = (Host::new(SENTRY, "sentry-1"), mesh.token(SENTRY, 1).await);
    let response = host.enroll(&mesh, &token).await.unwrap();
    let old = host.agent(&mesh, &response);
    old.wanted().await;
    let url = format!("sqlite://{}", mesh.state_dir().join("controller.db").display());
    let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("DELETE FROM certificates").execute(&mut database).await.unwrap();
    old.wanted().await;
    let next = renew(&mesh, &old.node, &host.request.csr_pem).await.unwrap();
    old.wanted().await;
    host.renewed(&mesh, &old.node, &next.certificate_pem).wanted().await;
    let error = old.pinning(&mesh, &[mesh.ca()]).config(Generation(0)).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::Unauthorized), "{error}");
}

#[tokio::test]
async fn nobody_else_gets_one() {
    let mesh = Mesh::start().await;
    let (host, stranger) = (Host::new(SENTRY, "sentry-1"), Host::new(SENTRY, "stranger"));
    let token = mesh.token(SENTRY, 1).await;
    let node = host.enroll(&mesh, &token).await.unwrap().node;
    let check = async |node: &NodeId, csr_pem: &str, expect| {
        let error = renew(&mesh, node, csr_pem).await.unwrap_err();
        assert_eq!(error.kind(), Some(expect), "{error}");
    };
    let csr_pem = &host.request.csr_pem;
    check(&node, &stranger.request.csr_pem, ProblemKind::Unauthorized).await;
    check(&"n-other".parse().unwrap(), csr_pem, ProblemKind::Unauthorized).await;
    check(&node, "-----BEGIN nothing", ProblemKind::BadRequest).await;
    mesh.operator().revoke(node.as_str(), &RevokeQuery::default()).await.unwrap();
    check(&node, csr_pem, ProblemKind::NodeRevoked).await;
    check(&node, &stranger.request.csr_pem, ProblemKind::Unauthorized).await;
}

//! Keys for machines without an agent: members like any, for whom nobody waits.

use crate::fixture::Mesh;
use picket_api::{ProblemKind, keys::IssueKey, operator::RevokeQuery};
use picket_model::{NodeRole, WireGuardPublicKey};

const AT_ONCE: RevokeQuery = RevokeQuery { wait_ms: Some(0) };

fn request(name: &str, role: NodeRole) -> IssueKey {
    let wireguard_key = WireGuardPublicKey::new(picket_pki::random().unwrap()).unwrap();
    let endpoint = (role == NodeRole::Sentry).then(|| "192.0.2.9:51820".parse().unwrap());
    IssueKey { name: name.parse().unwrap(), role, wireguard_key, endpoint, replace: false }
}

#[tokio::test]
async fn an_issued_key_is_a_member_that_nobody_waits_for() {
    let mesh = Mesh::start().await;
    let sentry = mesh.join(NodeRole::Sentry, "sentry-1").await;
    sentry.confirm(&sentry.wanted().await).await;
    let request = request("laptop", NodeRole::Prep);
    let issued = mesh.operator().issue_key(&request).await.unwrap();
    assert_eq!((issued.node.wireguard_key, issued.node.issued), (request.wireguard_key, true));
    let peer = issued.wireguard.peers.values().next().unwrap();
    assert_eq!((&peer.node, peer.endpoint.is_some()), (&sentry.node, true));
    // The other end has it, with its addresses and nothing else.
    let wanted = sentry.wanted().await;
    let back = &wanted.full.wireguard.peers[&request.wireguard_key];
    assert_eq!(back.allowed_ips, issued.node.overlay.networks().into());
    sentry.confirm(&wanted).await;
    let status = mesh.status().await;
    assert_eq!((status.nodes, status.in_force), (1, 1), "{status:?}");
    assert!(!status.alarms.iter().any(|alarm| alarm.contains("laptop")), "{status:?}");

    // A revoke of another host does not wait for it, and its own is like any.
    let receipt = mesh.operator().revoke("sentry-1", &AT_ONCE).await.unwrap();
    assert_eq!((receipt.in_force.len(), receipt.missing.len()), (0, 0));
    let second = mesh.join(NodeRole::Sentry, "sentry-2").await;
    let receipt = mesh.operator().revoke("laptop", &AT_ONCE).await.unwrap();
    assert_eq!(receipt.missing.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["sentry-2"]);
    assert!(second.wanted().await.full.wireguard.peers.is_empty());
    // It survives a restart, and its key is not taken again.
    let again = mesh.operator().issue_key(&IssueKey { name: "other".parse().unwrap(), ..request }).await.unwrap_err();
    assert_eq!(again.kind(), Some(ProblemKind::KeyTaken));
    let events = mesh.operator().events().await.unwrap();
    assert_eq!(events.iter().filter(|event| event.action == "key.issued").count(), 1);
}

#[tokio::test]
async fn what_no_host_could_be_is_refused_and_nothing_is_entered() {
    let mesh = Mesh::start().await;
    mesh.join(NodeRole::Sentry, "sentry-1").await;
    let refused = async |request: IssueKey, kind: ProblemKind| {
        let error = mesh.operator().issue_key(&request).await.unwrap_err();
        assert_eq!(error.kind(), Some(kind), "{error}");
    };
    refused(request("sentry-1", NodeRole::Prep), ProblemKind::NameTaken).await;
    let sentry = |endpoint: Option<&str>| IssueKey {
        endpoint: endpoint.map(|text| text.parse().unwrap()),
        ..request("sentry-9", NodeRole::Sentry)
    };
    refused(sentry(None), ProblemKind::BadRequest).await;
    refused(sentry(Some("192.0.2.9:0")), ProblemKind::BadRequest).await;
    refused(sentry(Some("192.0.2.9:7100")), ProblemKind::BadRequest).await;
    refused(sentry(Some("0.0.0.0:51820")), ProblemKind::BadRequest).await;
    refused(sentry(Some("[::]:51820")), ProblemKind::BadRequest).await;
    assert_eq!(mesh.operator().nodes().await.unwrap().len(), 1);
    let viewer = mesh.operator_with(&mesh.add_operator("viewer").await);
    let error = viewer.issue_key(&request("laptop", NodeRole::Prep)).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::Forbidden));
}

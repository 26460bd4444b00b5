//! A host changes the key of its tunnels: its peers know the next one first, and nobody comes in with one that was.

use crate::fixture::{Agent, Host, Mesh, report};
use picket_api::{ApiError, ProblemKind, keys::IssueKey, node::RekeyRequest};
use picket_model::{NodeRole, WireGuardPublicKey};

fn key() -> WireGuardPublicKey {
    WireGuardPublicKey::new(picket_pki::random().unwrap()).unwrap()
}

async fn say(agent: &Agent, uses: WireGuardPublicKey, next: Option<WireGuardPublicKey>) -> Result<bool, ApiError> {
    agent.client().rekey(&RekeyRequest { uses, next }).await.map(|answer| answer.ready)
}

async fn refused(agent: &Agent, uses: WireGuardPublicKey, next: WireGuardPublicKey, kind: ProblemKind) {
    let error = say(agent, uses, Some(next)).await.unwrap_err();
    assert_eq!(error.kind(), Some(kind), "{error}");
}

/// A sentry with its keys, and a validator that is its peer.
async fn pair(mesh: &Mesh) -> (Host, Agent, Agent) {
    let (host, token) = (Host::new(NodeRole::Sentry, "sentry-1"), mesh.token(NodeRole::Sentry, 1).await);
    let response = host.enroll(mesh, &token).await.unwrap();
    let sentry = host.agent(mesh, &response);
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    (host, sentry, prep)
}

#[tokio::test]
async fn a_next_key_is_in_use_once_every_peer_has_read_it_back() {
    let mut mesh = Mesh::start().await;
    let (host, sentry, prep) = pair(&mesh).await;
    let (before, next) = (host.request.wireguard_key, key());
    prep.confirm(&prep.wanted().await).await;
    let told = sentry.wanted().await;
    assert!(!say(&sentry, before, None).await.unwrap());
    assert!(!say(&sentry, before, Some(next)).await.unwrap(), "the peer has not heard of it");
    let both = prep.wanted().await;
    let peers = &both.full.wireguard.peers;
    assert!(peers[&next].allowed_ips.is_empty() && peers[&before].allowed_ips.len() == 2);
    assert_eq!(peers[&next].pairing, peers[&before].pairing);
    assert_eq!(sentry.wanted().await.revision, told.revision, "the host itself is told nothing");
    assert!(!say(&sentry, before, Some(next)).await.unwrap());

    // It goes on after a restart, and after the peer's word.
    mesh.stop().await;
    mesh.resume().await;
    let (sentry, prep) = (sentry.connected(&mesh), prep.connected(&mesh));
    assert!(!say(&sentry, before, Some(next)).await.unwrap());
    prep.client().report(&report(&both)).await.unwrap();
    let poll = prep.waiting(&mesh, &both).await;
    assert!(say(&sentry, before, Some(next)).await.unwrap());

    // It is in use. Said twice, it is said once.
    for _ in 0..2 {
        assert!(!say(&sentry, next, None).await.unwrap());
    }
    let after = poll.await.unwrap().unwrap().unwrap();
    let peers = &after.full.wireguard.peers;
    assert!(!peers.contains_key(&before) && peers[&next].allowed_ips.len() == 2);
    let nodes = mesh.operator().nodes().await.unwrap();
    assert!(nodes.iter().any(|view| view.node.id == sentry.node && view.node.wireguard_key == next));
    let events = mesh.operator().events().await.unwrap();
    let steps: Vec<_> = events.iter().filter(|line| line.action.starts_with("node.rekey")).collect();
    assert_eq!(steps.len(), 2);
    assert!(steps.iter().all(|line| line.actor.contains(sentry.node.as_str())), "{steps:?}");

    // The key of before is nobody's any more: not this host's, not another's, not a thief's.
    refused(&sentry, before, key(), ProblemKind::Conflict).await;
    refused(&sentry, next, before, ProblemKind::KeyTaken).await;
    refused(&prep, peer_key(&mesh, &prep).await, before, ProblemKind::KeyTaken).await;
    let mut thief = Host::new(NodeRole::Sentry, "sentry-2");
    thief.request.wireguard_key = before;
    let token = mesh.token(NodeRole::Sentry, 1).await;
    let error = thief.enroll(&mesh, &token).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::KeyTaken), "{error}");
}

async fn peer_key(mesh: &Mesh, agent: &Agent) -> WireGuardPublicKey {
    let nodes = mesh.operator().nodes().await.unwrap();
    nodes.into_iter().find(|view| view.node.id == agent.node).unwrap().node.wireguard_key
}

#[tokio::test]
async fn a_key_that_is_somebodys_or_that_a_member_cannot_follow_is_refused() {
    let mesh = Mesh::start().await;
    let (host, sentry, prep) = pair(&mesh).await;
    let (own, theirs) = (host.request.wireguard_key, peer_key(&mesh, &prep).await);
    refused(&sentry, own, theirs, ProblemKind::KeyTaken).await;
    refused(&sentry, own, own, ProblemKind::KeyTaken).await;
    refused(&sentry, key(), key(), ProblemKind::Conflict).await;
    // What one host announced no other may have, and it may think again.
    let next = key();
    say(&sentry, own, Some(next)).await.unwrap();
    refused(&prep, theirs, next, ProblemKind::KeyTaken).await;
    let mut copy = Host::new(NodeRole::Sentry, "sentry-2");
    copy.request.wireguard_key = next;
    let token = mesh.token(NodeRole::Sentry, 1).await;
    assert_eq!(copy.enroll(&mesh, &token).await.unwrap_err().kind(), Some(ProblemKind::KeyTaken));
    say(&sentry, own, Some(key())).await.unwrap();
    assert_eq!(prep.wanted().await.full.wireguard.peers.len(), 2);
    say(&sentry, own, None).await.unwrap();
    assert_eq!(prep.wanted().await.full.wireguard.peers.len(), 1);
    // An issued key's configuration hears of no change.
    let request = IssueKey {
        name: "laptop".parse().unwrap(),
        role: NodeRole::Prep,
        wireguard_key: key(),
        endpoint: None,
        replace: false,
    };
    mesh.operator().issue_key(&request).await.unwrap();
    refused(&sentry, own, key(), ProblemKind::Conflict).await;
    // A host that is no member any more has no keys to change.
    mesh.operator().revoke("sentry-1", &Default::default()).await.unwrap();
    assert!(say(&sentry, own, Some(key())).await.is_err());
}

#[tokio::test]
async fn an_announcement_that_stops_the_plan_is_taken_back() {
    let mut mesh = Mesh::start().await;
    let (host, sentry, _prep) = pair(&mesh).await;
    let (own, next) = (host.request.wireguard_key, key());
    mesh.stop().await;
    mesh.config.push_str("[policy.ports]\nrpc = [22]\n");
    mesh.resume().await;
    let sentry = sentry.connected(&mesh);
    let error = say(&sentry, own, Some(next)).await.unwrap_err();
    assert!(error.kind() == Some(ProblemKind::Conflict) && error.to_string().contains("locked out"), "{error}");
    let events = mesh.operator().events().await.unwrap();
    assert!(events.iter().any(|line| line.action == "node.rekey.refused" && line.detail.contains(&next.to_string())));
}

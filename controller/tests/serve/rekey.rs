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
    mesh.operator().issue_key(&laptop()).await.unwrap();
    refused(&sentry, own, key(), ProblemKind::Conflict).await;
    // A host that is no member any more has no keys to change.
    mesh.operator().revoke("sentry-1", &Default::default()).await.unwrap();
    assert!(say(&sentry, own, Some(key())).await.is_err());
}

#[tokio::test]
async fn an_announcement_that_stops_the_plan_is_taken_back() {
    let mut mesh = Mesh::start().await;
    let (host, sentry, prep) = pair(&mesh).await;
    let (own, next) = (host.request.wireguard_key, key());
    mesh.stop().await;
    mesh.config.push_str("[policy.ports]\nrpc = [22]\n");
    mesh.resume().await;
    let sentry = sentry.connected(&mesh);
    let error = say(&sentry, own, Some(next)).await.unwrap_err();
    assert!(error.kind() == Some(ProblemKind::Conflict) && error.to_string().contains("locked out"), "{error}");
    let events = mesh.operator().events().await.unwrap();
    assert!(events.iter().any(|line| line.action == "node.rekey.refused" && line.detail.contains(&next.to_string())));
    assert!(announced(&mesh).await.is_empty());
    // With a policy that can be planned with, plans go on as if it had never been announced, and another may be.
    mesh.stop().await;
    mesh.config = mesh.config.replace("rpc = [22]", "rpc = [9000]");
    mesh.resume().await;
    let (sentry, prep) = (sentry.connected(&mesh), prep.connected(&mesh));
    let before = prep.wanted().await;
    assert_eq!(before.full.wireguard.peers.keys().collect::<Vec<_>>(), [&own]);
    let other = key();
    assert!(!say(&sentry, own, Some(other)).await.unwrap());
    let after = prep.config(before.revision).await;
    assert!(after.full.wireguard.peers.contains_key(&other) && !after.full.wireguard.peers.contains_key(&next));
    assert_eq!(announced(&mesh).await, [other]);
}

async fn announced(mesh: &Mesh) -> Vec<WireGuardPublicKey> {
    mesh.store().await.read().await.unwrap().next_keys().await.unwrap().into_values().collect()
}

fn laptop() -> IssueKey {
    IssueKey {
        name: "laptop".parse().unwrap(),
        role: NodeRole::Prep,
        wireguard_key: key(),
        endpoint: None,
        replace: false,
    }
}

#[tokio::test]
async fn a_key_that_is_issued_while_another_waits_stops_that_one_and_says_so() {
    let mesh = Mesh::start().await;
    let (host, sentry, prep) = pair(&mesh).await;
    let (own, next) = (host.request.wireguard_key, key());
    assert!(!say(&sentry, own, Some(next)).await.unwrap());
    let issued = mesh.operator().issue_key(&laptop()).await.unwrap();
    assert!(issued.wireguard.peers.contains_key(&own), "{issued:?}");
    prep.confirm(&prep.wanted().await).await;
    // The machine without an agent never reads the next key back. Whoever waits for it hears so, and no peer waits on.
    for _ in 0..2 {
        let error = say(&sentry, own, Some(next)).await.unwrap_err();
        assert!(error.kind() == Some(ProblemKind::Conflict) && error.to_string().contains("laptop has an issued key"));
    }
    assert!(announced(&mesh).await.is_empty());
    assert_eq!(prep.wanted().await.full.wireguard.peers.keys().collect::<Vec<_>>(), [&own]);
    let events = mesh.operator().events().await.unwrap();
    let told: Vec<_> = events.iter().filter(|line| line.action == "node.rekey.refused").collect();
    assert!(told.len() == 1 && told[0].detail.contains("laptop"), "{told:?}");
    // It goes on once that machine is gone.
    mesh.operator().revoke("laptop", &Default::default()).await.unwrap();
    say(&sentry, own, Some(next)).await.unwrap();
    prep.confirm(&prep.wanted().await).await;
    assert!(say(&sentry, own, Some(next)).await.unwrap());
}

#[tokio::test]
async fn a_host_is_asked_for_another_key_until_it_uses_one() {
    let mut mesh = Mesh::start().await;
    let (host, sentry, prep) = pair(&mesh).await;
    let (own, next) = (host.request.wireguard_key, key());
    let asks =
        async |agent: &Agent, uses, next| agent.client().rekey(&RekeyRequest { uses, next }).await.unwrap().replace;
    let held = sentry.wanted().await;
    let poll = sentry.waiting(&mesh, &held).await;
    assert!(!asks(&sentry, own, None).await);
    let viewer = mesh.operator_with(&mesh.add_operator("viewer").await);
    assert_eq!(viewer.replace_key("sentry-1").await.unwrap_err().kind(), Some(ProblemKind::Forbidden));
    let operator = mesh.operator().because(Some("yearly".to_owned()));
    for name in ["sentry-1", sentry.node.as_str()] {
        assert_eq!(operator.replace_key(name).await.unwrap().wireguard_key, own);
    }
    // It is woken, though what it shall be is as before.
    assert_eq!(poll.await.unwrap().unwrap(), None);
    assert!(!asks(&prep, peer_key(&mesh, &prep).await, None).await, "another host is not asked");
    // Until it uses another it is asked, after a restart as well; one that has made another is not asked for a second.
    mesh.stop().await;
    mesh.resume().await;
    let (sentry, prep) = (sentry.connected(&mesh), prep.connected(&mesh));
    assert!(asks(&sentry, own, None).await);
    assert!(!asks(&sentry, own, Some(next)).await);
    prep.confirm(&prep.wanted().await).await;
    assert!(say(&sentry, own, Some(next)).await.unwrap());
    assert!(!asks(&sentry, next, None).await);
    let events = mesh.operator().events().await.unwrap();
    let asked: Vec<_> = events.iter().filter(|line| line.action == "node.rekey.asked").collect();
    assert!(asked.len() == 1 && asked[0].detail.contains(&own.to_string()), "{asked:?}");
    assert_eq!(asked[0].reason.as_deref(), Some("yearly"));

    // Who cannot: one that is not there, one without an agent, one whose peer could not follow, one that is revoked.
    let refused = async |name: &str, kind, part: &str| {
        let error = mesh.operator().replace_key(name).await.unwrap_err();
        assert!(error.kind() == Some(kind) && error.to_string().contains(part), "{error}");
    };
    refused("nobody", ProblemKind::NotFound, "nobody").await;
    mesh.operator().issue_key(&laptop()).await.unwrap();
    refused("laptop", ProblemKind::Conflict, "keys issue").await;
    refused("sentry-1", ProblemKind::Conflict, "laptop has an issued key").await;
    mesh.operator().revoke("sentry-1", &Default::default()).await.unwrap();
    refused("sentry-1", ProblemKind::Conflict, "is revoked").await;
}

#[tokio::test]
async fn a_host_that_took_its_next_key_into_use_is_heard_though_a_key_was_issued_since() {
    let mesh = Mesh::start().await;
    let (host, sentry, _prep) = pair(&mesh).await;
    let (own, next) = (host.request.wireguard_key, key());
    say(&sentry, own, Some(next)).await.unwrap();
    mesh.operator().issue_key(&laptop()).await.unwrap();
    assert!(!say(&sentry, next, None).await.unwrap());
    assert_eq!(peer_key(&mesh, &sentry).await, next);
}

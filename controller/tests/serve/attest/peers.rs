//! Proofs for peers that look at them themselves: who is told which, and what a newer one must be.

use super::cloud::{Cloud, OIDC, aws, claims, instance, sentry};
use crate::fixture::Host;
use picket_api::{ProblemKind, Proof, node::NewerProof};
use picket_attest::{audience, keys_digest};
use picket_model::NodeRole;

#[tokio::test]
async fn a_host_is_told_how_its_peers_came_in_and_nobody_elses() {
    let cloud = Cloud::start().await;
    let mesh = &cloud.mesh;
    let (proven, prep) = (sentry("sentry-1"), Host::new(NodeRole::Prep, "prep-1"));
    let first = proven.prove(mesh, aws(&instance())).await.unwrap();
    let by_token = mesh.join(NodeRole::Sentry, "sentry-2").await;
    let token = mesh.token(NodeRole::Prep, 1).await;
    let validator = prep.agent(mesh, &prep.enroll(mesh, &token).await.unwrap());
    let peers = validator.wanted().await.full.wireguard.peers;
    assert_eq!(peers.len(), 2);

    let told = validator.client().peer_proof(&first.node).await.unwrap();
    let Proof::AwsDocument { document, .. } = &told.proof else { panic!("{told:?}") };
    assert!(document.contains(&instance().id));
    let known = mesh.operator().nodes().await.unwrap().into_iter().find(|view| view.node.id == first.node).unwrap();
    assert_eq!(told.tls_key_sha256, known.node.tls_key_sha256);

    let refused = async |node: &str| {
        let error = validator.client().peer_proof(&node.parse().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), Some(ProblemKind::NotFound), "{error}");
        error.to_string()
    };
    let other = by_token.wanted().await.full.node;
    assert!(refused(other.as_str()).await.contains("came in with a join token"));
    assert!(refused("n-nobody").await.contains("has no peer n-nobody"));
    // Sentries have no tunnel between them.
    let error = by_token.client().peer_proof(&first.node).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::NotFound), "{error}");
}

#[tokio::test]
async fn a_newer_proof_is_of_the_same_identity_and_the_same_keys() {
    let cloud = Cloud::start().await;
    let mesh = &cloud.mesh;
    let host = Host::new(NodeRole::Prep, "prep-1");
    let named = host.audience(mesh).await;
    let token = |subject: &str, audience: &str, seconds: i64| {
        let mut claims = claims(OIDC, audience);
        claims["sub"] = subject.into();
        claims["iat"] = (claims["iat"].as_i64().unwrap() - seconds).into();
        NewerProof { proof: Proof::Oidc { token: Cloud::signer("oidc").token(&claims) } }
    };
    let first = token("host-1", &named, 30);
    let joined = host.prove(mesh, first.proof.clone()).await.unwrap();
    let agent = host.agent(mesh, &joined);
    let sentry = mesh.join(NodeRole::Sentry, "sentry-1").await;
    sentry.wanted().await;

    let newer = token("host-1", &named, 0);
    agent.client().newer_proof(&newer).await.unwrap();
    let shown = sentry.client().peer_proof(&joined.node).await.unwrap();
    assert_eq!(serde_json::to_string(&shown.proof).unwrap(), serde_json::to_string(&newer.proof).unwrap());

    let check = async |proof: &NewerProof, expect: ProblemKind| {
        let error = agent.client().newer_proof(proof).await.unwrap_err();
        assert_eq!(error.kind(), Some(expect), "{error}");
    };
    check(&token("host-2", &named, 0), ProblemKind::IdentityBound).await;
    check(&token("host-1", "picket://m/enroll/00", 0), ProblemKind::ProofRefused).await;
    let theirs = keys_digest(&host.request.wireguard_key, &"00".repeat(32)).unwrap();
    check(&token("host-1", &audience(&joined.mesh, &theirs), 0), ProblemKind::ProofRefused).await;
    check(&token("host-1", &named, 4000), ProblemKind::ProofRefused).await;
    // One that came in with a token has no identity to renew.
    let error = sentry.client().newer_proof(&NewerProof { proof: aws(&instance()) }).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::IdentityBound), "{error}");
    let shown = sentry.client().peer_proof(&joined.node).await.unwrap();
    assert_eq!(serde_json::to_string(&shown.proof).unwrap(), serde_json::to_string(&newer.proof).unwrap());
}

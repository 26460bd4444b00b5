//! The agent's own collectors against metadata servers that are played, up to being a member.

use super::cloud::{ACCOUNT, Cloud, OIDC, claims};
use crate::fixture::Mesh;
use picket_agent::{
    cli::{EnrollOptions, Place},
    enroll::enroll,
    proof::{ProofKind, ProofOptions},
};
use picket_model::NodeRole;
use std::{path::Path, sync::atomic::Ordering};

fn place(folder: &Path, name: &str) -> Place {
    Place { state_dir: folder.join(name), guard: None, interface: "picket0".parse().unwrap(), log_group: 0 }
}

fn options(mesh: &Mesh, name: &str, proof: ProofOptions) -> EnrollOptions {
    EnrollOptions {
        controllers: vec![mesh.agents_url().to_string()],
        token: None,
        token_file: None,
        proof: ProofOptions { ca_fingerprint: Some(mesh.ca()), ..proof },
        name: Some(name.parse().unwrap()),
        endpoint: None,
    }
}

fn from(metadata: &str, kind: ProofKind) -> ProofOptions {
    ProofOptions { proof: Some(kind), metadata: metadata.parse().ok(), ..ProofOptions::default() }
}

async fn join(cloud: &Cloud, name: &str, role: NodeRole, proof: ProofOptions) -> Result<String, String> {
    let (place, options) = (place(cloud.path(), name), options(&cloud.mesh, name, proof));
    enroll(&place, &options, role).await.map_err(|error| format!("{error:#}"))
}

async fn names(mesh: &Mesh) -> Vec<String> {
    mesh.operator().nodes().await.unwrap().into_iter().map(|view| view.node.name.to_string()).collect()
}

#[tokio::test]
async fn an_instance_of_aws_joins_by_itself_and_needs_nothing_again() {
    let cloud = Cloud::start().await;
    let metadata = cloud.metadata(ACCOUNT, "eu-central-1", "i-0123456789abcdef0").await;
    let proof = from(&metadata.url, ProofKind::Aws);
    let said = join(&cloud, "sentry-1", NodeRole::Sentry, proof.clone()).await.unwrap();
    assert!(said.starts_with("enrolled sentry-1 as a sentry"), "{said}");
    assert_eq!((names(&cloud.mesh).await, metadata.answers.load(Ordering::SeqCst)), (vec!["sentry-1".to_owned()], 2));
    // At the next boot user data runs again: nobody is asked for anything.
    let again = join(&cloud, "sentry-1", NodeRole::Sentry, proof.clone()).await.unwrap();
    assert!(again.starts_with("already enrolled"), "{again}");
    assert_eq!(metadata.answers.load(Ordering::SeqCst), 2);
    // The same instance without its disk is another host until it is forgotten.
    let error = join(&cloud, "sentry-2", NodeRole::Sentry, proof).await.unwrap_err();
    assert!(error.contains("the controller refused: aws/123456789012/i-0123456789abcdef0 came in before"), "{error}");
}

#[tokio::test]
async fn an_instance_of_gcp_joins_with_a_token_for_its_keys() {
    let cloud = Cloud::start().await;
    let metadata = cloud.metadata("my-project-1", "us-central1", "4570452845155348778").await;
    let proof = from(&metadata.url, ProofKind::Gcp);
    join(&cloud, "sentry-1", NodeRole::Sentry, proof).await.unwrap();
    let identities = cloud.mesh.operator().identities().await.unwrap();
    assert_eq!(identities[0].identity, "gcp/my-project-1/4570452845155348778");
    let elsewhere = cloud.metadata("other-project", "us-central1", "4570452845155348779").await;
    let error = join(&cloud, "sentry-2", NodeRole::Sentry, from(&elsewhere.url, ProofKind::Gcp)).await.unwrap_err();
    assert!(error.contains("no [[enroll]] rule admits gcp proofs of account \"other-project\""), "{error}");
}

#[tokio::test]
async fn any_issuers_token_is_made_for_the_audience_that_the_agent_names() {
    let cloud = Cloud::start().await;
    let file = cloud.path().join("token");
    let proof = |print_audience| ProofOptions {
        proof: Some(ProofKind::Oidc),
        proof_file: Some(file.clone()),
        print_audience,
        ..ProofOptions::default()
    };
    let audience = join(&cloud, "prep-1", NodeRole::Prep, proof(true)).await.unwrap();
    assert!(names(&cloud.mesh).await.is_empty());
    std::fs::write(&file, Cloud::signer("oidc").token(&claims(OIDC, &audience))).unwrap();
    // Another host, which has made keys of its own, cannot use it.
    let error = join(&cloud, "prep-2", NodeRole::Prep, proof(false)).await.unwrap_err();
    assert!(error.contains("the token's audience is") && error.contains(&audience), "{error}");
    join(&cloud, "prep-1", NodeRole::Prep, proof(false)).await.unwrap();
    assert_eq!(names(&cloud.mesh).await, ["prep-1"]);
}

#[tokio::test]
async fn a_controller_that_the_fingerprint_is_not_of_learns_nothing() {
    let (cloud, other) = (Cloud::start().await, Mesh::start().await);
    let metadata = cloud.metadata(ACCOUNT, "eu-central-1", "i-0123456789abcdef0").await;
    let mut options = options(&cloud.mesh, "sentry-1", from(&metadata.url, ProofKind::Aws));
    options.proof.ca_fingerprint = Some(other.ca());
    let error = enroll(&place(cloud.path(), "sentry-1"), &options, NodeRole::Sentry).await.unwrap_err();
    assert!(
        format!("{error:#}").contains("no controller with the CA fingerprint that this host was given"),
        "{error:#}"
    );
    assert_eq!(metadata.answers.load(Ordering::SeqCst), 0);
}

//! Joining without a secret: proofs of identity from the agent's collectors to the admission, and what a copied one is worth.

mod agents;
mod cloud;
mod peers;

use crate::fixture::{Agent, Mesh};
use cloud::{ACCOUNT, Cloud, OIDC, STS, aws, claims, instance, now, sentry};
use picket_api::{
    ProblemKind, Proof,
    identities::{ForbidIdentity, ForgetIdentity},
};
use picket_attest::hooks::Transition;
use picket_controller::store::{HookSource, HookState, HookTask};
use picket_lab::cloud::{Instance, Signer};
use picket_model::{NodeRole, Timestamp};
use serde_json::{Value, json};

const ID: &str = "aws/123456789012/i-0123456789abcdef0";

fn forget(forbidden: bool) -> ForgetIdentity {
    ForgetIdentity { identity: ID.to_owned(), forbidden }
}

async fn actions(mesh: &Mesh) -> Vec<String> {
    mesh.operator().events().await.unwrap().into_iter().map(|event| event.action).collect()
}

#[tokio::test]
async fn a_copied_document_admits_nobody_with_other_keys() {
    let cloud = Cloud::start().await;
    let (mesh, mut host, thief) = (&cloud.mesh, sentry("sentry-1"), sentry("sentry-2"));
    let proof = aws(&instance());
    let first = host.prove(mesh, proof.clone()).await.unwrap();
    let agent: Agent = host.agent(mesh, &first);
    assert_eq!(agent.wanted().await.full.node, first.node);
    // The same host again, whose answer was lost.
    assert_eq!(host.prove(mesh, proof.clone()).await.unwrap().node, first.node);

    let error = thief.prove(mesh, proof.clone()).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::IdentityBound), "{error}");
    assert!(error.to_string().contains(&format!("picket identities forget {ID}")), "{error}");
    // Nor a clone of the machine that has the keys too; that is an alarm about both.
    host.request.machine_id = Some("another".into());
    assert_eq!(host.prove(mesh, proof.clone()).await.unwrap_err().kind(), Some(ProblemKind::KeyTaken));
    assert!(mesh.status().await.alarms.iter().any(|alarm| alarm.contains("the same keys: one is a copy")));

    let known = mesh.operator().identities().await.unwrap();
    let [known] = known.as_slice() else { panic!("{known:?}") };
    assert_eq!((known.identity.as_str(), known.refused), (ID, 1));
    assert_eq!((&known.host.as_ref().unwrap().node, known.host.as_ref().unwrap().member), (&first.node, true));
    assert!(known.bound_at.is_some() && known.refused_at.is_some() && known.forbidden_at.is_none());
    assert_eq!(actions(mesh).await.iter().filter(|action| *action == "identity.refused").count(), 1);
    assert_eq!(mesh.status().await.nodes, 1);
}

#[tokio::test]
async fn a_rule_gives_the_pool_once() {
    let mut cloud = Cloud::start_with(&[("edge-aws", "pool = \"edge\"")]).await;
    let (host, proof) = (sentry("sentry-1"), aws(&instance()));
    let first = host.prove(&cloud.mesh, proof.clone()).await.unwrap();
    let pools = async |mesh: &Mesh| -> Vec<Option<String>> {
        let nodes = mesh.operator().nodes().await.unwrap();
        nodes.into_iter().map(|view| view.node.pool.map(String::from)).collect()
    };
    assert_eq!(pools(&cloud.mesh).await, [Some("edge".to_owned())]);
    let events = cloud.mesh.operator().events().await.unwrap();
    let line = events.iter().find(|event| event.action == "node.enrolled").unwrap();
    assert!(line.detail.contains(&format!("proof of {ID}, pool edge, overlay")), "{}", line.detail);

    // Another pool in the rule is for those who come later.
    cloud.mesh.stop().await;
    cloud.mesh.config = cloud.mesh.config.replace("pool = \"edge\"\n", "pool = \"core\"\n");
    cloud.mesh.resume().await;
    assert_eq!(host.prove(&cloud.mesh, proof).await.unwrap().node, first.node);
    let other = Instance { id: "i-0aaaaaaaaaaaaaaaa".into(), ..instance() };
    sentry("sentry-2").prove(&cloud.mesh, aws(&other)).await.unwrap();
    assert_eq!(pools(&cloud.mesh).await, [Some("edge".to_owned()), Some("core".to_owned())]);
}

#[tokio::test]
async fn who_left_may_join_anew_by_the_same_proof() {
    let cloud = Cloud::start().await;
    let (mesh, mut host, rebuilt) = (&cloud.mesh, sentry("sentry-1"), sentry("sentry-2"));
    let proof = || aws(&instance());
    let first = host.prove(mesh, proof()).await.unwrap();
    assert_eq!(rebuilt.prove(mesh, proof()).await.unwrap_err().kind(), Some(ProblemKind::IdentityBound));
    // Nor does the proof give the host itself another name.
    host.request.name = "prep-7".parse().unwrap();
    assert_eq!(host.prove(mesh, proof()).await.unwrap_err().kind(), Some(ProblemKind::IdentityBound));

    host.agent(mesh, &first).client().leave().await.unwrap();
    assert_ne!(rebuilt.prove(mesh, proof()).await.unwrap().node, first.node);
    assert_eq!(mesh.status().await.nodes, 1);
}

#[tokio::test]
async fn an_instance_that_goes_does_not_join_any_more() {
    let cloud = Cloud::start().await;
    let mesh = &cloud.mesh;
    let mut tx = mesh.store().await.write().await.unwrap();
    let mut task = HookTask {
        id: "t-1".into(),
        source: HookSource::EventBridge,
        transition: Transition::Terminating,
        subject: ID.into(),
        action: None,
        what: "a test".into(),
        address: None,
        state: HookState::Done,
        outcome: None,
        note: String::new(),
        received_at: now(),
        changed_at: now(),
    };
    tx.insert_hook_task(&task).await.unwrap();
    let other = Instance { id: "i-0aaaaaaaaaaaaaaaa".into(), ..instance() };
    (task.id, task.transition) = ("t-2".into(), Transition::Launching);
    task.subject = format!("aws/{ACCOUNT}/{}", other.id);
    tx.insert_hook_task(&task).await.unwrap();
    tx.commit().await.unwrap();
    let error = sentry("sentry-1").prove(mesh, aws(&instance())).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::ProofDenied), "{error}");
    assert!(error.to_string().contains("it does not join any more"), "{error}");
    assert_eq!(mesh.status().await.nodes, 0);
    // One that comes up does.
    sentry("sentry-2").prove(mesh, aws(&other)).await.unwrap();
}

#[tokio::test]
async fn whom_no_rule_is_meant_for_flags_nobody() {
    let cloud = Cloud::start().await;
    let (mesh, mut host, mut stranger) = (&cloud.mesh, sentry("sentry-1"), sentry("sentry-2"));
    host.request.machine_id = Some("0123".into());
    host.prove(mesh, aws(&instance())).await.unwrap();
    // He knows a member's public key, and has an account of his own.
    stranger.request.wireguard_key = host.request.wireguard_key;
    stranger.request.machine_id = Some("4567".into());
    let own = Instance { account: "999999999999".into(), ..instance() };
    let error = stranger.prove(mesh, aws(&own)).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::ProofDenied), "{error}");
    assert!(!error.to_string().contains("sentry-1"), "{error}");
    assert!(!actions(mesh).await.iter().any(|action| action == "node.cloned"));
}

#[tokio::test]
async fn forget_and_forbid_are_two_things() {
    let cloud = Cloud::start().await;
    let (mesh, operator) = (&cloud.mesh, cloud.mesh.operator());
    let (host, rebuilt) = (sentry("sentry-1"), sentry("sentry-1"));
    let proof = || aws(&instance());
    host.prove(mesh, proof()).await.unwrap();
    operator.revoke("sentry-1", &Default::default()).await.unwrap();
    // A revoke alone lets nobody in again, neither with the old keys nor with new ones.
    assert_eq!(host.prove(mesh, proof()).await.unwrap_err().kind(), Some(ProblemKind::IdentityBound));
    assert_eq!(rebuilt.prove(mesh, proof()).await.unwrap_err().kind(), Some(ProblemKind::IdentityBound));

    let before = operator.forget_identity(&forget(false)).await.unwrap();
    assert!(!before.host.unwrap().member);
    assert_eq!(host.prove(mesh, proof()).await.unwrap_err().kind(), Some(ProblemKind::KeyTaken));
    rebuilt.prove(mesh, proof()).await.unwrap();
    assert_eq!(
        operator
            .forget_identity(&ForgetIdentity { identity: "gcp/p/1".into(), forbidden: false })
            .await
            .unwrap_err()
            .kind(),
        Some(ProblemKind::NotFound)
    );

    // Forbidden, not even the host that came in with it may ask again.
    let forbid = ForbidIdentity { identity: ID.to_owned() };
    let after = operator.forbid_identity(&forbid).await.unwrap();
    assert!(after.forbidden_at.is_some() && after.host.unwrap().member);
    assert_eq!(operator.forbid_identity(&forbid).await.unwrap().forbidden_at, after.forbidden_at);
    for shown in [&rebuilt, &sentry("sentry-3")] {
        assert_eq!(shown.prove(mesh, proof()).await.unwrap_err().kind(), Some(ProblemKind::IdentityForbidden));
    }
    assert_eq!(operator.forget_identity(&forget(false)).await.unwrap_err().kind(), Some(ProblemKind::Conflict));
    operator.forget_identity(&forget(true)).await.unwrap();
    sentry("sentry-3").prove(mesh, proof()).await.unwrap();

    // One that was never seen can be forbidden too.
    let other = Instance { id: "i-0aaaaaaaaaaaaaaaa".into(), ..instance() };
    operator.forbid_identity(&ForbidIdentity { identity: format!("aws/{ACCOUNT}/{}", other.id) }).await.unwrap();
    let error = sentry("sentry-4").prove(mesh, aws(&other)).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::IdentityForbidden));
    let bad = ForbidIdentity { identity: "aws/x".into() };
    assert_eq!(operator.forbid_identity(&bad).await.unwrap_err().kind(), Some(ProblemKind::BadRequest));

    let viewer = mesh.operator_with(&mesh.add_operator("viewer").await);
    assert_eq!(viewer.identities().await.unwrap().len(), 2);
    assert_eq!(viewer.forget_identity(&forget(true)).await.unwrap_err().kind(), Some(ProblemKind::Forbidden));
    assert_eq!(viewer.forbid_identity(&forbid).await.unwrap_err().kind(), Some(ProblemKind::Forbidden));
    let done = actions(mesh).await;
    for action in ["identity.forgotten", "identity.forbidden", "identity.refused"] {
        assert!(done.iter().any(|known| known == action), "{action} in {done:?}");
    }
}

#[tokio::test]
async fn a_document_that_is_not_good_lets_nobody_in() {
    let cloud = Cloud::start().await;
    let mesh = &cloud.mesh;
    let check = async |name: &str, proof: Proof, expect: ProblemKind, detail: &str| {
        let error = sentry(name).prove(mesh, proof).await.unwrap_err();
        assert_eq!(error.kind(), Some(expect), "{error}");
        assert!(error.to_string().contains(detail), "{error}");
    };
    let (refused, denied) = (ProblemKind::ProofRefused, ProblemKind::ProofDenied);
    let good = instance();
    let ago = |seconds: i64| Timestamp::from_millis(now().as_millis() / 1000 * 1000 - seconds * 1000);
    let Proof::AwsDocument { document, signature } = aws(&good) else { panic!() };
    let bent = Proof::AwsDocument { document: document.replace(ACCOUNT, "999999999999"), signature };
    check("sentry-1", bent, refused, "signature").await;
    let foreign = Instance { account: "999999999999".into(), ..good.clone() };
    check("sentry-1", aws(&foreign), denied, "no [[enroll]] rule admits aws-document proofs of account").await;
    let old = Instance { launched_at: ago(1000), ..good.clone() };
    check("sentry-1", aws(&old), denied, "launch_age_seconds = 900").await;
    let region = Instance { region: "us-east-1".into(), ..good.clone() };
    check("sentry-1", aws(&region), refused, "no certificate for AWS region").await;
    let image = Instance { image: "ami-2".into(), ..good.clone() };
    check("sentry-1", aws(&image), denied, "image \"ami-2\"").await;
    check("prep-1", aws(&good), denied, "the name prep-1 is not sentry-*").await;
    let error = crate::fixture::Host::new(NodeRole::Prep, "sentry-1").prove(mesh, aws(&good)).await.unwrap_err();
    assert!(error.to_string().contains("it admits a sentry, not a prep"), "{error}");
    assert_eq!(mesh.status().await.nodes, 0);
    assert!(mesh.operator().identities().await.unwrap().is_empty(), "a refused identity is not bound");
    assert_eq!(actions(mesh).await.iter().filter(|action| *action == "enroll.refused").count(), 7);
    // It is only then that it counts.
    sentry("sentry-1").prove(mesh, aws(&good)).await.unwrap();
}

#[tokio::test]
async fn a_rule_admits_so_many_and_no_more() {
    let cloud = Cloud::start().await;
    let mesh = &cloud.mesh;
    let join = async |number: u8| {
        let id = format!("i-0000000000000000{number}");
        sentry(&format!("sentry-{number}")).prove(mesh, aws(&Instance { id, ..instance() })).await
    };
    join(1).await.unwrap();
    join(2).await.unwrap();
    let error = join(3).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::ProofDenied));
    assert!(error.to_string().contains("2 hosts are here by it, and max_nodes is 2"), "{error}");
    mesh.operator().revoke("sentry-1", &Default::default()).await.unwrap();
    join(3).await.unwrap();
}

#[tokio::test]
async fn a_token_admits_the_keys_that_it_names_and_no_others() {
    let cloud = Cloud::start().await;
    let mesh = &cloud.mesh;
    let own = Cloud::signer("oidc");
    let prep = |name: &str| crate::fixture::Host::new(NodeRole::Prep, name);
    let (host, thief) = (prep("prep-1"), prep("prep-2"));
    let audience = host.audience(mesh).await;
    let token = |claims: Value| Proof::Oidc { token: own.token(&claims) };
    let with = |name: &str, value: Value| {
        let mut claims = claims(OIDC, &audience);
        claims[name] = value;
        token(claims)
    };
    let good = token(claims(OIDC, &audience));
    let check = async |proof: Proof, expect: ProblemKind, detail: &str| {
        let error = host.prove(mesh, proof).await.unwrap_err();
        assert_eq!(error.kind(), Some(expect), "{error}");
        assert!(error.to_string().contains(detail), "{error}");
    };
    let (refused, denied, seconds) = (ProblemKind::ProofRefused, ProblemKind::ProofDenied, now().as_millis() / 1000);
    check(with("exp", json!(seconds - 120)), refused, "time was over").await;
    check(with("iat", json!(seconds + 120)), refused, "not valid before").await;
    check(with("iat", json!(seconds - 4000)), refused, "longer ago than an hour").await;
    check(with("aud", json!("picket://m/enroll/00")), refused, "must be picket://").await;
    check(with("iss", json!("https://thief.example")), refused, "attest.issuers does not name").await;
    check(with("namespace", json!("other")), denied, "claim namespace").await;
    check(Proof::AwsSts { token: own.token(&claims(OIDC, &audience)) }, refused, "does not name for aws-sts").await;
    let stranger = Signer::rsa("other", 1).token(&claims(OIDC, &audience));
    check(Proof::Oidc { token: stranger }, refused, "is none of the issuer's").await;
    let forged = Signer::rsa("oidc", 1).token(&claims(OIDC, &audience));
    check(Proof::Oidc { token: forged }, refused, "signature is wrong").await;
    let none = own.token_with(&json!({"alg": "none", "kid": "oidc"}), &claims(OIDC, &audience).to_string());
    check(Proof::Oidc { token: none }, refused, "signed with \"none\"").await;
    check(Proof::Oidc { token: "x".repeat(17_000) }, refused, "more than 16384 bytes").await;

    // Stolen on the way, it is of no use with other keys; with its own it is good once more.
    let error = thief.prove(mesh, good.clone()).await.unwrap_err();
    assert!(
        error.kind() == Some(refused) && error.to_string().contains("names this mesh and the host's keys"),
        "{error}"
    );
    let node = host.prove(mesh, good.clone()).await.unwrap().node;
    assert_eq!(host.prove(mesh, good).await.unwrap().node, node);
    // Another token of the same subject, for other keys.
    let second = token(claims(OIDC, &thief.audience(mesh).await));
    assert_eq!(thief.prove(mesh, second).await.unwrap_err().kind(), Some(ProblemKind::IdentityBound));
    assert_eq!(mesh.operator().identities().await.unwrap()[0].identity, "oidc/https://issuer.example#host-1");
}

#[tokio::test]
async fn an_sts_token_is_for_one_instance_of_its_account() {
    let cloud = Cloud::start().await;
    let (mesh, host) = (&cloud.mesh, sentry("edge-1"));
    let audience = host.audience(mesh).await;
    let token = |account: &str, pool: &str| {
        let mut claims = claims(STS, &audience);
        claims["sub"] = json!("arn:aws:iam::123456789012:role/sentry");
        claims["https://sts.amazonaws.com/"] = json!({
            "aws_account": account, "principal_tags": {"pool": pool}, "request_tags": {"pool": "edge"},
            "ec2_source_instance_arn": format!("arn:aws:ec2:eu-central-1:{account}:instance/i-0123456789abcdef0"),
        });
        Proof::AwsSts { token: Cloud::signer("aws-sts").token(&claims) }
    };
    let error = host.prove(mesh, token("999999999999", "edge")).await.unwrap_err();
    assert!(error.to_string().contains("its issuer is that of account 123456789012"), "{error}");
    let error = host.prove(mesh, token(ACCOUNT, "core")).await.unwrap_err();
    assert!(error.to_string().contains("tag pool is \"core\", not \"edge\""), "{error}");
    host.prove(mesh, token(ACCOUNT, "edge")).await.unwrap();
    // Document and token of one instance are one identity.
    let error = sentry("sentry-1").prove(mesh, aws(&instance())).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::IdentityBound));
}

#[tokio::test]
async fn a_mesh_without_rules_takes_no_proofs() {
    let mesh = Mesh::start().await;
    for proof in [aws(&instance()), Proof::Gcp { token: "a.b.c".into() }, Proof::Oidc { token: String::new() }] {
        let error = sentry("sentry-1").prove(&mesh, proof).await.unwrap_err();
        assert_eq!(error.kind(), Some(ProblemKind::ProofDenied), "{error}");
        assert!(error.to_string().starts_with("no [[enroll]] rule of this mesh admits"), "{error}");
    }
}

#[test]
fn nothing_of_a_proof_is_printed() {
    let token = || "eyJhbGciOi".to_owned();
    for proof in [
        aws(&instance()),
        Proof::AwsSts { token: token() },
        Proof::Gcp { token: token() },
        Proof::Oidc { token: token() },
    ] {
        let printed = format!("{proof:?}");
        assert!(printed.ends_with("(hidden)") && printed.len() < 30, "{printed}");
    }
}

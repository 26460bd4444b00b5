//! The CA at rest and its rotation, as a whole controller has them.

use crate::fixture::{Agent, Host, Mesh, eventually, program};
use picket_api::{
    AgentClient, ApiError, OperatorClient, ProblemKind,
    ca::{CaQuery, CaView, MeshCas, RotateCa, RotationPhase, RotationStep},
    node::RenewRequest,
};
use picket_controller::App;
use picket_model::{Generation, NodeRole, Timestamp};
use picket_pki::{CaCertificate, Fingerprint, check_succession, client_config};
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection, raw_sql};
use std::{path::Path, time::SystemTime};

const SENTRY: NodeRole = NodeRole::Sentry;

/// A member that follows its mesh's CAs by hand.
pub(crate) struct Follower {
    host: Host,
    pub(crate) agent: Agent,
    pins: Vec<Fingerprint>,
}

impl Follower {
    pub(crate) async fn join(mesh: &Mesh, name: &str) -> Self {
        let (host, token) = (Host::new(SENTRY, name), mesh.token(SENTRY, 1).await);
        let response = host.enroll(mesh, &token).await.unwrap();
        let agent = host.agent(mesh, &response);
        Self { host, agent, pins: vec![mesh.ca()] }
    }

    pub(crate) fn client(&self, mesh: &Mesh) -> AgentClient {
        self.agent.pinning(mesh, &self.pins)
    }

    /// Says what it trusts, and hears what there is.
    async fn ask(&self, mesh: &Mesh) -> MeshCas {
        self.client(mesh).cas(&self.query(None)).await.unwrap().unwrap()
    }

    fn query(&self, known: Option<&str>) -> CaQuery {
        let trusts: Vec<String> = self.pins.iter().map(ToString::to_string).collect();
        CaQuery { known: known.map(str::to_owned), trusts: trusts.join(",") }
    }

    /// Trusts the next CA, if the one before vouches for it, and says so.
    pub(crate) async fn learn(&mut self, mesh: &Mesh) -> Fingerprint {
        let told = self.ask(mesh).await;
        let (current, next) = (CaCertificate::from_pem(&told.current_pem).unwrap(), told.next.unwrap());
        let certificate = CaCertificate::from_pem(&next.pem).unwrap();
        check_succession(&current, &certificate, &next.cross_pem, at()).unwrap();
        assert_eq!(current.fingerprint(), self.pins[0]);
        self.pins.push(certificate.fingerprint());
        self.ask(mesh).await;
        certificate.fingerprint()
    }

    /// Shows a certificate of whichever CA signs now.
    pub(crate) async fn renew(&mut self, mesh: &Mesh) -> String {
        let request = RenewRequest { node: self.agent.node.clone(), csr_pem: self.host.request.csr_pem.clone() };
        let renewed = self.client(mesh).renew(&request).await.unwrap();
        self.agent = self.host.renewed(mesh, &self.agent.node, &renewed.certificate_pem);
        self.ask(mesh).await;
        renewed.certificate_pem
    }
}

fn at() -> Timestamp {
    SystemTime::now().into()
}

pub(crate) async fn rotate(mesh: &Mesh, step: RotationStep) -> Result<CaView, ApiError> {
    mesh.operator().rotate_ca(&RotateCa { step, force: false }).await
}

pub(crate) async fn phase(mesh: &Mesh) -> Option<RotationPhase> {
    mesh.operator().ca().await.unwrap().rotation.map(|rotation| rotation.phase)
}

fn refused(result: Result<CaView, ApiError>, kind: ProblemKind, part: &str) {
    let error = result.unwrap_err();
    assert!(error.kind() == Some(kind) && error.to_string().contains(part), "{error}");
}

/// From now on no transaction is committed that has a line of this action in the log; of none, where that is empty.
async fn refuse_to_commit(state: &Path, action: &str) {
    let url = format!("sqlite://{}", state.join("controller.db").display());
    let mut database = SqliteConnection::connect(&url).await.unwrap();
    let statements = format!(
        "CREATE TABLE IF NOT EXISTS refusing (mesh TEXT NOT NULL REFERENCES meshes (id) DEFERRABLE INITIALLY DEFERRED);
         DROP TRIGGER IF EXISTS refuse;
         CREATE TRIGGER refuse AFTER INSERT ON events WHEN NEW.action = '{action}'
         BEGIN INSERT INTO refusing VALUES ('no such mesh'); END;"
    );
    raw_sql(AssertSqlSafe(statements)).execute(&mut database).await.unwrap();
    database.close().await.unwrap();
}

async fn steps(mesh: &Mesh) -> Vec<String> {
    let log = mesh.operator().events().await.unwrap();
    log.into_iter().map(|line| line.action).filter(|action| action.starts_with("ca.")).collect()
}

#[tokio::test]
async fn a_step_that_is_not_committed_leaves_nothing_behind_and_can_be_taken_again() {
    let mut mesh = Mesh::start().await;
    let state = mesh.state_dir();
    let mut sentry = Follower::join(&mesh, "sentry-1").await;
    let old = mesh.ca();
    let phase_on_disk = || {
        let text = std::fs::read_to_string(state.join("ca-rotation.json")).ok()?;
        let kept: serde_json::Value = serde_json::from_str(&text).unwrap();
        Some(kept["phase"].as_str().unwrap().to_owned())
    };
    refuse_to_commit(&state, "ca.rotation.started").await;
    for _ in 0..2 {
        rotate(&mesh, RotationStep::Start).await.unwrap_err();
        assert_eq!((phase_on_disk(), state.join("ca-next.key").exists()), (None, false));
        mesh.stop().await;
        mesh.resume().await;
        assert_eq!((phase(&mesh).await, steps(&mesh).await.len()), (None, 0));
    }
    refuse_to_commit(&state, "ca.rotation.switched").await;
    rotate(&mesh, RotationStep::Start).await.unwrap();
    let next = sentry.learn(&mesh).await;
    rotate(&mesh, RotationStep::Switch).await.unwrap_err();
    assert_eq!(phase_on_disk().as_deref(), Some("announced"));
    mesh.stop().await;
    mesh.resume().await;
    assert_eq!(phase(&mesh).await, Some(RotationPhase::Announced));
    refuse_to_commit(&state, "ca.rotation.finished").await;
    eventually("the switch", async || phase(&mesh).await == Some(RotationPhase::Issuing)).await;
    sentry.renew(&mesh).await;
    rotate(&mesh, RotationStep::Finish).await.unwrap_err();
    assert_eq!(phase_on_disk().as_deref(), Some("issuing"));
    mesh.stop().await;
    mesh.resume().await;
    assert_eq!(mesh.operator().ca().await.unwrap().fingerprint, old);
    refuse_to_commit(&state, "").await;
    assert_eq!(rotate(&mesh, RotationStep::Finish).await.unwrap().fingerprint, next);
    assert_eq!(steps(&mesh).await, ["ca.rotation.started", "ca.rotation.switched", "ca.rotation.finished"]);
}

#[tokio::test]
async fn a_step_that_the_log_has_not_heard_of_is_written_into_it_at_the_start() {
    let mut mesh = Mesh::start().await;
    let (state, _sentry) = (mesh.state_dir(), Follower::join(&mesh, "sentry-1").await);
    let database = state.join("controller.db");
    mesh.stop().await;
    let before = std::fs::read(&database).unwrap();
    mesh.resume().await;
    let next = rotate(&mesh, RotationStep::Start).await.unwrap().rotation.unwrap().next;
    mesh.stop().await;
    // As a crash leaves it between the files and the commit.
    std::fs::write(&database, before).unwrap();
    for _ in 0..2 {
        mesh.resume().await;
        let rotation = mesh.operator().ca().await.unwrap().rotation.unwrap();
        assert_eq!((rotation.next, rotation.phase), (next, RotationPhase::Announced));
        assert_eq!(steps(&mesh).await, ["ca.rotation.found"], "said once");
        mesh.stop().await;
    }
    // A key whose rotation was never written down is of no use to anybody.
    std::fs::remove_file(state.join("ca-rotation.json")).unwrap();
    mesh.resume().await;
    assert_eq!(steps(&mesh).await, ["ca.rotation.found", "ca.rotation.found"]);
    assert!(state.join("ca-next.key").exists(), "a rotation's key that the log knows is left to a person");
    rotate(&mesh, RotationStep::Start).await.unwrap();
    mesh.stop().await;
    mesh.resume().await;
    assert_eq!(phase(&mesh).await, Some(RotationPhase::Announced));
}

#[tokio::test]
async fn a_controller_starts_with_an_encrypted_key_and_not_without_its_passphrase() {
    let folder = tempfile::tempdir().unwrap();
    let passphrase = folder.path().join("passphrase");
    std::fs::write(&passphrase, "a passphrase of its own\n").unwrap();
    let mut mesh = Mesh::start_with(&format!("[ca]\npassphrase_file = {passphrase:?}\n")).await;
    let state = mesh.state_dir();
    let key = |name: &str| std::fs::read_to_string(state.join(name)).unwrap();
    const SEALED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
    assert!(key("ca.key").starts_with(SEALED));
    let mut sentry = Follower::join(&mesh, "sentry-1").await;
    // What needs the certificate alone does not ask for the passphrase.
    for arguments in [&["fingerprint"][..], &["verify-log"], &["ca", "status"]] {
        let output = program(&[arguments, &["--state-dir", state.to_str().unwrap()]].concat()).await;
        assert!(output.status.success(), "{output:?}");
    }
    mesh.stop().await;
    std::fs::write(&passphrase, "a passphrase of another\n").unwrap();
    let error = format!("{:#}", App::start(mesh.parsed(), &state).await.unwrap_err());
    assert!(error.contains("passphrase is not the one") && !error.contains("of another"), "{error}");
    std::fs::write(&passphrase, "a passphrase of its own\n").unwrap();
    mesh.resume().await;
    sentry.client(&mesh).config(Generation(0)).await.unwrap().unwrap();

    // The next CA's key is encrypted as well, from its first byte to its place.
    rotate(&mesh, RotationStep::Start).await.unwrap();
    assert!(key("ca-next.key").starts_with(SEALED));
    let output = program(&["ca", "status", "--state-dir", state.to_str().unwrap()]).await;
    assert!(String::from_utf8(output.stdout).unwrap().contains("rotation     under way"));
    let next = sentry.learn(&mesh).await;
    eventually("the switch", async || phase(&mesh).await == Some(RotationPhase::Issuing)).await;
    sentry.renew(&mesh).await;
    rotate(&mesh, RotationStep::Finish).await.unwrap();
    assert!(key("ca.key").starts_with(SEALED) && !state.join("ca-next.key").exists());
    mesh.stop().await;
    mesh.resume().await;
    assert_eq!(mesh.ca(), next);
}

#[tokio::test]
async fn one_ca_follows_another_and_no_host_is_lost() {
    let mut mesh = Mesh::start().await;
    let old = mesh.ca();
    let (mut one, mut two) = (Follower::join(&mesh, "sentry-1").await, Follower::join(&mesh, "sentry-2").await);
    let early = mesh.token(SENTRY, 1).await;
    let operator = mesh.operator();
    let quiet = one.ask(&mesh).await;
    assert_eq!((quiet.next.is_none(), quiet.issues), (true, old));
    // A poll that knows all there is waits, and wakes at the start.
    let (client, query) = (one.client(&mesh), one.query(Some(&quiet.tag)));
    let waiting = tokio::spawn(async move { client.cas(&query).await });
    let view = rotate(&mesh, RotationStep::Start).await.unwrap();
    assert!(waiting.await.unwrap().unwrap().unwrap().next.is_some());
    let rotation = view.rotation.unwrap();
    assert_eq!((view.fingerprint, view.issues, rotation.phase), (old, old, RotationPhase::Announced));
    assert_eq!((rotation.hosts, rotation.without_trust.len()), (2, 2));

    // Nothing is signed by the next one before every host trusts it.
    let next = one.learn(&mesh).await;
    refused(rotate(&mesh, RotationStep::Switch).await, ProblemKind::Conflict, "sentry-2 have not said");
    refused(rotate(&mesh, RotationStep::Finish).await, ProblemKind::Conflict, "does not sign yet");
    mesh.stop().await;
    mesh.resume().await;
    assert_eq!(phase(&mesh).await, Some(RotationPhase::Announced));
    assert_eq!(two.learn(&mesh).await, next);
    eventually("the switch", async || phase(&mesh).await == Some(RotationPhase::Issuing)).await;
    assert_eq!(mesh.ca(), next, "the operator's file follows");
    // So does one that is made now: `add_operator` compares the two.
    mesh.add_operator("viewer").await;

    // Both are believed: hosts with the old certificate or pin, tokens made before, the operator's client from before.
    one.client(&mesh).config(Generation(0)).await.unwrap().unwrap();
    let status = OperatorClient::new(
        mesh.operators_url().parse().unwrap(),
        mesh.token_of_operator(),
        client_config(old, None).unwrap(),
    );
    status.unwrap().status().await.unwrap();
    drop(operator);
    let late = Host::new(SENTRY, "sentry-3");
    let response = late.enroll(&mesh, &early).await.unwrap();
    let agent = late.agent(&mesh, &response);
    let mut late = Follower { host: late, agent, pins: vec![old] };
    late.client(&mesh).config(Generation(0)).await.unwrap().unwrap();

    // Who has not renewed is named, and nothing is retired under it.
    let ca = CaCertificate::from_pem(&one.ask(&mesh).await.next.unwrap().pem).unwrap();
    assert!(ca.signed(&one.renew(&mesh).await));
    two.renew(&mesh).await;
    refused(rotate(&mesh, RotationStep::Finish).await, ProblemKind::Conflict, "sentry-3 trust the old CA alone");
    mesh.stop().await;
    mesh.resume().await;
    late.learn(&mesh).await;
    let view = rotate(&mesh, RotationStep::Finish).await.unwrap();
    assert_eq!((view.fingerprint, view.issues, view.rotation), (next, next, None));
    for follower in [&one, &two, &late] {
        let told = follower.ask(&mesh).await;
        assert_eq!((told.issues, told.next.is_none()), (next, true));
        follower.agent.pinning(&mesh, &[next]).config(Generation(0)).await.unwrap().unwrap();
        let error = follower.agent.pinning(&mesh, &[old]).config(Generation(0)).await.unwrap_err().to_string();
        assert!(error.contains("was rotated"), "{error}");
    }
    mesh.stop().await;
    mesh.resume().await;
    one.agent.pinning(&mesh, &[next]).config(Generation(0)).await.unwrap().unwrap();
    let log = mesh.operator().events().await.unwrap();
    let steps: Vec<_> = log.iter().filter(|line| line.action.starts_with("ca.")).map(|line| &line.action).collect();
    assert_eq!(steps, ["ca.rotation.started", "ca.rotation.switched", "ca.rotation.finished"]);
}

#[tokio::test]
async fn what_is_of_a_retired_ca_is_out() {
    let mesh = Mesh::start().await;
    let old = mesh.ca();
    let (mut here, away) = (Follower::join(&mesh, "sentry-1").await, Follower::join(&mesh, "sentry-2").await);
    let token = mesh.token(SENTRY, 1).await;
    // A connection that was opened before, and stays open.
    let open = away.client(&mesh);
    let wanted = open.config(Generation(0)).await.unwrap().unwrap();
    rotate(&mesh, RotationStep::Start).await.unwrap();
    let next = here.learn(&mesh).await;
    let force = async |step| mesh.operator().rotate_ca(&RotateCa { step, force: true }).await;
    force(RotationStep::Switch).await.unwrap();
    here.renew(&mesh).await;
    let poll = {
        let (open, after) = (open.clone(), wanted.revision);
        tokio::spawn(async move { open.config(after).await })
    };
    assert_eq!(mesh.operator().ca().await.unwrap().rotation.unwrap().old_tokens, 1);
    force(RotationStep::Finish).await.unwrap();

    assert!(poll.await.unwrap().is_err(), "its open poll ends without an answer");
    assert!(open.config(Generation(0)).await.is_err());
    let old_certificate = away.agent.pinning(&mesh, &[next]).config(Generation(0)).await;
    assert!(matches!(old_certificate, Err(ApiError::Unreachable { .. })), "{old_certificate:?}");
    let joined = Host::new(SENTRY, "sentry-3").enroll(&mesh, &token).await;
    assert!(joined.unwrap_err().to_string().contains(&format!("pins CA {old}")));
    here.client(&mesh).config(Generation(0)).await.unwrap().unwrap();
    let log = mesh.operator().events().await.unwrap();
    for action in ["ca.rotation.switched", "ca.rotation.finished"] {
        let line = log.iter().find(|line| line.action == action).unwrap();
        assert!(line.detail.contains("forced without sentry-2"), "{line:?}");
    }

    // The way back for the host that was away: the new fingerprint by hand, then its key gets it a certificate.
    let client = AgentClient::new(mesh.agents_url(), client_config(next, None).unwrap()).unwrap();
    let request = RenewRequest { node: away.agent.node.clone(), csr_pem: away.host.request.csr_pem.clone() };
    let renewed = client.renew(&request).await.unwrap();
    away.host.renewed(&mesh, &away.agent.node, &renewed.certificate_pem).wanted().await;
}

#[tokio::test]
async fn steps_out_of_turn_and_by_others_than_admins_change_nothing() {
    let mesh = Mesh::start().await;
    for step in [RotationStep::Switch, RotationStep::Finish] {
        refused(rotate(&mesh, step).await, ProblemKind::Conflict, "no rotation is under way");
    }
    for role in ["viewer", "enroller"] {
        let other = mesh.operator_with(&mesh.add_operator(role).await);
        let order = RotateCa { step: RotationStep::Start, force: true };
        refused(other.rotate_ca(&order).await, ProblemKind::Forbidden, role);
        assert_eq!(other.ca().await.is_ok(), role == "viewer");
    }
    assert_eq!(phase(&mesh).await, None);
    let sentry = Follower::join(&mesh, "sentry-1").await;
    rotate(&mesh, RotationStep::Start).await.unwrap();
    refused(rotate(&mesh, RotationStep::Start).await, ProblemKind::Conflict, "is under way");
    for trusts in ["nonsense", &vec!["ab".repeat(32); 5].join(","), "0,1,2,3,4,5"] {
        let query = CaQuery { known: None, trusts: trusts.to_owned() };
        let answer = sentry.client(&mesh).cas(&query).await;
        // The same five times over is one.
        let fine = trusts.contains("abab");
        assert_eq!(answer.as_ref().err().and_then(ApiError::kind), (!fine).then_some(ProblemKind::BadRequest));
    }
    let anonymous = AgentClient::new(mesh.agents_url(), client_config(mesh.ca(), None).unwrap()).unwrap();
    let error = anonymous.cas(&CaQuery::default()).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::Unauthorized), "{error}");
    // A host that is gone holds nothing up once it is revoked.
    mesh.operator().revoke("sentry-1", &Default::default()).await.unwrap();
    eventually("the switch", async || phase(&mesh).await == Some(RotationPhase::Issuing)).await;
    rotate(&mesh, RotationStep::Finish).await.unwrap();
}

#[tokio::test]
async fn a_given_key_is_followed_by_a_given_key() {
    let folder = tempfile::tempdir().unwrap();
    let give = |name: &str| {
        use secrecy::ExposeSecret as _;
        let path = folder.path().join(name);
        std::fs::write(&path, picket_pki::TlsKey::generate().unwrap().key_pem().expose_secret()).unwrap();
        path
    };
    let first = give("first.key");
    let mut mesh = Mesh::start_with(&format!("[ca]\nkey_file = {first:?}\n")).await;
    refused(rotate(&mesh, RotationStep::Start).await, ProblemKind::Unavailable, "ca.next_key_file");
    assert_eq!(phase(&mesh).await, None);
    let second = give("second.key");
    mesh.stop().await;
    mesh.config.push_str(&format!("next_key_file = {second:?}\n"));
    mesh.resume().await;
    rotate(&mesh, RotationStep::Start).await.unwrap();
    eventually("the switch", async || phase(&mesh).await == Some(RotationPhase::Issuing)).await;
    // A key of the CA before, from when it lay in the folder, is retired with it.
    std::fs::copy(folder.path().join("first.key"), mesh.state_dir().join("ca.key")).unwrap();
    let next = rotate(&mesh, RotationStep::Finish).await.unwrap().fingerprint;
    assert!(!mesh.state_dir().join("ca.key").exists() && !mesh.state_dir().join("ca-next.key").exists());
    // With both lines as they were, and with the second in the first one's place.
    for lines in [mesh.config.clone(), mesh.config.replace("first.key", "second.key").replace("next_key_file", "# ")] {
        mesh.stop().await;
        mesh.config = lines;
        mesh.resume().await;
        assert_eq!(mesh.ca(), next);
        // The first key is retired, and no CA is ever made over it again; nor is the CA of now followed by itself.
        let expected =
            if mesh.config.contains("first.key") { "gives the key of the CA of now" } else { "give the next" };
        refused(rotate(&mesh, RotationStep::Start).await, ProblemKind::Unavailable, expected);
        assert_eq!(phase(&mesh).await, None);
    }
}

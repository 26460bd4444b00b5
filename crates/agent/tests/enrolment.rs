//! Enrolment against a controller that the test makes: real TLS, canned answers.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use axum::{
    Json, Router,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use picket_agent::{
    cli::{EnrollOptions, Place},
    enroll::enroll,
    identity::{Identity, client_certificate},
    ledger::{Ledger, Standing},
    proof::ProofOptions,
    state::StateDir,
};
use picket_api::{EnrollRequest, EnrollResponse, Problem, ProblemKind};
use picket_http::{Connections, Limits, Server};
use picket_model::{NodeRole, OverlayAddresses, Timestamp};
use picket_pki::{Ca, JoinToken, ServedCertificate, TokenSecret, node_of, server_config};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use secrecy::ExposeSecret as _;
use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{net::TcpListener, runtime::Runtime};

/// A controller that takes everybody, or refuses everybody for one reason, and remembers who asked.
struct Controller {
    url: String,
    ca: Arc<Ca>,
    asked: Arc<Mutex<Vec<EnrollRequest>>>,
    _runtime: Runtime,
}

impl Controller {
    fn start(refusal: Option<ProblemKind>) -> Self {
        let now = picket_agent::host::now();
        let ca = Arc::new(Ca::generate(&"m-1".parse().unwrap(), now).unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answering, seen) = (ca.clone(), asked.clone());
        let answer = move |Json(request): Json<EnrollRequest>| async move {
            let answer = answer(&answering, refusal, &request, now);
            seen.lock().unwrap().push(request);
            answer
        };
        let served = ServedCertificate::new(ca.server_certificate(now).unwrap()).unwrap();
        let server = Server {
            router: Router::new().route("/v1/enroll", post(answer)),
            tls: Some(Arc::new(server_config(served, Some(&ca)).unwrap())),
            limits: Limits::default(),
            connections: Connections::new(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        runtime.spawn(server.serve(listener, std::future::pending()));
        Self { url, ca, asked, _runtime: runtime }
    }

    fn token(&self) -> String {
        let (ca, secret) = (self.ca.fingerprint(), TokenSecret::from_bytes([7; 32]));
        JoinToken { ca, id: "t-1".parse().unwrap(), secret }.to_secret_string().expose_secret().to_owned()
    }
}

fn answer(ca: &Ca, refusal: Option<ProblemKind>, request: &EnrollRequest, now: Timestamp) -> Response {
    if let Some(kind) = refusal {
        let problem = Problem::new(kind, format!("refused as {kind:?}"));
        return (StatusCode::from_u16(problem.status).unwrap(), Json(problem)).into_response();
    }
    let node = "n-1".parse().unwrap();
    let certificate = ca.sign_node(&request.csr_pem, &node, now, Duration::from_secs(3600)).unwrap();
    Json(EnrollResponse {
        mesh: ca.mesh().clone(),
        node,
        overlay: OverlayAddresses { v4: "10.77.0.2".parse().unwrap(), v6: "fd00:1:2::2".parse().unwrap() },
        certificate_pem: certificate.pem,
        not_after: certificate.not_after,
        ca_pem: ca.certificate_pem().to_owned(),
    })
    .into_response()
}

fn place(folder: &Path) -> Place {
    Place { state_dir: folder.join("state"), guard: None, interface: "picket0".parse().unwrap(), log_group: 0 }
}

fn join(folder: &Path, url: &str, token: &str, name: &str, role: NodeRole) -> Result<String, String> {
    let options = EnrollOptions {
        controllers: vec![url.to_owned()],
        token: Some(token.to_owned()),
        token_file: None,
        proof: ProofOptions::default(),
        name: Some(name.parse().unwrap()),
        endpoint: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(enroll(&place(folder), &options, role)).map_err(|error| format!("{error:#}"))
}

fn files(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder.join("state")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_host_joins_with_keys_it_made_itself() {
    let (controller, folder) = (Controller::start(None), tempfile::tempdir().unwrap());
    join(folder.path(), &controller.url, &controller.token(), "sentry-1", NodeRole::Sentry).unwrap();

    let state = StateDir::new(place(folder.path()).state_dir);
    let identity = Identity::load(&state).unwrap().unwrap();
    assert_eq!((identity.node.as_str(), identity.role), ("n-1", NodeRole::Sentry));
    assert_eq!(identity.controllers, [controller.url.as_str()]);
    let asked = controller.asked.lock().unwrap();
    assert_eq!(asked[0].endpoint, Some("0.0.0.0:51820".parse().unwrap()));
    let pem = client_certificate(&state).unwrap().certificate_pem;
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let keys = picket_agent::identity::Keys::load(&state).unwrap();
    assert_eq!(node_of(&der).unwrap().key_sha256, keys.tls.public_key_sha256());
    assert_eq!(asked[0].wireguard_key, keys.wireguard.public());
}

#[test]
fn a_validator_only_dials() {
    let (controller, folder) = (Controller::start(None), tempfile::tempdir().unwrap());
    join(folder.path(), &controller.url, &controller.token(), "prep-1", NodeRole::Prep).unwrap();
    assert_eq!(controller.asked.lock().unwrap()[0].endpoint, None);
}

#[test]
fn enrolling_again_is_nothing_to_do_and_anything_else_is_refused() {
    let (controller, folder) = (Controller::start(None), tempfile::tempdir().unwrap());
    let (other, token) = (Controller::start(None), controller.token());
    let join = |token: &str, name: &str, role| join(folder.path(), &controller.url, token, name, role);
    join(&token, "sentry-1", NodeRole::Sentry).unwrap();
    assert!(join(&token, "sentry-1", NodeRole::Sentry).unwrap().starts_with("already enrolled"));
    for (token, name, role) in [
        (&other.token(), "sentry-1", NodeRole::Sentry),
        (&token, "sentry-2", NodeRole::Sentry),
        (&token, "sentry-1", NodeRole::Prep),
    ] {
        let error = join(token, name, role).unwrap_err();
        assert!(error.contains("is enrolled already: sentry sentry-1 (n-1) in mesh m-1"), "{error}");
    }
    let state = StateDir::new(place(folder.path()).state_dir);
    Ledger { standing: Standing::Revoked, ..Ledger::default() }.save(&state).unwrap();
    assert!(join(&token, "sentry-1", NodeRole::Sentry).unwrap_err().contains("was revoked from mesh m-1"));
    assert_eq!(controller.asked.lock().unwrap().len(), 1);
}

#[test]
fn what_was_held_in_an_earlier_mesh_does_not_count_in_the_next() {
    let (controller, folder) = (Controller::start(None), tempfile::tempdir().unwrap());
    let state = StateDir::new(place(folder.path()).state_dir);
    drop(state.lock().unwrap());
    for earlier in [&b"damaged"[..], br#"{"version":1,"content":{"standing":"revoked","config":null}}"#] {
        state.write("ledger.json", earlier).unwrap();
        join(folder.path(), &controller.url, &controller.token(), "prep-1", NodeRole::Prep).unwrap();
        let identity = Identity::load(&state).unwrap().unwrap();
        assert_eq!(Ledger::load_of(&state, &identity).unwrap(), Ledger::default());
        assert_eq!(state.read("ledger.json.before-n-1").unwrap().unwrap(), earlier);
        std::fs::remove_file(state.path().join("identity.json")).unwrap();
    }
}

#[test]
fn a_refused_host_keeps_nothing_but_its_keys() {
    for kind in [
        ProblemKind::TokenRole,
        ProblemKind::TokenExpired,
        ProblemKind::TokenUsed,
        ProblemKind::TokenUnknown,
        ProblemKind::KeyTaken,
        ProblemKind::NameTaken,
    ] {
        let (controller, folder) = (Controller::start(Some(kind)), tempfile::tempdir().unwrap());
        let error = join(folder.path(), &controller.url, &controller.token(), "prep-1", NodeRole::Prep).unwrap_err();
        assert!(error.starts_with(&format!("the controller refused: refused as {kind:?}")), "{error}");
        assert_eq!(
            files(folder.path()),
            ["identity.key", "lock", "tls.key", "wireguard.key"].map(str::to_owned).into()
        );
    }
}

#[test]
fn the_same_keys_are_offered_at_the_next_try() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (Controller::start(Some(ProblemKind::Unavailable)), Controller::start(None));
    join(folder.path(), &first.url, &first.token(), "prep-1", NodeRole::Prep).unwrap_err();
    join(folder.path(), &second.url, &second.token(), "prep-1", NodeRole::Prep).unwrap();
    let key = |controller: &Controller| controller.asked.lock().unwrap()[0].wireguard_key;
    assert_eq!(key(&first), key(&second));
}

#[test]
fn a_controller_of_another_mesh_learns_nothing() {
    let (controller, other) = (Controller::start(None), Controller::start(None));
    let folder = tempfile::tempdir().unwrap();
    let error = join(folder.path(), &controller.url, &other.token(), "prep-1", NodeRole::Prep).unwrap_err();
    assert!(error.contains("fingerprint") && error.contains("pins CA"), "{error}");
    assert!(controller.asked.lock().unwrap().is_empty());
    assert!(!files(folder.path()).contains("identity.json"));
}

#[test]
fn a_token_that_cannot_be_read_is_never_quoted_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let error = join(folder.path(), "https://127.0.0.1:1", "picket1.s3cret", "prep-1", NodeRole::Prep).unwrap_err();
    assert!(error.contains("join token") && !error.contains("s3cret"), "{error}");
    assert!(files(folder.path()).is_empty());
}

#[test]
fn only_https_is_asked() {
    let (controller, folder) = (Controller::start(None), tempfile::tempdir().unwrap());
    let url = controller.url.replace("https", "http");
    let error = join(folder.path(), &url, &controller.token(), "prep-1", NodeRole::Prep).unwrap_err();
    assert!(error.ends_with("is not a controller's URL: https://HOST:PORT"), "{error}");
    assert!(files(folder.path()).is_empty());
}

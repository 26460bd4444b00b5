//! Tests of the key sets, with an owned clock: over TLS, from files, and what is asked for how often.

use super::*;
use axum::{Router, http::StatusCode, response::IntoResponse, routing::get};
use picket_attest::Kind;
use picket_http::{Connections, Limits, Server};
use picket_lab::cloud::{Signer, jwks};
use std::sync::{
    Mutex as Plain,
    atomic::{AtomicU32, Ordering},
};
use tokio::net::TcpListener;

/// An issuer that serves what it is told to.
struct Issuer {
    url: String,
    says: Arc<Plain<(StatusCode, String)>>,
    asked: Arc<AtomicU32>,
    roots: RootCertStore,
}

impl Issuer {
    async fn start() -> Self {
        let says = Arc::new(Plain::new((StatusCode::OK, jwks(&[&Signer::rsa("a", 0)]))));
        let asked = Arc::new(AtomicU32::new(0));
        let (answer, count) = (says.clone(), asked.clone());
        let answer = move || {
            count.fetch_add(1, Ordering::SeqCst);
            let (status, text) = answer.lock().unwrap().clone();
            async move { (status, [("location", "https://127.0.0.1:1/")], text).into_response() }
        };
        let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let der = pair.cert.der().clone();
        let key = rustls::pki_types::PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
        let tls = rustls::ServerConfig::builder_with_provider(picket_pki::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![der.clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/jwks.json", listener.local_addr().unwrap());
        let server = Server {
            router: Router::new().route("/jwks.json", get(answer)),
            tls: Some(Arc::new(tls)),
            limits: Limits::everybody_anonymous(),
            connections: Connections::new(),
        };
        tokio::spawn(server.serve(listener, std::future::pending()));
        let mut roots = RootCertStore::empty();
        roots.add(der).unwrap();
        Self { url, says, asked, roots }
    }

    fn keys(&self) -> Keys {
        Keys::with_roots(&[lines(&self.url)], self.roots.clone()).unwrap()
    }

    fn says(&self, status: StatusCode, text: impl Into<String>) {
        *self.says.lock().unwrap() = (status, text.into());
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }
}

const URL: &str = "https://issuer.example";

fn lines(jwks: &str) -> IssuerLines {
    IssuerLines { proof: Kind::Oidc, issuer: URL.into(), jwks: jwks.into(), account: None }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_795_263_000_000 + seconds * 1000)
}

#[tokio::test]
async fn keys_are_asked_for_once_and_again_for_one_that_is_not_there() {
    let (issuer, b) = (Issuer::start().await, jwks(&[&Signer::rsa("a", 0), &Signer::rsa("b", 1)]));
    let keys = issuer.keys();
    for second in 0..30 {
        assert!(keys.of(URL, "a", at(second)).await.unwrap().has("a"));
    }
    assert_eq!(issuer.asked(), 1);
    issuer.says(StatusCode::OK, b);
    // Strangers who name keys that nobody has cannot make us ask more often.
    for second in 30..60 {
        assert!(!keys.of(URL, "b", at(second)).await.unwrap().has("b"));
    }
    assert_eq!(issuer.asked(), 1);
    assert!(keys.of(URL, "b", at(60)).await.unwrap().has("b"));
    for second in 61..120 {
        assert!(!keys.of(URL, "c", at(second)).await.unwrap().has("c"));
    }
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test]
async fn a_key_that_the_issuer_took_back_is_gone_within_the_hour() {
    let issuer = Issuer::start().await;
    let keys = issuer.keys();
    assert!(keys.of(URL, "a", at(0)).await.unwrap().has("a"));
    issuer.says(StatusCode::OK, jwks(&[&Signer::rsa("b", 1)]));
    assert!(keys.of(URL, "a", at(3599)).await.unwrap().has("a"));
    assert!(!keys.of(URL, "a", at(3600)).await.unwrap().has("a"));
}

#[tokio::test]
async fn an_issuer_that_is_away_costs_nothing_for_a_day() {
    let issuer = Issuer::start().await;
    let keys = issuer.keys();
    keys.of(URL, "a", at(0)).await.unwrap();
    issuer.says(StatusCode::SERVICE_UNAVAILABLE, "");
    assert!(keys.of(URL, "a", at(3600)).await.unwrap().has("a"));
    assert!(keys.of(URL, "a", at(86_399)).await.unwrap().has("a"));
    assert!(matches!(keys.of(URL, "a", at(86_460)).await, Err(KeysError::Status { status: 503, .. })));
    assert!(matches!(keys.of(URL, "a", at(86_461)).await, Err(KeysError::Waiting)));
    issuer.says(StatusCode::OK, jwks(&[&Signer::rsa("a", 0)]));
    assert!(keys.of(URL, "a", at(86_520)).await.unwrap().has("a"));
    // A clock that was set back does not make us wait for it.
    assert!(keys.of(URL, "z", at(0)).await.is_ok());
}

#[tokio::test]
async fn what_is_no_key_set_is_not_believed() {
    let issuer = Issuer::start().await;
    for (status, text, expect) in [
        (StatusCode::FOUND, String::new(), "answers HTTP 302"),
        (StatusCode::NOT_FOUND, String::new(), "answers HTTP 404"),
        (StatusCode::OK, "<html>".to_owned(), "not a JSON Web Key Set"),
        (StatusCode::OK, "{\"keys\": []}".to_owned(), "no key of it can be used"),
        (StatusCode::OK, " ".repeat(picket_attest::jwks::LARGEST + 1), "more than 65536 bytes"),
    ] {
        issuer.says(status, text);
        let error = issuer.keys().of(URL, "a", at(0)).await.unwrap_err().to_string();
        assert!(error.starts_with(&issuer.url) && error.contains(expect), "{error}");
    }
    // Another certificate than one of this host's roots.
    let strange = Keys::with_roots(&[lines(&issuer.url)], RootCertStore::empty()).unwrap();
    let before = issuer.asked();
    assert!(matches!(strange.of(URL, "a", at(0)).await, Err(KeysError::Unreachable { .. })));
    assert_eq!(issuer.asked(), before);
    // An issuer that is not configured has no keys, and nobody is asked.
    assert!(!issuer.keys().of("https://other.example", "a", at(0)).await.unwrap().has("a"));
}

#[tokio::test]
async fn a_file_is_read_like_a_url() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let keys = Keys::with_roots(&[lines(path.to_str().unwrap())], RootCertStore::empty()).unwrap();
    let error = keys.of(URL, "a", at(0)).await.unwrap_err().to_string();
    assert!(error.contains("jwks.json") && error.contains("No such file"), "{error}");
    std::fs::write(&path, jwks(&[&Signer::rsa("a", 0)])).unwrap();
    assert!(matches!(keys.of(URL, "a", at(59)).await, Err(KeysError::Waiting)));
    assert!(keys.of(URL, "a", at(60)).await.unwrap().has("a"));
    std::fs::write(&path, " ".repeat(picket_attest::jwks::LARGEST + 1)).unwrap();
    assert!(keys.of(URL, "a", at(4000)).await.unwrap().has("a"), "the set before stays");
}

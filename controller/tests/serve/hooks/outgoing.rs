//! Events on their way to others: signed, in order, none lost.

use super::WEBHOOK;
use crate::fixture::{Mesh, eventually};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header::LOCATION},
    response::IntoResponse,
    routing::post,
};
use picket_attest::hooks::webhook::{Headers, Secret};
use picket_model::{NodeRole, Timestamp};
use serde_json::Value;
use std::{
    sync::{Arc, Mutex},
    time::SystemTime,
};
use tempfile::TempDir;

/// Somebody who is told.
#[derive(Clone)]
struct Listener {
    url: String,
    heard: Arc<Mutex<Vec<(String, Value)>>>,
    says: Arc<Mutex<StatusCode>>,
    /// Where it says that others are.
    elsewhere: Arc<Mutex<String>>,
}

impl Listener {
    async fn start(path: &str) -> Self {
        let heard = Arc::<Mutex<Vec<(String, Value)>>>::default();
        let says = Arc::new(Mutex::new(StatusCode::NO_CONTENT));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{path}", listener.local_addr().unwrap());
        let own = Self { url, heard, says, elsewhere: Arc::default() };
        let router = Router::new().route(path, post(hear)).with_state(own.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        own
    }

    fn says(&self, status: u16) {
        *self.says.lock().unwrap() = StatusCode::from_u16(status).unwrap();
    }

    /// Types and subjects of what was heard, and taken.
    fn heard(&self) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        heard.iter().map(|(_, body)| format!("{} {}", text(&body["type"]), text(&body["data"]["subject"]))).collect()
    }
}

async fn hear(State(own): State<Listener>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let header = |name: &str| headers.get(name).unwrap().to_str().unwrap();
    let (id, timestamp, signature) = (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
    let now = Timestamp::from(SystemTime::now());
    Secret::parse(WEBHOOK).unwrap().verify(Headers { id, timestamp, signature }, &body, now).unwrap();
    let status = *own.says.lock().unwrap();
    if status.is_success() {
        own.heard.lock().unwrap().push((id.to_owned(), serde_json::from_slice(&body).unwrap()));
    }
    (status, [(LOCATION, own.elsewhere.lock().unwrap().clone())])
}

fn lines(folder: &TempDir, all: &[(&str, &Listener, &str)]) -> String {
    let secret = folder.path().join("secret");
    std::fs::write(&secret, WEBHOOK).unwrap();
    let one = |(name, listener, events): &(&str, &Listener, &str)| {
        let secret = secret.display();
        format!(
            "[[webhook]]\nname = \"{name}\"\nurl = \"{}\"\nsecret_file = \"{secret}\"\nevents = [\"{events}\"]\n",
            listener.url
        )
    };
    all.iter().map(one).collect()
}

/// Waits until every webhook has its place in the log: what was before is not sent.
async fn begun(mesh: &Mesh, names: &[&str]) {
    let store = mesh.store().await;
    for name in names {
        eventually("the webhook's place", async || store.read().await.unwrap().webhook(name).await.unwrap().is_some())
            .await;
    }
}

#[tokio::test]
async fn events_are_signed_and_sent_in_order_to_whom_they_are_for() {
    let folder = tempfile::tempdir().unwrap();
    let (nodes, tokens) = (Listener::start("/nodes").await, Listener::start("/tokens").await);
    let mesh =
        Mesh::start_with(&lines(&folder, &[("nodes", &nodes, "node.*"), ("tokens", &tokens, "token.created")])).await;
    begun(&mesh, &["nodes", "tokens"]).await;
    mesh.join(NodeRole::Sentry, "sentry-1").await;
    mesh.operator().revoke("sentry-1", &Default::default()).await.unwrap();
    eventually("both events", async || nodes.heard().len() == 2).await;
    assert_eq!(nodes.heard(), ["node.enrolled sentry-1", "node.revoked sentry-1"]);
    eventually("the token", async || tokens.heard().len() == 1).await;
    assert!(tokens.heard()[0].starts_with("token.created t"));
    let heard = nodes.heard.lock().unwrap().clone();
    assert_eq!(heard[1].0, format!("{}.{}", heard[1].1["data"]["mesh"].as_str().unwrap(), heard[1].1["data"]["line"]));
}

#[tokio::test]
async fn an_end_that_is_down_loses_nothing_hears_nothing_twice_and_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let (down, well) = (Listener::start("/down").await, Listener::start("/well").await);
    let mut mesh = Mesh::start_with(&lines(&folder, &[("down", &down, "node.*"), ("well", &well, "node.*")])).await;
    begun(&mesh, &["down", "well"]).await;
    down.says(500);
    mesh.join(NodeRole::Sentry, "sentry-1").await;
    mesh.join(NodeRole::Sentry, "sentry-2").await;
    eventually("the other's events", async || well.heard().len() == 2).await;
    let store = mesh.store().await;
    eventually("a failure", async || {
        let row = store.read().await.unwrap().webhook("down").await.unwrap().unwrap();
        row.failures > 0 && row.error.as_deref() == Some("HTTP 500")
    })
    .await;
    mesh.stop().await;
    down.says(200);
    mesh.resume().await;
    mesh.operator().revoke("sentry-1", &Default::default()).await.unwrap();
    let all = ["node.enrolled sentry-1", "node.enrolled sentry-2", "node.revoked sentry-1"];
    eventually("all events", async || down.heard().len() >= 3 && well.heard().len() >= 3).await;
    assert_eq!((down.heard(), well.heard()), (all.map(str::to_owned).to_vec(), all.map(str::to_owned).to_vec()));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (listener, other) = (Listener::start("/here").await, Listener::start("/there").await);
    listener.elsewhere.lock().unwrap().clone_from(&other.url);
    let mesh = Mesh::start_with(&lines(&folder, &[("one", &listener, "node.*")])).await;
    begun(&mesh, &["one"]).await;
    listener.says(307);
    mesh.join(NodeRole::Sentry, "sentry-1").await;
    let store = mesh.store().await;
    eventually("a failure", async || {
        let row = store.read().await.unwrap().webhook("one").await.unwrap().unwrap();
        row.error.as_deref() == Some("HTTP 307")
    })
    .await;
    assert!(other.heard().is_empty(), "{:?}", other.heard());
}

//! Hooks of clouds: what they say is believed only from whom it should be, and done once, whatever happens in between.

mod drained;
mod eventbridge;
mod moto;
mod others;
mod outgoing;
mod sns;
mod work;

use crate::fixture::{Agent, Mesh, eventually, report};
use picket_api::operator::EventView;
use picket_lab::cloud::{FakeAutoscaling, FakeMetadata, FakeSns, Group, Hook, Instance, Signer};
use picket_model::{NodeReport, PeerHealth, Timestamp};
use serde_json::Value;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

const ACCOUNT: &str = "123456789012";
const REGION: &str = "eu-central-1";
const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:picket";
const EVENTBRIDGE: &str = "0123456789abcdef0123456789abcdef";
const WEBHOOK: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// An instance, and a host that joined by token and is called after it.
const INSTANCE: &str = "i-0123456789abcdef0";
const HOST: &str = "edge-i-0123456789abcdef0";

/// A mesh that listens to the clouds played here.
struct Clouds {
    mesh: Mesh,
    autoscaling: FakeAutoscaling,
    sns: FakeSns,
    /// Its files go with it.
    _folder: TempDir,
}

impl Clouds {
    async fn start() -> Self {
        Self::start_with("", "").await
    }

    /// With further lines in `[hooks]`, and after it.
    async fn start_with(hooks: &str, more: &str) -> Self {
        let instance = Instance {
            account: ACCOUNT.into(),
            region: REGION.into(),
            image: "ami-1".into(),
            id: "i-0000000000000000f".into(),
            launched_at: now(),
        };
        let metadata = FakeMetadata::start(instance, Signer::rsa("gcp", 1)).await.unwrap();
        Self::start_at(&metadata.url, hooks, more).await
    }

    /// With credentials from this metadata service.
    async fn start_at(metadata: &str, hooks: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hook = Hook { name: "picket".into(), timeout: Duration::from_hours(1), default_result: "ABANDON".into() };
        let group = Group {
            account: ACCOUNT.into(),
            region: REGION.into(),
            name: "sentries".into(),
            launching: hook.clone(),
            terminating: hook,
        };
        let (autoscaling, sns) = (FakeAutoscaling::start(group).await.unwrap(), FakeSns::start().await.unwrap());
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name).display().to_string()
        };
        let (eventbridge, generic) = (write("eventbridge", &format!("{EVENTBRIDGE}\n")), write("generic", WEBHOOK));
        let keys = write("google.json", &picket_lab::cloud::jwks(&[&Signer::rsa("google", 1)]));
        let lines = format!(
            "[hooks]\neventbridge_secret_file = \"{eventbridge}\"\ngeneric_secret_file = \"{generic}\"\n\
             topics = [\"{TOPIC}\"]\nmetadata_url = \"{metadata}\"\nautoscaling_url = \"{}\"\nsns_url = \"{}\"\n{hooks}\n\
             [[hooks.aws]]\naccount = \"{ACCOUNT}\"\nregions = [\"{REGION}\"]\ngroups = [\"sentries\"]\n\
             [hooks.gcp]\naudience = \"https://hooks.example/v1/hooks/gcp\"\njwks = \"{keys}\"\n\
             service_account = \"push@my-project.iam.gserviceaccount.com\"\n\
             subscription = \"projects/my-project/subscriptions/picket\"\nprojects = [\"my-project\"]\n{more}",
            autoscaling.url, sns.url
        );
        Self { mesh: Mesh::start_with(&lines).await, autoscaling, sns, _folder: folder }
    }

    /// Posts to a hook; status and answer.
    async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> (u16, Value) {
        post(&format!("http://{}/v1/hooks/{path}", self.mesh.running().hooks.unwrap()), headers, body).await
    }

    /// As EventBridge does.
    async fn event(&self, event: &Value) -> (u16, Value) {
        self.post("aws", &[("x-picket-hook-secret", EVENTBRIDGE)], event.to_string()).await
    }

    /// Events of the audit log whose action begins so, newest last.
    async fn log(&self, begins: &str) -> Vec<EventView> {
        let events = self.mesh.operator().events().await.unwrap();
        events.into_iter().filter(|event| event.action.starts_with(begins)).collect()
    }

    async fn is_member(&self, agent: &Agent) -> bool {
        let nodes = self.mesh.operator().nodes().await.unwrap();
        nodes.iter().any(|view| view.node.id == agent.node && view.node.is_active())
    }

    async fn revoked(&self, agent: &Agent) {
        eventually("the host to be revoked", async || !self.is_member(agent).await).await;
    }

    async fn becomes(&self, instance: &str, state: &str) {
        eventually(state, async || self.autoscaling.state(instance) == state).await;
    }
}

async fn post(url: &str, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> (u16, Value) {
    let client = client();
    let request = headers.iter().fold(client.post(url), |request, (name, value)| request.header(*name, *value));
    let response = request.body(body).send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
}

fn client() -> reqwest::Client {
    let tls = picket_pki::client_config(picket_pki::Fingerprint::of(b"nobody"), None).unwrap();
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap()
}

/// That a message was refused, and how.
fn refused((status, answer): (u16, Value), expect: u16, detail: &str) {
    assert_eq!(status, expect, "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains(detail), "{answer}");
}

/// That a message was good, and what became of it.
fn taken((status, answer): (u16, Value), expect: &str) {
    assert_eq!((status, answer["message"].as_str().unwrap_or_default()), (200, expect), "{answer}");
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

/// The report of a host that has everything in force and whose tunnels are up.
async fn up(agent: &Agent) -> NodeReport {
    let wanted = agent.wanted().await;
    let health = PeerHealth { last_handshake: Some(now()), endpoint: None, received_bytes: 1, sent_bytes: 1 };
    let peers = wanted.full.wireguard.peers.keys().map(|peer| (*peer, health.clone())).collect();
    NodeReport { peers, ..report(&wanted) }
}

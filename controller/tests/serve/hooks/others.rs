//! Google's Pub/Sub and signed webhooks; and the listener's own TLS.

use super::{Clouds, HOST, WEBHOOK, now, refused, taken, up};
use crate::fixture::{Mesh, eventually};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use picket_api::Proof;
use picket_attest::{
    IdentityId,
    hooks::webhook::{Secret, seconds},
};
use picket_lab::cloud::Signer;
use picket_model::{NodeRole, Timestamp};
use serde_json::{Value, json};

fn push(id: &str, project: &str) -> Value {
    let entry = json!({
        "protoPayload": {"serviceName": "compute.googleapis.com", "methodName": "v1.compute.instances.delete"},
        "resource": {"type": "gce_instance", "labels": {
            "project_id": project, "instance_id": "4570452845155348778", "zone": "us-central1-a",
        }},
    });
    json!({
        "subscription": "projects/my-project/subscriptions/picket",
        "message": {"data": STANDARD.encode(entry.to_string()), "messageId": id, "publishTime": now().to_string()},
    })
}

fn claims() -> Value {
    let now = now().as_millis() / 1000;
    json!({
        "iss": "https://accounts.google.com", "aud": "https://hooks.example/v1/hooks/gcp", "iat": now, "exp": now + 3600,
        "sub": "1", "email": "push@my-project.iam.gserviceaccount.com", "email_verified": true,
    })
}

impl Clouds {
    async fn push(&self, token: &str, message: &Value) -> (u16, Value) {
        self.post("gcp", &[("authorization", &format!("Bearer {token}"))], message.to_string()).await
    }

    pub(super) async fn webhook(&self, id: &str, at: Timestamp, body: &str) -> (u16, Value) {
        let signature = Secret::parse(WEBHOOK).unwrap().sign(id, at, body.as_bytes());
        let headers = [("webhook-id", id), ("webhook-timestamp", &seconds(at)), ("webhook-signature", &signature)];
        self.post("generic", &headers, body.to_owned()).await
    }
}

#[tokio::test]
async fn googles_audit_log_takes_out_whom_it_speaks_of() {
    let clouds = Clouds::start().await;
    let host = clouds.mesh.join(NodeRole::Sentry, "sentry-1").await;
    let identity: IdentityId = "gcp/my-project/4570452845155348778".parse().unwrap();
    let mut tx = clouds.mesh.store().await.write().await.unwrap();
    tx.bind_identity(&identity, &host.node, &Proof::Oidc { token: String::new() }, now()).await.unwrap();
    tx.commit().await.unwrap();
    let (google, message) = (Signer::rsa("google", 1), push("1", "my-project"));
    let with = |name: &str, value: Value| {
        let mut changed = claims();
        changed[name] = value;
        google.token(&changed)
    };
    for (token, status, detail) in [
        ("".to_owned(), 401, "not a signed token"),
        (Signer::rsa("google", 0).token(&claims()), 401, "signature is wrong"),
        (Signer::rsa("other", 1).token(&claims()), 401, "none of the issuer's"),
        (
            google.token_with(&json!({"alg": "none", "kid": "google"}), &claims().to_string()),
            401,
            "signed with \"none\"",
        ),
        (with("aud", json!("https://other.example/")), 401, "audience"),
        (with("iss", json!("https://evil.example")), 401, "issuer"),
        (with("exp", json!(now().as_millis() / 1000 - 100)), 401, "time was over"),
        (with("email", json!("evil@other.iam.gserviceaccount.com")), 403, "not of hooks.gcp.service_account"),
        (with("email_verified", json!(false)), 403, "not of hooks.gcp.service_account"),
    ] {
        refused(clouds.push(&token, &message).await, status, detail);
    }
    let token = google.token(&claims());
    refused(clouds.push(&token, &push("2", "other")).await, 403, "does not name the instance's project");
    let mut old = message.clone();
    old["message"]["publishTime"] = json!("2020-01-01T00:00:00Z");
    old["message"]["messageId"] = json!("old");
    // Refused, it would be sent again for days.
    taken(clouds.push(&token, &old).await, "asks for nothing");
    taken(clouds.push(&token, &old).await, "taken before: nothing is done");
    let lines = clouds.log("hook.stale").await;
    assert_eq!((lines.len(), lines[0].subject.as_str()), (1, identity.as_str()));
    assert!(lines[0].detail.contains("2020-01-01T00:00:00Z, which is too long ago"), "{}", lines[0].detail);
    let mut elsewhere = old.clone();
    elsewhere["subscription"] = json!("projects/evil/subscriptions/picket");
    refused(clouds.push(&token, &elsewhere).await, 403, "not of hooks.gcp.subscription");
    let mut other = message.clone();
    other["subscription"] = json!("projects/evil/subscriptions/picket");
    refused(clouds.push(&token, &other).await, 403, "not of hooks.gcp.subscription");
    refused(clouds.push(&token, &json!({})).await, 400, "`message`");
    assert!(clouds.is_member(&host).await);

    taken(clouds.push(&token, &message).await, "taken");
    taken(clouds.push(&token, &message).await, "taken before: nothing is done");
    clouds.revoked(&host).await;
    assert_eq!(clouds.log("node.revoked").await[0].actor, "hook:pubsub");
}

#[tokio::test]
async fn a_signed_webhook_takes_a_host_out_or_waits_for_one() {
    let clouds = Clouds::start_with("heartbeat_seconds = 1", "").await;
    let (host, comer) =
        (clouds.mesh.join(NodeRole::Sentry, HOST).await, clouds.mesh.join(NodeRole::Sentry, "sentry-2").await);
    let body = json!({"action": "terminating", "node": HOST}).to_string();
    let at = |seconds: i64| Timestamp::from_millis(now().as_millis() + seconds * 1000);
    refused(clouds.webhook("w-1", at(-400), &body).await, 400, "too long ago");
    refused(clouds.webhook("w-1", at(100), &body).await, 400, "has not come");
    refused(clouds.post("generic", &[], body.clone()).await, 400, "`webhook-id`");
    let signature = Secret::parse(WEBHOOK).unwrap().sign("w-1", now(), b"{}");
    let headers = [("webhook-id", "w-1"), ("webhook-timestamp", &seconds(now())), ("webhook-signature", &signature)];
    refused(clouds.post("generic", &headers, body.clone()).await, 401, "signature is wrong");
    refused(clouds.webhook("w-1", now(), "{\"action\": \"enrol\", \"node\": \"x\"}").await, 400, "unknown variant");
    assert!(clouds.is_member(&host).await);

    taken(clouds.webhook("w-1", now(), &body).await, "taken");
    taken(clouds.webhook("w-1", at(1), &body).await, "taken before: nothing is done");
    clouds.revoked(&host).await;
    taken(clouds.webhook("w-2", now(), &json!({"action": "launching", "node": "sentry-2"}).to_string()).await, "taken");
    let ready =
        async || clouds.log("hook.completed").await.iter().any(|line| line.detail.contains("sentry-2 is ready"));
    // What is awaited is looked at each second; so is an instance that never comes, whose cloud hears of each look.
    taken(clouds.event(&clouds.autoscaling.launch("i-0aaaaaaaaaaaaaaaa")).await, "taken");
    eventually("looks", async || clouds.autoscaling.heartbeats("i-0aaaaaaaaaaaaaaaa") >= 3).await;
    assert!(!ready().await);
    comer.client().report(&up(&comer).await).await.unwrap();
    eventually("sentry-2 to be ready", ready).await;
    let told = |action: &String| action == "CompleteLifecycleAction";
    assert!(!clouds.autoscaling.requests().iter().any(told), "nobody waits for an answer");
}

#[tokio::test]
async fn a_certificate_that_clouds_trust_is_shown_over_tls_1_2_too() {
    let folder = tempfile::tempdir().unwrap();
    let pair = rcgen::generate_simple_self_signed(["hooks.example".to_owned()]).unwrap();
    let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| folder.path().join(name));
    std::fs::write(&certificate, pair.cert.pem()).unwrap();
    std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    let lines = format!("[hooks]\ncertificate = \"{}\"\nkey = \"{}\"\n", certificate.display(), key.display());
    let mesh = Mesh::start_with(&lines).await;
    let address = mesh.running().hooks.unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(pair.cert.der().clone()).unwrap();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let tls = rustls::ClientConfig::builder_with_provider(picket_pki::provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy();
        let client = client.resolve("hooks.example", address).build().unwrap();
        let url = format!("https://hooks.example:{}/v1/hooks/generic", address.port());
        assert_eq!(client.post(url).send().await.unwrap().status(), 404, "{version:?}");
    }
}

//! A metadata server as instances of AWS (IMDSv2 only) and GCP find at 169.254.169.254.

use super::{ACCESS_KEY, ROLE_SESSION, SECRET_KEY, Signer, document, sign_document};
use crate::{Host, Lab, LabError};
use axum::{
    Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use picket_model::Timestamp;
use serde_json::json;
use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::net::TcpListener;

const SESSION: &str = "a-session-of-imdsv2";

/// One instance of a cloud.
#[derive(Clone, Debug)]
pub struct Instance {
    /// AWS account or GCP project.
    pub account: String,
    /// Region; its first zone is `REGIONa`, on GCP `REGION-a`.
    pub region: String,
    /// Machine image.
    pub image: String,
    /// Instance id.
    pub id: String,
    /// When it was launched.
    pub launched_at: Timestamp,
}

/// A running metadata server; it ends with the runtime it was started on.
#[derive(Clone, Debug)]
pub struct FakeMetadata {
    /// `http://address:port`.
    pub url: String,
    /// Answers given so far.
    pub answers: Arc<AtomicU64>,
}

struct Shared {
    instance: Instance,
    google: Signer,
    answers: Arc<AtomicU64>,
}

impl FakeMetadata {
    /// Tells of this instance; AWS documents are signed with RSA key 0, GCP tokens with `google`.
    ///
    /// # Errors
    /// An IO error where it cannot listen.
    pub async fn start(instance: Instance, google: Signer) -> io::Result<Self> {
        let answers = Arc::new(AtomicU64::new(0));
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = router(instance, google, answers.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, answers })
    }

    /// The same at an address of a host, as long as the lab is there.
    pub(crate) fn play(lab: &Lab, host: &Host, address: SocketAddr, instance: Instance) -> Result<(), LabError> {
        let listener = host.listen(address)?;
        let router = router(instance, Signer::rsa("gcp", 1), Arc::default());
        lab.serve(async move { axum::serve(TcpListener::from_std(listener)?, router).await });
        Ok(())
    }
}

fn router(instance: Instance, google: Signer, answers: Arc<AtomicU64>) -> Router {
    Router::new()
        .route("/latest/api/token", put(session))
        .route("/latest/dynamic/instance-identity/document", get(aws_document))
        .route("/latest/dynamic/instance-identity/signature", get(aws_signature))
        .route("/latest/meta-data/instance-id", get(instance_id))
        .route("/latest/meta-data/autoscaling/target-lifecycle-state", get(target_state))
        .route("/latest/meta-data/iam/security-credentials/", get(role))
        .route("/latest/meta-data/iam/security-credentials/picket", get(role_credentials))
        .route("/computeMetadata/v1/instance/service-accounts/default/identity", get(gcp_token))
        .with_state(Arc::new(Shared { instance, google, answers }))
}

async fn session(headers: HeaderMap) -> Response {
    if headers.contains_key("x-aws-ec2-metadata-token-ttl-seconds") {
        SESSION.into_response()
    } else {
        StatusCode::BAD_REQUEST.into_response()
    }
}

fn with_session(headers: &HeaderMap, shared: &Shared, text: impl FnOnce() -> String) -> Response {
    if headers.get("x-aws-ec2-metadata-token").is_none_or(|given| given != SESSION) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    shared.answers.fetch_add(1, Ordering::Relaxed);
    text().into_response()
}

async fn aws_document(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    with_session(&headers, &shared, || document(&shared.instance))
}

/// In lines of 76 characters, as AWS has it.
async fn aws_signature(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    with_session(&headers, &shared, || {
        let signature = sign_document(0, &document(&shared.instance));
        let lines: Vec<&str> = (0..signature.len())
            .step_by(76)
            .filter_map(|at| signature.get(at..(at + 76).min(signature.len())))
            .collect();
        lines.join("\n")
    })
}

async fn instance_id(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    with_session(&headers, &shared, || shared.instance.id.clone())
}

/// An instance of a group without a warm pool, from its launch on.
async fn target_state(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    with_session(&headers, &shared, || "InService".to_owned())
}

async fn role(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    with_session(&headers, &shared, || "picket".to_owned())
}

/// Those that the fake of Auto Scaling knows.
async fn role_credentials(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let end = Timestamp::from(std::time::SystemTime::now()).plus(std::time::Duration::from_hours(6));
    with_session(&headers, &shared, || {
        json!({
            "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY,
            "Token": ROLE_SESSION, "LastUpdated": "2026-01-01T00:00:00Z", "Expiration": end.to_string(),
        })
        .to_string()
    })
}

async fn gcp_token(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let flavoured = headers.get("metadata-flavor").is_some_and(|flavor| flavor == "Google");
    let Some(audience) = query.get("audience").filter(|_| flavoured) else {
        return StatusCode::FORBIDDEN.into_response();
    };
    shared.answers.fetch_add(1, Ordering::Relaxed);
    let now = Timestamp::from(std::time::SystemTime::now()).as_millis() / 1000;
    let Instance { account, region, id, launched_at, .. } = &shared.instance;
    let mut claims = json!({
        "iss": "https://accounts.google.com", "sub": "112179062720391305885", "azp": "112179062720391305885",
        "aud": audience, "iat": now, "exp": now + 3600,
    });
    if query.get("format").is_some_and(|format| format == "full") {
        claims["email"] = json!(format!("1071284184436-compute@developer.gserviceaccount.com"));
        claims["google"] = json!({"compute_engine": {
            "instance_creation_timestamp": launched_at.as_millis() / 1000, "instance_id": id,
            "instance_name": "sentries-x7kq", "project_id": account, "project_number": 1_071_284_184_436_u64,
            "zone": format!("{region}-a"),
        }});
    }
    shared.google.token(&claims).into_response()
}

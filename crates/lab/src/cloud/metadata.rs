//! A metadata server as instances of AWS (IMDSv2 only) and GCP find at 169.254.169.254.

use super::{ACCESS_KEY, ROLE_SESSION, SECRET_KEY, Signer, document, sign_document};
use crate::{Host, Lab, LabError};
use axum::{
    Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use picket_model::Timestamp;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::net::TcpListener;

const SESSION: &str = "a-session-of-imdsv2";
/// Of every instance on GCP.
const INSTANCE_NAME: &str = "sentries-x7kq";
const PROJECT_NUMBER: u64 = 1_071_284_184_436;

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
    /// What cloud-init is given; without it, nothing of what it alone asks for is there.
    user_data: Option<String>,
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
        let router = router(instance, None, google, answers.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, answers })
    }

    /// The same at an address of a host, as long as the lab is there.
    pub(crate) fn play(lab: &Lab, host: &Host, address: SocketAddr, instance: Instance) -> Result<(), LabError> {
        Self::serve(lab, host, address, instance, None)
    }

    /// As [`FakeMetadata::play`], for a machine with cloud-init, which looks through all that there is and takes its user data.
    pub(crate) fn play_to_cloud_init(
        lab: &Lab,
        host: &Host,
        address: SocketAddr,
        instance: Instance,
        user_data: String,
    ) -> Result<(), LabError> {
        Self::serve(lab, host, address, instance, Some(user_data))
    }

    fn serve(
        lab: &Lab,
        host: &Host,
        address: SocketAddr,
        instance: Instance,
        user_data: Option<String>,
    ) -> Result<(), LabError> {
        let listener = host.listen(address)?;
        let router = router(instance, user_data, Signer::rsa("gcp", 1), Arc::default());
        lab.serve(async move { axum::serve(TcpListener::from_std(listener)?, router).await });
        Ok(())
    }
}

fn router(instance: Instance, user_data: Option<String>, google: Signer, answers: Arc<AtomicU64>) -> Router {
    Router::new()
        .route("/latest/api/token", put(session))
        .route("/latest/dynamic/instance-identity/document", get(aws_document))
        .route("/latest/dynamic/instance-identity/signature", get(aws_signature))
        .route("/latest/meta-data/instance-id", get(instance_id))
        .route("/latest/meta-data/autoscaling/target-lifecycle-state", get(target_state))
        .route("/latest/meta-data/iam/security-credentials/", get(role))
        .route("/latest/meta-data/iam/security-credentials/picket", get(role_credentials))
        .route("/computeMetadata/v1/instance/service-accounts/default/identity", get(gcp_token))
        .fallback(get(looked_through))
        .with_state(Arc::new(Shared { instance, user_data, google, answers }))
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

/// Anything else, as cloud-init asks for it.
async fn looked_through(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap) -> Response {
    if let Some(path) = uri.path().strip_prefix("/computeMetadata/v1/") {
        return read_on_gcp(&shared, path, &headers);
    }
    let found = shared.user_data.as_ref().and_then(|data| read(&shared.instance, data, uri.path()));
    match found {
        Some(text) => with_session(&headers, &shared, || text),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Google's server answers whoever says that it is meant.
fn is_flavoured(headers: &HeaderMap) -> bool {
    headers.get("metadata-flavor").is_some_and(|flavor| flavor == "Google")
}

/// What Compute Engine's server has of the instance; attributes are asked for as a whole, where their user data are ("Predefined
/// metadata keys" of its documentation).
fn read_on_gcp(shared: &Shared, path: &str, headers: &HeaderMap) -> Response {
    if !is_flavoured(headers) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let Some(user_data) = &shared.user_data else { return StatusCode::NOT_FOUND.into_response() };
    let Instance { account, region, id, .. } = &shared.instance;
    shared.answers.fetch_add(1, Ordering::Relaxed);
    match path.trim_end_matches('/') {
        "instance/id" => id.clone().into_response(),
        "instance/zone" => format!("projects/{PROJECT_NUMBER}/zones/{region}-a").into_response(),
        "instance/hostname" => format!("{INSTANCE_NAME}.{region}-a.c.{account}.internal").into_response(),
        "instance/attributes" => json!({"user-data": user_data}).to_string().into_response(),
        "project/attributes" => "{}".into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// What is at a path of the tree that begins anew below each version: a text, or the names in a folder, folders with a slash.
fn read(instance: &Instance, user_data: &str, path: &str) -> Option<String> {
    let (_version, path) = path.trim_matches('/').split_once('/')?;
    let document = document(instance);
    let texts = [
        ("dynamic/instance-identity/signature", sign_document(0, &document)),
        ("dynamic/instance-identity/document", document),
        ("meta-data/ami-id", instance.image.clone()),
        ("meta-data/instance-id", instance.id.clone()),
        ("meta-data/local-hostname", format!("{}.{}.compute.internal", instance.id, instance.region)),
        ("meta-data/placement/availability-zone", format!("{}a", instance.region)),
        ("user-data", user_data.to_owned()),
    ];
    if let Some((_, text)) = texts.iter().find(|(place, _)| *place == path) {
        return Some(text.clone());
    }
    let below = texts.iter().filter_map(|(place, _)| place.strip_prefix(path)?.strip_prefix('/'));
    let names = below.map(|rest| rest.split_inclusive('/').next().unwrap_or(rest));
    let names: BTreeSet<&str> = names.collect();
    (!names.is_empty()).then(|| names.into_iter().collect::<Vec<_>>().join("\n"))
}

async fn gcp_token(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let Some(audience) = query.get("audience").filter(|_| is_flavoured(&headers)) else {
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
            "instance_name": INSTANCE_NAME, "project_id": account, "project_number": PROJECT_NUMBER,
            "zone": format!("{region}-a"),
        }});
    }
    shared.google.token(&claims).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cloud_init_finds_texts_and_folders() {
        let instance = Instance {
            account: "123456789012".to_owned(),
            region: "eu-central-1".to_owned(),
            image: "ami-0".to_owned(),
            id: "i-1".to_owned(),
            launched_at: Timestamp::from_millis(0),
        };
        let check = |path: &str, expected: Option<&str>| {
            assert_eq!(read(&instance, "#cloud-config", path).as_deref(), expected, "{path}");
        };
        check("/2021-03-23/meta-data/instance-id", Some("i-1"));
        check("/2021-03-23/user-data", Some("#cloud-config"));
        check("/2021-03-23/meta-data/", Some("ami-id\ninstance-id\nlocal-hostname\nplacement/"));
        check("/2021-03-23/meta-data/placement/", Some("availability-zone"));
        check("/2021-03-23/dynamic/instance-identity", Some("document\nsignature"));
        check("/2021-03-23/meta-data/public-keys", None);
        check("/2021-03-23/meta", None);
        check("/2021-03-23", None);
        assert!(read(&instance, "", "/latest/dynamic/instance-identity/document").unwrap().contains("\"i-1\""));
    }
}

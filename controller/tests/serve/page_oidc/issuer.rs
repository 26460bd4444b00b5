//! An OpenID Connect issuer played, over TLS: it holds what a page asks of it against the specifications, and lies where a test wants.

use axum::{
    Form, Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use picket_http::{Connections, Limits, Server};
use picket_lab::cloud::{Signer, jwks};
use picket_model::Timestamp;
use reqwest::Url;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::SystemTime,
};
use tempfile::TempDir;
use tokio::net::TcpListener;

pub(super) const CLIENT: &str = "picket";
/// With what an address may not have, to see it encoded.
pub(super) const SECRET: &str = "s3cret:/+ %";

/// What of an answer is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    Nothing,
    Nonce,
    Audience,
    Key,
    Issuer,
    Over,
    NoToken,
    Unsigned,
    Subject,
}

/// A code that was given, and to whom.
struct Given {
    challenge: String,
    nonce: String,
    back: String,
    token: Value,
    more: Value,
}

pub(super) struct Played {
    pub(super) url: Mutex<String>,
    pub(super) lie: Mutex<Lie>,
    /// What it calls itself where that is not its URL.
    pub(super) name: Mutex<Option<String>>,
    codes: Mutex<BTreeMap<String, Given>>,
    more: Mutex<BTreeMap<String, Value>>,
    signer: Signer,
    other: Signer,
}

pub(super) struct Issuer {
    pub(super) url: String,
    pub(super) played: Arc<Played>,
    folder: TempDir,
}

impl Issuer {
    pub(super) async fn start() -> Self {
        let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("roots.pem"), pair.cert.pem()).unwrap();
        std::fs::write(folder.path().join("secret"), format!("{SECRET}\n")).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
        let tls = rustls::ServerConfig::builder_with_provider(picket_pki::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/realms/ops", listener.local_addr().unwrap());
        let played = Arc::new(Played {
            url: Mutex::new(url.clone()),
            lie: Mutex::new(Lie::Nothing),
            name: Mutex::default(),
            codes: Mutex::default(),
            more: Mutex::default(),
            signer: Signer::p256("one"),
            other: Signer::p256("one"),
        });
        let router = Router::new()
            .route("/realms/ops/.well-known/openid-configuration", get(configuration))
            .route("/realms/ops/token", post(token))
            .route("/realms/ops/more", get(more))
            .route("/realms/ops/keys", get(keys))
            .with_state(played.clone());
        let server = Server {
            router,
            tls: Some(Arc::new(tls)),
            limits: Limits::everybody_anonymous(),
            connections: Connections::new(),
        };
        tokio::spawn(server.serve(listener, std::future::pending()));
        Self { url, played, folder }
    }

    /// The section that names it; rules follow.
    pub(super) fn lines(&self) -> String {
        let [secret, roots] = ["secret", "roots.pem"].map(|name| self.folder.path().join(name).display().to_string());
        format!(
            "[page.oidc]\nissuer = \"{}\"\nclient_id = \"{CLIENT}\"\nclient_secret_file = \"{secret}\"\n\
             certificates = \"{roots}\"\naddress = \"https://picket.example.com\"\n",
            self.url
        )
    }

    pub(super) fn lies(&self, lie: Lie) {
        *self.played.lie.lock().unwrap() = lie;
    }

    /// Somebody logs in there who was sent with `way`: where they are sent back to, below the page's address. `token` is what it
    /// says of them in the token, `more` what it tells beside it.
    pub(super) fn sends_back(&self, way: &str, token: &Value, more: &Value) -> String {
        let way = Url::parse(way).unwrap();
        let asked: BTreeMap<String, String> = way.query_pairs().into_owned().collect();
        let has = |name: &str| {
            assert!(asked.contains_key(name), "no {name} in {way}");
            asked[name].clone()
        };
        assert_eq!(way.path(), "/realms/ops/auth");
        assert_eq!((has("response_type"), has("client_id")), ("code".to_owned(), CLIENT.to_owned()));
        assert_eq!(has("code_challenge_method"), "S256");
        assert!(has("scope").split(' ').any(|scope| scope == "openid"), "{way}");
        assert!(!way.as_str().contains("s3cret"), "the secret is nothing for a browser");
        let (back, code) = (has("redirect_uri"), format!("code+{}", self.played.codes.lock().unwrap().len()));
        let given = Given {
            challenge: has("code_challenge"),
            nonce: has("nonce"),
            back: back.clone(),
            token: token.clone(),
            more: more.clone(),
        };
        self.played.codes.lock().unwrap().insert(code.clone(), given);
        let path = back.strip_prefix("https://picket.example.com").unwrap();
        format!("{path}?code={}&state={}", code.replace('+', "%2B"), has("state"))
    }
}

async fn configuration(State(played): State<Arc<Played>>) -> Json<Value> {
    let url = played.url.lock().unwrap().clone();
    let name = played.name.lock().unwrap().clone().unwrap_or_else(|| url.clone());
    Json(json!({
        "issuer": name,
        "authorization_endpoint": format!("{url}/auth"),
        "token_endpoint": format!("{url}/token"),
        "userinfo_endpoint": format!("{url}/more"),
        "jwks_uri": format!("{url}/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }))
}

async fn keys(State(played): State<Arc<Played>>) -> String {
    jwks(&[&played.signer])
}

/// RFC 6749 (4.1.3, 2.3.1) and RFC 7636 (4.6), as strictly as an issuer may be.
async fn token(
    State(played): State<Arc<Played>>,
    headers: HeaderMap,
    Form(asked): Form<BTreeMap<String, String>>,
) -> Response {
    let refused = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
    let given = given.and_then(|text| String::from_utf8(STANDARD.decode(text).ok()?).ok());
    // Each half is encoded as a form's value is.
    let encoded =
        SECRET.replace('%', "%25").replace(':', "%3A").replace('/', "%2F").replace('+', "%2B").replace(' ', "+");
    if given != Some(format!("{CLIENT}:{encoded}")) {
        return refused("invalid_client");
    }
    let text = |name: &str| asked.get(name).map_or("", String::as_str);
    // A code is good once.
    let code = played.codes.lock().unwrap().remove(text("code"));
    let Some(code) =
        code.filter(|code| code.back == text("redirect_uri") && text("grant_type") == "authorization_code")
    else {
        return refused("invalid_grant");
    };
    if URL_SAFE_NO_PAD.encode(Sha256::digest(text("code_verifier"))) != code.challenge {
        return refused("invalid_grant");
    }
    let lie = *played.lie.lock().unwrap();
    let access = format!("access-{}", text("code"));
    played.more.lock().unwrap().insert(access.clone(), code.more);
    let now = Timestamp::from(SystemTime::now()).as_millis() / 1000;
    let url = played.url.lock().unwrap().clone();
    let (made, end) = if lie == Lie::Over { (now - 900, now - 600) } else { (now, now + 300) };
    let mut claims: Map<String, Value> = code.token.as_object().unwrap().clone();
    claims.extend(
        json!({
            "iss": if lie == Lie::Issuer { "https://elsewhere.example" } else { &url },
            "aud": if lie == Lie::Audience { "grafana" } else { CLIENT },
            "nonce": if lie == Lie::Nonce { "another" } else { &code.nonce },
            "iat": made,
            "exp": end,
        })
        .as_object()
        .unwrap()
        .clone(),
    );
    let signer = if lie == Lie::Key { &played.other } else { &played.signer };
    let mut token = signer.token(&Value::Object(claims.clone()));
    if lie == Lie::Unsigned {
        let header = json!({"alg": "none", "kid": "one"});
        token = signer.token_with(&header, &Value::Object(claims).to_string());
    }
    let mut answer = json!({"access_token": access, "token_type": "Bearer", "expires_in": 300});
    if lie != Lie::NoToken {
        answer["id_token"] = token.into();
    }
    Json(answer).into_response()
}

async fn more(State(played): State<Arc<Played>>, headers: HeaderMap) -> Response {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let known = bearer.and_then(|bearer| played.more.lock().unwrap().get(bearer).cloned());
    match known {
        Some(mut known) => {
            if *played.lie.lock().unwrap() == Lie::Subject {
                known["sub"] = "somebody-else".into();
            }
            Json(known).into_response()
        }
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}

//! The `picket` program against a listener that answers as a controller does: TLS with a pinned CA, bearer token,
//! problem+json. What the answers look like is tested beside the code.

// Lets helpers unwrap as tests may (clippy.toml).
#![cfg(test)]

use axum::{
    Json, Router,
    http::{HeaderMap, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use picket_api::{
    Problem, ProblemKind,
    operator::{CreateToken, CutStep, EventView, HostReceipt, RevokeQuery, RevokeReceipt, StatusView, TokenCreated},
    operators::{IDEMPOTENCY_KEY, REASON},
    shield::ShieldView,
    validators::{ApproveRequest, HeldView, HoldRequest, OrderReceipt},
};
use picket_http::{Connections, Limits, Server};
use picket_model::{Generation, HoldOrder, Node, NodeRole, NodeState, Orders, Shield, Timestamp, TokenId, fixture};
use picket_pki::{Ca, Fingerprint, ServedCertificate, server_config};
use std::{
    net::Ipv4Addr,
    process::{Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use tokio::{io::AsyncReadExt as _, net::TcpListener, process::Command, sync::Notify};

/// Far beyond what anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// A look at the shield was asked for, and may be answered.
static ASKED: Notify = Notify::const_new();
static ANSWER: Notify = Notify::const_new();

const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const JOIN_TOKEN: &str = "picket1.fingerprint.t-1.secret";

#[tokio::test]
async fn status_ends_with_what_the_mesh_is_like() {
    let well = Controller::start(status(0)).await.picket(&["status"]).await;
    assert_eq!((code(&well), text(&well.stderr).as_str()), (0, ""));
    assert!(text(&well.stdout).starts_with("mesh        m-1\n"), "{well:?}");
    let alarmed = Controller::start(status(1)).await;
    assert_eq!(code(&alarmed.picket(&["status"]).await), 2);
    let json = alarmed.picket(&["--json", "status"]).await;
    assert_eq!(code(&json), 2);
    assert_eq!(serde_json::from_slice::<StatusView>(&json.stdout).unwrap(), status(1));
}

#[tokio::test]
async fn a_token_is_alone_on_stdout() {
    let controller = Controller::start(status(0)).await;
    let made = controller.picket(&["token", "create", "--role", "prep", "--ttl", "1h30m", "--uses", "2"]).await;
    assert_eq!((code(&made), text(&made.stdout)), (0, format!("{JOIN_TOKEN}\n")));
    let beside = text(&made.stderr);
    assert!(beside.contains("picket-prep-agent enroll") && !beside.contains("secret"), "{beside}");
    assert!(beside.contains("for 2 hosts") && beside.contains("1970-01-01T01:30:00Z"), "{beside}");
}

#[tokio::test]
async fn a_revoke_that_is_not_in_force_everywhere_asks_for_attention() {
    let controller = Controller::start(status(0)).await;
    let done = controller.picket(&["revoke", "sentry-1"]).await;
    assert_eq!(code(&done), 0, "{done:?}");
    // Progress is for people and apart from the receipt, which is the answer.
    assert!(text(&done.stderr).contains("1 of 1: prep-2 after 9 ms"), "{done:?}");
    let broken = controller.picket(&["revoke", "sentry-1", "--reason", "broken"]).await;
    assert_eq!((code(&broken), broken.stdout.len()), (1, 0), "{broken:?}");
    let missing = controller.picket(&["revoke", "sentry-1", "--wait", "30ms"]).await;
    assert_eq!(code(&missing), 2);
    assert!(text(&missing.stdout).contains("in force on 1 of 2 hosts, "), "{missing:?}");
}

#[tokio::test]
async fn an_order_after_which_something_is_still_held_asks_for_attention() {
    let controller = Controller::start(status(0)).await;
    let approved = controller.picket(&["validators", "approve", "0123456789ab"]).await;
    assert_eq!(code(&approved), 2, "{approved:?}");
    assert!(text(&approved.stdout).contains("! held back: too many leave"), "{approved:?}");
    let frozen = controller.picket(&["validators", "hold", "--comment", "incident 7", "--for", "6h"]).await;
    assert_eq!((code(&frozen), text(&frozen.stdout).contains("(incident 7)")), (0, true), "{frozen:?}");
    let released = controller.picket(&["validators", "release", "--json"]).await;
    assert_eq!(code(&released), 0);
    assert_eq!(serde_json::from_slice::<OrderReceipt>(&released.stdout).unwrap(), receipt(None, None));
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_asked_once_more_under_the_same_key_and_what_may_be_left_is_said() {
    let controller = Controller::start(status(0)).await;
    let lost = controller.picket(&["keys", "issue", "--name", "laptop", "--role", "prep"]).await;
    let error = text(&lost.stderr);
    assert_eq!((code(&lost), lost.stdout.len(), error.lines().count()), (1, 0, 1), "{error}");
    assert!(error.starts_with("picket: it was carried out; laptop may be a member by now"), "{error}");
    assert!(error.contains("--replace") && error.contains("`picket revoke laptop`"), "{error}");
}

#[tokio::test]
async fn what_the_controller_refuses_is_one_sentence() {
    let controller = Controller::start(status(0)).await;
    let unknown = controller.picket(&["revoke", "nobody"]).await;
    assert_eq!((code(&unknown), text(&unknown.stderr).as_str()), (1, "picket: no host is called nobody\n"));
    let stranger = controller.command(controller.ca, "stranger").args(["status"]).output().await.unwrap();
    assert_eq!((code(&stranger), text(&stranger.stderr).as_str()), (1, "picket: this token is not known\n"));
}

#[tokio::test]
async fn another_ca_is_not_trusted_and_gets_no_token() {
    let controller = Controller::start(status(0)).await;
    let output = controller.command(Fingerprint::of(b"another"), "op-1").args(["status"]).output().await.unwrap();
    let error = text(&output.stderr);
    assert_eq!(code(&output), 1);
    assert!(error.contains("CA fingerprint") && error.lines().count() == 1 && !error.contains(SECRET), "{error}");
}

#[tokio::test]
async fn a_controller_that_is_not_there_is_said_to_be_so() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
    let gone = Controller { port: free, ca: Fingerprint::of(b"") };
    let output = gone.picket(&["nodes"]).await;
    let error = text(&output.stderr);
    assert_eq!((code(&output), text(&output.stdout).as_str()), (1, ""));
    assert!(
        error.starts_with("picket: ask https://127.0.0.1:") && error.contains("whether picket-controller runs"),
        "{error}"
    );
}

/// In a pipe, and on a terminal that `script` makes; both answers wait until the word was seen there.
#[tokio::test]
async fn what_takes_longer_than_a_second_is_told_on_a_terminal_and_nowhere_else() {
    let controller = Controller::start(status(0)).await;
    let piped = controller.command(controller.ca, "op-1").arg("shield").spawn().unwrap();
    tokio::time::timeout(PATIENCE, ASKED.notified()).await.unwrap();

    let asked = controller.command(controller.ca, "op-1");
    let mut line = env!("CARGO_BIN_EXE_picket").to_owned();
    asked.as_std().get_args().for_each(|word| line.push_str(&format!(" {}", word.to_str().unwrap())));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &format!("{line} shield"), "/dev/null"]);
    script.env("PICKET_TOKEN", token("op-1")).env("TERM", "xterm").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut script = script.kill_on_drop(true).spawn().unwrap();
    let (mut seen, mut screen) = (String::new(), script.stdout.take().unwrap());
    let read = async {
        let mut bytes = [0; 1024];
        loop {
            let length = screen.read(&mut bytes).await.unwrap_or(0);
            if length == 0 {
                return;
            }
            seen.push_str(&String::from_utf8_lossy(&bytes[..length]));
            if seen.contains("waits for the controller, ") {
                ANSWER.notify_waiters();
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap();
    // It was asked before and answered no sooner.
    let piped = piped.wait_with_output().await.unwrap();
    assert_eq!((code(&piped), text(&piped.stderr).as_str()), (0, ""));
    assert_eq!(script.wait().await.unwrap().code(), Some(0), "{seen:?}");
    // The line is gone before the answer is written.
    let (told, answer) = seen.rsplit_once("\r\u{1b}[K").unwrap();
    assert!(told.contains("waits for the controller, 1 s") && answer.starts_with("policy   off"), "{seen:?}");
}

#[tokio::test]
async fn a_reader_that_goes_away_does_no_harm() {
    let controller = Controller::start(status(0)).await;
    for verb in ["events", "--help"] {
        let mut child = controller.command(controller.ca, "op-1").arg(verb).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().await.unwrap();
        assert_eq!((code(&output), text(&output.stderr).as_str()), (0, ""), "{verb}");
    }
}

#[tokio::test]
async fn wrong_arguments_and_no_context_are_status_1() {
    let none = Controller { port: 1, ca: Fingerprint::of(b"") };
    let mut alone = Command::new(env!("CARGO_BIN_EXE_picket"));
    let alone = alone.env_clear().args(["status", "--context", "/nonexistent/operator.toml"]).output().await.unwrap();
    assert_eq!(code(&alone), 1);
    assert!(text(&alone.stderr).starts_with("picket: read context /nonexistent/operator.toml"), "{alone:?}");
    assert_eq!(code(&none.picket(&["token", "create", "--role", "king"]).await), 1);
    assert_eq!(code(&none.picket(&["--version"]).await), 0);
}

struct Controller {
    port: u16,
    ca: Fingerprint,
}

impl Controller {
    async fn start(status: StatusView) -> Self {
        let now = SystemTime::now().into();
        let ca = Ca::generate(&"m-1".parse().unwrap(), now).unwrap();
        let served = ServedCertificate::new(ca.server_certificate(now).unwrap()).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Server {
            router: router(status),
            tls: Some(Arc::new(server_config(served, None).unwrap())),
            limits: Limits::everybody_anonymous(),
            connections: Connections::new(),
        };
        tokio::spawn(server.serve(listener, std::future::pending()));
        Self { port, ca: ca.fingerprint() }
    }

    async fn picket(&self, args: &[&str]) -> Output {
        self.command(self.ca, "op-1").args(args).output().await.unwrap()
    }

    fn command(&self, ca: Fingerprint, operator: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_picket"));
        command
            .args(["--url", &format!("https://127.0.0.1:{}", self.port), "--ca", &ca.to_string()])
            .env_clear()
            .env("PICKET_TOKEN", token(operator))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

fn router(status: StatusView) -> Router {
    let status = async move |headers: HeaderMap| {
        let known =
            headers.get("authorization").is_some_and(|value| value == format!("Bearer {}", token("op-1")).as_str());
        if known { Json(status).into_response() } else { problem(ProblemKind::Unauthorized, "this token is not known") }
    };
    Router::new()
        .route("/v1/status", get(status))
        .route(
            "/v1/validators/approve",
            post(async |Json(_): Json<ApproveRequest>| Json(receipt(Some("list-held"), None))),
        )
        .route("/v1/validators/hold", post(hold))
        .route("/v1/validators/release", post(async || Json(receipt(None, None))))
        .route("/v1/tokens", post(async |Json(request): Json<CreateToken>| Json(created(&request))))
        .route(
            "/v1/shield",
            get(async || {
                ASKED.notify_one();
                ANSWER.notified().await;
                Json(ShieldView {
                    now: Timestamp::from_millis(0),
                    generation: Generation(1),
                    policy: Shield::Off,
                    all: None,
                    hosts: Vec::new(),
                    refused: Vec::new(),
                })
            }),
        )
        .route("/v1/nodes/{node}/revoke", post(revoke))
        .route("/v1/keys", post(lost))
        // More than a pipe holds, so that a reader who goes away is noticed while writing.
        .route("/v1/events", get(async || Json(vec![event(); 10_000])))
}

/// The first answer is lost with its connection, and was not kept when it is asked for again.
async fn lost(headers: HeaderMap) -> Response {
    static FIRST: Mutex<Option<HeaderValue>> = Mutex::new(None);
    let key = headers[IDEMPOTENCY_KEY].clone();
    let first = FIRST.lock().unwrap().replace(key.clone());
    assert_eq!(first.expect("the connection is lost here"), key);
    problem(ProblemKind::AnswerLost, "it was carried out")
}

async fn hold(Json(HoldRequest { comment, seconds }): Json<HoldRequest>) -> Json<OrderReceipt> {
    let (at, by) = (Timestamp::from_millis(0), "op-1".parse().unwrap());
    assert_eq!(seconds, Some(6 * 3600));
    Json(receipt(Some("held-by-operator"), Some(HoldOrder { comment, by, at, until: None })))
}

fn receipt(held: Option<&str>, hold: Option<HoldOrder>) -> OrderReceipt {
    let view = |kind: &str| {
        let (kind, text) = (kind.to_owned(), "too many leave".to_owned());
        HeldView { kind, text, ..HeldView::default() }
    };
    OrderReceipt {
        generation: Generation(8),
        validators: 99,
        version: 2,
        held: held.map(view),
        refused: Vec::new(),
        orders: Orders { approved: None, hold },
    }
}

async fn revoke(
    axum::extract::Path(node): axum::extract::Path<String>,
    axum::extract::Query(query): axum::extract::Query<RevokeQuery>,
    headers: HeaderMap,
) -> Response {
    let reason = headers.get(REASON).and_then(|reason| reason.to_str().ok());
    if node != "sentry-1" {
        return problem(ProblemKind::NotFound, &format!("no host is called {node}"));
    }
    let missing = if query.wait_ms == Some(30) { vec!["prep-1".parse().unwrap()] } else { Vec::new() };
    let node = Node {
        id: "n-1".parse().unwrap(),
        state: NodeState::Revoked { at: Timestamp::from_millis(1) },
        ..fixture::node(&node, NodeRole::Sentry, 1)
    };
    let host = HostReceipt { name: "prep-2".parse().unwrap(), after_ms: 9 };
    let in_force = vec![host.clone()];
    let names = missing.iter().cloned().chain([host.name.clone()]);
    let steps = [
        CutStep::Planned { hosts: names.collect() },
        CutStep::Confirmed { host },
        CutStep::Done { receipt: Box::new(RevokeReceipt { node, generation: Generation(8), in_force, missing }) },
    ];
    let mut lines = String::new();
    steps.iter().for_each(|step| lines.push_str(&(serde_json::to_string(step).unwrap() + "\n")));
    // An answer that breaks off is no receipt.
    if reason == Some("broken") {
        lines.truncate(lines.len() - 2);
    }
    lines.into_response()
}

fn created(request: &CreateToken) -> TokenCreated {
    let CreateToken { role, uses, ttl_seconds, .. } = *request;
    let id: TokenId = "t-1".parse().unwrap();
    let expires_at = Timestamp::from_millis(i64::try_from(ttl_seconds * 1000).unwrap());
    TokenCreated { id, token: JOIN_TOKEN.to_owned(), role, uses, expires_at }
}

fn event() -> EventView {
    let word = || "word".to_owned();
    EventView { id: 1, actor: word(), action: word(), subject: word(), detail: word(), ..EventView::default() }
}

fn status(alarms: usize) -> StatusView {
    StatusView {
        mesh: "m-1".parse().unwrap(),
        version: "0.1.0".to_owned(),
        now: Timestamp::from_millis(0),
        generation: Generation(1),
        planned_at: Some(Timestamp::from_millis(0)),
        sources: Vec::new(),
        validators: 0,
        nodes: 2,
        in_force: 2,
        alarms: vec!["held back".to_owned(); alarms],

        findings: Vec::new(),
    }
}

fn problem(kind: ProblemKind, detail: &str) -> Response {
    let status = StatusCode::from_u16(kind.status()).unwrap();
    (status, Json(Problem::new(kind, detail))).into_response()
}

fn token(operator: &str) -> String {
    format!("picket-op1.{operator}.{SECRET}")
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

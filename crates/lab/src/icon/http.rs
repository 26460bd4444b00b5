//! goloop's HTTP surface (`server/server.go`): paths, statuses and content types, and the ways an endpoint misbehaves.

use super::{Behaviour, FakeIcon, behaviour::Told, node, rpc, ws};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::Value;

const JSON: &str = "application/json; charset=UTF-8";
const TEXT: &str = "text/plain; charset=UTF-8";
const HTML: &str = "text/html; charset=UTF-8";
/// A page as a proxy or a parked domain shows it.
const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Maintenance</title></head><body>Back soon.</body></html>\n";
/// Seconds that a busy endpoint asks to be left alone.
const RETRY_AFTER: &str = "30";

/// The endpoint's paths.
pub(super) fn router(fake: FakeIcon) -> Router {
    let chain = post(default_channel).fallback(not_found);
    Router::new()
        .route("/api/v3", chain.clone())
        .route("/api/v3/", chain)
        .route("/api/v3/{channel}", post(named_channel))
        .route("/api/v3/{channel}/{kind}", get(ws::upgrade).fallback(not_found))
        .route("/api/v3d", post(debug_disabled))
        .route("/api/v3d/{channel}", post(debug_disabled))
        .nest("/admin", node::router())
        .fallback(not_found)
        .with_state(fake)
}

async fn default_channel(State(fake): State<FakeIcon>, body: Bytes) -> Response {
    answer(&fake, rpc::CHANNEL, &body).await
}

async fn named_channel(State(fake): State<FakeIcon>, Path(channel): Path<String>, body: Bytes) -> Response {
    answer(&fake, &channel, &body).await
}

async fn debug_disabled() -> Response {
    typed(StatusCode::NOT_FOUND, TEXT, "debug API is disabled")
}

async fn not_found() -> StatusCode {
    StatusCode::NOT_FOUND
}

async fn answer(fake: &FakeIcon, channel: &str, body: &[u8]) -> Response {
    match told(fake).await {
        Err(response) => *response,
        Ok(_) if channel != rpc::CHANNEL => typed(StatusCode::NOT_FOUND, TEXT, "No channel"),
        Ok(told) => json_rpc(&told, body),
    }
}

/// The chain as the endpoint tells of it, or the answer of one that does not.
pub(super) async fn told(fake: &FakeIcon) -> Result<Told, Box<Response>> {
    let behaviour = {
        let mut own = fake.lock();
        own.requests += 1;
        own.behaviour.clone()
    };
    match &behaviour {
        Behaviour::Html => Err(Box::new(page(StatusCode::OK))),
        Behaviour::Status(code) => Err(Box::new(status(*code))),
        Behaviour::Stall => std::future::pending().await,
        Behaviour::Huge(bytes) => Err(Box::new(typed(StatusCode::OK, JSON, huge(*bytes)))),
        told => Ok(fake.chain.told(told)),
    }
}

/// A JSON body as goloop sends it, which ends with a line feed.
pub(super) fn json(body: &Value) -> Response {
    typed(StatusCode::OK, JSON, format!("{body}\n"))
}

/// An error as goloop's own paths give it.
pub(super) fn text(status: StatusCode, body: String) -> Response {
    typed(status, TEXT, body)
}

fn json_rpc(told: &Told, body: &[u8]) -> Response {
    let reply = rpc::answer(told, body);
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match reply.body {
        // goloop ends a JSON body with a line feed.
        Some(body) => typed(status, JSON, format!("{body}\n")),
        None => status.into_response(),
    }
}

/// A page of HTML, as a proxy or a parked domain answers.
pub(super) fn page(status: StatusCode) -> Response {
    typed(status, HTML, PAGE)
}

/// A page with this status, as a proxy answers.
pub(super) fn status(code: u16) -> Response {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let page = page(status);
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            ([(header::RETRY_AFTER, RETRY_AFTER)], page).into_response()
        }
        _ => page,
    }
}

fn huge(bytes: usize) -> Vec<u8> {
    let mut body = vec![b' '; bytes];
    if let Some(first) = body.first_mut() {
        *first = b'[';
    }
    body
}

fn typed(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    (status, [(header::CONTENT_TYPE, kind)], body.into()).into_response()
}

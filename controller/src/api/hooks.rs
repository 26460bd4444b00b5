//! Where clouds tell of their instances. Who may is decided in `hooks`; here is how an answer looks.

use super::{ApiProblem, rate, with_fallbacks};
use crate::{
    controller::Controller,
    hooks::{self, Arrived, Taken},
    now, origin,
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::HeaderMap,
    middleware::{from_fn, from_fn_with_state},
    routing::post,
};
use picket_http::Peer;
use picket_model::network::canonical;
use serde_json::{Value, json};
use std::sync::Arc;

/// The hooks' routes.
pub(crate) fn router(controller: Arc<Controller>) -> Router {
    let routes = Router::new()
        .route("/v1/hooks/aws", post(aws))
        .route("/v1/hooks/gcp", post(gcp))
        .route("/v1/hooks/generic", post(generic));
    with_fallbacks(routes)
        .with_state(controller)
        .layer(from_fn(origin::known))
        .layer(from_fn_with_state(rate::Rate::of_strangers(), rate::limit))
}

type Shared = State<Arc<Controller>>;
type Answer = Result<Json<Value>, ApiProblem>;

async fn aws(State(controller): Shared, peer: Peer, headers: HeaderMap, body: Bytes) -> Answer {
    hooks::aws(&controller, &arrived(&peer, &headers, &body)).await.map(said)
}

async fn gcp(State(controller): Shared, peer: Peer, headers: HeaderMap, body: Bytes) -> Answer {
    hooks::gcp(&controller, &arrived(&peer, &headers, &body)).await.map(said)
}

async fn generic(State(controller): Shared, peer: Peer, headers: HeaderMap, body: Bytes) -> Answer {
    hooks::generic(&controller, &arrived(&peer, &headers, &body)).await.map(said)
}

fn arrived<'a>(peer: &Peer, headers: &'a HeaderMap, body: &'a [u8]) -> Arrived<'a> {
    Arrived { headers, body, from: canonical(peer.address.ip()), now: now() }
}

fn said(taken: Taken) -> Json<Value> {
    Json(json!({"message": match taken {
        Taken::New => "taken",
        Taken::Repeated => "taken before: nothing is done",
        Taken::Nothing => "asks for nothing",
    }}))
}

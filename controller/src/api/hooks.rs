//! Where clouds tell of their instances. Who may is decided in `hooks`; here is how an answer looks.

use super::{Shared, rate, routes::Routes, with_fallbacks};
use crate::{
    controller::Controller,
    hooks::{self, Arrived, Taken},
    metrics::counted,
    now, origin,
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::HeaderMap,
    middleware::{from_fn, from_fn_with_state},
};
use picket_api::{hooks::HookAnswer, openapi::hooks as api};
use picket_http::Peer;
use picket_model::network::canonical;
use std::sync::Arc;

/// The hooks' routes.
pub(crate) fn router(controller: Arc<Controller>) -> Router {
    with_fallbacks(routes().into_router())
        .with_state(controller.clone())
        .layer(from_fn(origin::known))
        .layer(from_fn_with_state(rate::Rate::of_strangers(), rate::limit))
        .layer(from_fn_with_state(controller, counted))
}

pub(super) fn routes() -> Routes {
    Routes::new().on(&api::AWS, aws).on(&api::GCP, gcp).on(&api::GENERIC, generic)
}

type Answer = super::Answer<HookAnswer>;

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

fn said(taken: Taken) -> Json<HookAnswer> {
    let message = match taken {
        Taken::New => "taken",
        Taken::Repeated => "taken before: nothing is done",
        Taken::Nothing => "asks for nothing",
    };
    Json(HookAnswer { message: message.to_owned() })
}

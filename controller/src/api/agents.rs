//! What hosts ask and tell.

use super::{
    ApiProblem,
    auth::{Member, came_back, revoked},
    cas,
    problem::{Asked, Body, Named},
    rate,
    routes::Routes,
    with_fallbacks,
};
use crate::{
    controller::Controller,
    encode::Parts,
    enroll, leases,
    metrics::counted,
    now, origin, proofs, rekey,
    renew::{self, Renewed},
    wanted::News,
};
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    middleware::{from_fn, from_fn_with_state},
    response::{AppendHeaders, IntoResponse, Response},
};
use picket_api::{
    EnrollInfo, EnrollRequest, EnrollResponse,
    node::{ConfigQuery, LONGEST_POLL, NewerProof, PeerProof, RekeyAnswer, RekeyRequest, RenewRequest, RenewResponse},
    openapi::agents as api,
};
use picket_http::Peer;
use picket_model::{NodeReport, network::canonical};
use picket_telemetry::{TraceParent, traces::HEADER};
use std::sync::Arc;
use tokio::time::sleep;

/// The agents' routes.
pub(crate) fn router(controller: Arc<Controller>) -> Router {
    with_fallbacks(routes().into_router())
        .with_state(controller.clone())
        .layer(from_fn(origin::known))
        .layer(from_fn_with_state(rate::Rate::of_strangers(), rate::limit))
        .layer(from_fn_with_state(controller, counted))
}

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(&api::ENROLL_INFO, enroll_info)
        .on(&api::ENROLL, join)
        .on(&api::RENEW, next_certificate)
        .on(&api::LEAVE, leave)
        .on(&api::CONFIG, config)
        .on(&api::REPORT, report)
        .on(&api::NEWER_PROOF, newer_proof)
        .on(&api::PEER_PROOF, peer_proof)
        .on(&api::CAS, cas::told)
        .on(&api::KEY, key)
}

/// For strangers too: a token that names the mesh can be asked for only by who knows its name.
async fn enroll_info(State(controller): State<Arc<Controller>>) -> Json<EnrollInfo> {
    Json(EnrollInfo { mesh: controller.mesh.clone() })
}

async fn join(
    State(controller): State<Arc<Controller>>,
    peer: Peer,
    Body(request): Body<EnrollRequest>,
) -> Result<Json<EnrollResponse>, ApiProblem> {
    Ok(Json(enroll::enroll(&controller, request, canonical(peer.address.ip()), now()).await?))
}

async fn next_certificate(
    State(controller): State<Arc<Controller>>,
    peer: Peer,
    Body(request): Body<RenewRequest>,
) -> Result<Json<RenewResponse>, ApiProblem> {
    match renew::renew(&controller, request, now()).await? {
        Renewed::Certificate(response) => Ok(Json(response)),
        Renewed::Revoked(node) => {
            came_back(&controller, &node, canonical(peer.address.ip())).await?;
            Err(revoked(&node))
        }
    }
}

/// Answers when the host's content is newer than what it holds, or with 204 when it is not for the longest poll.
async fn config(
    State(controller): State<Arc<Controller>>,
    Member(node): Member,
    Asked(query): Asked<ConfigQuery>,
) -> Result<Response, ApiProblem> {
    let _poll = controller.wanted.poll(&node.id);
    let mut wanted = controller.wanted.follow(&node.id);
    let mut end = std::pin::pin!(async {
        tokio::select! {
            () = sleep(LONGEST_POLL) => {}
            () = controller.stopped() => {}
        }
    });
    let mut waits = true;
    loop {
        wanted.mark_unchanged();
        let news = controller.wanted.news(&node.id, query.after, query.holds.as_ref());
        match news.map_err(|error| ApiProblem::internal("write an answer", &error))? {
            News::Revoked => return Err(revoked(&node)),
            News::Content(parts) => return Ok(answer(parts, controller.wanted.planned_in(&node.id))),
            News::Nothing if !waits => return Ok(StatusCode::NO_CONTENT.into_response()),
            News::Nothing => {}
        }
        tokio::select! {
            // The board lives as long as the controller.
            _ = wanted.changed() => waits = false,
            () = &mut end => waits = false,
        }
    }
}

/// A wanted state, and in which span it was planned, so that what the host does about it is found with the plan.
fn answer(parts: Parts, planned_in: Option<TraceParent>) -> Response {
    let headers =
        [(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_LENGTH, parts.len().to_string())];
    let traced = planned_in.map(|parent| [(HEADER, parent.as_str().to_owned())]);
    (headers, traced.map(AppendHeaders), parts.into_body()).into_response()
}

/// The host goes for good, by its own word.
async fn leave(
    State(controller): State<Arc<Controller>>,
    Member(node): Member,
    peer: Peer,
) -> Result<StatusCode, ApiProblem> {
    leases::leave(&controller, &node, canonical(peer.address.ip())).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which key the host's tunnels use, and which is to follow.
async fn key(
    State(controller): State<Arc<Controller>>,
    Member(node): Member,
    Body(request): Body<RekeyRequest>,
) -> Result<Json<RekeyAnswer>, ApiProblem> {
    Ok(Json(rekey::rekey(&controller, &node, request).await?))
}

async fn report(
    State(controller): State<Arc<Controller>>,
    Member(node): Member,
    Body(report): Body<NodeReport>,
) -> StatusCode {
    tracing::debug!(node = %node.name, applied = %report.applied, "report");
    controller.reports.put(&node, report, now());
    StatusCode::NO_CONTENT
}

async fn peer_proof(
    State(controller): State<Arc<Controller>>,
    Member(node): Member,
    Named(peer): Named<String>,
) -> Result<Json<PeerProof>, ApiProblem> {
    Ok(Json(proofs::of_peer(&controller, &node, &peer).await?))
}

async fn newer_proof(
    State(controller): State<Arc<Controller>>,
    Member(node): Member,
    Body(request): Body<NewerProof>,
) -> Result<StatusCode, ApiProblem> {
    proofs::renew(&controller, &node, &request.proof, now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

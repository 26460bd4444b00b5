//! What operators ask and change.

use super::{
    ApiProblem,
    auth::{Admin, Viewer},
    nodes as hosts, orders, past,
    problem::{Asked, Body},
    views, with_fallbacks,
};
use crate::{
    controller::Controller,
    now,
    start::hex,
    store::{Actor, Token},
};
use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use picket_api::{
    ProblemKind,
    operator::{CreateToken, EventView, ExplainQuery, NodeView, StatusView, TokenCreated},
    validators::{DiffQuery, HistoryQuery, ValidatorChange, ValidatorsDiff, ValidatorsView},
};
use picket_model::{Explanation, IdError};
use picket_pki::{JoinToken, TokenSecret, random};
use secrecy::ExposeSecret as _;
use std::{error::Error, sync::Arc, time::Duration};

/// Lines of the audit log in one answer.
const EVENTS: usize = 200;
/// Longest life of a join token: whoever finds it later shall not get in.
const LONGEST_TOKEN: Duration = Duration::from_hours(365 * 24);

/// The operators' routes.
pub(crate) fn router(controller: Arc<Controller>) -> Router {
    let routes = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/nodes", get(nodes))
        .route("/v1/validators", get(validators))
        .route("/v1/validators/history", get(history))
        .route("/v1/validators/diff", get(diff))
        .route("/v1/validators/approve", post(orders::approve))
        .route("/v1/validators/hold", post(orders::hold))
        .route("/v1/validators/release", post(orders::release))
        .route("/v1/events", get(events))
        .route("/v1/explain", get(explain))
        .route("/v1/tokens", post(create_token))
        .route("/v1/keys", post(hosts::issue_key))
        .route("/v1/nodes/{node}/revoke", post(hosts::revoke))
        .route("/v1/nodes/{node}/quarantine", post(hosts::quarantine))
        .route("/v1/nodes/{node}/readmit", post(hosts::release));
    with_fallbacks(routes).with_state(controller)
}

pub(super) type Shared = State<Arc<Controller>>;
pub(super) type Answer<T> = Result<Json<T>, ApiProblem>;

async fn status(State(controller): Shared, _: Viewer) -> Answer<StatusView> {
    Ok(Json(views::status(&controller, now()).await?))
}

async fn nodes(State(controller): Shared, _: Viewer) -> Answer<Vec<NodeView>> {
    Ok(Json(views::nodes(&controller, now()).await?))
}

async fn validators(State(controller): Shared, _: Viewer) -> Answer<ValidatorsView> {
    Ok(Json(views::validators(&controller, now()).await?))
}

async fn history(
    State(controller): Shared,
    _: Viewer,
    Asked(query): Asked<HistoryQuery>,
) -> Answer<Vec<ValidatorChange>> {
    Ok(Json(past::history(&controller, &query).await?))
}

async fn diff(State(controller): Shared, _: Viewer, Asked(query): Asked<DiffQuery>) -> Answer<ValidatorsDiff> {
    Ok(Json(past::diff(&controller, query).await?))
}

async fn events(State(controller): Shared, _: Viewer) -> Answer<Vec<EventView>> {
    Ok(Json(controller.store.read().await?.events(EVENTS).await?))
}

async fn explain(State(controller): Shared, _: Viewer, Asked(query): Asked<ExplainQuery>) -> Answer<Explanation> {
    Ok(Json(match query.generation {
        Some(generation) => past::explain(&controller, generation, query.address, query.port).await?,
        None => views::explain(&controller, &query).await?,
    }))
}

async fn create_token(
    State(controller): Shared,
    Admin(operator): Admin,
    Body(request): Body<CreateToken>,
) -> Answer<TokenCreated> {
    let refused = |detail: String| ApiProblem::new(ProblemKind::BadRequest, detail);
    if request.uses == 0 {
        return Err(refused("a token that may be used 0 times is of no use: give 1 or more".to_owned()));
    }
    if !(1..=LONGEST_TOKEN.as_secs()).contains(&request.ttl_seconds) {
        return Err(refused(format!("a token's life is 1 to {} seconds", LONGEST_TOKEN.as_secs())));
    }
    let internal = |error: &(dyn Error + 'static)| ApiProblem::internal("make a join token", error);
    let id = random::<5>().map_err(|error| internal(&error))?;
    let id = format!("t-{}", hex(id)).parse().map_err(|error: IdError| internal(&error))?;
    let secret = TokenSecret::from_bytes(random().map_err(|error| internal(&error))?);
    let token = JoinToken { ca: controller.ca.fingerprint(), id, secret };
    let now = now();
    let row = Token {
        id: token.id.clone(),
        secret_hash: token.secret_hash(),
        role: request.role,
        uses: request.uses,
        used: 0,
        expires_at: now.plus(Duration::from_secs(request.ttl_seconds)),
    };
    let mut tx = controller.store.write().await?;
    tx.insert_token(&row, now).await?;
    let detail = format!("role {}, {} uses, until {}", row.role, row.uses, row.expires_at);
    tx.record(now, &Actor::Operator(operator.id), "token.created", row.id.as_str(), &detail).await?;
    tx.commit().await?;
    Ok(Json(TokenCreated {
        id: row.id,
        token: token.to_secret_string().expose_secret().to_owned(),
        role: row.role,
        uses: row.uses,
        expires_at: row.expires_at,
    }))
}

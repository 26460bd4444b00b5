//! What operators ask and change.

use super::{
    ApiProblem,
    auth::{Admin, Anybody, Viewer},
    cas, identities, nodes as hosts, once, orders, past, people,
    problem::Asked,
    rate, tokens, views, with_fallbacks,
};
use crate::{clones, controller::Controller, now, origin, store::Actor};
use axum::{
    Json, Router,
    extract::{Path, State},
    middleware::{from_fn, from_fn_with_state},
    routing::{get, post},
};
use picket_api::{
    operator::{EventView, ExplainQuery, NodeView, StatusView},
    operators::{EventsQuery, LogVerdict},
    validators::{DiffQuery, HistoryQuery, ValidatorChange, ValidatorsDiff, ValidatorsView},
};
use picket_model::{Explanation, Node};
use std::sync::Arc;

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
        .route("/v1/events/verify", get(verify))
        .route("/v1/operators", get(people::list).post(people::create))
        .route("/v1/operators/{operator}/revoke", post(people::revoke))
        .route("/v1/explain", get(explain))
        .route("/v1/identities", get(identities::list))
        .route("/v1/identities/forget", post(identities::forget))
        .route("/v1/identities/forbid", post(identities::forbid))
        .route("/v1/tokens", get(tokens::list).post(tokens::create))
        .route("/v1/tokens/{token}/revoke", post(tokens::revoke))
        .route("/v1/nodes/{node}/clear", post(clear))
        .route("/v1/keys", post(hosts::issue_key))
        .route("/v1/ca", get(cas::view))
        .route("/v1/ca/rotate", post(cas::rotate))
        .route("/v1/nodes/{node}/revoke", post(hosts::revoke))
        .route("/v1/nodes/{node}/quarantine", post(hosts::quarantine))
        .route("/v1/nodes/{node}/readmit", post(hosts::release));
    with_fallbacks(routes)
        .with_state(controller.clone())
        .layer(from_fn(origin::known))
        .layer(from_fn_with_state(controller, once::once))
        .layer(from_fn_with_state(rate::Rate::of_operators(), rate::limit))
}

pub(super) type Shared = State<Arc<Controller>>;
pub(super) type Answer<T> = Result<Json<T>, ApiProblem>;

async fn status(State(controller): Shared, _: Viewer) -> Answer<StatusView> {
    Ok(Json(views::status(&controller, now()).await?))
}

async fn nodes(State(controller): Shared, _: Anybody) -> Answer<Vec<NodeView>> {
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

async fn events(State(controller): Shared, _: Viewer, Asked(query): Asked<EventsQuery>) -> Answer<Vec<EventView>> {
    let most = tokens::page(query.limit)?;
    Ok(Json(controller.store.read().await?.events_before(query.before, most).await?))
}

async fn verify(State(controller): Shared, _: Viewer) -> Answer<LogVerdict> {
    Ok(Json(controller.store.read().await?.verify_log().await?))
}

async fn explain(State(controller): Shared, _: Viewer, Asked(query): Asked<ExplainQuery>) -> Answer<Explanation> {
    Ok(Json(match query.generation {
        Some(generation) => past::explain(&controller, generation, query.address, query.port).await?,
        None => views::explain(&controller, &query).await?,
    }))
}

async fn clear(State(controller): Shared, Admin(operator): Admin, Path(node): Path<String>) -> Answer<Node> {
    Ok(Json(clones::clear(&controller, &Actor::Operator(operator.id), &node).await?))
}

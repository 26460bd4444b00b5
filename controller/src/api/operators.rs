//! What operators ask and change.

use super::{
    Answer, Shared, attack,
    auth::{Admin, Anybody, Viewer},
    away, cas, identities, names, nodes as hosts, once, orders, page, past, paths, people, plans,
    problem::{Asked, Body, Named},
    rate,
    routes::Routes,
    shield, tokens, views, with_fallbacks,
};
use crate::{clones, controller::Controller, metrics::counted, now, origin, store::Actor};
use axum::{
    Json, Router,
    extract::State,
    http::header,
    middleware::{from_fn, from_fn_with_state},
    response::IntoResponse,
};
use picket_api::{
    openapi::operators as api,
    operator::{EventView, ExplainQuery, NodeView, NodesQuery, Page, StatusView},
    operators::{EventsQuery, LogVerdict},
    plans::{PlanPreview, PlansDiff, PlansQuery, PreviewPlan},
    validators::{DiffQuery, HistoryQuery, ValidatorChange, ValidatorsDiff, ValidatorsView},
};
use picket_model::{Explanation, Node};
use std::sync::Arc;

/// The operators' routes.
pub(crate) fn router(controller: Arc<Controller>) -> Router {
    with_fallbacks(routes().into_router())
        .with_state(controller.clone())
        .layer(from_fn(origin::known))
        .layer(from_fn_with_state(Arc::<away::Last>::default(), away::or_last))
        .layer(from_fn_with_state(once::Once::new(controller.clone()), once::once))
        .layer(from_fn_with_state(rate::Rate::of_operators(), rate::limit))
        .layer(from_fn_with_state(controller, counted))
}

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(&api::DOCUMENT, document)
        .on(&api::STATUS, status)
        .on(&api::NODES, nodes)
        .on(&api::VALIDATORS, validators)
        .on(&api::HISTORY, history)
        .on(&api::DIFF, diff)
        .on(&api::PLANS_DIFF, plans_diff)
        .on(&api::PREVIEW_PLAN, preview_plan)
        .on(&api::APPROVE, orders::approve)
        .on(&api::HOLD, orders::hold)
        .on(&api::RELEASE, orders::release)
        .on(&api::EVENTS, events)
        .on(&api::VERIFY, verify)
        .on(&api::PEOPLE, people::list)
        .on(&api::CREATE_OPERATOR, people::create)
        .on(&api::REVOKE_OPERATOR, people::revoke)
        .on(&api::READMIT_OPERATOR, people::readmit)
        .on(&api::EXPLAIN, explain)
        .on(&api::IDENTITIES, identities::list)
        .on(&api::FORGET, identities::forget)
        .on(&api::FORBID, identities::forbid)
        .on(&api::TOKENS, tokens::list)
        .on(&api::CREATE_TOKEN, tokens::create)
        .on(&api::REVOKE_TOKEN, tokens::revoke)
        .on(&api::CLEAR, clear)
        .on(&api::ISSUE_KEY, hosts::issue_key)
        .on(&api::REVOKE, hosts::revoke)
        .on(&api::QUARANTINE, hosts::quarantine)
        .on(&api::READMIT, hosts::release)
        .on(&api::REPLACE_KEY, hosts::replace_key)
        .on(&api::CA, cas::view)
        .on(&api::ROTATE_CA, cas::rotate)
        .on(&api::SHIELD, shield::view)
        .on(&api::ORDER_SHIELD, shield::order)
        .on(&api::ATTACK, attack::view)
        .on(&api::BLOCKLIST, attack::blocklist)
        .on(&api::PATHS, paths::view)
        .on(&api::DRAIN, paths::drain)
        .on(&api::UNDRAIN, paths::undrain)
        .on(&api::DNS, names::names)
        .on(&api::ADVERTISE, names::advertise)
}

/// As it is committed: the tests hold it against the code.
async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("../../../docs/openapi.json"))
}

async fn status(State(controller): Shared, _: Viewer) -> Answer<StatusView> {
    Ok(Json(views::status(&controller, now()).await?))
}

async fn nodes(State(controller): Shared, _: Anybody, Asked(query): Asked<NodesQuery>) -> Answer<Page<NodeView>> {
    let (most, after) = (page::limit(query.limit)?, page::parse(query.after.as_deref())?);
    let views = views::nodes(&controller, query.pool.as_ref(), after.as_ref(), most, now()).await?;
    Ok(Json(page::page(views, most, |view| page::place(&view.node.name, &view.node.id))))
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

async fn plans_diff(State(controller): Shared, _: Viewer, Asked(query): Asked<PlansQuery>) -> Answer<PlansDiff> {
    Ok(Json(plans::diff(&controller, &query).await?))
}

async fn preview_plan(State(controller): Shared, _: Viewer, Body(request): Body<PreviewPlan>) -> Answer<PlanPreview> {
    Ok(Json(plans::preview(&controller, &request).await?))
}

async fn events(State(controller): Shared, _: Viewer, Asked(query): Asked<EventsQuery>) -> Answer<Vec<EventView>> {
    let most = page::limit(query.limit)?;
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

async fn clear(State(controller): Shared, Admin(operator): Admin, Named(node): Named<String>) -> Answer<Node> {
    Ok(Json(clones::clear(&controller, &Actor::Operator(operator.id), &node).await?))
}

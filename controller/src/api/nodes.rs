//! What operators do to one host: revoke it, put it into quarantine, readmit it, ask it for another key; and enter one that has no agent.

use super::{
    Answer, ApiProblem, Shared,
    auth::Admin,
    problem::{Asked, Body as JsonBody, Named},
};
use crate::{
    issue::issue,
    rekey,
    revoke::{Following, Kind, cut, readmit},
    store::{Actor, Operator},
};
use axum::{
    Json,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use futures_util::stream;
use picket_api::{
    keys::{IssueKey, KeyIssued},
    operator::{CutStep, LINES, RevokeQuery},
};
use picket_model::Node;
use std::time::Duration;

/// How long a cut waits for its hosts, unless told otherwise, and at most.
const WAIT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

pub(super) async fn revoke(
    controller: Shared,
    Admin(operator): Admin,
    path: Named<String>,
    headers: HeaderMap,
    query: Asked<RevokeQuery>,
) -> Result<Response, ApiProblem> {
    cut_off(controller, operator, path, &headers, query, Kind::Revoke).await
}

pub(super) async fn quarantine(
    controller: Shared,
    Admin(operator): Admin,
    path: Named<String>,
    headers: HeaderMap,
    query: Asked<RevokeQuery>,
) -> Result<Response, ApiProblem> {
    cut_off(controller, operator, path, &headers, query, Kind::Quarantine).await
}

pub(super) async fn issue_key(
    State(controller): Shared,
    Admin(operator): Admin,
    JsonBody(request): JsonBody<IssueKey>,
) -> Answer<KeyIssued> {
    Ok(Json(issue(&controller, &Actor::Operator(operator.id.clone()), &operator.id, request).await?))
}

pub(super) async fn release(
    State(controller): Shared,
    Admin(operator): Admin,
    Named(node): Named<String>,
) -> Answer<Node> {
    Ok(Json(readmit(&controller, &Actor::Operator(operator.id), &node).await?))
}

pub(super) async fn replace_key(
    State(controller): Shared,
    Admin(operator): Admin,
    Named(node): Named<String>,
) -> Answer<Node> {
    Ok(Json(rekey::ask(&controller, &Actor::Operator(operator.id), &node).await?))
}

async fn cut_off(
    State(controller): Shared,
    operator: Operator,
    Named(node): Named<String>,
    headers: &HeaderMap,
    Asked(query): Asked<RevokeQuery>,
    kind: Kind,
) -> Result<Response, ApiProblem> {
    let wait = query.wait_ms.map_or(WAIT.0, Duration::from_millis).min(WAIT.1);
    let following = cut(&controller, &Actor::Operator(operator.id), &node, kind, wait).await?;
    let accepted = headers.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok());
    Ok(match accepted {
        Some(accepted) if accepted.contains(LINES) => in_lines(following),
        _ => Json(following.receipt().await).into_response(),
    })
}

/// Each step is sent as it happens. Whoever asked may go away: the cut stands.
fn in_lines(following: Following) -> Response {
    let lines = stream::unfold(following, async |mut following| {
        let step = following.next().await?;
        Some((line(&step), following))
    });
    let mut response = Body::from_stream(lines).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(LINES));
    response
}

fn line(step: &CutStep) -> Result<Bytes, serde_json::Error> {
    let mut line = serde_json::to_vec(step)?;
    line.push(b'\n');
    Ok(line.into())
}

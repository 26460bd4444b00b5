//! In and out: an operator's token becomes a session, and ends it. The token is read from the form's body, held against what is
//! known, and forgotten.

use super::{
    Shared,
    guard::{self, Failed, Nothing, Sent, is_from_elsewhere, is_same, page, read},
    {entry, sessions::secret},
};
use crate::{
    api::{ApiProblem, auth::operator_with},
    now, origin,
    store::{Actor, Operator},
};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use picket_api::ProblemKind;
use picket_http::Peer;
use picket_model::network::canonical;
use picket_pki::OperatorRole;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::time::Instant;

#[derive(Deserialize)]
struct LoginForm {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    token: String,
}

/// The form. What it brings along belongs to what the browser is given to hold, so that no other site can send it.
pub(super) async fn form(State(desk): Shared, headers: HeaderMap) -> Result<Response, Failed> {
    let name = entry::form(desk.is_tls);
    let held = match entry::cookie(&headers, name) {
        Some(held) => held,
        None => secret().map_err(|error| ApiProblem::internal("make a form", &error))?,
    };
    let response = page(picket_page::login(&proof(&held), None));
    Ok(with_cookies(response, [entry::hold(name, &held)]))
}

/// A token comes in.
pub(super) async fn login(State(desk): Shared, request: Request) -> Result<Response, Response> {
    if is_from_elsewhere(request.headers()) {
        return Err(guard::forbidden("this form was sent from another site"));
    }
    let address = request.extensions().get::<Peer>().map(|peer| canonical(peer.address.ip()));
    let (form, before) = (entry::form(desk.is_tls), entry::session(desk.is_tls));
    let held = entry::cookie(request.headers(), form).unwrap_or_default();
    let earlier = entry::cookie(request.headers(), before);
    let LoginForm { csrf, token } = read(request).await?;
    let token = SecretString::from(token);
    if held.is_empty() || !is_same(&csrf, &proof(&held)) {
        return Err(guard::forbidden("this form is not of a page that you were given; load the page again"));
    }
    let controller = &desk.controller;
    let known = operator_with(token.expose_secret(), controller, OperatorRole::Viewer).await;
    let operator = known.map_err(|problem| refused(&held, problem))?;
    let fail = |problem: ApiProblem| Failed(problem).into_response();
    // Whatever this browser held before opens nothing any more.
    if let Some(earlier) = earlier {
        desk.sessions.end(&earlier);
    }
    let cookie = desk.sessions.begin(&operator, Instant::now());
    let cookie = cookie.map_err(|error| fail(ApiProblem::internal("begin a session", &error)))?;
    let origin = origin::Origin { address, reason: None };
    origin::resumed(origin, record(controller, &operator)).await.map_err(|error| fail(error.into()))?;
    Ok(with_cookies(Redirect::to("/").into_response(), [entry::hold(before, &cookie), entry::forget(form)]))
}

/// Out again.
pub(super) async fn logout(State(desk): Shared, sent: Sent<Nothing>) -> Response {
    let Sent { seen, form: Nothing {}, .. } = sent;
    desk.sessions.end(&seen.cookie);
    with_cookies(Redirect::to("/login").into_response(), [entry::forget(entry::session(desk.is_tls))])
}

async fn record(
    controller: &crate::controller::Controller,
    operator: &Operator,
) -> Result<(), crate::store::StoreError> {
    let mut tx = controller.store.write().await?;
    let (actor, role) = (Actor::Operator(operator.id.clone()), operator.role.to_string());
    tx.record(now(), &actor, "operator.logged-in", operator.id.as_str(), &role).await?;
    tx.commit().await
}

/// The form once more. What is wrong with a token is said without the token.
fn refused(held: &str, problem: ApiProblem) -> Response {
    match problem.0.kind {
        ProblemKind::Unauthorized | ProblemKind::Forbidden => {
            let again = page(picket_page::login(&proof(held), Some(&problem.0.detail)));
            (StatusCode::UNAUTHORIZED, again).into_response()
        }
        _ => Failed(problem).into_response(),
    }
}

/// What the form brings along, made of what the browser holds, which no script and no other site can read.
fn proof(held: &str) -> String {
    hex::encode(Sha256::digest(format!("picket login form 1 {held}")))
}

fn with_cookies<const N: usize>(mut response: Response, cookies: [Option<HeaderValue>; N]) -> Response {
    for cookie in cookies.into_iter().flatten() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

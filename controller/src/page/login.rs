//! In and out: an operator's token becomes a session, and ends it. The token is read from the form's body, held against what is
//! known, and forgotten. Who comes in by an issuer's word instead is `oidc`'s affair until a session begins.

use super::{
    Desk, Shared, entry,
    guard::{self, Failed, Nothing, Sent, is_from_elsewhere, is_same, page, read},
    sessions::secret,
    wanted::{Asked, Wanted},
};
use crate::{
    api::{ApiProblem, auth::operator_with},
    now, origin,
    store::{Actor, Operator},
};
use axum::{
    extract::{Query, Request, State},
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
use std::{net::IpAddr, time::Instant};

#[derive(Deserialize)]
struct LoginForm {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    token: String,
    #[serde(default)]
    to: Wanted,
}

/// The form.
pub(super) async fn form(
    State(desk): Shared,
    Query(Asked { to }): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    shown(&desk, &headers, &to, None)
}

/// The form, and why the last try did not work. What it brings along belongs to what the browser is given to hold, so that no other
/// site can send it.
pub(super) fn shown(desk: &Desk, headers: &HeaderMap, to: &Wanted, error: Option<&str>) -> Result<Response, Failed> {
    let name = entry::form(desk.is_tls);
    let held = match entry::cookie(headers, name) {
        Some(held) => held,
        None => secret().map_err(|error| ApiProblem::internal("make a form", &error))?,
    };
    let way = to.by("/login/oidc");
    let issuer = desk.oidc.as_ref().map(|issuer| (issuer.name(), way.as_str()));
    Ok(with_cookies(page(picket_page::login(&proof(&held), to.as_str(), issuer, error)), [entry::hold(name, &held)]))
}

/// A token comes in.
pub(super) async fn login(State(desk): Shared, request: Request) -> Result<Response, Response> {
    if is_from_elsewhere(request.headers()) {
        return Err(guard::forbidden("this form was sent from another site"));
    }
    let address = request.extensions().get::<Peer>().map(|peer| canonical(peer.address.ip()));
    let form = entry::form(desk.is_tls);
    let headers = request.headers().clone();
    let held = entry::cookie(&headers, form).unwrap_or_default();
    let LoginForm { csrf, token, to } = read(request).await?;
    let token = SecretString::from(token);
    if held.is_empty() || !is_same(&csrf, &proof(&held)) {
        return Err(guard::forbidden("this form is not of a page that you were given; load the page again"));
    }
    let known = operator_with(token.expose_secret(), &desk.controller, OperatorRole::Viewer).await;
    let operator = known.map_err(|problem| refused(&desk, &headers, &to, problem))?;
    let cookie = enter(&desk, &operator, &headers, address).await.map_err(|error| Failed(error).into_response())?;
    Ok(with_cookies(Redirect::to(to.as_str()).into_response(), [cookie, entry::forget(form)]))
}

/// Begins a session: what the browser is to hold. Whatever it held before opens nothing any more.
pub(super) async fn enter(
    desk: &Desk,
    operator: &Operator,
    headers: &HeaderMap,
    address: Option<IpAddr>,
) -> Result<Option<HeaderValue>, ApiProblem> {
    let name = entry::session(desk.is_tls);
    if let Some(earlier) = entry::cookie(headers, name) {
        desk.sessions.end(&earlier);
    }
    let begun = desk.sessions.begin(operator, Instant::now());
    let cookie = begun.map_err(|error| ApiProblem::internal("begin a session", &error))?;
    let origin = origin::Origin { address, reason: None };
    origin::resumed(origin, record(&desk.controller, operator)).await?;
    Ok(entry::hold(name, &cookie))
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
    let (actor, detail) = (Actor::Operator(operator.id.clone()), format!("{} {}", operator.role, operator.comment));
    tx.record(now(), &actor, "operator.logged-in", operator.id.as_str(), detail.trim_end()).await?;
    tx.commit().await
}

/// The form once more. What is wrong with a token is said without the token.
fn refused(desk: &Desk, headers: &HeaderMap, to: &Wanted, problem: ApiProblem) -> Response {
    match problem.0.kind {
        ProblemKind::Unauthorized | ProblemKind::Forbidden => match shown(desk, headers, to, Some(&problem.0.detail)) {
            Ok(again) => (StatusCode::UNAUTHORIZED, again).into_response(),
            Err(failed) => failed.into_response(),
        },
        _ => Failed(problem).into_response(),
    }
}

/// What the form brings along, made of what the browser holds, which no script and no other site can read.
fn proof(held: &str) -> String {
    hex::encode(Sha256::digest(format!("picket login form 1 {held}")))
}

pub(super) fn with_cookies<const N: usize>(mut response: Response, cookies: [Option<HeaderValue>; N]) -> Response {
    for cookie in cookies.into_iter().flatten() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

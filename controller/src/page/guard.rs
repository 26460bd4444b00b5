//! What stands before every page: headers that keep a browser from doing anything but showing it, who is logged in, and that a form
//! was sent from a page of ours by whoever got it.

use super::{Desk, entry, wanted::Wanted};
use crate::{
    api::ApiProblem,
    now,
    store::{Operator, StoreError},
};
use axum::{
    Form,
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, request::Parts},
    middleware::Next,
    response::{Html, IntoResponse, Redirect, Response},
};
use picket_http::Peer;
use picket_model::network::canonical;
use picket_page::{Markup, Viewer, problem};
use picket_pki::OperatorRole;
use serde::{Deserialize, de::DeserializeOwned};
use std::{net::IpAddr, sync::Arc, time::Instant};
use subtle::ConstantTimeEq as _;

/// Nothing but our own style and script, and no page of ours inside another's.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Sent with every answer.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// Where the request comes from, as the browser says: a page of another site cannot say `same-origin`.
const SENT_FROM: &str = "sec-fetch-site";

/// What our script says of a request that nobody made.
const LIVE: &str = "picket-live";

/// Puts our headers on.
pub(super) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A page, as an answer.
pub(super) fn page(markup: Markup) -> Response {
    Html(markup.into_string()).into_response()
}

/// What went wrong, as a page; what the API would say.
pub(super) struct Failed(pub(super) ApiProblem);

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let title = status.canonical_reason().unwrap_or("It did not work");
        (status, page(problem(title, &self.0.0.detail, "/"))).into_response()
    }
}

impl<E: Into<ApiProblem>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// There is no such page.
pub(super) async fn nowhere(uri: Uri) -> Response {
    let detail = format!("There is no page {}", uri.path().escape_debug());
    (StatusCode::NOT_FOUND, page(problem("Not Found", &detail, "/"))).into_response()
}

/// An operator who may look, by the session of their browser.
pub(super) struct Seen {
    /// Who.
    pub(super) operator: Operator,
    /// What their forms bring along.
    pub(super) csrf: String,
    /// What their browser holds.
    pub(super) cookie: String,
}

impl Seen {
    /// As pages show them.
    pub(super) fn viewer(&self) -> Viewer {
        let Operator { id, role, comment, .. } = self.operator.clone();
        Viewer { operator: id, name: comment, role, csrf: self.csrf.clone() }
    }
}

impl FromRequestParts<Arc<Desk>> for Seen {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Response> {
        let is_a_look = parts.method == Method::GET;
        let wanted = if is_a_look { Wanted::of(&parts.uri) } else { Wanted::default() };
        let to_login = || {
            if parts.headers.get(header::ACCEPT).is_some_and(is_stream) {
                StatusCode::UNAUTHORIZED.into_response()
            } else {
                Redirect::to(&wanted.by("/login")).into_response()
            }
        };
        let cookie = entry::cookie(&parts.headers, entry::session(desk.is_tls)).ok_or_else(|| {
            // A link in a chat or a mail: the browser may have a session, and brings it along from a page of ours alone.
            if is_a_look && parts.headers.get(SENT_FROM).is_some_and(|from| from == "cross-site") {
                page(picket_page::led_on(wanted.as_str()))
            } else {
                to_login()
            }
        })?;
        let is_by_itself = parts.headers.contains_key(LIVE) || parts.headers.get(header::ACCEPT).is_some_and(is_stream);
        let at = Instant::now();
        let session = if is_by_itself { desk.sessions.look(&cookie, at) } else { desk.sessions.find(&cookie, at) };
        let session = session.ok_or_else(to_login)?;
        let known = known(desk, &session.operator).await.map_err(|error| Failed::from(error).into_response())?;
        let is_good = |known: &Operator| {
            known.secret_hash == session.secret_hash && known.is_good(now()) && known.role >= OperatorRole::Viewer
        };
        match known.filter(is_good) {
            Some(operator) => Ok(Self { operator, csrf: session.csrf, cookie }),
            None => {
                desk.sessions.end(&cookie);
                Err(to_login())
            }
        }
    }
}

/// Whether a script asks for news.
fn is_stream(accept: &HeaderValue) -> bool {
    accept == "text/event-stream"
}

async fn known(desk: &Desk, id: &picket_model::TokenId) -> Result<Option<Operator>, StoreError> {
    desk.controller.store.read().await?.operator(id).await
}

#[derive(Deserialize)]
struct Fields<T> {
    #[serde(default)]
    csrf: String,
    #[serde(flatten)]
    rest: T,
}

/// A form that brings along nothing but its proof.
#[derive(Deserialize)]
pub(super) struct Nothing {}

/// A form that was sent from a page of ours, by whoever was given that page.
pub(super) struct Sent<T> {
    /// Who.
    pub(super) seen: Seen,
    /// From where.
    pub(super) address: Option<IpAddr>,
    /// What.
    pub(super) form: T,
}

impl<T: DeserializeOwned + Send> FromRequest<Arc<Desk>> for Sent<T> {
    type Rejection = Response;

    async fn from_request(request: Request, desk: &Arc<Desk>) -> Result<Self, Response> {
        if is_from_elsewhere(request.headers()) {
            return Err(forbidden("this form was sent from another site"));
        }
        let address = request.extensions().get::<Peer>().map(|peer| canonical(peer.address.ip()));
        let (mut parts, body) = request.into_parts();
        let seen = Seen::from_request_parts(&mut parts, desk).await?;
        let Fields { csrf, rest } = read(Request::from_parts(parts, body)).await?;
        if !is_same(&csrf, &seen.csrf) {
            return Err(forbidden("this form is not of a page that you were given; load the page again"));
        }
        Ok(Self { seen, address, form: rest })
    }
}

/// The same, by an operator who may change things.
pub(super) struct AdminSent<T>(pub(super) Sent<T>);

impl<T: DeserializeOwned + Send> FromRequest<Arc<Desk>> for AdminSent<T> {
    type Rejection = Response;

    async fn from_request(request: Request, desk: &Arc<Desk>) -> Result<Self, Response> {
        let sent = Sent::from_request(request, desk).await?;
        let operator = &sent.seen.operator;
        if operator.role != OperatorRole::Admin {
            let detail = format!("operator {} is a {} and this needs an admin", operator.id, operator.role);
            return Err(forbidden(&detail));
        }
        Ok(Self(sent))
    }
}

/// The fields of a form.
pub(super) async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Response> {
    match Form::from_request(request, &()).await {
        Ok(Form(fields)) => Ok(fields),
        Err(rejection) => {
            let status = rejection.status();
            Err((status, page(problem("The form cannot be read", "load the page again", "/"))).into_response())
        }
    }
}

/// Whether a browser says that another site's page has sent it. One that says nothing is an older one, or no browser.
pub(super) fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    headers.get(SENT_FROM).is_some_and(|from| from != "same-origin" && from != "none")
}

/// Compared in a time that tells nothing.
pub(super) fn is_same(given: &str, expected: &str) -> bool {
    given.as_bytes().ct_eq(expected.as_bytes()).into()
}

/// Known, and not allowed to.
pub(super) fn forbidden(detail: &str) -> Response {
    (StatusCode::FORBIDDEN, page(problem("Forbidden", detail, "/"))).into_response()
}

//! In by the word of an OpenID Connect issuer: a browser is sent there and comes back with a code, of which a token is made that says
//! who it is. Who comes in so is an operator as others are, with a role, in the audit log and to be revoked, but without a token
//! that anybody has. What a login has of its own is made of a secret that the browser holds: the controller keeps nothing of it.

mod config;
mod person;
mod provider;

pub use config::{AllowLines, OidcLines};

use super::{
    Desk, Shared, entry,
    guard::{self, Failed, page},
    login::{enter, shown, with_cookies},
    sessions::{LONGEST, secret},
    wanted::{Asked, Wanted},
};
use crate::{
    api::ApiProblem,
    now,
    operators::make,
    store::{Actor, Operator, Transaction},
};
use axum::{
    extract::{Query, Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
};
use person::{Person, person};
use picket_api::ProblemKind;
use picket_http::Peer;
use picket_model::{Timestamp, network::canonical};
use provider::{Attempt, Provider, shortened};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::{fmt::Display, net::IpAddr};

/// Login by an issuer, as configured.
pub(super) struct Oidc(Provider);

impl Oidc {
    /// Reads the files that the configuration names.
    pub(super) fn new(lines: OidcLines) -> anyhow::Result<Self> {
        Provider::new(lines).map(Self)
    }

    /// The issuer as people know it.
    pub(super) fn name(&self) -> &str {
        self.0.lines.host()
    }
}

/// What an issuer sends a browser back with (RFC 6749, 4.1.2; RFC 9207).
#[derive(Deserialize)]
pub(super) struct Brought {
    #[serde(default)]
    code: String,
    #[serde(default)]
    state: String,
    error: Option<String>,
    error_description: Option<String>,
    iss: Option<String>,
}

/// Sends a browser to the issuer.
pub(super) async fn begin(
    State(desk): Shared,
    Query(Asked { to }): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    let Some(Oidc(provider)) = &desk.oidc else { return Err(there_is_none()) };
    let held = secret().map_err(|error| ApiProblem::internal("begin a login", &error))?;
    // Where they wanted to go is in what they hold, and so in what the issuer brings back unchanged or not at all.
    let held = format!("{held}{}", to.as_str());
    match provider.way(&attempt(&held)).await {
        Ok(way) => {
            let held = entry::hold_across(entry::attempt(desk.is_tls), &held);
            Ok(with_cookies(Redirect::to(&way).into_response(), [held]))
        }
        Err(error) => turned_away(&desk, &headers, &error),
    }
}

/// A browser comes back.
pub(super) async fn back(
    State(desk): Shared,
    Query(brought): Query<Brought>,
    request: Request,
) -> Result<Response, Failed> {
    let Some(Oidc(provider)) = &desk.oidc else { return Err(there_is_none()) };
    let (name, headers) = (entry::attempt(desk.is_tls), request.headers());
    let answer = match entry::cookie(headers, name) {
        Some(held) => {
            let address = request.extensions().get::<Peer>().map(|peer| canonical(peer.address.ip()));
            came_back(&desk, provider, (&held, brought), headers, address).await?
        }
        None => turned_away(&desk, headers, "this browser began no login here; begin again")?,
    };
    // A login that was tried is over, whatever came of it.
    Ok(with_cookies(answer, [entry::forget(name)]))
}

async fn came_back(
    desk: &Desk,
    provider: &Provider,
    (held, brought): (&str, Brought),
    headers: &HeaderMap,
    address: Option<IpAddr>,
) -> Result<Response, Failed> {
    let attempt = attempt(held);
    let is_elsewhere = brought.iss.as_ref().is_some_and(|issuer| *issuer != provider.lines.issuer);
    if is_elsewhere || !guard::is_same(&brought.state, &attempt.state) {
        return turned_away(
            desk,
            headers,
            "that is of another login than the one that this browser began; begin again",
        );
    }
    if let Some(error) = brought.error {
        let more = brought.error_description.map(|more| format!(": {}", shortened(&more))).unwrap_or_default();
        return turned_away(desk, headers, &format_args!("{} says {}{more}", provider.lines.host(), shortened(&error)));
    }
    let now = now();
    let claims = match provider.claims(&brought.code, attempt, now).await {
        Ok(claims) => claims,
        Err(error) => return turned_away(desk, headers, &error),
    };
    let person = match person(&provider.lines, &claims) {
        Ok(person) => person,
        Err(error) => return turned_away(desk, headers, &error),
    };
    let mut tx = desk.controller.store.write().await?;
    let operator = known_as(&mut tx, &person, provider.lines.host(), now).await?;
    if let Some(at) = operator.revoked_at {
        let detail = format!(
            "{} was revoked at {at} as operator {}; an admin lets them in again by `picket operator readmit {}`",
            person.name, operator.id, operator.id
        );
        return turned_away(desk, headers, &detail);
    }
    tx.commit().await?;
    let cookie = enter(desk, &operator, headers, address).await?;
    let to = Wanted::parse(held.find('/').and_then(|start| held.get(start..)).unwrap_or_default());
    // The browser comes from elsewhere and would bring no strict cookie along to where it was redirected: a page of ours sends it on.
    let said = picket_page::entered(&person.name, person.role, to.as_str());
    Ok(with_cookies(page(said), [cookie]))
}

/// The operator that somebody is from now on: until their sessions are over, and longer only by another login.
async fn known_as(tx: &mut Transaction, person: &Person, issuer: &str, now: Timestamp) -> Result<Operator, Failed> {
    let expires_at = Some(now.plus(LONGEST));
    let comment = format!("{} by {issuer}", person.name);
    let known = tx.operator(&person.id).await?;
    if let Some(known) = known {
        let operator = Operator { role: person.role, expires_at, comment, ..known };
        if operator.revoked_at.is_none() {
            tx.change_operator(&operator).await?;
        }
        return Ok(operator);
    }
    // Its secret is nobody's: there is a hash of it, and it was thrown away.
    let (_, made) = make(person.role, now)
        .map_err(|error| ApiProblem::internal("enter an operator", &*error.into_boxed_dyn_error()))?;
    let operator = Operator { id: person.id.clone(), expires_at, comment, ..made };
    tx.insert_operator(&operator).await?;
    let detail = format!("{} {}", operator.role, operator.comment);
    tx.record(now, &Actor::Controller, "operator.created", operator.id.as_str(), &detail).await?;
    Ok(operator)
}

/// The login form once more, with why.
fn turned_away(desk: &Desk, headers: &HeaderMap, why: &(impl Display + ?Sized)) -> Result<Response, Failed> {
    tracing::warn!(%why, "a login by the issuer came to nothing");
    Ok((StatusCode::UNAUTHORIZED, shown(desk, headers, &Wanted::default(), Some(&why.to_string()))?).into_response())
}

fn there_is_none() -> Failed {
    Failed(ApiProblem::new(
        ProblemKind::NotFound,
        "this controller has no [page.oidc]: log in with an operator's token",
    ))
}

/// What a login has of its own, from what the browser holds, which no script and no other site can read.
fn attempt(held: &str) -> Attempt {
    let made = |what: &str| hex::encode(Sha256::digest(format!("picket oidc {what} 1 {held}")));
    Attempt { state: made("state"), nonce: made("nonce"), verifier: made("verifier") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_login_has_is_its_own_and_none_of_it_tells_another() {
        let (one, two) = (attempt("a"), attempt("b"));
        let all = [&one.state, &one.nonce, &one.verifier, &two.state, &two.nonce, &two.verifier];
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), 6);
        // RFC 7636, 4.1: 43 to 128 unreserved characters.
        assert_eq!((one.verifier.len(), attempt("a").state), (64, one.state));
    }
}

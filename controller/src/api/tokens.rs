//! Join tokens: made, listed, revoked. An enroller sees and revokes those it made.

use super::{
    Answer, ApiProblem, Shared,
    auth::TokenMaker,
    page,
    problem::{Asked, Body, Named},
};
use crate::{
    now,
    start::hex,
    store::{Actor, Operator, Token, TokenTerms},
};
use axum::{Json, extract::State};
use picket_api::{
    ProblemKind,
    operator::{CreateToken, ListQuery, Page, TokenCreated, TokenView},
};
use picket_model::{IdError, TokenId};
use picket_pki::{JoinToken, OperatorRole, TokenSecret, random};
use secrecy::ExposeSecret as _;
use std::{error::Error, ops::RangeInclusive, time::Duration};

/// Life of a join token in seconds: whoever finds it later shall not get in.
const TTL: RangeInclusive<u64> = 1..=30 * 24 * 3600;
/// Hosts that may join by one token: whoever finds it shall not fill the mesh.
const USES: RangeInclusive<u32> = 1..=1000;
/// Shortest lease: more than a poll takes, so that a host that polls is heard in time.
const SHORTEST_LEASE: u64 = 120;
/// Longest lease.
const LONGEST_LEASE: u64 = 366 * 24 * 3600;
/// Networks that one token names.
const MOST_NETWORKS: usize = 64;
/// Longest comment, in characters: it is shown on one line.
const LONGEST_COMMENT: usize = 200;

/// Makes a token.
pub(super) async fn create(
    State(controller): Shared,
    TokenMaker(operator): TokenMaker,
    Body(request): Body<CreateToken>,
) -> Answer<TokenCreated> {
    check(&request).map_err(|detail| ApiProblem::new(ProblemKind::BadRequest, detail))?;
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
        created_at: now,
        expires_at: now.plus(Duration::from_secs(request.ttl_seconds)),
        terms: TokenTerms {
            lease: request.lease_seconds.map(Duration::from_secs),
            pool: request.pool,
            name: request.name,
            from: request.from,
            comment: request.comment,
        },
        made_by: Some(operator.id.clone()),
        revoked_at: None,
    };
    let mut tx = controller.store.write().await?;
    tx.insert_token(&row).await?;
    tx.record(now, &Actor::Operator(operator.id), "token.created", row.id.as_str(), &described(&row)).await?;
    tx.commit().await?;
    Ok(Json(TokenCreated {
        id: row.id,
        token: token.to_secret_string().expose_secret().to_owned(),
        role: row.role,
        uses: row.uses,
        expires_at: row.expires_at,
    }))
}

/// Lists tokens, oldest first, page by page.
pub(super) async fn list(
    State(controller): Shared,
    TokenMaker(operator): TokenMaker,
    Asked(query): Asked<ListQuery>,
) -> Answer<Page<TokenView>> {
    let (most, after) = (page::limit(query.limit)?, page::parse(query.after.as_deref())?);
    let tokens = controller.store.read().await?.tokens(owner(&operator), after.as_ref(), most + 1).await?;
    let views = tokens.into_iter().map(view).collect();
    Ok(Json(page::page(views, most, |view: &TokenView| page::place(&view.created_at.as_millis(), &view.id))))
}

/// Revokes a token. Repeated, it changes nothing.
pub(super) async fn revoke(
    State(controller): Shared,
    TokenMaker(operator): TokenMaker,
    Named(id): Named<TokenId>,
) -> Answer<TokenView> {
    let at = now();
    let mut tx = controller.store.write().await?;
    let known = tx.token(&id).await?;
    let known = known.filter(|token| owner(&operator).is_none_or(|owner| token.made_by.as_ref() == Some(owner)));
    let mut token =
        known.ok_or_else(|| ApiProblem::new(ProblemKind::NotFound, format!("there is no join token {id} of yours")))?;
    if tx.revoke_token(&id, at).await? {
        token.revoked_at = Some(at);
        let detail = format!("used {} of {} times", token.used, token.uses);
        tx.record(at, &Actor::Operator(operator.id), "token.revoked", id.as_str(), &detail).await?;
        tx.commit().await?;
    }
    Ok(Json(view(token)))
}

/// Whose tokens an operator deals with; all where `None`.
fn owner(operator: &Operator) -> Option<&TokenId> {
    (operator.role == OperatorRole::Enroller).then_some(&operator.id)
}

fn check(request: &CreateToken) -> Result<(), String> {
    let (first, last) = (USES.start(), USES.end());
    if !USES.contains(&request.uses) {
        return Err(format!("a token is good for {first} to {last} hosts, not for {}", request.uses));
    }
    if !TTL.contains(&request.ttl_seconds) {
        return Err(format!("a token's life is {} to {} seconds (30 days)", TTL.start(), TTL.end()));
    }
    if request.lease_seconds.is_some_and(|lease| lease != 0 && !(SHORTEST_LEASE..=LONGEST_LEASE).contains(&lease)) {
        return Err(format!("a lease is {SHORTEST_LEASE} to {LONGEST_LEASE} seconds, or 0 for none"));
    }
    if request.from.len() > MOST_NETWORKS {
        return Err(format!("a token names at most {MOST_NETWORKS} networks"));
    }
    if request.comment.chars().count() > LONGEST_COMMENT || request.comment.chars().any(char::is_control) {
        return Err(format!("a comment is one line of at most {LONGEST_COMMENT} characters"));
    }
    Ok(())
}

fn described(token: &Token) -> String {
    let mut text = format!("role {}, {} uses, until {}", token.role, token.uses, token.expires_at);
    let terms = &token.terms;
    if let Some(lease) = terms.lease {
        text.push_str(&format!(", lease {} s", lease.as_secs()));
    }
    if let Some(pool) = &terms.pool {
        text.push_str(&format!(", pool {pool}"));
    }
    if let Some(name) = &terms.name {
        text.push_str(&format!(", names {name}"));
    }
    if !terms.from.is_empty() {
        let networks: Vec<String> = terms.from.iter().map(ToString::to_string).collect();
        text.push_str(&format!(", from {}", networks.join(" ")));
    }
    if !terms.comment.is_empty() {
        text.push_str(&format!(": {}", terms.comment));
    }
    text
}

fn view(token: Token) -> TokenView {
    TokenView {
        id: token.id,
        role: token.role,
        uses: token.uses,
        used: token.used,
        created_at: token.created_at,
        expires_at: token.expires_at,
        revoked_at: token.revoked_at,
        lease_seconds: token.terms.lease.map(|lease| lease.as_secs()),
        pool: token.terms.pool,
        name: token.terms.name,
        from: token.terms.from,
        comment: token.terms.comment,
        made_by: token.made_by,
    }
}

//! Operators' tokens: made, listed and revoked by admins.

use super::{
    Answer, ApiProblem, Shared,
    auth::Admin,
    page,
    problem::{Asked, Body, Named},
};
use crate::{
    now,
    operators::make,
    store::{Actor, Operator},
};
use axum::{Json, extract::State};
use picket_api::{
    ProblemKind,
    operator::{ListQuery, Page},
    operators::{CreateOperator, OperatorCreated, OperatorView},
};
use picket_model::TokenId;
use secrecy::ExposeSecret as _;
use std::{ops::RangeInclusive, time::Duration};

/// Life of an operator's token in seconds, where it ends by itself.
const TTL: RangeInclusive<u64> = 60..=366 * 24 * 3600;
/// Longest comment, in characters: it is shown on one line.
const LONGEST_COMMENT: usize = 200;

/// Makes an operator's token.
pub(super) async fn create(
    State(controller): Shared,
    Admin(admin): Admin,
    Body(request): Body<CreateOperator>,
) -> Answer<OperatorCreated> {
    let refused = |detail: String| ApiProblem::new(ProblemKind::BadRequest, detail);
    if request.expires_seconds.is_some_and(|seconds| !TTL.contains(&seconds)) {
        return Err(refused(format!("an operator's token lives for {} to {} seconds", TTL.start(), TTL.end())));
    }
    if request.comment.chars().count() > LONGEST_COMMENT || request.comment.chars().any(char::is_control) {
        return Err(refused(format!("a comment is one line of at most {LONGEST_COMMENT} characters")));
    }
    let now = now();
    let (token, operator) = make(request.role, now)
        .map_err(|error| ApiProblem::internal("make an operator's token", &*error.into_boxed_dyn_error()))?;
    let expires_at = request.expires_seconds.map(|seconds| now.plus(Duration::from_secs(seconds)));
    let operator = Operator { expires_at, made_by: Some(admin.id.clone()), comment: request.comment, ..operator };
    let mut tx = controller.store.write().await?;
    tx.insert_operator(&operator).await?;
    let end = expires_at.map_or_else(String::new, |end| format!(", until {end}"));
    let detail = format!("{}{end} {}", operator.role, operator.comment);
    tx.record(now, &Actor::Operator(admin.id), "operator.created", operator.id.as_str(), detail.trim_end()).await?;
    tx.commit().await?;
    Ok(Json(OperatorCreated {
        operator: view(operator),
        token: token.to_secret_string().expose_secret().to_owned(),
        ca_fingerprint: controller.ca.fingerprint(),
    }))
}

/// Lists operators, oldest first, page by page.
pub(super) async fn list(
    State(controller): Shared,
    _: Admin,
    Asked(query): Asked<ListQuery>,
) -> Answer<Page<OperatorView>> {
    let (most, after) = (page::limit(query.limit)?, page::parse(query.after.as_deref())?);
    let operators = controller.store.read().await?.operators(after.as_ref(), most + 1).await?;
    let views = operators.into_iter().map(view).collect();
    Ok(Json(page::page(views, most, |view: &OperatorView| page::place(&view.created_at.as_millis(), &view.id))))
}

/// Revokes an operator's token. Repeated, it changes nothing.
pub(super) async fn revoke(
    State(controller): Shared,
    Admin(admin): Admin,
    Named(id): Named<TokenId>,
) -> Answer<OperatorView> {
    if id == admin.id {
        let detail = format!("{id} is your own token: let another admin revoke it, so that somebody is left who can");
        return Err(ApiProblem::new(ProblemKind::Conflict, detail));
    }
    let at = now();
    let mut tx = controller.store.write().await?;
    let known = tx.operator(&id).await?;
    let mut operator =
        known.ok_or_else(|| ApiProblem::new(ProblemKind::NotFound, format!("there is no operator {id}")))?;
    if tx.revoke_operator(&id, at).await? {
        operator.revoked_at = Some(at);
        let detail = operator.role.to_string();
        tx.record(at, &Actor::Operator(admin.id), "operator.revoked", id.as_str(), &detail).await?;
        tx.commit().await?;
    }
    Ok(Json(view(operator)))
}

/// Takes the revocation of somebody back who logs in by an issuer. A token stays revoked: others may have it. Repeated, it changes
/// nothing.
pub(super) async fn readmit(
    State(controller): Shared,
    Admin(admin): Admin,
    Named(id): Named<TokenId>,
) -> Answer<OperatorView> {
    let mut tx = controller.store.write().await?;
    let known = tx.operator(&id).await?;
    let operator = known.ok_or_else(|| ApiProblem::new(ProblemKind::NotFound, format!("there is no operator {id}")))?;
    if !operator.is_a_persons() {
        let detail = format!("{id} is a token, and a revoked one stays so: make a new one");
        return Err(ApiProblem::new(ProblemKind::Conflict, detail));
    }
    if tx.readmit_operator(&id).await? {
        tx.record(now(), &Actor::Operator(admin.id), "operator.readmitted", id.as_str(), &operator.comment).await?;
        tx.commit().await?;
    }
    Ok(Json(view(Operator { revoked_at: None, ..operator })))
}

fn view(operator: Operator) -> OperatorView {
    let Operator { id, role, created_at, expires_at, revoked_at, made_by, comment, .. } = operator;
    OperatorView { id, role, created_at, expires_at, revoked_at, made_by, comment }
}

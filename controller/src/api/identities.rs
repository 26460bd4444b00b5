//! What people see of identities that were vouched for, and order about them: forget one (it may join anew, with other keys)
//! or forbid it (it never may). Neither cuts the host that came in with it: that is a revoke.

use super::{
    Answer, ApiProblem, Shared,
    auth::{Admin, Viewer},
    page,
    problem::{Asked, Body},
};
use crate::{
    now,
    store::{Actor, KnownIdentity, StoreError, Transaction},
};
use axum::{Json, extract::State};
use picket_api::{
    ProblemKind,
    identities::{ForbidIdentity, ForgetIdentity, IdentityHost, IdentityView},
    operator::{ListQuery, Page},
};
use picket_attest::{IdentityId, IdentityIdError};

/// In order of their text, page by page.
pub(super) async fn list(
    State(controller): Shared,
    _: Viewer,
    Asked(query): Asked<ListQuery>,
) -> Answer<Page<IdentityView>> {
    let most = page::limit(query.limit)?;
    let after: Option<IdentityId> = query.after.map(|text| text.parse()).transpose().map_err(|_| page::no_place())?;
    let mut tx = controller.store.read().await?;
    let mut views = Vec::new();
    for known in tx.identities(after.as_ref(), most + 1).await? {
        views.push(view(&mut tx, known).await?);
    }
    Ok(Json(page::page(views, most, |view| view.identity.clone())))
}

/// The identity may join anew; the answer is what was known of it.
pub(super) async fn forget(
    State(controller): Shared,
    Admin(operator): Admin,
    Body(request): Body<ForgetIdentity>,
) -> Answer<IdentityView> {
    let id = parsed(&request.identity)?;
    let mut tx = controller.store.write().await?;
    let known = tx.identity(&id).await?;
    let known = known.ok_or_else(|| ApiProblem::new(ProblemKind::NotFound, format!("{id} is not known here")))?;
    if known.forbidden_at.is_some() && !request.forbidden {
        let detail = format!("{id} is forbidden; to let it in again: picket identities forget --forbidden {id}");
        return Err(ApiProblem::new(ProblemKind::Conflict, detail));
    }
    let before = view(&mut tx, known).await?;
    tx.forget_identity(&id).await?;
    let detail = match &before.host {
        Some(host) => format!("it came in as {} ({}); it may join anew, with other keys", host.name, host.node),
        None => "it was forbidden; it may join".to_owned(),
    };
    tx.record(now(), &Actor::Operator(operator.id), "identity.forgotten", id.as_str(), &detail).await?;
    tx.commit().await?;
    Ok(Json(before))
}

/// The identity may never join; the answer is what is known of it.
pub(super) async fn forbid(
    State(controller): Shared,
    Admin(operator): Admin,
    Body(request): Body<ForbidIdentity>,
) -> Answer<IdentityView> {
    let (id, at) = (parsed(&request.identity)?, now());
    let mut tx = controller.store.write().await?;
    tx.forbid_identity(&id, at).await?;
    let known =
        tx.identity(&id).await?.ok_or_else(|| ApiProblem::new(ProblemKind::Internal, "the identity is gone"))?;
    let after = view(&mut tx, known).await?;
    let detail = match after.host.as_ref().filter(|host| host.member) {
        Some(host) => {
            format!("it may never join; host {} ({}), which came in with it, is still a member", host.name, host.node)
        }
        None => "it may never join".to_owned(),
    };
    tx.record(at, &Actor::Operator(operator.id), "identity.forbidden", id.as_str(), &detail).await?;
    tx.commit().await?;
    Ok(Json(after))
}

fn parsed(text: &str) -> Result<IdentityId, ApiProblem> {
    text.parse().map_err(|error: IdentityIdError| ApiProblem::new(ProblemKind::BadRequest, error.to_string()))
}

async fn view(tx: &mut Transaction, known: KnownIdentity) -> Result<IdentityView, StoreError> {
    let host = match &known.node {
        None => None,
        Some(id) => tx.node(id).await?,
    };
    Ok(IdentityView {
        identity: known.id.to_string(),
        host: host.map(|node| IdentityHost { member: node.is_active(), node: node.id, name: node.name }),
        bound_at: known.bound_at,
        forbidden_at: known.forbidden_at,
        refused: known.refused,
        refused_at: known.refused_at,
    })
}

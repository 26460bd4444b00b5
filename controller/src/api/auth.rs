//! Who asks: a member of the mesh by its certificate, an operator by a token. Looked up for every request.

use super::ApiProblem;
use crate::{
    controller::Controller,
    knocks::Told,
    leases, now, renew,
    store::{Actor, Operator},
};
use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use picket_api::ProblemKind;
use picket_http::Peer;
use picket_model::{Node, network::canonical};
use picket_pki::{OperatorRole, OperatorToken};
use std::{net::IpAddr, sync::Arc};
use tracing::{Span, field};

/// An active host, by the certificate it showed.
pub(super) struct Member(pub(super) Node);

impl FromRequestParts<Arc<Controller>> for Member {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, controller: &Arc<Controller>) -> Result<Self, ApiProblem> {
        controller.wanted.answers_first().await;
        // In a box that goes before the handler begins: a poll waits long, and would keep the room of all this meanwhile. What is
        // seldom done has a box of its own, or each request would get its room.
        Box::pin(member(parts, controller)).await.map(Self)
    }
}

async fn member(parts: &Parts, controller: &Controller) -> Result<Node, ApiProblem> {
    let refused = |detail: &str| ApiProblem::new(ProblemKind::Unauthorized, detail);
    let peer = parts.extensions.get::<Peer>();
    let (peer, identity) = peer
        .and_then(|peer| Some((peer, peer.node()?)))
        .ok_or_else(|| refused("show the certificate that this host got when it enrolled"))?;
    if identity.mesh != controller.mesh {
        return Err(refused("the certificate is of another mesh"));
    }
    // A connection may be older than the end of the CA that its certificate is of.
    if controller.ca.of_key_id(&identity.authority).is_none() {
        return Err(refused("the certificate is of a CA that was retired: renew it"));
    }
    let known = controller.store.read().await?.shows(&identity.node, &identity.serial).await?;
    let known = known.ok_or_else(|| refused("the certificate names a host this controller does not know"));
    let (node, lease, standing) = known?;
    if node.tls_key_sha256 != identity.key_sha256 {
        return Err(refused("the certificate is not for the key this host has now"));
    }
    let from = canonical(peer.address.ip());
    if !node.is_active() {
        Box::pin(came_back(controller, &node, from)).await?;
        return Err(revoked(&node));
    }
    renew::shown(controller, &node, identity, standing).await?;
    leases::heard(controller, &node, &lease, from, now()).await?;
    Span::current().record("role", field::display(node.role)).record("node", field::display(&node.name));
    Ok(node)
}

/// Notes that a revoked host, which has shown its key, came back.
pub(super) async fn came_back(controller: &Controller, node: &Node, from: IpAddr) -> Result<(), ApiProblem> {
    let now = now();
    let told = controller.knocks.note(node, from, now);
    if told == Told::Farewell {
        return Ok(());
    }
    controller.counts.revoked_refused.inc();
    if told == Told::News {
        tracing::warn!(node = %node.name, %from, "a revoked host came back and was refused");
        let mut tx = controller.store.write().await?;
        let detail = format!("{} {} came back and was refused; further tries are counted", node.role, node.id);
        tx.record(now, &Actor::Stranger(from), "node.refused", node.name.as_str(), &detail).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// What a revoked host hears.
pub(super) fn revoked(node: &Node) -> ApiProblem {
    ApiProblem::new(ProblemKind::NodeRevoked, format!("host {} has been revoked", node.name))
}

/// An operator who may look.
pub(super) struct Viewer;

/// An operator of whatever role.
pub(super) struct Anybody;

/// An operator who may make join tokens.
pub(super) struct TokenMaker(pub(super) Operator);

/// An operator who may change things.
pub(crate) struct Admin(pub(crate) Operator);

impl FromRequestParts<Arc<Controller>> for Viewer {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, controller: &Arc<Controller>) -> Result<Self, ApiProblem> {
        operator(parts, controller, OperatorRole::Viewer).await.map(|_| Self)
    }
}

impl FromRequestParts<Arc<Controller>> for Anybody {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, controller: &Arc<Controller>) -> Result<Self, ApiProblem> {
        operator(parts, controller, OperatorRole::Enroller).await.map(|_| Self)
    }
}

impl FromRequestParts<Arc<Controller>> for TokenMaker {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, controller: &Arc<Controller>) -> Result<Self, ApiProblem> {
        let operator = operator(parts, controller, OperatorRole::Enroller).await?;
        if operator.role == OperatorRole::Viewer {
            let detail = format!("operator {} is a viewer and this needs an enroller or an admin", operator.id);
            return Err(ApiProblem::new(ProblemKind::Forbidden, detail));
        }
        Ok(Self(operator))
    }
}

impl FromRequestParts<Arc<Controller>> for Admin {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, controller: &Arc<Controller>) -> Result<Self, ApiProblem> {
        operator(parts, controller, OperatorRole::Admin).await.map(Self)
    }
}

/// Whom a layer before the handler has found to ask.
#[derive(Clone)]
pub(super) struct Asker(pub(super) Operator);

/// Whoever asks, if their token is known and of this role or a greater one.
pub(super) async fn operator(
    parts: &Parts,
    controller: &Controller,
    needed: OperatorRole,
) -> Result<Operator, ApiProblem> {
    if let Some(Asker(known)) = parts.extensions.get() {
        return at_least(known.clone(), needed);
    }
    let refused = |detail: &str| ApiProblem::new(ProblemKind::Unauthorized, detail);
    let given = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = given
        .and_then(|text| text.strip_prefix("Bearer "))
        .ok_or_else(|| refused("send an operator's token: `authorization: Bearer picket-op1.<id>.<secret>`"))?;
    operator_with(bearer, controller, needed).await
}

/// Whose token this is, if it is known and of this role or a greater one.
pub(crate) async fn operator_with(
    token: &str,
    controller: &Controller,
    needed: OperatorRole,
) -> Result<Operator, ApiProblem> {
    let refused = |detail: &str| ApiProblem::new(ProblemKind::Unauthorized, detail);
    let token: OperatorToken = token.parse().map_err(|error: picket_pki::TokenError| refused(&error.to_string()))?;
    let known = controller.store.read().await?.operator(&token.id).await?;
    match known.filter(|known| known.secret_hash == token.secret_hash()) {
        Some(operator) if !operator.is_good(now()) => {
            let detail = format!("the token of operator {} was revoked, or its time is over", operator.id);
            Err(refused(&detail))
        }
        None => {
            tracing::warn!(token = %token.id, "an operator's token was refused");
            Err(refused("this operator's token is not known here"))
        }
        Some(operator) => at_least(operator, needed),
    }
}

fn at_least(operator: Operator, needed: OperatorRole) -> Result<Operator, ApiProblem> {
    if operator.role < needed {
        let detail = format!("operator {} is a {} and this needs an {needed}", operator.id, operator.role);
        return Err(ApiProblem::new(ProblemKind::Forbidden, detail));
    }
    Span::current().record("role", field::display(operator.role));
    Ok(operator)
}

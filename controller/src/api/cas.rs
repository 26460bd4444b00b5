//! The mesh's CAs over the wire: hosts ask what follows and say what they trust, operators see and order.

use super::{
    Answer, ApiProblem, Shared,
    auth::{Admin, Member, Viewer},
    problem::{Asked, Body},
};
use crate::{
    ca,
    controller::Controller,
    now,
    store::{Actor, CaTrust},
};
use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use picket_api::{
    ProblemKind,
    ca::{CaQuery, CaView, RotateCa},
    node::LONGEST_POLL,
};
use picket_http::Peer;
use picket_model::Node;
use picket_pki::Fingerprint;
use std::{collections::BTreeSet, sync::Arc};
use tokio::time::sleep;

/// Most CAs that a host trusts: the one of now, the one to follow, and one of a rotation that was begun anew.
const MOST_TRUSTED: usize = 4;

/// Keeps what the host says, and answers when there is something else to tell than what it knows.
pub(super) async fn told(
    State(controller): State<Arc<Controller>>,
    Member(node): Member,
    peer: Peer,
    Asked(query): Asked<CaQuery>,
) -> Result<Response, ApiProblem> {
    note(&controller, &node, &peer, &query).await?;
    let mut changes = controller.ca.follow();
    let mut end = std::pin::pin!(async {
        tokio::select! {
            () = sleep(LONGEST_POLL) => {}
            () = controller.stopped() => {}
        }
    });
    loop {
        let told = changes.borrow_and_update().told();
        if query.known.as_ref() != Some(&told.tag) {
            return Ok(Json(told).into_response());
        }
        tokio::select! {
            // The CAs live as long as the controller.
            _ = changes.changed() => {}
            () = &mut end => return Ok(StatusCode::NO_CONTENT.into_response()),
        }
    }
}

async fn note(controller: &Controller, node: &Node, peer: &Peer, query: &CaQuery) -> Result<(), ApiProblem> {
    let words = query.trusts.split(',').filter(|word| !word.is_empty()).take(MOST_TRUSTED + 1);
    let trusts: Result<BTreeSet<Fingerprint>, _> = words.map(str::parse).collect();
    let trusts = trusts.map_err(|error| ApiProblem::new(ProblemKind::BadRequest, format!("trusts: {error}")))?;
    if trusts.len() > MOST_TRUSTED {
        return Err(ApiProblem::new(ProblemKind::BadRequest, format!("trusts: at most {MOST_TRUSTED} CAs")));
    }
    let shows = peer.node().and_then(|identity| controller.ca.of_key_id(&identity.authority));
    let said = CaTrust { trusts, shows };
    if controller.store.read().await?.ca_trust_of(&node.id).await?.as_ref() == Some(&said) {
        return Ok(());
    }
    let mut tx = controller.store.write().await?;
    tx.put_ca_trust(&node.id, &said, now()).await?;
    tx.commit().await?;
    controller.ca.heard.notify_one();
    Ok(())
}

/// How the CA stands.
pub(super) async fn view(State(controller): Shared, _: Viewer) -> Answer<CaView> {
    Ok(Json(ca::view(&controller, now()).await?))
}

/// Takes the next step of a rotation.
pub(super) async fn rotate(
    State(controller): Shared,
    Admin(operator): Admin,
    Body(RotateCa { step, force }): Body<RotateCa>,
) -> Answer<CaView> {
    Ok(Json(ca::step(&controller, &Actor::Operator(operator.id), step, force, now()).await?))
}

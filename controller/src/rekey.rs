//! A host changes the key of its tunnels: the next one is handed to its peers, and is the host's key once the host says that it
//! uses it. A key that was is never anybody's again.

use crate::{
    api::ApiProblem,
    controller::Controller,
    lag::lag,
    now,
    store::Actor,
    tasks::plan::{self, Planned},
};
use picket_api::{
    ProblemKind,
    node::{RekeyAnswer, RekeyRequest},
};
use picket_model::{Node, Timestamp, WireGuardPublicKey};

/// Takes a host's word about its keys. Repeated, it changes nothing.
pub(crate) async fn rekey(
    controller: &Controller,
    node: &Node,
    request: RekeyRequest,
) -> Result<RekeyAnswer, ApiProblem> {
    let (RekeyRequest { uses, next }, at) = (request, now());
    let conflict = |detail: String| ApiProblem::new(ProblemKind::Conflict, detail);
    // A host that waits asks every few seconds: only what is new is written.
    let mut tx = controller.store.read().await?;
    let is_known = tx.node(&node.id).await?.is_some_and(|node| node.wireguard_key == uses);
    if is_known && tx.next_keys().await?.remove(&node.id) == next {
        return Ok(RekeyAnswer { ready: next.is_some_and(|next| is_known_to_peers(controller, node, &next, at)) });
    }
    drop(tx);
    let mut tx = controller.store.write().await?;
    let announced = tx.next_keys().await?.remove(&node.id);
    let known = tx.node(&node.id).await?.map(|node| node.wireguard_key);
    let known = known.ok_or_else(|| conflict(format!("host {} is no member any more", node.name)))?;
    let actor = Actor::Node(node.id.clone());
    let mut waiting = announced;
    if uses != known {
        if announced != Some(uses) {
            let detail =
                "this host uses a key that it neither joined with nor announced: was an older backup restored?";
            return Err(conflict(detail.to_owned()));
        }
        tx.change_key(&node.id, [&known, &uses], at).await?;
        tx.promote_proof(&node.id).await?;
        let detail = format!("{uses} in place of {known}");
        tx.record(at, &actor, "node.rekeyed", node.name.as_str(), &detail).await?;
        tracing::info!(node = %node.name, "a host uses another WireGuard key");
        waiting = None;
    }
    if next != waiting {
        if let Some(next) = next {
            check(&mut tx, node, &next).await?;
            tx.record(at, &actor, "node.rekey.announced", node.name.as_str(), &next.to_string()).await?;
        }
        tx.put_next_key(&node.id, next.as_ref(), at).await?;
    }
    if uses == known && next == announced {
        drop(tx);
    } else {
        tx.commit().await?;
        let planned = plan::run_once(controller).await?;
        if let (Planned::Stopped(errors), Some(announced)) = (planned, next.filter(|_| next != waiting)) {
            take_back(controller, node, &announced, waiting.as_ref(), at).await?;
            let detail = format!("no plan can have the next key of {}: {}", node.name, errors.join("; "));
            return Err(conflict(detail));
        }
    }
    Ok(RekeyAnswer { ready: next.is_some_and(|next| is_known_to_peers(controller, node, &next, at)) })
}

/// An announcement that no plan can have would stop every plan to come, and with them revocations: what was before it stands.
async fn take_back(
    controller: &Controller,
    node: &Node,
    announced: &WireGuardPublicKey,
    before: Option<&WireGuardPublicKey>,
    at: Timestamp,
) -> Result<(), ApiProblem> {
    let mut tx = controller.store.write().await?;
    if tx.next_keys().await?.get(&node.id) == Some(announced) {
        tx.put_next_key(&node.id, before, at).await?;
        let detail = format!("{announced}: the plan with it was stopped");
        tx.record(at, &Actor::Controller, "node.rekey.refused", node.name.as_str(), &detail).await?;
        tx.commit().await?;
    }
    plan::run_once(controller).await?;
    Ok(())
}

/// A next key is nobody's, and no peer is left behind by it.
async fn check(tx: &mut crate::store::Transaction, node: &Node, next: &WireGuardPublicKey) -> Result<(), ApiProblem> {
    if let Some(holder) = tx.nodes_with_key(next, "").await?.iter().find(|holder| holder.node.id != node.id) {
        let detail = format!("host {} has or had this key: make another one", holder.node.name);
        return Err(ApiProblem::new(ProblemKind::KeyTaken, detail));
    }
    if tx.was_key(next).await? {
        let detail = "this key was in use before: make another one".to_owned();
        return Err(ApiProblem::new(ProblemKind::KeyTaken, detail));
    }
    let nodes = tx.nodes().await?;
    let issued = nodes.values().find(|other| other.issued && other.is_meshed() && other.role != node.role);
    if let Some(issued) = issued {
        let detail = format!(
            "{} has an issued key and a configuration that hears of no change: revoke it first, and issue another",
            issued.name
        );
        return Err(ApiProblem::new(ProblemKind::Conflict, detail));
    }
    Ok(())
}

/// Whether every host that is to have a tunnel under the key has read that back, and lets the host in under it.
fn is_known_to_peers(controller: &Controller, node: &Node, next: &WireGuardPublicKey, now: Timestamp) -> bool {
    let Some(target) = controller.wanted.target() else { return false };
    let mut peers =
        target.plan.nodes.values().filter(|config| config.wireguard.peers.values().any(|p| p.node == node.id));
    peers.all(|config| {
        let report = controller.reports.get(&config.node).map(|received| received.stored.report);
        config.wireguard.peers.contains_key(next)
            && lag(controller, &config.node, now).is_none()
            && report.is_some_and(|report| !report.unproven.contains_key(&node.name))
    })
}

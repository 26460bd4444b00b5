//! A host changes the key of its tunnels: the next one is handed to its peers, and is the host's key once the host says that it
//! uses it. A key that was is never anybody's again.

use crate::{
    api::ApiProblem,
    controller::Controller,
    lag::lag,
    now,
    revoke::{not_found, revoked},
    store::{Actor, Transaction},
    tasks::plan::{self, Planned},
};
use picket_api::{
    ProblemKind,
    node::{RekeyAnswer, RekeyRequest},
};
use picket_model::{Node, NodeId, Timestamp, WireGuardPublicKey};
use std::collections::BTreeMap;

/// Takes a host's word about its keys. Repeated, it changes nothing.
pub(crate) async fn rekey(
    controller: &Controller,
    node: &Node,
    request: RekeyRequest,
) -> Result<RekeyAnswer, ApiProblem> {
    let (RekeyRequest { uses, next }, at) = (request, now());
    // A host that waits asks every few seconds: only what is new is written.
    let mut tx = controller.store.read().await?;
    let known = tx.node(&node.id).await?.map(|node| node.wireguard_key);
    if known == Some(uses) && tx.next_keys().await?.remove(&node.id) == next {
        // A machine without an agent may have come since: its peers need not know the next key any more.
        if let Some(next) = next
            && let Some(problem) = in_the_way(&*tx.nodes().await?, node)
        {
            drop(tx);
            take_back(controller, node, (&next, None), &problem.0.detail, at).await?;
            return Err(problem);
        }
        let is_asked = tx.key_to_replace(&node.id).await? == Some(uses);
        return Ok(answer(controller, node, next, is_asked, at));
    }
    drop(tx);
    let mut tx = controller.store.write().await?;
    let waiting = told_of_use(&mut tx, node, uses, at).await?;
    if let Some(next) = next.filter(|next| Some(*next) != waiting) {
        check(&mut tx, node, &next).await?;
        let actor = Actor::Node(node.id.clone());
        tx.record(at, &actor, "node.rekey.announced", node.name.as_str(), &next.to_string()).await?;
    }
    if next != waiting {
        tx.put_next_key(&node.id, next.as_ref(), at).await?;
    }
    let is_asked = tx.key_to_replace(&node.id).await? == Some(uses);
    tx.commit().await?;
    let planned = plan::run_once(controller).await?;
    if let (Planned::Stopped(errors), Some(announced)) = (planned, next.filter(|_| next != waiting)) {
        let why = "the plan with it was stopped";
        take_back(controller, node, (&announced, waiting.as_ref()), why, at).await?;
        return Err(conflict(format!("no plan can have the next key of {}: {}", node.name, errors.join("; "))));
    }
    Ok(answer(controller, node, next, is_asked, at))
}

/// Asks a host to replace its key: a wish beside the key that it uses, which is over once it uses another. The host hears of it
/// when it next says which key that is, which it is woken for.
pub(crate) async fn ask(controller: &Controller, actor: &Actor, id_or_name: &str) -> Result<Node, ApiProblem> {
    let at = now();
    let mut tx = controller.store.write().await?;
    let node = tx.node_called(id_or_name).await?.ok_or_else(|| not_found(id_or_name))?;
    if !node.is_active() {
        return Err(revoked(&node));
    }
    if node.issued {
        let detail =
            format!("{0} runs no agent that could make one: `picket keys issue --name {0} --replace`", node.name);
        return Err(conflict(detail));
    }
    if let Some(problem) = in_the_way(&*tx.nodes().await?, &node) {
        return Err(problem);
    }
    if tx.ask_for_key(&node.id, &node.wireguard_key).await? {
        let detail = format!("{} is to be replaced", node.wireguard_key);
        tx.record(at, actor, "node.rekey.asked", node.name.as_str(), &detail).await?;
    }
    tx.commit().await?;
    controller.wanted.nudge(&node.id);
    Ok(node)
}

/// Enters that a host uses the key that it announced; what is announced beside the key it uses.
async fn told_of_use(
    tx: &mut Transaction,
    node: &Node,
    uses: WireGuardPublicKey,
    at: Timestamp,
) -> Result<Option<WireGuardPublicKey>, ApiProblem> {
    let announced = tx.next_keys().await?.remove(&node.id);
    let known = tx.node(&node.id).await?.map(|node| node.wireguard_key);
    let known = known.ok_or_else(|| conflict(format!("host {} is no member any more", node.name)))?;
    if uses == known {
        return Ok(announced);
    }
    if announced != Some(uses) {
        let detail = "this host uses a key that it neither joined with nor announced: was an older backup restored?";
        return Err(conflict(detail.to_owned()));
    }
    tx.change_key(&node.id, [&known, &uses], at).await?;
    tx.promote_proof(&node.id).await?;
    let detail = format!("{uses} in place of {known}");
    tx.record(at, &Actor::Node(node.id.clone()), "node.rekeyed", node.name.as_str(), &detail).await?;
    tracing::info!(node = %node.name, "a host uses another WireGuard key");
    Ok(None)
}

fn conflict(detail: String) -> ApiProblem {
    ApiProblem::new(ProblemKind::Conflict, detail)
}

fn answer(
    controller: &Controller,
    node: &Node,
    next: Option<WireGuardPublicKey>,
    is_asked: bool,
    at: Timestamp,
) -> RekeyAnswer {
    let ready = next.is_some_and(|next| is_known_to_peers(controller, node, &next, at));
    RekeyAnswer { ready, replace: is_asked && next.is_none() }
}

/// What was before an announcement stands: one that no plan can have would stop every plan to come, and with them revocations;
/// one that a peer cannot follow would wait for ever.
async fn take_back(
    controller: &Controller,
    node: &Node,
    (announced, before): (&WireGuardPublicKey, Option<&WireGuardPublicKey>),
    why: &str,
    at: Timestamp,
) -> Result<(), ApiProblem> {
    let mut tx = controller.store.write().await?;
    if tx.next_keys().await?.get(&node.id) == Some(announced) {
        tx.put_next_key(&node.id, before, at).await?;
        let detail = format!("{announced}: {why}");
        tx.record(at, &Actor::Controller, "node.rekey.refused", node.name.as_str(), &detail).await?;
        tx.commit().await?;
    }
    plan::run_once(controller).await?;
    Ok(())
}

/// A next key is nobody's, and no peer is left behind by it.
async fn check(tx: &mut Transaction, node: &Node, next: &WireGuardPublicKey) -> Result<(), ApiProblem> {
    if let Some(holder) = tx.nodes_with_key(next, "").await?.iter().find(|holder| holder.node.id != node.id) {
        let detail = format!("host {} has or had this key: make another one", holder.node.name);
        return Err(ApiProblem::new(ProblemKind::KeyTaken, detail));
    }
    if tx.was_key(next).await? {
        let detail = "this key was in use before: make another one".to_owned();
        return Err(ApiProblem::new(ProblemKind::KeyTaken, detail));
    }
    in_the_way(&*tx.nodes().await?, node).map_or(Ok(()), Err)
}

/// Why a host keeps its key: a peer would be left behind by another.
fn in_the_way(nodes: &BTreeMap<NodeId, Node>, node: &Node) -> Option<ApiProblem> {
    let issued = nodes.values().find(|other| other.issued && other.is_meshed() && other.role != node.role)?;
    Some(conflict(format!(
        "{} has an issued key and a configuration that hears of no change: revoke it first, and issue another",
        issued.name
    )))
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

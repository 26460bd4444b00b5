//! A sentry is to be left: refused where a hidden validator would be without any, else written down and planned at once. How far
//! hosts are with it is what they report.

use crate::{
    api::ApiProblem,
    controller::Controller,
    lag::{SILENCE, lag},
    now,
    revoke::{not_found, revoked},
    store::{Actor, StoreError, Transaction},
    tasks::plan::{self, Planned},
};
use picket_api::{
    ProblemKind,
    paths::{DrainNode, DrainView, DrainedHost},
};
use picket_model::{Drain, Drains, Node, NodeId, NodeRole, Policy, Timestamp};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{Instant, timeout_at};

/// How long what runs through a sentry may go on where nobody says: what people wait for, and no flow of a validator ends by itself.
const LASTS: u64 = 600;
/// The longest, in seconds.
const LONGEST: u64 = 86_400;
/// After a drain's end hosts have so long to say that nothing is left.
const AFTER: Duration = Duration::from_secs(5);

/// Has a sentry left from now on.
pub(crate) async fn drain(
    controller: &Controller,
    actor: &Actor,
    id_or_name: &str,
    wanted: DrainNode,
) -> Result<DrainView, ApiProblem> {
    let seconds = wanted.seconds.unwrap_or(LASTS);
    if seconds > LONGEST {
        let detail = format!("a drain lasts {LONGEST} seconds at most; it goes on until it is taken back");
        return Err(ApiProblem::new(ProblemKind::BadRequest, detail));
    }
    let at = now();
    let mut tx = controller.store.write().await?;
    let node = member(&mut tx, id_or_name).await?;
    if node.role != NodeRole::Sentry {
        let detail = format!("{} is a {}: only sentries are drained", node.name, node.role);
        return Err(ApiProblem::new(ProblemKind::Conflict, detail));
    }
    let (policy, nodes, drains) = (tx.policy().await?.unwrap_or_default().1, tx.nodes().await?, tx.drains().await?);
    let bereft: Vec<String> = hidden_behind(&policy, &nodes, &node)
        .filter(|prep| !has_another(controller, &policy, (&nodes, &drains), (prep, &node), at))
        .map(|prep| prep.name.to_string())
        .collect();
    if !bereft.is_empty() && !wanted.force {
        let detail = format!(
            "{} would be left without a sentry that is heard and not drained: bring one up or end a drain first (`picket drain \
             NODE --undo`), or drain {} all the same with --force",
            bereft.join(", "),
            node.name
        );
        return Err(ApiProblem::new(ProblemKind::Conflict, detail));
    }
    let drain = Drain { by: actor.to_string(), at, until: at.plus(Duration::from_secs(seconds)) };
    tx.put_drain(&node.id, &drain).await?;
    tx.record(at, actor, "node.drained", node.name.as_str(), &format!("until {}", drain.until)).await?;
    tx.commit().await?;
    controller.drained.send_replace(());
    planned(controller, node, drain).await
}

/// Takes a drain back; nothing where there was none.
pub(crate) async fn undrain(controller: &Controller, actor: &Actor, id_or_name: &str) -> Result<Node, ApiProblem> {
    let mut tx = controller.store.write().await?;
    let node = member(&mut tx, id_or_name).await?;
    if tx.end_drain(&node.id).await? {
        tx.record(now(), actor, "node.undrained", node.name.as_str(), &format!("{} {}", node.role, node.id)).await?;
    }
    tx.commit().await?;
    crate::revoke::planned_or_stopped(
        plan::run_once(controller).await?,
        &node.id,
        "drained no more",
        "gives it its share back",
    )?;
    Ok(node)
}

/// Has hidden validators leave a sentry that goes anyway, for so long at most; nothing where none is behind it, or where it is the
/// last that one of them has.
pub(crate) async fn before_cut(
    controller: &Controller,
    actor: &Actor,
    node: &Node,
    most: Duration,
) -> Result<(), ApiProblem> {
    let mut tx = controller.store.read().await?;
    let (policy, nodes) = (tx.policy().await?.unwrap_or_default().1, tx.nodes().await?);
    drop(tx);
    if node.role != NodeRole::Sentry || hidden_behind(&policy, &nodes, node).next().is_none() {
        return Ok(());
    }
    let wanted = DrainNode { seconds: Some(most.as_secs()), force: false };
    let mut view = match drain(controller, actor, node.id.as_str(), wanted).await {
        Ok(view) => view,
        Err(problem) if problem.0.kind == ProblemKind::Conflict => {
            tracing::warn!(sentry = %node.name, detail = problem.0.detail, "cut without being drained");
            return Ok(());
        }
        Err(problem) => return Err(problem),
    };
    let (mut arrivals, until) = (controller.reports.arrivals(), Instant::now() + most + AFTER);
    while !view.is_empty() && timeout_at(until, arrivals.changed()).await.is_ok() {
        match views(controller, now()).await?.into_iter().find(|found| found.node == node.id) {
            Some(found) => view = found,
            None => break,
        }
    }
    Ok(())
}

/// How far hosts have left the sentries that are to be left, in order of name.
pub(crate) async fn views(controller: &Controller, now: Timestamp) -> Result<Vec<DrainView>, StoreError> {
    let mut tx = controller.store.read().await?;
    let (policy, nodes, drains) = (tx.policy().await?.unwrap_or_default().1, tx.nodes().await?, tx.drains().await?);
    drop(tx);
    let of = |(id, drain): (NodeId, Drain)| Some(view(controller, (&policy, &nodes), nodes.get(&id)?, drain, now));
    let mut views: Vec<DrainView> = drains.into_iter().filter_map(of).collect();
    views.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(views)
}

async fn planned(controller: &Controller, node: Node, drain: Drain) -> Result<DrainView, ApiProblem> {
    let refused = match plan::run_once(controller).await? {
        Planned::Stopped(errors) => errors,
        Planned::Committed(_) | Planned::Unchanged => Vec::new(),
    };
    let mut tx = controller.store.read().await?;
    let (policy, nodes) = (tx.policy().await?.unwrap_or_default().1, tx.nodes().await?);
    drop(tx);
    Ok(DrainView { refused, ..view(controller, (&policy, &nodes), &node, drain, now()) })
}

async fn member(tx: &mut Transaction, id_or_name: &str) -> Result<Node, ApiProblem> {
    let node = tx.node_called(id_or_name).await?.ok_or_else(|| not_found(id_or_name))?;
    if node.is_active() { Ok(node) } else { Err(revoked(&node)) }
}

fn view(
    controller: &Controller,
    (policy, nodes): (&Policy, &BTreeMap<NodeId, Node>),
    sentry: &Node,
    drain: Drain,
    now: Timestamp,
) -> DrainView {
    let host = |prep: &Node| {
        let paths = controller.reports.get(&prep.id).and_then(|received| received.stored.report.paths);
        let way = paths.as_ref().and_then(|paths| paths.sentries.get(&sentry.id)).filter(|way| way.draining);
        DrainedHost {
            node: prep.id.clone(),
            name: prep.name.clone(),
            in_force: lag(controller, &prep.id, now).is_none(),
            left: way.and(paths.as_ref()).map(|paths| paths.share(&sentry.id)),
            inward: way.and_then(|way| way.inward),
        }
    };
    let mut hosts: Vec<DrainedHost> = hidden_behind(policy, nodes, sentry).map(host).collect();
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    DrainView {
        node: sentry.id.clone(),
        name: sentry.name.clone(),
        is_over: drain.is_over(now),
        drain,
        hosts,
        refused: Vec::new(),
    }
}

/// Hosts of hidden validators that a sentry forwards for.
fn hidden_behind<'a>(
    policy: &'a Policy,
    nodes: &'a BTreeMap<NodeId, Node>,
    sentry: &'a Node,
) -> impl Iterator<Item = &'a Node> {
    let of = |name| nodes.values().find(move |node| &node.name == name && node.is_meshed());
    let lines = policy.hidden.iter().filter(|line| line.is_behind(&sentry.name));
    lines.filter_map(move |line| of(&line.prep)).filter(|node| node.role == NodeRole::Prep)
}

/// Whether a hidden validator has a sentry beside this one that is heard and not to be left.
fn has_another(
    controller: &Controller,
    policy: &Policy,
    (nodes, drains): (&BTreeMap<NodeId, Node>, &Drains),
    (prep, but): (&Node, &Node),
    now: Timestamp,
) -> bool {
    let Some(line) = policy.hidden.iter().find(|line| line.prep == prep.name) else { return true };
    let is_heard = |node: &Node| {
        let received = controller.reports.get(&node.id).map(|received| received.stored.received_at);
        controller.wanted.is_followed(&node.id) || received.is_some_and(|at| now.since(at) <= SILENCE)
    };
    let others = nodes.values().filter(|node| node.role == NodeRole::Sentry && node.is_meshed() && node.id != but.id);
    let mut others = others.filter(|node| line.is_behind(&node.name) && !drains.contains_key(&node.id));
    others.any(is_heard)
}

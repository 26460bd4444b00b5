//! What operators see, put together from store and memory. Reads only.

use super::ApiProblem;
use crate::{controller::Controller, lag::lag, now, store::MergeRow, wanted::HostWanted};
use picket_api::{
    ProblemKind,
    operator::{ExplainQuery, NodeView, SourceView, StatusView},
    validators::{HeldView, ValidatorsView},
};
use picket_model::{Explanation, Node, Timestamp};
use picket_plan::{ExplainInput, Held, explain as explain_plan};
use std::collections::BTreeSet;

/// Hosts not in force that the status names.
const LAGGING_SHOWN: usize = 20;

/// The one-screen truth.
pub(super) async fn status(controller: &Controller, now: Timestamp) -> Result<StatusView, ApiProblem> {
    let mut tx = controller.store.read().await?;
    let (sources, merged, nodes) =
        (configured(controller, &tx.sources().await?), tx.merged().await?, tx.nodes().await?);
    drop(tx);
    let target = controller.wanted.target();
    let members: Vec<&Node> = nodes.values().filter(|node| node.is_active()).collect();
    let lagging: Vec<String> = members
        .iter()
        .filter_map(|node| lag(controller, &node.id, now).map(|why| format!("host {} {why}", node.name)))
        .collect();
    let in_force = members.len() - lagging.len();
    Ok(StatusView {
        mesh: controller.mesh.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now,
        generation: target.as_ref().map(|target| target.plan.generation).unwrap_or_default(),
        planned_at: target.as_ref().map(|target| target.planned_at),
        validators: merged.as_ref().map_or(0, |merged| merged.set.len()),
        nodes: members.len(),
        in_force,
        alarms: alarms(controller, &sources, merged.as_ref(), shortened(lagging)),
        sources,
    })
}

/// All hosts, revoked ones too, in order of name.
pub(super) async fn nodes(controller: &Controller, now: Timestamp) -> Result<Vec<NodeView>, ApiProblem> {
    let nodes = controller.store.read().await?.nodes().await?;
    let mut views: Vec<NodeView> = nodes
        .into_values()
        .map(|node| {
            let received = controller.reports.get(&node.id);
            let wanted = match controller.wanted.of(&node.id) {
                HostWanted::Content { revision, .. } if node.is_active() => Some(revision),
                _ => None,
            };
            NodeView {
                wanted,
                in_force: node.is_active() && lag(controller, &node.id, now).is_none(),
                connected: controller.wanted.is_followed(&node.id),
                reported_at: received.as_ref().map(|received| received.stored.received_at),
                report: received.map(|received| received.stored.report),
                node,
            }
        })
        .collect();
    views.sort_by(|a, b| (&a.node.name, &a.node.id).cmp(&(&b.node.name, &b.node.id)));
    Ok(views)
}

/// The validator set and what was not taken into it.
pub(super) async fn validators(controller: &Controller) -> Result<ValidatorsView, ApiProblem> {
    let mut tx = controller.store.read().await?;
    let (merged, orders) = (tx.merged().await?, tx.orders().await?);
    Ok(match merged {
        None => {
            ValidatorsView { validators: Vec::new(), version: 0, refused: Vec::new(), held: None, orders, height: None }
        }
        Some(merged) => ValidatorsView {
            validators: merged.set.0.into_values().collect(),
            version: merged.version,
            refused: merged.refused,
            held: merged.held.as_ref().map(held),
            orders,
            height: merged.height,
        },
    })
}

/// A hold as it is shown.
pub(super) fn held(held: &Held) -> HeldView {
    HeldView { kind: held.kind.as_str().to_owned(), text: held.to_string(), digest: held.digest.clone() }
}

/// Would this address reach which port on which host, and why.
pub(super) async fn explain(controller: &Controller, query: &ExplainQuery) -> Result<Explanation, ApiProblem> {
    let mut tx = controller.store.read().await?;
    let (nodes, merged) = (tx.nodes().await?, tx.merged().await?);
    let policy = tx.policy().await?.unwrap_or_default().1;
    drop(tx);
    let target = controller.wanted.target();
    let target = target.ok_or_else(|| ApiProblem::new(ProblemKind::Unavailable, "there is no plan yet"))?;
    let (validators, refused) = merged.map(|row| (row.set, row.refused)).unwrap_or_default();
    let refused: BTreeSet<_> = refused.into_iter().map(|entry| entry.refused).collect();
    let refused: Vec<_> = refused.into_iter().collect();
    let known = ExplainInput {
        plan: &target.plan,
        nodes: &nodes,
        validators: &validators,
        refused: &refused,
        policy: &policy,
        now: now(),
    };
    Ok(explain_plan(&known, query.address, query.port))
}

/// Sources in the configuration, whether or not they were asked yet; those of former ones are not shown.
fn configured(controller: &Controller, kept: &[SourceView]) -> Vec<SourceView> {
    let sources = controller.chain.sources.iter().map(|source| {
        let known = kept.iter().find(|row| row.id == *source.0.id()).cloned();
        let view = known.unwrap_or_else(|| SourceView {
            id: source.0.id().clone(),
            url: format!("{}://{}", source.0.url().scheme(), source.0.host()),
            height: None,
            seen_at: None,
            entries: 0,
            refused: 0,
            error: None,
            push: None,
        });
        SourceView { push: controller.push.state(source.0.id()), ..view }
    });
    sources.collect()
}

/// On one screen: the first of them, and how many more.
fn shortened(mut lagging: Vec<String>) -> Vec<String> {
    let more = lagging.len().saturating_sub(LAGGING_SHOWN);
    if more > 0 {
        lagging.truncate(LAGGING_SHOWN);
        lagging.push(format!("and {more} more hosts are not in force"));
    }
    lagging
}

fn alarms(
    controller: &Controller,
    sources: &[SourceView],
    merged: Option<&MergeRow>,
    lagging: Vec<String>,
) -> Vec<String> {
    let held = merged.and_then(|row| row.held.as_ref()).map(|reason| format!("validator list held: {reason}"));
    let failing =
        sources.iter().filter_map(|source| source.error.as_ref().map(|e| format!("source {}: {e}", source.id)));
    let doubts = merged.into_iter().flat_map(|row| row.findings.iter().map(ToString::to_string));
    let findings: Vec<String> = controller.findings().iter().map(ToString::to_string).collect();
    let mut alarms: Vec<String> =
        held.into_iter().chain(failing).chain(doubts).chain(findings).chain(lagging).collect();
    let mut shown = BTreeSet::new();
    alarms.retain(|alarm| shown.insert(alarm.clone()));
    alarms
}

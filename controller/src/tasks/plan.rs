//! From what is stored to the target: the pure plan, its lint, compare-and-set, and then the wake-up.

use crate::{
    controller::Controller,
    inputs::Inputs,
    lag::lag,
    now,
    store::{Actor, Cut, StoreError, Target, Transaction},
};
use picket_model::{Generation, Node, NodeConfig, NodeId, Reason, Timestamp};
use picket_plan::{Epochs, Finding, Plan, Severity, Touched, changes, replan};
use picket_telemetry::{SPANS, TraceParent, traces::number};
use std::{collections::BTreeMap, sync::Arc};
use tracing::{Instrument as _, Span, field::Empty, info_span};

/// Changes of one plan that the audit log spells out; the rest is counted.
const CHANGES_LOGGED: usize = 40;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Planned {
    /// The target is as the plan would be.
    Unchanged,
    /// There is a new target and the hosts it touches were woken.
    Committed(Generation),
    /// The plan must not become the target.
    Stopped(Vec<String>),
}

/// Plans from the store as it is now. Whoever changes the store calls this; where several do at once, one plan serves
/// them all.
pub(crate) async fn run_once(controller: &Controller) -> Result<Planned, StoreError> {
    let ticket = controller.planning.ask();
    let mut turn = controller.planning.turn().await;
    // A plan that was begun after this call has what this one is about.
    if let Some(planned) = turn.served(ticket) {
        return Ok(planned);
    }
    let began = controller.planning.asked();
    let span = info_span!(target: SPANS, "plan", generation = Empty, hosts = Empty, validators = Empty);
    let planned = plan_once(controller, turn.inputs()).instrument(span).await?;
    turn.done(began, &planned);
    Ok(planned)
}

async fn plan_once(controller: &Controller, inputs: &mut Inputs) -> Result<Planned, StoreError> {
    loop {
        let mut tx = controller.store.read().await?;
        let parent = parent(controller, &mut tx).await?;
        let known = controller.wanted.target().map(|known| known.plan.generation);
        if parent.as_ref().map(|parent| parent.plan.generation) < known {
            // Another database than that of before: nothing that was read from it holds.
            *inputs = Inputs::default();
            controller.store.forget_hosts();
        }
        inputs.refresh(&mut tx).await?;
        drop(tx);
        // What another controller planned is what hosts have to confirm from now on.
        if let Some(parent) =
            parent.as_deref().filter(|parent| known.is_none_or(|known| known < parent.plan.generation))
        {
            publish(controller, parent.clone());
        }
        let parent = parent.as_ref().map(|target| &target.plan);
        let at = now();
        let epoch = controller.epoch(at);
        let asked = inputs.asked(parent.map(|parent| parent.generation), epoch).into_iter();
        let confirmed = asked.filter(|id| lag(controller, id, at).is_none()).cloned().collect();
        let input = inputs.input(&controller.mesh, parent, at, Epochs { now: epoch, confirmed: Some(&confirmed) });
        let touched = inputs.touched(&input);
        let replanned = replan(&input, &touched);
        let Some(plan) = replanned.as_ref().or(parent) else { continue };
        let planned = inputs.planned(plan, &input, &touched);
        let findings = planned.linted().findings();
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).map(Finding::to_string);
        let errors: Vec<String> = errors.collect();
        *controller.findings() = findings;
        let (hosts, validators) = (inputs.nodes().len(), inputs.validators());
        count(controller, inputs.counted(), validators);
        // By now the parent is up, whoever planned it.
        let Some(next) = replanned else {
            inputs.became_target(planned);
            return Ok(Planned::Unchanged);
        };
        if !errors.is_empty() {
            tracing::error!(generation = %next.generation, ?errors, "the plan was stopped");
            return Ok(Planned::Stopped(errors));
        }
        let at = now();
        let generation = next.generation;
        let span = info_span!(target: SPANS, "commit", generation = number(generation.0));
        if !commit(controller, parent, &next, &touched, inputs.nodes(), at).instrument(span).await? {
            continue;
        }
        inputs.became_target(planned);
        Span::current().record("generation", number(generation.0));
        Span::current().record("hosts", number(hosts)).record("validators", number(validators));
        if let Some(span) = TraceParent::current() {
            controller.wanted.plan_is_made_in(generation, span);
        }
        publish(controller, Target { plan: next, planned_at: at });
        controller.counts.plans.inc();
        tracing::info!(%generation, hosts, validators, "plan committed");
        return Ok(Planned::Committed(generation));
    }
}

/// The target by the store; read from there only where memory has another one, and only what that changed where it is newer.
async fn parent(controller: &Controller, tx: &mut Transaction) -> Result<Option<Arc<Target>>, StoreError> {
    let stored = tx.target_generation().await?;
    match controller.wanted.target() {
        Some(target) if target.plan.generation == stored => Ok(Some(target)),
        Some(target) if target.plan.generation < stored => Ok(tx.target_after(&target).await?.map(Arc::new)),
        _ => Ok(tx.target().await?.map(Arc::new)),
    }
}

async fn commit(
    controller: &Controller,
    parent: Option<&Plan>,
    next: &Plan,
    touched: &Touched,
    nodes: &BTreeMap<NodeId, Node>,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let mut tx = controller.store.write().await?;
    if !tx.commit_plan(parent, next, at).await? {
        return Ok(false);
    }
    for (node, cut) in cuts(parent, next, touched, nodes) {
        tx.put_cut(node, &cut).await?;
    }
    let detail = summary(&changes(parent, next, nodes));
    tx.record(at, &Actor::Controller, "plan.committed", &next.generation.to_string(), &detail).await?;
    tx.commit().await?;
    Ok(true)
}

/// Puts a target up, of this controller's or another's.
pub(super) fn publish(controller: &Controller, target: Target) {
    controller.counts.generation.set(i64::try_from(target.plan.generation.0).unwrap_or(i64::MAX));
    controller.wanted.publish(target);
}

fn count(controller: &Controller, (active, gone): (usize, usize), validators: usize) {
    controller.counts.hosts(active, gone);
    controller.counts.validators.set(i64::try_from(validators).unwrap_or(i64::MAX));
}

/// Hosts that are cut, each with those that had something to do with it and must confirm. One that nobody knew, as one
/// revoked out of quarantine, has been cut before, and what was to be confirmed then stands.
fn cuts<'a>(
    parent: Option<&'a Plan>,
    next: &Plan,
    touched: &'a Touched,
    nodes: &BTreeMap<NodeId, Node>,
) -> Vec<(&'a NodeId, Cut)> {
    let Some(parent) = parent else { return Vec::new() };
    let looked_at: Vec<&NodeId> = match touched {
        Touched::All => parent.nodes.keys().collect(),
        Touched::Hosts(hosts) => hosts.iter().filter(|id| parent.nodes.contains_key(id)).collect(),
    };
    let cut = looked_at.into_iter().filter(|id| !nodes.get(*id).is_some_and(Node::is_meshed));
    cut.map(|cut| {
        let hosts = parent.nodes.values().filter(|config| mentions(config, cut));
        let hosts = hosts.filter(|config| next.nodes.contains_key(&config.node)).map(|config| config.node.clone());
        (cut, Cut { generation: next.generation, hosts: hosts.collect() })
    })
    .filter(|(_, cut)| !cut.hosts.is_empty())
    .collect()
}

fn mentions(config: &NodeConfig, node: &NodeId) -> bool {
    let grants = config.firewall.allow.values().flat_map(|set| set.0.values().flatten());
    config.wireguard.peers.values().any(|peer| peer.node == *node)
        || grants.into_iter().any(|reason| matches!(reason, Reason::Node { node: granted, .. } if granted == node))
}

/// The changes as one text, not longer than people read.
pub(crate) fn summary(lines: &[String]) -> String {
    let mut text = lines.iter().take(CHANGES_LOGGED).map(String::as_str).collect::<Vec<_>>().join("\n");
    if lines.len() > CHANGES_LOGGED {
        text.push_str(&format!("\nand {} more", lines.len() - CHANGES_LOGGED));
    }
    text
}

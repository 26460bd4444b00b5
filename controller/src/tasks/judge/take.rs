//! One judgement: read, merge, keep, plan. What is decided is decided in `picket-plan`.

use super::{
    keep::{keep_sources, row, say_what_changed},
    orders::{approval_used, without_ended},
};
use crate::{
    controller::Controller,
    metrics::Change,
    now,
    store::{Actor, StoreError},
    tasks::{
        plan::{self, Planned},
        poll::Round,
        progress,
    },
};
use picket_model::{Observation, Orders, Policy, Timestamp, ValidatorSet};
use picket_plan::{MergeInput, MergeMemory, merge};
use picket_telemetry::traces::number;
use std::sync::atomic::Ordering;
use tracing::Span;

/// Takes this round's answers, what hosts say now, what lookups gave since the last merge, and the orders. When the next
/// line or order ends by itself; `None` where none does.
pub(crate) async fn run_once(controller: &Controller, round: &Round) -> Result<Option<Timestamp>, StoreError> {
    let began = controller.anew.begin();
    let seen: Vec<Observation> = round.answers.values().filter_map(|answer| answer.as_ref().ok().cloned()).collect();
    let lookups = controller.names.answers();

    let mut tx = controller.store.write().await?;
    let at = now();
    let policy = tx.policy().await?.unwrap_or_default().1;
    let advertised = controller.reports.advertised(tx.nodes().await?.values());
    keep_sources(&mut tx, &controller.chain.sources, &round.answers).await?;
    let before = tx.merged().await?;
    let stored = tx.orders().await?;
    let (mut orders, mut ended) = without_ended(&stored, &policy, at);
    let (first, nothing) = (ValidatorSet::default(), MergeMemory::default());
    let input = MergeInput {
        previous: before.as_ref().map_or(&first, |row| &row.set),
        memory: before.as_ref().map_or(&nothing, |row| &row.memory),
        seen: &seen,
        sources: controller.chain.sources.len(),
        advertised: &advertised,
        lookups: &lookups,
        policy: &policy,
        orders: &orders,
        now: at,
    };
    let merged = merge(&input);
    if let Some(used) = approval_used(&input, &merged) {
        ended.push(used);
        orders.approved = None;
    }
    if !ended.is_empty() {
        tx.put_orders(&orders).await?;
    }
    for (action, detail) in &ended {
        tx.record(at, &Actor::Controller, action, "validator list", detail).await?;
    }
    say_what_changed(&mut tx, before.as_ref(), &merged, at).await?;
    Span::current().record("validators", number(merged.set.len()));
    let row = row(&merged, before.as_ref(), &controller.chain.sources, &seen, at);
    tx.put_observed(&seen, at).await?;
    tx.end_observed_except(controller.chain.sources.iter().map(|source| source.0.id()), at).await?;
    tx.put_merged(&row).await?;
    tx.commit().await?;

    controller.names.taken(&lookups, &row.memory, merged.names.clone());
    controller.listed.store(!merged.set.is_empty(), Ordering::Relaxed);
    let is_first = !round.judged.swap(true, Ordering::Relaxed);
    let planned = plan::run_once(controller).await?;
    if matches!(planned, Planned::Committed(_)) && is_first {
        progress::follow(controller, Change::List, round.arrived, &planned);
        controller.counts.list_to_commit.observe(round.arrived.elapsed().as_secs_f64());
    }
    controller.anew.done(began);
    Ok(next_end(&policy, &orders, at))
}

/// When the next line of the policy, or the hold, ends by itself.
fn next_end(policy: &Policy, orders: &Orders, now: Timestamp) -> Option<Timestamp> {
    let hold = orders.hold.as_ref().and_then(|hold| hold.until);
    policy.next_end(now).into_iter().chain(hold.filter(|until| now < *until)).min()
}

//! Keeps the hosts' last reports in the database, many in one transaction.

use super::report;
use crate::{controller::Controller, lag::lag, now, store::StoreError};
use picket_model::NodeId;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};

/// Reports that come within this time share a transaction.
const GATHER: Duration = Duration::from_secs(1);
/// How often all hosts are counted at most: a report of one is no reason to go over thousands each second.
const COUNTED: Duration = Duration::from_secs(5);
/// Who has fallen silent is counted without any report.
const QUIET: Duration = Duration::from_secs(30);

/// Saves whenever there is something to save.
pub(crate) async fn run(controller: Arc<Controller>) {
    let mut arrivals = controller.reports.arrivals();
    let (mut counted, mut is_due) = (Instant::now(), true);
    loop {
        let patience = if is_due { COUNTED.saturating_sub(counted.elapsed()) } else { QUIET };
        // The sender lives as long as the controller.
        if timeout(patience, arrivals.changed()).await.is_ok() {
            sleep(GATHER).await;
            arrivals.mark_unchanged();
            if let Err(error) = run_once(&controller).await {
                report("reports", &error);
            }
        }
        is_due = counted.elapsed() < COUNTED;
        if !is_due {
            count(&controller);
            counted = Instant::now();
        }
    }
}

/// Saves what is not saved yet.
pub(crate) async fn run_once(controller: &Controller) -> Result<(), StoreError> {
    if !controller.reports.is_unsaved() {
        return Ok(());
    }
    controller.reports.save(controller.store.write().await?).await
}

fn count(controller: &Controller) {
    let Some(target) = controller.wanted.target() else { return };
    let now = now();
    let in_force = target.plan.nodes.keys().filter(|id| lag(controller, id, now).is_none());
    controller.counts.in_force.set(i64::try_from(in_force.count()).unwrap_or(i64::MAX));
    let packets = |id: &NodeId| {
        Some((id.clone(), controller.reports.of(id, |received| received.stored.report.kernel.packets.clone())?))
    };
    let defences = |id: &NodeId| {
        Some((id.clone(), controller.reports.of(id, |received| received.stored.report.defences.clone())??))
    };
    let syncs =
        |id: &NodeId| Some((id.clone(), controller.reports.of(id, |received| received.stored.report.syncs.clone())?));
    controller.counts.syncs(target.plan.nodes.keys().filter_map(syncs));
    controller.counts.defences(target.plan.nodes.keys().filter_map(defences));
    controller.counts.packets(target.plan.nodes.keys().filter_map(packets));
    let ways =
        |id: &NodeId| Some((id.clone(), controller.reports.of(id, |received| received.stored.report.paths.clone())??));
    controller.counts.paths(target.plan.nodes.keys().filter_map(ways));
}

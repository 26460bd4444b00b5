//! Keeps the hosts' last reports in the database, many in one transaction.

use super::report;
use crate::{controller::Controller, lag::lag, metrics::Standing, now, store::StoreError};
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
    let (now, hosts) = (now(), &controller.counts.hosts);
    let highest = highest(controller);
    let mut in_force = 0;
    hosts.nobody_stands();
    // What few hosts tell of, by kind: each host is looked up once.
    let (mut packets, mut defences, mut syncs, mut ways) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (node, config) in &target.plan.nodes {
        let is_in_force = lag(controller, node, now).is_none();
        in_force += i64::from(is_in_force);
        let silent = Standing { node, wanted: config.revision, is_in_force, report: None };
        let told = controller.reports.of(node, |received| {
            let report = &received.stored.report;
            hosts.stands(&Standing { report: Some((report, received.stored.received_at)), ..silent }, highest);
            packets.extend((!report.kernel.packets.is_empty()).then(|| (node.clone(), report.kernel.packets.clone())));
            defences.extend(report.defences.clone().map(|said| (node.clone(), said)));
            syncs.extend((!report.syncs.is_empty()).then(|| (node.clone(), report.syncs.clone())));
            ways.extend(report.paths.clone().map(|said| (node.clone(), said)));
        });
        if told.is_none() {
            hosts.stands(&silent, highest);
        }
    }
    controller.counts.in_force.set(in_force);
    hosts.syncs(syncs.into_iter());
    hosts.defences(defences.into_iter());
    hosts.packets(packets.into_iter());
    hosts.paths(ways.into_iter());
}

/// The height of the highest list that a source gave last; `None` where another controller asks them.
fn highest(controller: &Controller) -> Option<u64> {
    let round = controller.rounds.borrow();
    let lists = round.as_ref()?.answers.values().filter_map(|answer| answer.as_ref().ok());
    lists.map(|list| list.height).max()
}

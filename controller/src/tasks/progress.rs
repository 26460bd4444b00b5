//! Follows changes until every host that they touch has read them back, for the histogram of how long that takes.

use crate::{controller::Controller, lag::lag, metrics::Change, now, tasks::plan::Planned};
use std::{sync::Arc, time::Instant};
use tokio::time::sleep;

/// Follows a change that began then, if a plan became of it. Where one plan carries several changes, each waits for all
/// hosts of the plan.
pub(crate) fn follow(controller: &Controller, change: Change, began: Instant, planned: &Planned) {
    let (Planned::Committed(generation), Some(target)) = (planned, controller.wanted.target()) else { return };
    let hosts = controller.wanted.changed_by(*generation).unwrap_or_else(|| {
        // Another plan is up by now.
        let touched = target.plan.nodes.iter().filter(|(_, config)| config.revision >= *generation);
        touched.map(|(id, _)| id.clone()).collect()
    });
    controller.progress.committed(&controller.counts, change, began, Instant::now(), hosts.into_iter());
}

/// So many times as long as a look took, the next one waits: a change to thousands is no reason to look thousands of times.
const REST: u32 = 10;

/// Looks after reports.
pub(crate) async fn run(controller: Arc<Controller>) {
    let mut arrivals = controller.reports.arrivals();
    // The sender lives as long as the controller.
    while arrivals.changed().await.is_ok() {
        let (now, began) = (now(), Instant::now());
        let is_in_force = |host: &_| lag(&controller, host, now).is_none();
        controller.progress.look(&controller.counts, began, is_in_force);
        sleep(began.elapsed() * REST).await;
    }
}

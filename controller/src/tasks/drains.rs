//! Plans anew when a sentry's drain is over: from then on it forwards nothing more. Hosts that leave it know the moment themselves.

use super::report;
use crate::{
    controller::Controller,
    now,
    store::{Actor, StoreError},
    tasks::plan::{self, Planned},
};
use picket_model::Timestamp;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// Longest sleep until a drain is over, so that a clock which was set is noticed.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);
/// Rest after a round that failed.
const AGAIN: Duration = Duration::from_secs(5);

/// Looks when a drain is over and whenever there is another one.
pub(crate) async fn run(controller: Arc<Controller>) {
    let mut drained = controller.drained.subscribe();
    let mut before = now();
    loop {
        drained.mark_unchanged();
        let at = now();
        let pause = match run_once(&controller, before, at).await {
            Ok(next) => {
                before = at;
                next.map_or(LONGEST_SLEEP, |next| next.since(now()).min(LONGEST_SLEEP))
            }
            Err(error) => {
                report("drains", &error);
                AGAIN
            }
        };
        // The sender lives as long as the controller.
        let _ = timeout(pause, drained.changed()).await;
    }
}

/// Plans where a drain is over, and says which ended since the last round; when the next will be over.
async fn run_once(controller: &Controller, before: Timestamp, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let mut tx = controller.store.read().await?;
    let (drains, nodes) = (tx.drains().await?, tx.nodes().await?);
    drop(tx);
    if drains.values().any(|drain| drain.is_over(now)) {
        // Where nothing changes there is no new plan. What stops it is in the findings, and has its alarm.
        if let Planned::Stopped(errors) = plan::run_once(controller).await? {
            tracing::error!(?errors, "a drain is over, and its sentry still forwards: the plan was stopped");
        }
    }
    let ended = drains.iter().filter(|(_, drain)| drain.is_over(now) && !drain.is_over(before));
    let ended: Vec<_> = ended.filter_map(|(id, drain)| Some((nodes.get(id)?, drain))).collect();
    if !ended.is_empty() && controller.duties.is_mine() {
        let mut tx = controller.store.write().await?;
        for (node, drain) in ended {
            let detail = format!("{} had it drained at {}: it forwards nothing any more", drain.by, drain.at);
            tx.record(now, &Actor::Controller, "drain.over", node.name.as_str(), &detail).await?;
        }
        tx.commit().await?;
    }
    Ok(drains.values().map(|drain| drain.until).filter(|until| now < *until).min())
}

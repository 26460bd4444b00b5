//! The one sweeper: every few seconds it ends the leases that are over. It knows nothing from before but the clocks; what it
//! decides from is in the database and in the open polls.

use super::report;
use crate::{
    controller::Controller,
    leases::cut,
    now,
    store::{Actor, StoreError},
    tasks::plan::Planned,
};
use picket_model::{NodeRole, Timestamp};
use picket_plan::{Finding, LeaseFacts, Patience, leases_to_end};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep;

const EVERY: Duration = Duration::from_secs(5);

/// Sweeps once the grace after the start is over.
pub(crate) async fn run(controller: Arc<Controller>) {
    let started = Instant::now();
    let mut patience = Patience::new(Duration::from_secs(controller.leases.rules.grace_seconds));
    loop {
        let now = now();
        let any_heard = !controller.wanted.followed().is_empty();
        if patience.is_over(now, started.elapsed(), any_heard)
            && let Err(error) = run_once(&controller, now).await
        {
            report("leases", &error);
        }
        sleep(EVERY).await;
    }
}

/// Ends leases that are over. Repeated at the same moment it finds nothing more to do.
pub(crate) async fn run_once(controller: &Controller, now: Timestamp) -> Result<(), StoreError> {
    let rules = &controller.leases.rules;
    let window = i64::try_from(rules.window_seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
    let since = Timestamp::from_millis(now.as_millis().saturating_sub(window));
    let mut held: Vec<Finding> = Vec::new();
    let mut gone = Vec::new();
    let mut tx = controller.store.write().await?;
    // Read while nobody else can write: a host that comes back from now on finds its renewal behind this change.
    let open = controller.wanted.followed();
    for role in [NodeRole::Sentry, NodeRole::Prep] {
        let due = tx.leases_over(role, &open, now).await?;
        if due.is_empty() {
            continue;
        }
        let count = tx.count_role(role, since).await?;
        let nodes = tx.nodes().await?;
        let any_heard = open.iter().filter_map(|id| nodes.get(id)).any(|node| node.role == role);
        let facts = LeaseFacts { role, active: count.active, due, ended_lately: count.ended, any_heard };
        let (most, findings) = leases_to_end(&facts, rules);
        held.extend(findings);
        for (id, name, lease) in tx.end_leases(role, &open, now, most).await? {
            let heard = lease.last_seen.map_or_else(|| "never heard".to_owned(), |at| format!("last heard at {at}"));
            let seconds = lease.length().unwrap_or_default().as_secs();
            let detail = format!("{role} {id}, {heard}, lease {seconds} s");
            tx.unbind_identity(&id).await?;
            tx.record(now, &Actor::Controller, "node.lease-ended", name.as_str(), &detail).await?;
            gone.push(id);
        }
    }
    if !gone.is_empty() {
        tx.commit().await?;
        if let Planned::Stopped(errors) = cut(controller, &gone).await? {
            tracing::error!(?errors, "hosts whose leases are over are still among their peers: the plan was stopped");
        }
    }
    *controller.leases.held() = held;
    Ok(())
}

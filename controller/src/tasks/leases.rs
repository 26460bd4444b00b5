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
use picket_model::{NodeId, NodeRole, Timestamp};
use picket_plan::{Finding, LeaseFacts, Patience, leases_to_end};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep;

const EVERY: Duration = Duration::from_secs(5);
/// A lease of a host that one of several controllers hears is renewed so long before its end: three rounds.
const RENEWED_BEFORE: Duration = Duration::from_secs(15);

/// Sweeps once the grace after the start is over.
pub(crate) async fn run(controller: Arc<Controller>) {
    let started = Instant::now();
    let mut patience = Patience::new(Duration::from_secs(controller.leases.rules.grace_seconds));
    loop {
        let now = now();
        let round = async {
            let open = controller.wanted.followed();
            let mut any_heard = !open.is_empty();
            if controller.store.is_shared() {
                any_heard |= heard_by_any(&controller, &open, now).await?;
            }
            let is_due = patience.is_over(now, started.elapsed(), any_heard) && controller.duties.is_mine();
            if is_due { run_once(&controller, now).await } else { Ok(()) }
        };
        if let Err(error) = round.await {
            report("leases", &error);
        }
        sleep(EVERY).await;
    }
}

/// Says in the shared database whom this controller hears; whether any controller hears anybody.
async fn heard_by_any(controller: &Controller, open: &BTreeSet<NodeId>, now: Timestamp) -> Result<bool, StoreError> {
    if !open.is_empty() {
        let mut tx = controller.store.write().await?;
        if tx.renew_open(open, now, now.plus(RENEWED_BEFORE)).await? > 0 {
            tx.commit().await?;
        }
    }
    controller.store.read().await?.any_lease_runs(None, now).await
}

/// Ends leases that are over. Repeated at the same moment it finds nothing more to do.
pub(crate) async fn run_once(controller: &Controller, now: Timestamp) -> Result<(), StoreError> {
    let rules = &controller.leases.rules;
    let since = now.minus(Duration::from_secs(rules.window_seconds));
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
        let mut any_heard = open.iter().filter_map(|id| nodes.get(id)).any(|node| node.role == role);
        any_heard |= controller.store.is_shared() && tx.any_lease_runs(Some(role), now).await?;
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

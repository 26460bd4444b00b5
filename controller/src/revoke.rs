//! A host is cut: marked in the store, planned away, its peers woken, its own requests answered and its connections
//! closed. Done when every host that knew it has read back that it does not.

use crate::{
    api::ApiProblem,
    controller::Controller,
    lag::lag,
    now,
    store::{Actor, Cut},
    tasks::plan::{self, Planned},
};
use picket_api::{
    ProblemKind,
    operator::{HostReceipt, RevokeReceipt},
};
use picket_model::{Node, NodeId, NodeName};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// Revokes a host, named by id or name, and waits for those it had to do with. Repeated, it waits again.
pub(crate) async fn revoke(
    controller: &Controller,
    actor: &Actor,
    id_or_name: &str,
    wait: Duration,
) -> Result<RevokeReceipt, ApiProblem> {
    let started = Instant::now();
    let id = mark(controller, actor, id_or_name).await?;
    // Its peers first, then the host itself: from the mark on, every new request of its is refused anyway.
    let planned = plan::run_once(controller).await;
    controller.wanted.revoke(&id);
    let closed = controller.connections.close_node(&id);
    tracing::info!(node = %id, closed, "host revoked");
    if let Planned::Stopped(errors) = planned? {
        let detail = format!(
            "host {id} is revoked and gets no answers any more, but the plan that takes it from its peers was stopped: {}",
            errors.join("; ")
        );
        return Err(ApiProblem::new(ProblemKind::Unavailable, detail));
    }
    let mut tx = controller.store.read().await?;
    let (cut, nodes) = (tx.cut(&id).await?, tx.nodes().await?);
    let target = tx.target_generation().await?;
    drop(tx);
    let node = nodes.get(&id).cloned().ok_or_else(|| not_found(id_or_name))?;
    // A host that was in no plan had no peers.
    let cut = cut.unwrap_or(Cut { generation: target, hosts: Vec::new() });
    let hosts: Vec<&Node> = cut.hosts.iter().filter_map(|id| nodes.get(id)).filter(|node| node.is_active()).collect();
    let (in_force, missing) = confirmed(controller, &hosts, started, wait).await;
    Ok(RevokeReceipt { node, generation: cut.generation, in_force, missing })
}

async fn mark(controller: &Controller, actor: &Actor, id_or_name: &str) -> Result<NodeId, ApiProblem> {
    let at = now();
    let mut tx = controller.store.write().await?;
    let node = tx.node_called(id_or_name).await?.ok_or_else(|| not_found(id_or_name))?;
    if tx.revoke_node(&node.id, at).await? {
        let detail = format!("{} {}", node.role, node.id);
        tx.record(at, actor, "node.revoked", node.name.as_str(), &detail).await?;
    }
    tx.commit().await?;
    Ok(node.id)
}

fn not_found(id_or_name: &str) -> ApiProblem {
    let detail = format!("there is no host with the id or name {}", id_or_name.escape_debug());
    ApiProblem::new(ProblemKind::NotFound, detail)
}

/// Which of these hosts read back exactly what is wanted of them since the cut, and which have not within the time. A
/// number alone proves nothing: hosts may hold a plan that a restored database has never seen.
async fn confirmed(
    controller: &Controller,
    hosts: &[&Node],
    started: Instant,
    wait: Duration,
) -> (Vec<HostReceipt>, Vec<NodeName>) {
    let mut arrivals = controller.reports.arrivals();
    let mut end = std::pin::pin!(async {
        tokio::select! {
            () = sleep(wait) => {}
            () = controller.stopped() => {}
        }
    });
    let mut receipts: BTreeMap<NodeName, HostReceipt> = BTreeMap::new();
    loop {
        for host in hosts {
            let report = controller.reports.get(&host.id).filter(|_| lag(controller, &host.id, now()).is_none());
            if let Some(report) = report {
                let after = report.at.saturating_duration_since(started).as_millis();
                let after_ms = u64::try_from(after).unwrap_or(u64::MAX);
                let receipt = HostReceipt { name: host.name.clone(), after_ms };
                receipts.entry(host.name.clone()).or_insert(receipt);
            }
        }
        if receipts.len() == hosts.len() {
            break;
        }
        tokio::select! {
            _ = arrivals.changed() => {}
            () = &mut end => break,
        }
    }
    let missing = hosts.iter().map(|host| host.name.clone()).filter(|name| !receipts.contains_key(name));
    let missing = missing.collect();
    (receipts.into_values().collect(), missing)
}

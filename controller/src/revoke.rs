//! A host is cut, for good or into quarantine: marked in the store, planned away, its peers woken; a revoked one's own
//! requests are answered and its connections closed. Done when every host that knew it has read back that it does not.

use crate::{
    api::ApiProblem,
    controller::Controller,
    lag::lag,
    metrics::Change,
    now,
    store::{Actor, Cut},
    tasks::{
        plan::{self, Planned},
        progress,
    },
};
use picket_api::{
    ProblemKind,
    operator::{CutStep, HostReceipt, RevokeReceipt},
};
use picket_model::{Generation, Node, NodeId, NodeName, Timestamp};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::watch, time::sleep_until};

/// How a host is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// For good.
    Revoke,
    /// Until it is readmitted; it stays a member and goes on reporting.
    Quarantine,
}

/// Cuts a host, named by id or name, and follows those it had to do with for as long as `wait`. Repeated, it waits again.
pub(crate) async fn cut(
    controller: &Arc<Controller>,
    actor: &Actor,
    id_or_name: &str,
    kind: Kind,
    wait: Duration,
) -> Result<Following, ApiProblem> {
    let started = Instant::now();
    let id = mark(controller, actor, id_or_name, kind).await?;
    // Its peers first, then the host itself: from the mark on, every new request of a revoked host is refused anyway.
    let planned = plan::run_once(controller).await;
    if kind == Kind::Revoke {
        controller.wanted.revoke(&id);
        let closed = controller.connections.close_node(&id);
        tracing::info!(node = %id, closed, "host revoked");
    }
    let what = match kind {
        Kind::Revoke => "revoked and gets no answers any more",
        Kind::Quarantine => "marked as quarantined",
    };
    let planned = planned?;
    progress::follow(controller, Change::Revoke, started, &planned);
    planned_or_stopped(planned, &id, what, "takes it from its peers")?;
    let mut tx = controller.store.read().await?;
    let (cut, nodes) = (tx.cut(&id).await?, tx.nodes().await?);
    let target = tx.target_generation().await?;
    drop(tx);
    let node = nodes.get(&id).cloned().ok_or_else(|| not_found(id_or_name))?;
    // A host that was in no plan had no peers.
    let cut = cut.unwrap_or(Cut { generation: target, hosts: Vec::new() });
    let hosts = cut.hosts.iter().filter_map(|id| nodes.get(id)).filter(|node| node.reports()).cloned();
    Ok(Following::new(controller.clone(), node, cut.generation, hosts.collect(), started, wait))
}

/// Ends a host's quarantine; its peers hear of it with the plan that is made here.
pub(crate) async fn readmit(controller: &Controller, actor: &Actor, id_or_name: &str) -> Result<Node, ApiProblem> {
    let at = now();
    let mut tx = controller.store.write().await?;
    let node = tx.node_called(id_or_name).await?.ok_or_else(|| not_found(id_or_name))?;
    if !node.is_active() {
        return Err(revoked(&node));
    }
    if tx.quarantine_node(&node.id, None).await? {
        tx.record(at, actor, "node.readmitted", node.name.as_str(), &format!("{} {}", node.role, node.id)).await?;
    }
    let node = tx.node(&node.id).await?.ok_or_else(|| not_found(id_or_name))?;
    tx.commit().await?;
    planned_or_stopped(plan::run_once(controller).await?, &node.id, "readmitted", "gives it its peers back")?;
    Ok(node)
}

async fn mark(controller: &Controller, actor: &Actor, id_or_name: &str, kind: Kind) -> Result<NodeId, ApiProblem> {
    let at = now();
    let mut tx = controller.store.write().await?;
    let node = tx.node_called(id_or_name).await?.ok_or_else(|| not_found(id_or_name))?;
    let (action, changed) = match kind {
        Kind::Revoke => ("node.revoked", tx.revoke_node(&node.id, at).await?),
        Kind::Quarantine if !node.is_active() => return Err(revoked(&node)),
        Kind::Quarantine => ("node.quarantined", node.is_meshed() && tx.quarantine_node(&node.id, Some(at)).await?),
    };
    if changed {
        let detail = format!("{} {}", node.role, node.id);
        tx.record(at, actor, action, node.name.as_str(), &detail).await?;
    }
    tx.commit().await?;
    Ok(node.id)
}

/// A plan that was stopped is a problem: the change is stored and its peers do not know.
pub(crate) fn planned_or_stopped(planned: Planned, id: &NodeId, what: &str, does: &str) -> Result<(), ApiProblem> {
    let Planned::Stopped(errors) = planned else { return Ok(()) };
    let detail = format!("host {id} is {what}, but the plan that {does} was stopped: {}", errors.join("; "));
    Err(ApiProblem::new(ProblemKind::Unavailable, detail))
}

/// What is said of a host that is not there.
pub(crate) fn not_found(id_or_name: &str) -> ApiProblem {
    let detail = format!("there is no host with the id or name {}", id_or_name.escape_debug());
    ApiProblem::new(ProblemKind::NotFound, detail)
}

/// What is said to an operator of a host that is revoked.
pub(crate) fn revoked(node: &Node) -> ApiProblem {
    let detail = format!("host {} is revoked, and stays so: enrol it anew", node.name);
    ApiProblem::new(ProblemKind::Conflict, detail)
}

/// A cut on its way into force: one step after the other, the receipt last.
pub(crate) struct Following {
    controller: Arc<Controller>,
    node: Node,
    generation: Generation,
    hosts: Vec<Node>,
    started: Instant,
    until: tokio::time::Instant,
    arrivals: watch::Receiver<()>,
    receipts: BTreeMap<NodeName, HostReceipt>,
    steps: VecDeque<CutStep>,
    is_over: bool,
}

impl Following {
    fn new(
        controller: Arc<Controller>,
        node: Node,
        generation: Generation,
        hosts: Vec<Node>,
        started: Instant,
        wait: Duration,
    ) -> Self {
        let planned = CutStep::Planned { hosts: hosts.iter().map(|host| host.name.clone()).collect() };
        Self {
            arrivals: controller.reports.arrivals(),
            controller,
            node,
            generation,
            hosts,
            started,
            until: tokio::time::Instant::now() + wait,
            receipts: BTreeMap::new(),
            steps: VecDeque::from([planned]),
            is_over: false,
        }
    }

    /// The next step; `None` after the receipt.
    pub(crate) async fn next(&mut self) -> Option<CutStep> {
        while self.steps.is_empty() && !self.is_over {
            self.look(now());
            if self.receipts.len() == self.hosts.len() {
                self.end();
            } else if self.steps.is_empty() {
                tokio::select! {
                    _ = self.arrivals.changed() => {}
                    () = sleep_until(self.until) => self.end(),
                    () = self.controller.stopped() => self.end(),
                }
            }
        }
        self.steps.pop_front()
    }

    /// The receipt, once all hosts have confirmed or the wait is over.
    pub(crate) async fn receipt(mut self) -> RevokeReceipt {
        while self.next().await.is_some() {}
        self.so_far()
    }

    /// Which hosts read back exactly what is wanted of them since the cut. A number alone proves nothing: hosts may hold a
    /// plan that a restored database has never seen.
    fn look(&mut self, now: Timestamp) {
        for host in &self.hosts {
            if self.receipts.contains_key(&host.name) || lag(&self.controller, &host.id, now).is_some() {
                continue;
            }
            let Some(report) = self.controller.reports.get(&host.id) else { continue };
            let after = report.at.saturating_duration_since(self.started).as_millis();
            let after_ms = u64::try_from(after).unwrap_or(u64::MAX);
            let receipt = HostReceipt { name: host.name.clone(), after_ms };
            self.steps.push_back(CutStep::Confirmed { host: receipt.clone() });
            self.receipts.insert(host.name.clone(), receipt);
        }
    }

    fn end(&mut self) {
        self.is_over = true;
        self.steps.push_back(CutStep::Done { receipt: Box::new(self.so_far()) });
    }

    fn so_far(&self) -> RevokeReceipt {
        let names = self.hosts.iter().map(|host| host.name.clone());
        RevokeReceipt {
            node: self.node.clone(),
            generation: self.generation,
            in_force: self.receipts.values().cloned().collect(),
            missing: names.filter(|name| !self.receipts.contains_key(name)).collect(),
        }
    }
}

//! Leases at work: a host that is heard renews its own, and one that leaves or is not heard for a whole lease is cut as a
//! revoke cuts. What may end is decided in `picket-plan`, which leases are over in the database.

use crate::{
    api::ApiProblem,
    controller::Controller,
    now,
    revoke::planned_or_stopped,
    store::{Actor, Ended, StoreError},
    tasks::plan::{self, Planned},
};
use picket_api::ProblemKind;
use picket_model::{Lease, Node, NodeId, Timestamp};
use picket_plan::{Finding, LeaseRules};
use std::{
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Rules and what the last sweep had to say.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    /// The rules.
    pub(crate) rules: LeaseRules,
    held: Mutex<Vec<Finding>>,
}

impl Leases {
    /// With the configured rules.
    pub(crate) fn new(rules: LeaseRules) -> Self {
        Self { rules, held: Mutex::default() }
    }

    /// Leases that are over and do not end.
    pub(crate) fn held(&self) -> MutexGuard<'_, Vec<Finding>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lease of a host that joins now. What its token says goes before the role; zero there is none.
    pub(crate) fn granted(&self, node: &Node, by_token: Option<Duration>, now: Timestamp) -> Lease {
        let length =
            by_token.map_or_else(|| self.rules.length(node.role), |length| (!length.is_zero()).then_some(length));
        Lease::granted(length, now)
    }
}

/// Renews a host's lease, where that is to be written down; an error where it ended a moment before. A database that
/// cannot write keeps nobody from asking, unless the lease is over.
pub(crate) async fn heard(
    controller: &Controller,
    node: &Node,
    lease: &Lease,
    from: IpAddr,
    now: Timestamp,
) -> Result<(), ApiProblem> {
    if !lease.is_renewal_due(now) {
        return Ok(());
    }
    match Box::pin(renew(controller, &node.id, from, now)).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(ApiProblem::new(ProblemKind::NodeRevoked, format!("host {} has been revoked", node.name))),
        Err(error) if lease.is_over(now) => Err(error.into()),
        Err(error) => {
            tracing::warn!(node = %node.name, error = &error as &dyn std::error::Error, "a lease was not renewed");
            Ok(())
        }
    }
}

async fn renew(controller: &Controller, id: &NodeId, from: IpAddr, now: Timestamp) -> Result<bool, StoreError> {
    let mut tx = controller.store.write().await?;
    let renewed = tx.renew_lease(id, from, now).await?;
    tx.commit().await?;
    Ok(renewed)
}

/// Takes a host out of the mesh by its own word; returns once its peers are told. Its name is free again.
pub(crate) async fn leave(controller: &Controller, node: &Node, from: IpAddr) -> Result<(), ApiProblem> {
    let at = now();
    let mut tx = controller.store.write().await?;
    if tx.revoke_node(&node.id, at).await? {
        tx.note_end(&node.id, Ended::Left).await?;
        tx.unbind_identity(&node.id).await?;
        let detail = format!("{} {} from {from}", node.role, node.id);
        tx.record(at, &Actor::Node(node.id.clone()), "node.left", node.name.as_str(), &detail).await?;
    }
    tx.commit().await?;
    let planned = cut(controller, std::slice::from_ref(&node.id)).await?;
    planned_or_stopped(planned, &node.id, "no member any more", "takes it from its peers")
}

/// Cuts hosts that are marked as revoked: their peers first, then they themselves.
pub(crate) async fn cut(controller: &Controller, hosts: &[NodeId]) -> Result<Planned, StoreError> {
    let planned = plan::run_once(controller).await;
    for id in hosts {
        controller.wanted.revoke(id);
        let closed = controller.connections.close_node(id);
        tracing::info!(node = %id, closed, "host cut");
    }
    planned
}

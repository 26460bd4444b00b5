//! Cloned images: a host that comes with what another one has already. The copy is refused, and both are flagged, since
//! nobody can tell which of the two is the original.

use crate::{
    api::ApiProblem,
    controller::Controller,
    now,
    store::{Actor, ClonedHost, Enrolled, StoreError, Transaction},
};
use picket_api::{EnrollRequest, Problem, ProblemKind};
use picket_model::{Node, NodeId, NodeName, Timestamp};
use picket_plan::{Finding, FindingKind};
use std::net::IpAddr;

/// Whether this request comes from a copy of a member: with a key of it, or its machine id, from elsewhere. `holders` have one
/// of the keys.
pub(crate) async fn of(
    controller: &Controller,
    tx: &mut Transaction,
    holders: &[Enrolled],
    request: &EnrollRequest,
    from: IpAddr,
    now: Timestamp,
) -> Result<Option<ClonedHost>, StoreError> {
    let copy = |node: &NodeId, original: &NodeName, what: &str| ClonedHost {
        node: node.clone(),
        original: original.clone(),
        what: what.to_owned(),
        name: request.name.to_string(),
        address: from,
        at: now,
    };
    for holder in holders.iter().map(|holder| &holder.node).filter(|node| node.is_active()) {
        let other_machine = match (&holder.machine_id, &request.machine_id) {
            (Some(theirs), Some(this)) => theirs != this,
            _ => false,
        };
        // A host that has been at work does not enrol once more, from somewhere else.
        let elsewhere = tx.seen_from(&holder.id).await?.is_some_and(|seen| seen != from);
        if other_machine || elsewhere && controller.reports.get(&holder.id).is_some() {
            return Ok(Some(copy(&holder.id, &holder.name, "keys")));
        }
    }
    if let (Some(machine_id), []) = (&request.machine_id, holders) {
        let members = tx.members_on_machine(machine_id).await?;
        let elsewhere = members.iter().find(|member| member.seen_from.is_some_and(|seen| seen != from));
        return Ok(elsewhere.map(|member| copy(&member.node, &member.name, "machine id")));
    }
    Ok(None)
}

/// Flags both, and says what the copy is told. The change is the caller's to commit.
pub(crate) async fn flag(tx: &mut Transaction, clone: &ClonedHost) -> Result<Problem, StoreError> {
    if tx.flag_clone(clone).await? {
        tx.record(clone.at, &Actor::Stranger(clone.address), "node.cloned", clone.original.as_str(), &text(clone))
            .await?;
    }
    let original = &clone.original;
    Ok(if clone.what == "keys" {
        let detail = format!(
            "host {original} has one of these keys and is elsewhere: a cloned image? make new keys, every host has its own, \
             and have an operator look at {original}"
        );
        Problem::new(ProblemKind::KeyTaken, detail)
    } else {
        let detail = format!(
            "host {original} has this machine id and is elsewhere: a cloned image? empty /etc/machine-id in the image, so that \
             each host gets its own at first boot, or revoke {original}, if this is the same machine in another place"
        );
        Problem::new(ProblemKind::MachineTaken, detail)
    })
}

/// What is wrong with hosts that were copied.
pub(crate) fn findings(clones: &[ClonedHost]) -> Vec<Finding> {
    clones.iter().map(|clone| Finding::warning(FindingKind::HostCloned, &clone.original, text(clone))).collect()
}

/// An operator has looked: the flag goes.
pub(crate) async fn clear(controller: &Controller, actor: &Actor, id_or_name: &str) -> Result<Node, ApiProblem> {
    let mut tx = controller.store.write().await?;
    let node = tx.node_called(id_or_name).await?.ok_or_else(|| {
        let detail = format!("there is no host with the id or name {}", id_or_name.escape_debug());
        ApiProblem::new(ProblemKind::NotFound, detail)
    })?;
    if !tx.clear_clone(&node.id).await? {
        return Err(ApiProblem::new(ProblemKind::Conflict, format!("host {} is not flagged", node.name)));
    }
    tx.record(now(), actor, "node.cleared", node.name.as_str(), node.id.as_str()).await?;
    tx.commit().await?;
    Ok(node)
}

fn text(clone: &ClonedHost) -> String {
    let ClonedHost { original, what, name, address, at, .. } = clone;
    format!(
        "host {original} and one that calls itself {name}, at {address}, have the same {what}: one is a copy, and the latter \
         was refused at {at}; look at both, then `picket nodes clear {original}` or `picket revoke {original}`"
    )
}

//! A key for a machine that runs no agent: entered as a host, planned like any, and answered with the tunnels it is to have.
//! The private half is made by whoever asks and never gets here.

use crate::{
    api::ApiProblem,
    controller::Controller,
    enroll::check_endpoint,
    now,
    start::new_id,
    store::Actor,
    tasks::plan::{self, Planned},
};
use picket_api::{
    ProblemKind,
    keys::{IssueKey, KeyIssued},
};
use picket_model::{IdError, Node, NodeId, NodeRole, NodeState, TokenId};

/// Enters the host and answers with its tunnels as they are planned now.
pub(crate) async fn issue(
    controller: &Controller,
    actor: &Actor,
    operator: &TokenId,
    request: IssueKey,
) -> Result<KeyIssued, ApiProblem> {
    let refused = |kind, detail: String| ApiProblem::new(kind, detail);
    if request.role == NodeRole::Sentry && request.endpoint.is_none() {
        let detail = "a sentry is dialled: name its endpoint, IP:PORT".to_owned();
        return Err(refused(ProblemKind::BadRequest, detail));
    }
    if request.endpoint.is_some_and(|endpoint| endpoint.ip().is_unspecified()) {
        let detail =
            "the endpoint names no address, and nobody sees from where this machine comes: name its own, IP:PORT";
        return Err(refused(ProblemKind::BadRequest, detail.to_owned()));
    }
    let at = now();
    let id: NodeId = new_id().parse().map_err(|error: IdError| ApiProblem::internal("make a node id", &error))?;
    let mut tx = controller.store.write().await?;
    let policy = tx.policy().await?.unwrap_or_default().1;
    check_endpoint(request.endpoint, &policy.ports)?;
    // No certificate is ever made for it: this is the digest of no key.
    let tls_key_sha256 = format!("issued {id}");
    if let Some(holder) = tx.nodes_with_key(&request.wireguard_key, &tls_key_sha256).await?.first() {
        let detail = format!("host {} has this key: make another one", holder.node.name);
        return Err(refused(ProblemKind::KeyTaken, detail));
    }
    let replaced = match tx.node_called(request.name.as_str()).await?.filter(Node::is_active) {
        Some(holder) if holder.issued && request.replace => {
            tx.revoke_node(&holder.id, at).await?;
            let detail = format!("{} {}, replaced by a new key", holder.role, holder.id);
            tx.record(at, actor, "node.revoked", holder.name.as_str(), &detail).await?;
            Some(holder.id)
        }
        Some(holder) => return Err(refused(ProblemKind::NameTaken, taken_by(&holder))),
        None => None,
    };
    let overlay = tx.free_addresses(&controller.overlay, &id).await?;
    let overlay = overlay.map_err(|error| refused(ProblemKind::Unavailable, error.to_string()))?;
    let node = Node {
        id,
        name: request.name,
        role: request.role,
        wireguard_key: request.wireguard_key,
        identity_key: None,
        tls_key_sha256,
        overlay,
        endpoint: request.endpoint,
        machine_id: None,
        issued: true,
        pool: None,
        enrolled_at: at,
        state: NodeState::Active,
    };
    tx.insert_node(&node, operator).await?;
    let detail = format!("{} {}, overlay {} and {}, no agent", node.role, node.id, overlay.v4, overlay.v6);
    tx.record(at, actor, "key.issued", node.name.as_str(), &detail).await?;
    tx.commit().await?;
    if let Some(replaced) = &replaced {
        controller.wanted.revoke(replaced);
    }
    if let Planned::Stopped(errors) = plan::run_once(controller).await? {
        let detail = format!("{} is entered, but the plan with it was stopped: {}", node.name, errors.join("; "));
        return Err(refused(ProblemKind::Unavailable, detail));
    }
    let target = controller.wanted.target();
    let planned = target.as_ref().and_then(|target| target.plan.nodes.get(&node.id));
    let wireguard = planned.map(|config| config.wireguard.clone());
    let wireguard = wireguard
        .ok_or_else(|| refused(ProblemKind::Unavailable, format!("{} is entered and not planned yet", node.name)))?;
    Ok(KeyIssued { node, wireguard })
}

fn taken_by(holder: &Node) -> String {
    let name = &holder.name;
    if holder.issued {
        return format!(
            "{name} has a key already: where its private key or the answer that named it was lost, replace it (`--replace`), \
             which revokes that one; else choose another name"
        );
    }
    format!("another host is called {name}: choose another name, or revoke that host")
}

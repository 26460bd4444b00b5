//! Proofs for those who look at them themselves: a host asks for its peer's, and brings a newer one of its own. Nothing is
//! decided here that a host would have to believe.

use super::credential::identify;
use crate::{api::ApiProblem, controller::Controller};
use picket_api::{ProblemKind, Proof, node::PeerProof};
use picket_model::{Node, NodeId, Timestamp};

/// The proof with which a peer of `asker` came in.
pub(crate) async fn of_peer(controller: &Controller, asker: &Node, peer: &str) -> Result<PeerProof, ApiProblem> {
    let no_peer = || {
        let detail = format!("host {} has no peer {}", asker.name, peer.escape_debug());
        ApiProblem::new(ProblemKind::NotFound, detail)
    };
    let peer: NodeId = peer.parse().map_err(|_| no_peer())?;
    let target = controller.wanted.target();
    let config = target.as_ref().and_then(|target| target.plan.nodes.get(&asker.id));
    if !config.is_some_and(|config| config.wireguard.peers.values().any(|known| known.node == peer)) {
        return Err(no_peer());
    }
    let mut tx = controller.store.read().await?;
    let (node, proof) = (tx.node(&peer).await?, tx.proofs_of(&peer).await?);
    match (node, proof) {
        (Some(node), Some((proof, next))) => Ok(PeerProof { proof, next, tls_key_sha256: node.tls_key_sha256 }),
        _ => Err(ApiProblem::new(
            ProblemKind::NotFound,
            format!("host {peer} came in with a join token, without a proof"),
        )),
    }
}

/// Takes a newer proof of a host's own, so that peers that come later have one whose keys its issuer still shows. It must be of
/// the identity that the host came in with.
pub(crate) async fn renew(
    controller: &Controller,
    node: &Node,
    proof: &Proof,
    now: Timestamp,
) -> Result<(), ApiProblem> {
    // For the key that it is about to use, where it has announced one.
    let next = controller.store.read().await?.next_keys().await?.remove(&node.id);
    let of = async |key| identify(controller, proof, key, &node.tls_key_sha256, now).await;
    let for_next = match &next {
        Some(next) => of(next).await.ok(),
        None => None,
    };
    let is_next = for_next.is_some();
    let (id, _) = match for_next {
        Some(identified) => identified,
        None => of(&node.wireguard_key).await?,
    };
    let mut tx = controller.store.write().await?;
    match tx.identity_of(&node.id).await? {
        Some(known) if known.id == id && known.forbidden_at.is_none() => {}
        _ => {
            let detail = format!("host {} did not come in as {id}", node.name);
            return Err(ApiProblem::new(ProblemKind::IdentityBound, detail));
        }
    }
    tx.renew_proof(&id, proof, is_next).await?;
    tx.commit().await?;
    tracing::debug!(node = %node.name, identity = %id, "newer proof");
    Ok(())
}

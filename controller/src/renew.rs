//! A new certificate for a host that is a member, on proof that it holds the key it enrolled with.

use crate::{
    api::ApiProblem,
    controller::Controller,
    store::{Standing, StoreError},
};
use picket_api::{
    ProblemKind,
    node::{RenewRequest, RenewResponse},
};
use picket_model::{Node, Timestamp};
use picket_pki::{NodeIdentity, RequestError, request_key_sha256};

/// What becomes of a request by whoever holds a host's key.
pub(crate) enum Renewed {
    /// The next certificate.
    Certificate(RenewResponse),
    /// Nothing: the host has been revoked.
    Revoked(Box<Node>),
}

/// Signs a host's next certificate, or says why not. Whoever does not hold the host's key learns nothing about it.
pub(crate) async fn renew(
    controller: &Controller,
    request: RenewRequest,
    now: Timestamp,
) -> Result<Renewed, ApiProblem> {
    let unreadable = |error: RequestError| ApiProblem::new(ProblemKind::BadRequest, error.to_string());
    let key = request_key_sha256(&request.csr_pem).map_err(unreadable)?;
    let node = controller.store.read().await?.node(&request.node).await?;
    let Some(node) = node.filter(|node| node.tls_key_sha256 == key) else {
        let detail = "no host of this id has this key: enrol this host, with a join token";
        return Err(ApiProblem::new(ProblemKind::Unauthorized, detail));
    };
    if !node.is_active() {
        return Ok(Renewed::Revoked(Box::new(node)));
    }
    let signed = controller.ca.sign_node(&request.csr_pem, &node.id, now, controller.keys.certificate());
    let certificate = signed.map_err(|error| ApiProblem::internal("sign a host's certificate", &error))?;
    let mut tx = controller.store.write().await?;
    tx.enter_certificate(&node.id, &certificate.serial).await?;
    tx.commit().await?;
    tracing::info!(node = %node.name, serial = certificate.serial, until = %certificate.not_after, "certificate renewed");
    let (certificate_pem, not_after) = (certificate.pem, certificate.not_after);
    Ok(Renewed::Certificate(RenewResponse { certificate_pem, not_after }))
}

/// Refuses a certificate that its host has replaced. One that is seen for the first time replaces those before it: the host has
/// the answer, and a connection that shows an older one is closed.
pub(crate) async fn shown(
    controller: &Controller,
    node: &Node,
    identity: &NodeIdentity,
    standing: Standing,
) -> Result<(), ApiProblem> {
    match standing {
        Standing::Good => return Ok(()),
        Standing::Replaced => {
            let detail = "this host has used a newer certificate since: show that one, or renew this one";
            return Err(ApiProblem::new(ProblemKind::Unauthorized, detail));
        }
        Standing::New => {}
    }
    let replace = async || -> Result<_, StoreError> {
        let mut tx = controller.store.write().await?;
        let good = tx.use_certificate(&node.id, &identity.serial).await?;
        tx.commit().await?;
        Ok(good)
    };
    match Box::pin(replace()).await {
        Ok(good) => {
            let closed = controller.connections.close_replaced(&node.id, &good);
            tracing::debug!(node = %node.name, serial = identity.serial, closed, "a host uses its next certificate");
        }
        // What it shows is good, and the next request tries again.
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(node = %node.name, error, "the certificate before this one is not refused yet");
        }
    }
    Ok(())
}

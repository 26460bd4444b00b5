//! A host joins: token, keys and name are checked and entered in one transaction, the plan is committed and the other
//! side woken, and only then is the host answered. Idempotent on token and keys.

use crate::{
    api::ApiProblem,
    controller::Controller,
    start::new_id,
    store::{Actor, Enrolled, StoreError, Token, Transaction},
    tasks::plan,
};
use picket_api::{EnrollRequest, EnrollResponse, Problem, ProblemKind, Proof};
use picket_model::{IdError, Node, NodeId, NodeState, Ports, Timestamp, TokenId};
use picket_pki::{CaError, JoinToken, SignedCertificate};
use picket_plan::overlay;
use std::net::{IpAddr, SocketAddr};

/// Longest machine id taken, in characters; systemd's has 32.
const LONGEST_MACHINE_ID: usize = 128;

/// Why a host did not join.
enum Refused {
    /// Its own fault, as it is told.
    Host(Problem),
    /// Ours.
    Ours(ApiProblem),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Ours(error.into())
    }
}

/// Lets a host in, or says why not. `from` is where it was seen from, in canonical form.
pub(crate) async fn enroll(
    controller: &Controller,
    request: EnrollRequest,
    from: IpAddr,
    now: Timestamp,
) -> Result<EnrollResponse, ApiProblem> {
    let Proof::JoinToken { token } = &request.proof;
    let token: JoinToken = token
        .parse()
        .map_err(|error: picket_pki::TokenError| ApiProblem::new(ProblemKind::BadRequest, error.to_string()))?;
    let admitted = admit(controller, &request, &token, from, now).await;
    controller.counts.enrolled(admitted.is_ok());
    let (node, certificate) = match admitted {
        Ok(admitted) => admitted,
        Err(Refused::Ours(problem)) => return Err(problem),
        Err(Refused::Host(problem)) => {
            note(controller, &token.id, from, &problem, now).await?;
            return Err(problem.into());
        }
    };
    // A plan that is stopped shows as an alarm; the host is a member and waits for its first content.
    plan::run_once(controller).await?;
    Ok(EnrollResponse {
        mesh: controller.mesh.clone(),
        node: node.id,
        overlay: node.overlay,
        certificate_pem: certificate.pem,
        not_after: certificate.not_after,
        ca_pem: controller.ca.certificate_pem().to_owned(),
    })
}

async fn admit(
    controller: &Controller,
    request: &EnrollRequest,
    token: &JoinToken,
    from: IpAddr,
    now: Timestamp,
) -> Result<(Node, SignedCertificate), Refused> {
    // Strangers must not queue for the one place of a writer: they end here.
    proven(&mut controller.store.read().await?, token).await?;
    let mut tx = controller.store.write().await?;
    let known = proven(&mut tx, token).await?;
    if known.role != request.role {
        let detail = format!("this join token is for a {}, not for a {}", known.role, request.role);
        return Err(no(ProblemKind::TokenRole, detail));
    }
    let policy = tx.policy().await?.unwrap_or_default().1;
    check(request, &policy.ports)?;
    let id: NodeId =
        new_id().parse().map_err(|error: IdError| Refused::Ours(ApiProblem::internal("make a node id", &error)))?;
    let certificate = sign(controller, request, &id, now)?;
    let holders = tx.nodes_with_key(&request.wireguard_key, &certificate.key_sha256).await?;
    if let [holder] = holders.as_slice()
        && is_repeated(holder, request, &known, &certificate.key_sha256)
    {
        let node = repeat(&mut tx, &holder.node, request, from, now).await?;
        tx.commit().await?;
        let certificate = sign(controller, request, &node.id, now)?;
        return Ok((node, certificate));
    }
    if now > known.expires_at {
        return Err(no(ProblemKind::TokenExpired, format!("this join token's time was over at {}", known.expires_at)));
    }
    if !tx.use_token(&known.id).await? {
        let detail = format!("this join token has been used {} times, as often as it may", known.uses);
        return Err(no(ProblemKind::TokenUsed, detail));
    }
    if let Some(holder) = holders.first() {
        return Err(key_taken(&holder.node));
    }
    check_name(&mut tx, request, None).await?;
    let taken = tx.overlay_addresses_taken().await?;
    let overlay = overlay::allocate(&controller.overlay, &id, &taken)
        .map_err(|error| no(ProblemKind::Unavailable, error.to_string()))?;
    let node = Node {
        id,
        name: request.name.clone(),
        role: request.role,
        wireguard_key: request.wireguard_key,
        identity_key: request.identity_key,
        tls_key_sha256: certificate.key_sha256.clone(),
        overlay,
        endpoint: seen(request.endpoint, from),
        issued: false,
        machine_id: request.machine_id.clone(),
        enrolled_at: now,
        state: NodeState::Active,
    };
    tx.insert_node(&node, &known.id).await?;
    let detail = format!(
        "{} {} from {from} with token {}, overlay {} and {}, certificate {}",
        node.role, node.name, known.id, node.overlay.v4, node.overlay.v6, certificate.serial
    );
    tx.record(now, &Actor::Node(node.id.clone()), "node.enrolled", node.name.as_str(), &detail).await?;
    tx.commit().await?;
    tracing::info!(node = %node.name, id = %node.id, role = %node.role, %from, token = %known.id, "host enrolled");
    Ok((node, certificate))
}

/// The token as kept, if whoever sent it knows its secret.
async fn proven(tx: &mut Transaction, token: &JoinToken) -> Result<Token, Refused> {
    let known = tx.token(&token.id).await?.filter(|known| known.secret_hash == token.secret_hash());
    known.ok_or_else(|| no(ProblemKind::TokenUnknown, "this join token is not known here"))
}

/// What can be wrong with a request whatever other hosts there are.
fn check(request: &EnrollRequest, guarded: &Ports) -> Result<(), Refused> {
    check_endpoint(request.endpoint, guarded).map_err(Refused::Host)?;
    if request.machine_id.as_ref().is_some_and(|id| id.is_empty() || id.chars().count() > LONGEST_MACHINE_ID) {
        return Err(no(ProblemKind::BadRequest, format!("the machine id is not 1 to {LONGEST_MACHINE_ID} characters")));
    }
    Ok(())
}

/// A tunnel must listen on a port, and on none that the firewall would close.
pub(crate) fn check_endpoint(endpoint: Option<SocketAddr>, guarded: &Ports) -> Result<(), Problem> {
    let no = |kind, detail: String| Problem::new(kind, detail);
    if let Some(port) = endpoint.map(|endpoint| endpoint.port()) {
        if port == 0 {
            let detail = "the endpoint has port 0: name the port the tunnel listens on".to_owned();
            return Err(no(ProblemKind::BadRequest, detail));
        }
        if guarded.p2p.iter().chain(&guarded.rpc).any(|guarded| guarded.get() == port) {
            let detail = format!(
                "the endpoint has port {port}, which the policy guards: the firewall would close the tunnel to hosts that \
                 dial it; name another port, as 51820"
            );
            return Err(no(ProblemKind::BadRequest, detail));
        }
    }
    Ok(())
}

fn sign(
    controller: &Controller,
    request: &EnrollRequest,
    node: &NodeId,
    now: Timestamp,
) -> Result<SignedCertificate, Refused> {
    controller.ca.sign_node(&request.csr_pem, node, now, controller.keys.certificate()).map_err(|error| match error {
        CaError::Request(error) => no(ProblemKind::BadRequest, error.to_string()),
        error => Refused::Ours(ApiProblem::internal("sign a host's certificate", &error)),
    })
}

/// Whether the request is one that was granted before and whose answer may have been lost. A second machine with a copy
/// of the keys is not that.
fn is_repeated(holder: &Enrolled, request: &EnrollRequest, token: &Token, tls_key_sha256: &str) -> bool {
    let node = &holder.node;
    holder.token == token.id
        && node.is_active()
        && node.wireguard_key == request.wireguard_key
        && node.identity_key == request.identity_key
        && node.tls_key_sha256 == tls_key_sha256
        && node.machine_id == request.machine_id
}

/// The same host again, which may have another name or endpoint by now.
async fn repeat(
    tx: &mut Transaction,
    before: &Node,
    request: &EnrollRequest,
    from: IpAddr,
    now: Timestamp,
) -> Result<Node, Refused> {
    let node = Node { name: request.name.clone(), endpoint: seen(request.endpoint, from), ..before.clone() };
    if node != *before {
        check_name(tx, request, Some(&node.id)).await?;
        tx.rename_node(&node).await?;
        let endpoint = node.endpoint.map_or_else(|| "none".to_owned(), |endpoint| endpoint.to_string());
        let detail = format!("{} before, endpoint now {endpoint}", before.name);
        tx.record(now, &Actor::Node(node.id.clone()), "node.changed", node.name.as_str(), &detail).await?;
    }
    Ok(node)
}

async fn check_name(tx: &mut Transaction, request: &EnrollRequest, own: Option<&NodeId>) -> Result<(), Refused> {
    let holder = tx.node_called(request.name.as_str()).await?;
    match holder.filter(|holder| holder.is_active() && Some(&holder.id) != own) {
        None => Ok(()),
        Some(_) => {
            let detail = format!("another host is called {}: choose another name, or revoke that host", request.name);
            Err(no(ProblemKind::NameTaken, detail))
        }
    }
}

fn key_taken(holder: &Node) -> Refused {
    let state = if holder.is_active() { "" } else { ", which was revoked," };
    let detail = format!("host {}{state} has one of these keys: make new keys, every host has its own", holder.name);
    no(ProblemKind::KeyTaken, detail)
}

/// An endpoint with an unspecified address means the address the host was seen from.
fn seen(endpoint: Option<SocketAddr>, from: IpAddr) -> Option<SocketAddr> {
    let endpoint = endpoint?;
    Some(if endpoint.ip().is_unspecified() { SocketAddr::new(from, endpoint.port()) } else { endpoint })
}

/// Writes a refusal down: the token's id and never its secret, and not more of them than a log can bear.
async fn note(
    controller: &Controller,
    token: &TokenId,
    from: IpAddr,
    problem: &Problem,
    now: Timestamp,
) -> Result<(), StoreError> {
    if !controller.may_log_refusal(now) {
        return Ok(());
    }
    tracing::warn!(%token, %from, reason = problem.detail, "a host was not let in");
    let mut tx = controller.store.write().await?;
    tx.record(now, &Actor::Stranger(from), "enroll.refused", token.as_str(), &problem.detail).await?;
    tx.commit().await
}

fn no(kind: ProblemKind, detail: impl Into<String>) -> Refused {
    Refused::Host(Problem::new(kind, detail))
}

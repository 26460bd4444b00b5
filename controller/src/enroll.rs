//! A host joins: credential, keys and name are checked and entered in one transaction, the plan is committed and the other
//! side woken, and only then is the host answered. Idempotent on credential and keys. What a credential is worth is told in
//! `proofs`.

use crate::{
    api::{ApiProblem, source},
    clones,
    controller::Controller,
    metrics::Change,
    proofs::{Credential, Entry, Known, Worthless},
    start::new_id,
    store::{Actor, Enrolled, StoreError, Transaction},
    tasks::{plan, progress},
};
use picket_api::{EnrollRequest, EnrollResponse, Problem, ProblemKind};
use picket_model::{IdError, Node, NodeId, NodeState, Ports, Timestamp};
use picket_pki::{CaError, SignedCertificate};
use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

/// Longest machine id taken, in characters; systemd's has 32.
const LONGEST_MACHINE_ID: usize = 128;

/// Why a host did not join.
enum Refused {
    /// Its own fault, as it is told.
    Host(Problem),
    /// Ours.
    Ours(ApiProblem),
}

impl From<Worthless> for Refused {
    fn from(error: Worthless) -> Self {
        match error {
            Worthless::Host(problem) => Self::Host(problem),
            Worthless::Ours(error) => error.into(),
        }
    }
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
    let began = Instant::now();
    let credential = match Credential::read(controller, &request, now).await {
        Ok(credential) => credential,
        // What cannot be read names nobody, and leaves no line behind.
        Err(problem) if problem.kind == ProblemKind::BadRequest => return Err(problem.into()),
        Err(problem) => {
            controller.counts.enrolled(Some(problem.kind));
            note(controller, None, from, &problem, now).await?;
            return Err(problem.into());
        }
    };
    let admitted = admit(controller, &request, &credential, from, now).await;
    let (node, certificate) = match admitted {
        Ok(admitted) => admitted,
        Err(Refused::Ours(problem)) => {
            controller.counts.enrolled(Some(problem.0.kind));
            return Err(problem);
        }
        Err(Refused::Host(problem)) if problem.kind == ProblemKind::TooManyRequests => {
            controller.counts.enrolled(Some(problem.kind));
            return Err(problem.into());
        }
        Err(Refused::Host(problem)) => {
            controller.counts.enrolled(Some(problem.kind));
            note(controller, Some(&credential), from, &problem, now).await?;
            return Err(problem.into());
        }
    };
    controller.counts.enrolled(None);
    // A plan that is stopped shows as an alarm; the host is a member and waits for its first content.
    let planned = plan::run_once(controller).await?;
    progress::follow(controller, Change::Join, began, &planned);
    Ok(EnrollResponse {
        mesh: controller.mesh.clone(),
        node: node.id,
        overlay: node.overlay,
        certificate_pem: certificate.pem,
        not_after: certificate.not_after,
        ca_pem: controller.ca.certificate_pem(),
    })
}

async fn admit(
    controller: &Controller,
    request: &EnrollRequest,
    credential: &Credential,
    from: IpAddr,
    now: Timestamp,
) -> Result<(Node, SignedCertificate), Refused> {
    // Strangers must not queue for the one place of a writer: they end here.
    let known = credential.known(&mut controller.store.read().await?, request, from).await?;
    credential.fits(&known, controller, request, now)?;
    let turn = controller.joins.turn(source(from)).await;
    let _turn =
        turn.ok_or_else(|| no(ProblemKind::TooManyRequests, "many hosts join right now: try again in a moment"))?;
    let mut tx = controller.store.write().await?;
    let known = credential.known(&mut tx, request, from).await?;
    let policy = tx.policy().await?.unwrap_or_default().1;
    check(request, &policy.ports)?;
    let id: NodeId =
        new_id().parse().map_err(|error: IdError| Refused::Ours(ApiProblem::internal("make a node id", &error)))?;
    let certificate = sign(controller, request, &id, now)?;
    let holders = tx.nodes_with_key(&request.wireguard_key, &certificate.key_sha256).await?;
    if let Some(clone) = clones::of(controller, &mut tx, &holders, request, from, now).await? {
        let problem = clones::flag(&mut tx, &clone).await?;
        tx.commit().await?;
        return Err(Refused::Host(problem));
    }
    if let [holder] = holders.as_slice()
        && is_repeated(holder, request, &known, &certificate.key_sha256)
    {
        let node = repeat(&mut tx, &holder.node, request, from, now).await?;
        let certificate = sign(controller, request, &node.id, now)?;
        tx.enter_certificate(&node.id, &certificate.serial).await?;
        tx.commit().await?;
        return Ok((node, certificate));
    }
    let Entry { by, pool } = credential.spend(&known, &mut tx, controller, request, now).await?;
    if let Some(holder) = holders.first() {
        return Err(key_taken(&holder.node));
    }
    check_name(&mut tx, request, None).await?;
    let overlay = tx.free_addresses(&controller.overlay, &id).await?;
    let overlay = overlay.map_err(|error| no(ProblemKind::Unavailable, error.to_string()))?;
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
        pool,
        machine_id: request.machine_id.clone(),
        enrolled_at: now,
        state: NodeState::Active,
    };
    tx.insert_node(&node, &by).await?;
    tx.enter_certificate(&node.id, &certificate.serial).await?;
    credential.bind(&mut tx, &node.id, &request.proof, now).await?;
    tx.grant_lease(&node.id, &controller.leases.granted(&node, known.lease(), now), from).await?;
    let pool = node.pool.as_ref().map(|pool| format!(", pool {pool}")).unwrap_or_default();
    let detail = format!(
        "{} {} from {from} with {credential}{pool}, overlay {} and {}, certificate {}",
        node.role, node.name, node.overlay.v4, node.overlay.v6, certificate.serial
    );
    tx.record(now, &Actor::Node(node.id.clone()), "node.enrolled", node.name.as_str(), &detail).await?;
    tx.commit().await?;
    tracing::info!(node = %node.name, id = %node.id, role = %node.role, %from, %by, "host enrolled");
    Ok((node, certificate))
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
fn is_repeated(holder: &Enrolled, request: &EnrollRequest, known: &Known, tls_key_sha256: &str) -> bool {
    let node = &holder.node;
    known.let_in(holder)
        && node.is_active()
        && node.wireguard_key == request.wireguard_key
        && node.identity_key == request.identity_key
        && node.tls_key_sha256 == tls_key_sha256
        && node.machine_id == request.machine_id
        && node.role == request.role
        && (known.may_rename() || node.name == request.name)
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

/// Writes a refusal down: what may be known of the credential and never its secret, and not more of them than a log can
/// bear. An identity that is shown with other keys than it came in with, or though it is forbidden, has an action of its own.
async fn note(
    controller: &Controller,
    credential: Option<&Credential>,
    from: IpAddr,
    problem: &Problem,
    now: Timestamp,
) -> Result<(), StoreError> {
    let may_log = controller.may_log_refusal(now);
    let stolen = matches!(problem.kind, ProblemKind::IdentityBound | ProblemKind::IdentityForbidden);
    let stolen = credential.filter(|_| stolen);
    if !may_log && stolen.is_none() {
        return Ok(());
    }
    let subject = credential.map_or("proof", Credential::subject);
    let mut tx = controller.store.write().await?;
    // A good proof in wrong hands is counted each time, and no flood of other refusals hides the first of an hour.
    let is_news = match stolen {
        Some(credential) => credential.count_refusal(&mut tx, now).await?,
        None => false,
    };
    if may_log || is_news {
        tracing::warn!(credential = subject, %from, reason = problem.detail, "a host was not let in");
        let action = if stolen.is_some() { "identity.refused" } else { "enroll.refused" };
        tx.record(now, &Actor::Stranger(from), action, subject, &problem.detail).await?;
    }
    tx.commit().await
}

fn no(kind: ProblemKind, detail: impl Into<String>) -> Refused {
    Refused::Host(Problem::new(kind, detail))
}

//! Joining a mesh: keys made and on disk first, then one request over TLS that is pinned by the CA's fingerprint. A proof of
//! identity is asked for with these keys in its audience.

use crate::{
    cli::{EnrollOptions, Place, how_to_join},
    host,
    identity::{Identity, Keys},
    ledger::{Ledger, Standing},
    proof::{ProofKind, kept::Kept},
    release,
    state::StateDir,
    subscribe::{pause, retry_after},
};
use anyhow::{Context as _, Result, bail, ensure};
use picket_api::{AgentClient, ApiError, EnrollRequest, ProblemKind, Proof};
use picket_attest::{audience, keys_digest};
use picket_model::{NodeName, NodeRole};
use picket_pki::{Fingerprint, JoinToken, client_config};
use picket_progress::Progress;
use rustls::ClientConfig;
use secrecy::ExposeSecret as _;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

/// Where a sentry's tunnels are reached unless the operator says otherwise: at the address from which the controller
/// sees it, on WireGuard's usual port.
const SENTRY_ENDPOINT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 51820);

/// How long a controller is asked again that says too many ask.
const CROWDED: Duration = Duration::from_mins(2);

/// What the host shows, and the CA it trusts.
enum Credential {
    Token(JoinToken),
    Proof(ProofKind, Fingerprint),
}

impl Credential {
    fn of(options: &EnrollOptions) -> Result<Option<Self>> {
        Ok(match options.proof.chosen()? {
            Some((kind, ca)) => Some(Self::Proof(kind, ca)),
            None => options.token()?.map(Self::Token),
        })
    }

    const fn ca(&self) -> Fingerprint {
        match self {
            Self::Token(token) => token.ca,
            Self::Proof(_, ca) => *ca,
        }
    }
}

/// Joins the mesh the token or the CA's fingerprint is of, and says what came of it. Nothing but keys is written unless the
/// controller says yes.
pub async fn enroll(place: &Place, options: &EnrollOptions, role: NodeRole) -> Result<String> {
    let credential = Credential::of(options)?;
    for url in &options.controllers {
        ensure!(url.starts_with("https://"), "{url:?} is not a controller's URL: https://HOST:PORT");
    }
    let name = match &options.name {
        Some(name) => name.clone(),
        None => host::name()?,
    };
    let state = StateDir::new(&place.state_dir);
    let lock = state.lock();
    if let Some(identity) = Identity::load(&state)? {
        // Nothing is written, so the running agent may keep its lock.
        return already(&state, &identity, credential.as_ref().map(Credential::ca), &name, role);
    }
    let credential = credential.with_context(how_to_join)?;
    let _lock = lock?;

    let keys = Keys::load_or_make(&state)?;
    let tls = client_config(credential.ca(), None)?;
    let mut kept = None;
    let proof = match &credential {
        Credential::Token(token) => Proof::JoinToken { token: token.to_secret_string().expose_secret().to_owned() },
        Credential::Proof(kind, ca) => {
            let info = first(&options.controllers, &tls, async |client| client.enroll_info().await).await?;
            let digest = keys_digest(&keys.wireguard.public(), &keys.tls.public_key_sha256());
            let audience = audience(&info.mesh, &digest.context("name this host's keys")?);
            if options.proof.print_audience {
                return Ok(audience);
            }
            let _progress = Progress::begin("this host's proof of identity");
            let proof = options.proof.collect(*kind, *ca, &audience).await?;
            kept = Some(Kept::new(*kind, &options.proof, audience, host::now()));
            proof
        }
    };
    let request = EnrollRequest {
        proof,
        role,
        name,
        wireguard_key: keys.wireguard.public(),
        identity_key: keys.identity_public(),
        csr_pem: keys.tls.csr_pem()?,
        endpoint: options.endpoint.or((role == NodeRole::Sentry).then_some(SENTRY_ENDPOINT)),
        machine_id: host::machine_id(),
    };
    let response = first(&options.controllers, &tls, async |client| client.enroll(&request).await).await?;
    let identity = Identity {
        mesh: response.mesh,
        node: response.node,
        name: request.name,
        role,
        controllers: options.controllers.clone(),
        ca_fingerprint: credential.ca(),
        next_ca: None,
        former_cas: BTreeSet::new(),
        overlay: response.overlay,
        machine_id: request.machine_id,
    };
    Ledger::put_aside(&state, &identity.node)?;
    release::end(&state)?;
    Kept::put(kept.as_ref(), &state)?;
    identity.save(&state, &response.certificate_pem)?;
    Ok(format!(
        "enrolled {} as a {role} ({}) in mesh {}, overlay addresses {} and {}\nnext: picket-{role}-agent run",
        identity.name, identity.node, identity.mesh, identity.overlay.v4, identity.overlay.v6
    ))
}

/// The first controller that answers decides; one that is asked by too many at once is asked again after a while, as each of them
/// does.
async fn first<T>(
    controllers: &[String],
    tls: &ClientConfig,
    call: impl AsyncFn(AgentClient) -> Result<T, ApiError>,
) -> Result<T> {
    let (mut silent, progress) = (Vec::new(), Progress::begin("a controller"));
    for url in controllers {
        progress.now(format!("controller {url}"));
        let base = url.parse().with_context(|| format!("{url:?} is not a controller's URL: https://HOST:PORT"))?;
        let client = AgentClient::new(base, tls.clone())?;
        let mut answer = call(client.clone()).await;
        let until = Instant::now() + CROWDED;
        if matches!(&answer, Err(error) if error.kind() == Some(ProblemKind::TooManyRequests)) {
            progress.now(format!("controller {url}, which too many ask at once"));
        }
        while matches!(&answer, Err(error) if error.kind() == Some(ProblemKind::TooManyRequests))
            && Instant::now() < until
        {
            pause(retry_after()).await;
            answer = call(client.clone()).await;
        }
        match answer {
            Ok(answer) => return Ok(answer),
            Err(ApiError::Problem(problem)) => {
                bail!("the controller refused: {}{}", problem.detail, remedy(problem.kind))
            }
            Err(error) => silent.push(error.to_string()),
        }
    }
    bail!("no controller with the CA fingerprint that this host was given answered: {}", silent.join("; "))
}

/// What the operator does about a refusal, where that is the same every time.
fn remedy(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::TokenRole => "; make a token for this role, or enrol with the other role's agent",
        ProblemKind::TokenUnknown | ProblemKind::TokenExpired | ProblemKind::TokenUsed => "; make a new token",
        ProblemKind::NameTaken => "; give this host another name with --name",
        _ => "",
    }
}

/// A repeat of what was done is done; anything else would take the host out of its mesh.
fn already(
    state: &StateDir,
    identity: &Identity,
    ca: Option<Fingerprint>,
    name: &NodeName,
    role: NodeRole,
) -> Result<String> {
    let Identity { mesh, node, .. } = identity;
    let again = format!("stop its agent, remove {}, and enrol", state.path().display());
    if Ledger::load_of(state, identity)?.standing == Standing::Revoked {
        bail!("this host was revoked from mesh {mesh} (it was {}, {node}); to let it in again: {again}", identity.name);
    }
    let same = ca.is_none_or(|ca| identity.knew(ca)) && identity.name == *name && identity.role == role;
    if !same {
        bail!(
            "this host is enrolled already: {} {} ({node}) in mesh {mesh}; to change that: {again}",
            identity.role,
            identity.name
        );
    }
    Ok(format!("already enrolled: {role} {name} ({node}) in mesh {mesh}; nothing was changed"))
}

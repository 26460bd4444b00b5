//! Many agents played in one process: each has its own keys, certificate and connection, holds the long poll, and says at
//! once that what it is told is in force. No host is changed.

use crate::{LabError, mesh::Controller};
use anyhow::{Context as _, anyhow};
use futures_util::{StreamExt as _, stream};
use picket_api::{
    AgentClient, EnrollRequest, OperatorClient, Proof,
    operator::{CreateToken, CutStep, RevokeQuery},
};
use picket_model::{Digest, Generation, KernelView, NodeReport, NodeRole, ReconcilerStatus, WireGuardPublicKey};
use picket_pki::{ClientCertificate, Fingerprint, TlsKey, client_config, random};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::runtime::{Builder, Runtime};

/// Enrolments under way at once: below what the controller takes from one address.
const AT_ONCE: usize = 16;
/// Where the controller listens, seen from its own host.
const AGENTS: &str = "https://127.0.0.1:7443";
/// Longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// How the command line finds the controller.
#[derive(Deserialize)]
struct Context {
    url: String,
    ca_fingerprint: Fingerprint,
    token: String,
}

/// Played validators, on the controller's host.
pub(super) struct Crowd {
    runtime: Runtime,
    operator: OperatorClient,
    ca: Fingerprint,
}

/// One revoke: the times from the call.
pub(super) struct Cut {
    pub(super) first: Duration,
    pub(super) last: Duration,
}

impl Crowd {
    /// Enrols so many validators; returns when each is in force.
    pub(super) fn join(controller: &Controller, hosts: u16) -> anyhow::Result<Self> {
        // Threads that are started inside stay inside, and so do their sockets.
        let runtime =
            controller.host.inside(|| Builder::new_multi_thread().worker_threads(1).enable_all().build())??;
        let (ca, operator) = {
            let _inside = runtime.enter();
            operator_of(controller)?
        };
        let crowd = Self { runtime, operator, ca };
        let token = crowd.token(NodeRole::Prep, hosts.into())?;
        crowd.run(async move {
            let joining = (1..=hosts).map(|number| {
                let token = token.clone();
                async move {
                    let agent = enrol(ca, &token, NodeRole::Prep, &format!("prep-{number}")).await?;
                    tokio::spawn(play(agent));
                    anyhow::Ok(())
                }
            });
            let mut joining = stream::iter(joining).buffer_unordered(AT_ONCE);
            while let Some(joined) = joining.next().await {
                joined?;
            }
            anyhow::Ok(())
        })?;
        crowd.wait_in_force(controller)?;
        Ok(crowd)
    }

    /// Enrols a sentry, waits until every validator has it, revokes it.
    pub(super) fn revoke_one(&self, controller: &Controller, number: u8) -> anyhow::Result<Cut> {
        let token = self.token(NodeRole::Sentry, 1)?;
        let (ca, name) = (self.ca, format!("sentry-{number}"));
        self.run(async move {
            tokio::spawn(play(enrol(ca, &token, NodeRole::Sentry, &name).await?));
            anyhow::Ok(())
        })?;
        self.wait_in_force(controller)?;
        let (operator, name) = (self.operator.clone(), format!("sentry-{number}"));
        self.run(async move {
            let started = Instant::now();
            let query = RevokeQuery { wait_ms: Some(30_000) };
            let mut steps = operator.revoke_in_steps(&name, &query).await?;
            let mut first = None;
            while let Some(step) = steps.next().await? {
                match step {
                    CutStep::Planned { .. } => {}
                    CutStep::Confirmed { .. } => drop(first.get_or_insert(started.elapsed())),
                    CutStep::Done { receipt } => {
                        let missing = receipt.missing.len();
                        anyhow::ensure!(missing == 0, "{missing} hosts did not confirm");
                        let last = started.elapsed();
                        return Ok(Cut { first: first.context("nobody had to confirm")?, last });
                    }
                }
            }
            Err(anyhow!("no receipt came"))
        })
    }

    fn token(&self, role: NodeRole, uses: u32) -> anyhow::Result<String> {
        let operator = self.operator.clone();
        self.run(async move {
            let request = CreateToken::new(role, uses, 3600);
            Ok(operator.create_token(&request).await?.token)
        })
    }

    fn wait_in_force(&self, controller: &Controller) -> Result<(), LabError> {
        let waited = crate::wait_until("every played host to be in force", PATIENCE, || {
            let status = controller.status().map_err(|error| error.to_string())?;
            let (hosts, in_force) = (status.nodes, status.in_force);
            if hosts == in_force { Ok(()) } else { Err(format!("{in_force} of {hosts} are")) }
        });
        waited.map(drop)
    }

    /// Runs on the threads inside: a socket made on this one would be elsewhere.
    fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = anyhow::Result<T>> + Send + 'static,
    ) -> anyhow::Result<T> {
        let work = self.runtime.spawn(async move { tokio::time::timeout(PATIENCE * 3, work).await });
        self.runtime.block_on(work)?.context("the controller took too long")?
    }
}

/// The fingerprint of a controller's CA, and its operator's client. To be called where its sockets belong.
pub(super) fn operator_of(controller: &Controller) -> anyhow::Result<(Fingerprint, OperatorClient)> {
    let context: Context = toml::from_str(&std::fs::read_to_string(controller.context())?)?;
    let tls = client_config(context.ca_fingerprint, None)?;
    Ok((context.ca_fingerprint, OperatorClient::new(context.url.parse()?, context.token, tls)?))
}

/// How a played host asks for a seat.
pub(super) fn request(tls: &TlsKey, token: &str, role: NodeRole, name: &str) -> anyhow::Result<EnrollRequest> {
    Ok(EnrollRequest {
        proof: Proof::JoinToken { token: token.to_owned() },
        role,
        name: name.parse()?,
        wireguard_key: WireGuardPublicKey::new(random()?)?,
        identity_key: None,
        csr_pem: tls.csr_pem()?,
        endpoint: (role == NodeRole::Sentry).then_some(SocketAddr::from(([203, 0, 113, 20], 51820))),
        machine_id: None,
    })
}

async fn enrol(ca: Fingerprint, token: &str, role: NodeRole, name: &str) -> anyhow::Result<AgentClient> {
    let tls = TlsKey::generate()?;
    let request = request(&tls, token, role, name)?;
    let stranger = AgentClient::new(AGENTS.parse()?, client_config(ca, None)?)?;
    let certificate_pem = stranger.enroll(&request).await?.certificate_pem;
    let certificate = ClientCertificate { certificate_pem, key_pem: tls.key_pem() };
    Ok(AgentClient::new(AGENTS.parse()?, client_config(ca, Some(&certificate))?)?)
}

/// Until it is revoked or the controller is gone.
async fn play(agent: AgentClient) {
    let mut after = Generation::default();
    while let Ok(answer) = agent.config(after).await {
        let Some(answer) = answer else { continue };
        after = answer.revision;
        if agent.report(&in_force(answer.revision, &answer.digest, answer.full.wireguard.peers.len())).await.is_err() {
            return;
        }
    }
}

/// What a host says that has everything of a wanted state in force, and so many peers.
pub(super) fn in_force(revision: Generation, digest: &Digest, peers: usize) -> NodeReport {
    NodeReport {
        applied: revision,
        digest: Some(digest.clone()),
        refused: None,
        wireguard: ReconcilerStatus::InForce,
        firewall: ReconcilerStatus::InForce,
        kernel: KernelView { peers, elements: 0, ..KernelView::default() },
        peers: BTreeMap::new(),
        engine: "played".to_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        chain: None,
        advertised: None,
        unproven: BTreeMap::new(),
        firewall_repairs: None,
        state: None,
        taken_back: None,
        silent: BTreeSet::new(),
        defences: None,
        paths: None,
        syncs: BTreeMap::new(),
        narrow: BTreeMap::new(),
        refused_sources: None,
    }
}

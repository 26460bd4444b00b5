//! The agent's end of the wire: which controller is asked, when, and whether it answers. Decides nothing about answers.

use crate::{
    decide::full_jitter,
    identity::{Identity, client_certificate},
    state::StateDir,
};
use anyhow::{Context as _, Result};
use picket_api::{AgentClient, ApiError, Newer, node::Held};
use picket_model::Generation;
use picket_pki::{ClientCertificate, Fingerprint, client_config_of};
use picket_telemetry::TraceParent;
use std::{future::Future, pin::Pin, time::Duration};
use tracing::{info, warn};

/// Longest wait before the controller is asked again; each wait is anything up to it.
const RETRY: Duration = Duration::from_secs(3);

/// A poll under way.
pub type Poll = Pin<Box<dyn Future<Output = Result<Option<Newer>, ApiError>>>>;

/// The span in which the agent asks, as a header has it.
fn span() -> Option<String> {
    TraceParent::current().map(|span| span.as_str().to_owned())
}

/// The controllers of the mesh, of which one is asked at a time.
pub struct Controllers {
    clients: Vec<(String, AgentClient)>,
    current: usize,
    answers: Option<bool>,
}

impl Controllers {
    /// The controllers an identity names, to which the host shows its certificate.
    pub fn new(identity: &Identity, certificate: &ClientCertificate) -> Result<Self> {
        let client = |url: &String| {
            let tls = client_config_of(&identity.pins(), Some(certificate))?;
            let base = url.parse().with_context(|| format!("{url:?} is not a controller's URL"))?;
            Ok((url.clone(), AgentClient::new(base, tls)?.in_spans_of(span)))
        };
        let clients: Vec<_> = identity.controllers.iter().map(client).collect::<Result<_>>()?;
        anyhow::ensure!(!clients.is_empty(), "the identity names no controller");
        Ok(Self { clients, current: 0, answers: None })
    }

    /// A client for one of them that trusts `ca` alone.
    pub fn alone(identity: &Identity, state: &StateDir, ca: Fingerprint, url: &str) -> Result<AgentClient> {
        let certificate = client_certificate(state)?;
        let only = Self::new(&Identity { controllers: vec![url.to_owned()], ..identity.settled(ca) }, &certificate)?;
        Ok(only.client().clone())
    }

    /// The one that is asked now.
    pub fn client(&self) -> &AgentClient {
        &self.clients[self.current].1
    }

    /// Clients for all of them.
    pub fn clients(&self) -> impl Iterator<Item = &AgentClient> {
        self.clients.iter().map(|(_, client)| client)
    }

    /// Where that one is.
    pub fn url(&self) -> &str {
        &self.clients[self.current].0
    }

    /// Shows another certificate from the next call on.
    pub fn show(&mut self, identity: &Identity, certificate: &ClientCertificate) -> Result<()> {
        self.clients = Self::new(identity, certificate)?.clients;
        Ok(())
    }

    /// Whether the last call was answered; `None` before the first.
    pub fn answers(&self) -> Option<bool> {
        self.answers
    }

    /// Asks, after a while, for a wanted state newer than `after`, of which only the changes need to come where that is what is
    /// held.
    pub fn poll(&self, after: Generation, held: Option<Held>, delay: Duration) -> Poll {
        let client = self.client().clone();
        Box::pin(async move {
            pause(delay).await;
            client.newer(after, held.as_ref()).await
        })
    }

    /// Notes that the controller answered; logged when it had not before.
    pub fn answered(&mut self) {
        if self.answers.replace(true) != Some(true) {
            info!(controller = self.clients[self.current].0, "controller answers");
        }
    }

    /// Notes that a call failed, and says how long to wait. Logged once, not at each try.
    pub fn failed(&mut self, error: &ApiError) -> Duration {
        if self.answers.replace(false) != Some(false) {
            warn!(%error, "no answer from the controller; what is in force stays, and it is asked again");
        }
        retry_after()
    }

    /// Turns to the next controller.
    pub fn turn(&mut self) {
        self.current = (self.current + 1) % self.clients.len();
    }
}

/// How long to wait before the controller is asked again.
pub fn retry_after() -> Duration {
    full_jitter(getrandom::u32().unwrap_or(u32::MAX), RETRY)
}

/// Waits; not at all where there is nothing to wait for, which a timer would round up to a millisecond.
pub async fn pause(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

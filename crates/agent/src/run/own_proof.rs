//! Proves again who this host is, now and then and when its keys have changed, for peers that look at proofs themselves.

use super::Agent;
use crate::{
    host,
    identity::{Identity, load_next_key},
    proof::kept::Kept,
    state::StateDir,
};
use anyhow::{Context as _, Result};
use picket_api::{AgentClient, node::NewerProof};
use picket_attest::{audience, keys_digest};
use picket_model::WireGuardPublicKey;
use std::{future::Future, pin::Pin, time::Duration};
use tokio::time::{Interval, MissedTickBehavior};
use tracing::{error, info, warn};

/// Between two looks, and so between two tries.
const LOOK: Duration = Duration::from_mins(1);

type Proving = Pin<Box<dyn Future<Output = Result<String>>>>;

/// This host's next proof.
pub(super) struct OwnProof {
    kept: Option<Kept>,
    tls_key_sha256: String,
    under_way: Option<Proving>,
    look: Interval,
}

impl OwnProof {
    /// For a host whose folder says how it proved itself; one that came in with a join token has nothing to do.
    pub(super) fn new(state: &StateDir, tls_key_sha256: String) -> Result<Self> {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { kept: Kept::load(state)?, tls_key_sha256, under_way: None, look })
    }

    /// Waits until a proof was brought (`Some`) or it is time to look; may be dropped at any time.
    pub(super) async fn next(&mut self) -> Option<Result<String>> {
        if self.kept.is_none() {
            return std::future::pending().await;
        }
        let Some(under_way) = &mut self.under_way else {
            self.look.tick().await;
            return None;
        };
        let ended = under_way.await;
        self.under_way = None;
        Some(ended)
    }

    /// Makes a proof for the host's keys, of which `wireguard_key` is the one to come where one is to follow, and brings it to the controller, where the last one is not good enough.
    pub(super) fn begin(&mut self, host: &Identity, wireguard_key: &WireGuardPublicKey, client: &AgentClient) {
        let Some(kept) = self.kept.as_ref().filter(|_| self.under_way.is_none()) else { return };
        let Some(digest) = keys_digest(wireguard_key, &self.tls_key_sha256) else { return };
        let audience = audience(&host.mesh, &digest);
        if !kept.is_due(&audience, host::now()) {
            return;
        }
        let (kind, options) = kept.options(host.ca_fingerprint);
        let (ca, client) = (host.ca_fingerprint, client.clone());
        self.under_way = Some(Box::pin(async move {
            let proof = options.collect(kind, ca, &audience).await?;
            client.newer_proof(&NewerProof { proof }).await.context("bring it to the controller")?;
            Ok(audience)
        }));
    }

    /// Writes down what came of it. What is in force does not depend on it.
    pub(super) fn ended(&mut self, ended: Result<String>, state: &StateDir) {
        let Some(kept) = &mut self.kept else { return };
        let written = ended.and_then(|audience| {
            kept.made(audience, host::now());
            Ok(kept.save(state)?)
        });
        match written {
            Ok(()) => info!("proved again who this host is"),
            Err(error) => warn!(error = format!("{error:#}"), "no newer proof of who this host is; it is tried again"),
        }
    }
}

impl Agent {
    /// Makes another proof where one is due.
    pub(super) fn prove(&mut self) {
        match load_next_key(&self.held.state) {
            Ok(next) => {
                let key = next.map_or_else(|| self.tunnels.public_key(), |next| next.public());
                self.own_proof.begin(&self.held.identity, &key, self.controllers.client());
            }
            Err(error) => error!(%error, "for which key to prove who this host is, is not known"),
        }
    }
}

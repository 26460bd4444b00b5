//! Asks for the proofs of peers that this host's guard wants to see, and holds them against its rules. What is in force does not
//! wait for it: a peer has no tunnel until its proof is there.

use super::{Agent, Held};
use crate::{
    guard::{Guard, GuardRules},
    host,
    identity::Identity as Host,
    ledger::Standing,
    state::StateDir,
};
use anyhow::{Context as _, Result};
use picket_api::AgentClient;
use picket_attest::{Asked, Identity, audience, keys_digest};
use picket_model::{MeshId, NodeName, NodeRole, WireGuardConfig, WireGuardPeer, WireGuardPublicKey};
use picket_proofs::{ProofError, Proofs};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::Arc,
};
use tracing::{error, info, warn};

/// What came of one peer's proof.
struct Looked {
    key: WireGuardPublicKey,
    peer: WireGuardPeer,
    identity: Result<Identity>,
}

type Looking = Pin<Box<dyn Future<Output = Vec<Looked>>>>;

/// Peers under examination.
pub(super) struct Vouching {
    /// `None` where the guard wants no proofs.
    proofs: Option<Arc<Proofs>>,
    under_way: Option<Looking>,
    /// Why each was not let in when last looked at.
    reasons: BTreeMap<WireGuardPublicKey, String>,
}

/// What was found out, to be taken with [`Vouching::take`].
pub(super) struct Answers(Vec<Looked>);

impl Vouching {
    /// By the guard's rules; an error where a certificate of theirs cannot be used.
    pub(super) fn new(rules: &GuardRules) -> Result<Self> {
        let proofs = (!rules.enroll.is_empty()).then(|| Proofs::new(&rules.attest, rules.enroll.clone()));
        let proofs = proofs.transpose().context("read whose proofs guard.toml believes")?.map(Arc::new);
        Ok(Self { proofs, under_way: None, reasons: BTreeMap::new() })
    }

    /// Begins to look at what is missing; nothing where nothing is, or somebody looks already.
    pub(super) fn begin(&mut self, host: &Host, guard: &Guard, wanted: &WireGuardConfig, client: &AgentClient) {
        let Some(proofs) = self.proofs.as_ref().filter(|_| self.under_way.is_none()) else { return };
        let missing: Vec<_> = guard.to_ask(wanted).map(|(key, peer)| (*key, peer.clone())).collect();
        if missing.is_empty() {
            return;
        }
        let (proofs, client, mesh) = (proofs.clone(), client.clone(), host.mesh.clone());
        self.under_way = Some(Box::pin(async move {
            let mut looked = Vec::new();
            for (key, peer) in missing {
                let identity = look(&proofs, &client, &mesh, &key, &peer).await;
                looked.push(Looked { key, peer, identity });
            }
            looked
        }));
    }

    /// Waits until all that is looked at has been; may be dropped at any time.
    pub(super) async fn next(&mut self) -> Answers {
        let Some(under_way) = &mut self.under_way else { return std::future::pending().await };
        let looked = under_way.await;
        self.under_way = None;
        Answers(looked)
    }

    /// Lets in whoever fits a rule, once that is on the disk. Whether anybody was.
    pub(super) fn take(
        &mut self,
        answers: Answers,
        guard: &mut Guard,
        state: &StateDir,
        wanted: &WireGuardConfig,
    ) -> bool {
        let mut vouched = guard.vouched.clone();
        let mut taken = Vec::new();
        for Looked { key, peer, identity } in answers.0 {
            let role = match guard.role {
                NodeRole::Prep => NodeRole::Sentry,
                NodeRole::Sentry => NodeRole::Prep,
            };
            let fits = identity.and_then(|identity| {
                let proofs = self.proofs.as_ref().context("the guard wants no proofs")?;
                let id = identity.id()?;
                // When it was launched is the controller's to ask: this host may have joined long after its peer.
                let then = identity.launched_at.unwrap_or_else(host::now);
                let asked = Asked { role, name: &peer.name };
                let rule = proofs.admit(&identity, asked, &vouched.counts(wanted, &id), then)?.rule;
                let terms = guard.rules.terms(&rule);
                let taken = vouched.take(&id, &identity, key, wanted, (rule, terms), host::now());
                taken.map_err(anyhow::Error::msg)?;
                Ok(id)
            });
            match fits {
                Ok(id) => taken.push((key, peer.name, id)),
                Err(error) => self.refuse(key, &peer.name, &error),
            }
        }
        if taken.is_empty() {
            return false;
        }
        if let Err(error) = vouched.save(state) {
            let names: Vec<&str> = taken.iter().map(|(_, name, _)| name.as_str()).collect();
            error!(
                error = format!("{:#}", anyhow::Error::from(error)),
                ?names,
                "proofs of peers not written down, not taken"
            );
            return false;
        }
        for (key, name, identity) in taken {
            info!(peer = %name, %identity, "proof of identity fits");
            self.reasons.remove(&key);
        }
        guard.vouched = vouched;
        true
    }

    /// Peers that are wanted and not let in, and why.
    pub(super) fn unproven(&self, guard: &Guard, wanted: &WireGuardConfig) -> BTreeMap<NodeName, String> {
        let why = |key| self.reasons.get(key).cloned().unwrap_or_else(|| "its proof has not been seen yet".to_owned());
        guard.unproven(wanted).map(|(key, peer)| (peer.name.clone(), why(key))).collect()
    }

    /// Logged when it is news.
    fn refuse(&mut self, key: WireGuardPublicKey, name: &NodeName, error: &anyhow::Error) {
        let reason = format!("{error:#}");
        if self.reasons.get(&key) != Some(&reason) {
            warn!(peer = %name, reason, "peer not let in: guard.toml wants its proof of identity");
            self.reasons.insert(key, reason);
        }
    }
}

impl Agent {
    /// Asks for proofs that the guard wants of peers and has not seen.
    pub(super) fn look_at_proofs(&mut self) {
        let Held { ledger, guard, identity, state, .. } = &mut self.held;
        if let Some(wanted) = ledger.config.as_ref().filter(|_| ledger.standing == Standing::Member) {
            if guard.vouched.settle(&wanted.wireguard)
                && let Err(error) = guard.vouched.save(state)
            {
                warn!(
                    error = format!("{:#}", anyhow::Error::from(error)),
                    "that keys of peers are old is not written down"
                );
            }
            self.vouching.begin(identity, guard, &wanted.wireguard, self.controllers.client());
        }
    }

    /// Deals with proofs that came; who fits gets its tunnel at once.
    pub(super) async fn looked(&mut self, answers: Answers) {
        let Held { ledger, guard, state, .. } = &mut self.held;
        let Some(wanted) = &ledger.config else { return };
        let asked: BTreeSet<_> = answers.0.iter().map(|looked| looked.key).collect();
        if self.vouching.take(answers, guard, state, &wanted.wireguard) {
            self.bring_into_force().await;
            self.dial_soon();
            return;
        }
        // Who came while others were looked at waits for nothing.
        let is_new = guard.to_ask(&wanted.wireguard).any(|(key, _)| !asked.contains(key));
        if is_new {
            self.look_at_proofs();
        }
        self.tell();
    }
}

/// Who a peer's proof says it is, for the key that this host is to let in. Of what the controller answers only what the proof's
/// issuer signed is believed.
async fn look(
    proofs: &Proofs,
    client: &AgentClient,
    mesh: &MeshId,
    key: &WireGuardPublicKey,
    peer: &WireGuardPeer,
) -> Result<Identity> {
    let told = client.peer_proof(&peer.node).await.context("ask the controller for its proof")?;
    let digest = keys_digest(key, &told.tls_key_sha256).context("the controller's answer names no TLS key of it")?;
    let audience = audience(mesh, &digest);
    // Each names its own key, so that at most one fits.
    match (proofs.verify_later(&told.proof, &audience, host::now()).await, &told.next) {
        (Err(ProofError::Refused(_)), Some(next)) => Ok(proofs.verify_later(next, &audience, host::now()).await?),
        (verified, _) => Ok(verified?),
    }
}

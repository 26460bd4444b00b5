//! A host and its agent: what it holds, and what it makes of what it hears. Decisions are the agent's own; what is here is what its
//! loop does with them, without a kernel.

use crate::wanted::HostWanted;
use picket_agent::{
    confirm,
    decide::{Here, Refusal, judge},
    guard::{Guard, GuardRules},
    identity::Identity,
    ledger::{Ledger, Standing},
    vouch::Vouched,
};
use picket_api::{EnrollRequest, EnrollResponse, node::ConfigNews};
use picket_model::{Digest, Generation, NodeConfig, NodeReport, Timestamp, fixture::in_force};
use picket_pki::node_of;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use std::{collections::BTreeSet, time::Duration};
use tokio::sync::watch;

/// A host.
pub(super) struct Agent {
    pub(super) request: EnrollRequest,
    pub(super) member: Option<Member>,
    pub(super) ledger: Ledger,
    /// Revision judged last.
    after: Generation,
    /// Whether changes of what it holds were of no use.
    wants_whole: bool,
    pub(super) refused: Option<String>,
    /// The controller that it asks.
    pub(super) at: usize,
    /// Answers on their way.
    pub(super) answers: Vec<ConfigNews>,
    /// Its open poll.
    pub(super) poll: Option<watch::Receiver<HostWanted>>,
    /// The newest plan that it ever accepted something of.
    pub(super) newest: Generation,
    /// The mesh's database does not know it any more.
    pub(super) is_orphan: bool,
}

/// What it got when it joined.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) identity: Identity,
    pub(super) serial: String,
}

impl Agent {
    pub(super) fn new(request: EnrollRequest, at: usize) -> Self {
        Self {
            request,
            member: None,
            ledger: Ledger::default(),
            after: Generation::default(),
            wants_whole: false,
            refused: None,
            at,
            answers: Vec::new(),
            poll: None,
            newest: Generation::default(),
            is_orphan: false,
        }
    }

    /// It is let in.
    pub(super) fn joined(&mut self, answer: &EnrollResponse) {
        let der = CertificateDer::from_pem_slice(answer.certificate_pem.as_bytes()).unwrap();
        let shown = node_of(&der).unwrap();
        assert_eq!((&shown.mesh, &shown.node), (&answer.mesh, &answer.node), "a certificate for somebody else");
        let identity = Identity {
            mesh: answer.mesh.clone(),
            node: answer.node.clone(),
            name: self.request.name.clone(),
            role: self.request.role,
            controllers: Vec::new(),
            ca_fingerprint: "00".repeat(32).parse().unwrap(),
            next_ca: None,
            former_cas: BTreeSet::new(),
            overlay: answer.overlay,
            machine_id: self.request.machine_id.clone(),
        };
        self.member = Some(Member { identity, serial: shown.serial });
    }

    pub(super) fn is_member(&self) -> bool {
        self.member.is_some() && self.ledger.standing == Standing::Member && !self.is_orphan
    }

    /// What it says with its question: the revision, and the digest of what it holds of it.
    pub(super) fn question(&self) -> (Generation, Option<Digest>) {
        (self.after, self.ledger.config.as_ref().filter(|_| !self.wants_whole).map(NodeConfig::digest))
    }

    /// A controller was reached, by a new connection.
    pub(super) fn reached(&mut self, now: Timestamp) {
        if self.ledger.trial.is_some() {
            self.ledger = confirm::confirmed(&self.ledger);
        } else if self.ledger.suspected.is_some() {
            self.ledger = confirm::cleared_up(&self.ledger, true, now);
        }
        self.after = self.ledger.judged();
    }

    /// None was, for as long as a trial lasts.
    pub(super) fn not_reached(&mut self, now: Timestamp) {
        if self.ledger.trial.is_some() {
            self.ledger = confirm::taken_back(&self.ledger, Duration::from_secs(30), now);
        } else if self.ledger.suspected.is_some() {
            self.ledger = confirm::cleared_up(&self.ledger, false, now);
        }
        self.after = self.ledger.judged();
    }

    /// It starts anew with what is on its disk.
    pub(super) fn restart(&mut self, now: Timestamp) {
        let text = serde_json::to_string(&self.ledger).unwrap();
        self.ledger = confirm::interrupted(&serde_json::from_str(&text).unwrap(), now);
        (self.after, self.wants_whole, self.refused) = (self.ledger.judged(), false, None);
        (self.poll, self.answers) = (None, Vec::new());
    }

    /// It is told that it was revoked.
    pub(super) fn cut_off(&mut self) {
        self.ledger.standing = Standing::Revoked;
        self.poll = None;
    }

    /// It hears an answer, whenever that was given.
    pub(super) fn hear(&mut self, news: ConfigNews, now: Timestamp) {
        let Some(Member { identity, .. }) = &self.member else { return };
        let Some(answer) = news.of(self.ledger.config.as_ref()) else {
            self.wants_whole = true;
            return;
        };
        let guard = Guard::new(GuardRules::default(), identity, Vouched::default());
        let (offered, held) = (answer.revision, self.ledger.revision());
        match judge(Here { identity, guard: &guard, ledger: &self.ledger, sessions: &[], now }, answer) {
            Ok(config) => {
                // Not asked of `judge`, which is what is tested.
                assert!(config.revision > held, "revision {} after {held}", config.revision);
                assert!(config.generation >= self.newest, "plan {} after {}", config.generation, self.newest);
                self.newest = config.generation;
                self.ledger = confirm::taken(&self.ledger, config, false, now);
                (self.after, self.wants_whole, self.refused) = (offered, false, None);
            }
            Err(refusal) => {
                match &refusal {
                    Refusal::TooSoon { left, .. } => self.ledger.config = Some((**left).clone()),
                    Refusal::Older { .. } | Refusal::TakenBack(_) => {}
                    other => panic!("{} refused plan {offered}: {other}", self.request.name),
                }
                self.refused = Some(refusal.to_string());
            }
        }
    }

    /// What it says of itself.
    pub(super) fn report(&self) -> NodeReport {
        let digest = self.ledger.config.as_ref().map(NodeConfig::digest);
        NodeReport { refused: self.refused.clone(), ..in_force(self.ledger.revision(), digest) }
    }
}

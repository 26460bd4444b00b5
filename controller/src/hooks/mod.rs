//! Hooks of clouds: what they say of their instances is verified (`receive`), written down, and done (`work`, driven by
//! `tasks/hooks`). A hook can take out a host or wait for one; it never admits anybody. And the other way: who is told of
//! events (`tasks/webhooks`).

mod autoscaling;
mod certificates;
mod config;
mod credentials;
mod listen;
mod receive;
mod work;

pub use autoscaling::{Autoscaling, CallError};
pub use config::{AwsLines, GcpLines, HooksLines, WebhookLines};
pub(crate) use config::{safe_url, webhook_secret};
pub use credentials::CredentialSource;
pub(crate) use listen::Shown;
pub(crate) use receive::{Arrived, Taken, aws, gcp, generic};
pub(crate) use work::work;

use crate::now;
use certificates::Certificates;
use picket_attest::{
    Kind,
    hooks::{sns::Topic, webhook::Secret},
};
use picket_model::Timestamp;
use picket_plan::Finding;
use picket_proofs::{IssuerLines, Keys, outside};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// Google's issuer of a service account's tokens.
const GOOGLE: &str = "https://accounts.google.com";

/// Everything by which messages are judged, and what their work needs.
pub(crate) struct Hooks {
    /// As configured.
    pub(crate) lines: HooksLines,
    /// Of EventBridge's secret.
    eventbridge: Option<[u8; 32]>,
    generic: Option<Secret>,
    topics: Vec<Topic>,
    certificates: Certificates,
    google: Keys,
    /// Auto Scaling, to tell it outcomes.
    autoscaling: Autoscaling,
    /// Woken when there is something to do.
    pub(crate) wake: Notify,
    /// What is wrong, by whom it was found.
    findings: Mutex<BTreeMap<String, Vec<Finding>>>,
    /// When this run of the controller began.
    started_at: Timestamp,
}

impl Hooks {
    /// As configured; secrets are read now.
    pub(crate) fn new(lines: HooksLines) -> anyhow::Result<Self> {
        let eventbridge = lines.eventbridge_secret_file.as_deref().map(config::header_secret).transpose()?;
        let generic = lines.generic_secret_file.as_deref().map(webhook_secret).transpose()?;
        let topics = lines.topics.iter().map(|topic| topic.parse().map_err(anyhow::Error::msg));
        let google = lines.gcp.iter().map(|gcp| IssuerLines {
            proof: Kind::Oidc,
            issuer: GOOGLE.to_owned(),
            jwks: gcp.jwks.clone(),
            account: None,
        });
        let client = outside::client(outside::host_roots(), false)?;
        let source = CredentialSource::new(client.clone(), &lines.metadata_url)?;
        let url = |text: &Option<String>| text.as_deref().map(safe_url).transpose().map_err(anyhow::Error::msg);
        Ok(Self {
            eventbridge: eventbridge.map(|secret| digest(secret.as_bytes())),
            generic,
            topics: topics.collect::<Result<_, _>>()?,
            certificates: Certificates::new(client.clone(), url(&lines.sns_url)?),
            google: Keys::new(&google.collect::<Vec<_>>())?,
            autoscaling: Autoscaling::new(client, source, url(&lines.autoscaling_url)?),
            wake: Notify::new(),
            findings: Mutex::default(),
            started_at: now(),
            lines,
        })
    }

    /// Everything that is wrong with hooks and webhooks.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        self.found().values().flatten().cloned().collect()
    }

    /// What one part found wrong; nothing, where all is well.
    pub(crate) fn found_by(&self, part: &str, findings: Vec<Finding>) {
        self.found().insert(part.to_owned(), findings);
    }

    fn found(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Finding>>> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

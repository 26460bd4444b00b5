//! The agent hears of its mesh's CAs: a new one is trusted once that is on the disk, and the old one forgotten once a controller
//! was reached without it.

use super::{AFTER_NONSENSE, Agent};
use crate::{
    host,
    identity::{Identity, client_certificate},
    subscribe::{Controllers, retry_after},
    trust::{Trust, is_outdated, judge},
};
use anyhow::{Context as _, Result};
use picket_api::{ApiError, ProblemKind, ca::MeshCas};
use picket_pki::Fingerprint;
use std::time::Duration;
use tracing::{error, info, warn};

/// How long a controller is left alone that does not know the question.
const OLD_CONTROLLER: Duration = Duration::from_mins(5);

impl Agent {
    /// Asks what there is to know of the mesh's CAs, after a while.
    pub(super) fn ask_for_cas(&mut self, delay: Duration) {
        self.cas.ask(&self.held.identity, self.controllers.client(), delay);
    }

    /// Deals with an answer, which came over a connection that trusted `alone` and nothing else, if that is some; and asks on.
    pub(super) fn heard_of_cas(&mut self, answer: Result<Option<MeshCas>, ApiError>, alone: Option<Fingerprint>) {
        let delay = match answer {
            Ok(Some(told)) => match self.follow_cas(&told, alone) {
                Some(delay) => delay,
                None => return,
            },
            // A controller that stops says so early.
            Ok(None) => retry_after(),
            Err(error) if alone.is_some() => {
                warn!(%error, "the mesh's next CA is not shown by the controller yet; both are trusted on");
                AFTER_NONSENSE
            }
            Err(error) if error.kind() == Some(ProblemKind::NotFound) => OLD_CONTROLLER,
            Err(_) => retry_after(),
        };
        self.ask_for_cas(delay);
    }

    /// What was told is followed. When to ask again; `None` where that was done.
    fn follow_cas(&mut self, told: &MeshCas, alone: Option<Fingerprint>) -> Option<Duration> {
        if let Some(ca) = alone
            && let Err(error) = self.trust(self.held.identity.settled(ca))
        {
            error!(error = format!("{error:#}"), "the CA before is trusted on");
            return Some(AFTER_NONSENSE);
        }
        let done = match judge(&self.held.identity, told, host::now()) {
            Ok(Trust::Stays) => Ok(()),
            Ok(Trust::Learns(next)) => self.trust(self.held.identity.learned(next)),
            Ok(Trust::Settles(ca)) => {
                match Controllers::alone(&self.held.identity, &self.held.state, ca, self.controllers.url()) {
                    Ok(client) => {
                        self.cas.try_alone(ca, &client);
                        return None;
                    }
                    Err(error) => Err(error),
                }
            }
            Err(refusal) => Err(refusal.into()),
        };
        if let Err(error) = done {
            error!(error = format!("{error:#}"), "what the controller says of the mesh's CA is not followed");
            return Some(AFTER_NONSENSE);
        }
        self.cas.dealt_with(told);
        self.renew_if_outdated(told);
        Some(Duration::ZERO)
    }

    fn renew_if_outdated(&mut self, told: &MeshCas) {
        match client_certificate(&self.held.state) {
            Ok(certificate) if is_outdated(&self.held.identity, told, &certificate.certificate_pem) => {
                info!(ca = %told.issues, "another CA signs by now: the certificate is renewed");
                self.renewals.hurry();
                self.renewals.begin(&self.held.identity, &self.controllers, host::now());
            }
            Ok(_) => {}
            Err(error) => error!(%error, "whether the certificate is to be renewed is not known"),
        }
    }

    /// Writes down which CAs are trusted, and trusts them from the next connection on.
    fn trust(&mut self, identity: Identity) -> Result<()> {
        identity.update(&self.held.state).context("which CAs are trusted could not be written down")?;
        let certificate = client_certificate(&self.held.state)?;
        self.held.identity = identity;
        self.controllers.show(&self.held.identity, &certificate)?;
        let Identity { ca_fingerprint, next_ca, .. } = &self.held.identity;
        info!(ca = %ca_fingerprint, next = next_ca.map(|ca| ca.to_string()), "trusted CAs changed");
        Ok(())
    }
}

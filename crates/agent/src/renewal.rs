//! When this host's certificate is renewed, and the call that does it. The tunnels do not end with a certificate: it is only
//! what the host shows to the controller.

use crate::{identity::Identity, subscribe::Controllers};
use anyhow::{Context as _, Result};
use picket_api::{
    AgentClient, ApiError,
    node::{RenewRequest, RenewResponse},
};
use picket_model::Timestamp;
use picket_pki::{Validity, client_config_of};
use std::{future::Future, pin::Pin, time::Duration};
use tokio::time::{Interval, MissedTickBehavior};
use tracing::error;

/// Times between two looks, and so between two tries: a sixteenth of the certificate's life, within these.
const LOOK: [Duration; 2] = [Duration::from_secs(1), Duration::from_mins(1)];
/// After so many calls in a row that no controller answered the certificate may be the reason, whatever this host's clock
/// says: a server refuses one that is over before a word is exchanged.
const SUSPICIOUS_FAILURES: u32 = 5;

type Renewing = Pin<Box<dyn Future<Output = Result<RenewResponse, ApiError>>>>;

/// How long the certificate lasts, and how the last tries went.
#[derive(Clone, Copy, Debug)]
pub struct Renewal {
    validity: Validity,
    failures: u32,
    hurried: bool,
}

impl Renewal {
    /// For the certificate the host has.
    pub const fn new(validity: Validity) -> Self {
        Self { validity, failures: 0, hurried: false }
    }

    /// It is time, whatever the clock says: another CA signs by now.
    fn hurry(&mut self) {
        self.hurried = true;
    }

    /// Whether a call to the controller was answered.
    pub fn called(&mut self, answered: bool) {
        self.failures = if answered { 0 } else { self.failures.saturating_add(1) };
    }

    /// Whether it is time: from the half of the certificate's life on, or when no controller answers.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let Validity { made_at, not_after } = self.validity;
        let half = made_at.plus(not_after.since(made_at) / 2);
        // A clock before the certificate's beginning is wrong by so much that nothing follows from it.
        now >= half || self.hurried || self.failures >= SUSPICIOUS_FAILURES
    }

    /// Whether the certificate opens a connection still.
    pub fn is_good(&self, now: Timestamp) -> bool {
        now < self.validity.not_after && self.failures < SUSPICIOUS_FAILURES
    }

    /// When the certificate ends.
    pub fn not_after(&self) -> Timestamp {
        self.validity.not_after
    }
}

/// The next certificate: looked after each minute, asked for when it is time.
pub struct Renewals {
    /// How the certificate stands.
    pub renewal: Renewal,
    csr_pem: String,
    under_way: Option<Renewing>,
    /// It became urgent while one was under way, whose certificate may be of the CA from before.
    again: bool,
    look: Interval,
}

impl Renewals {
    /// For the certificate the host has; `csr_pem` is a request signed with its key.
    pub fn new(validity: Validity, csr_pem: String) -> Self {
        let mut look = tokio::time::interval((validity.not_after.since(validity.made_at) / 16).clamp(LOOK[0], LOOK[1]));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { renewal: Renewal::new(validity), csr_pem, under_way: None, again: false, look }
    }

    /// The host shows another certificate by now. Whether it is to be renewed again at once.
    pub fn renewed(&mut self, validity: Validity) -> bool {
        let again = self.again;
        *self = Self::new(validity, std::mem::take(&mut self.csr_pem));
        // The first tick is at once.
        self.look.reset();
        if again {
            self.renewal.hurry();
        }
        again
    }

    /// It is time, whatever the clock says: another CA signs by now.
    pub fn hurry(&mut self) {
        self.renewal.hurry();
        self.again = self.under_way.is_some();
    }

    /// Waits until a renewal has come to an end, or until it is time to look (`None`); may be dropped at any time.
    pub async fn next(&mut self) -> Option<Result<RenewResponse, ApiError>> {
        let Some(under_way) = &mut self.under_way else {
            self.look.tick().await;
            return None;
        };
        let ended = under_way.await;
        self.under_way = None;
        Some(ended)
    }

    /// Asks for the next certificate, if it is time and nobody asks already: on the connection of the host where the old
    /// one is good, else on one that shows none.
    pub fn begin(&mut self, identity: &Identity, controllers: &Controllers, now: Timestamp) {
        if self.under_way.is_some() || !self.renewal.is_due(now) {
            return;
        }
        let client = if self.renewal.is_good(now) {
            controllers.client().clone()
        } else {
            match anonymous(identity, controllers.url()) {
                Ok(client) => client,
                Err(error) => return error!(error = format!("{error:#}"), "certificate not renewed"),
            }
        };
        let request = RenewRequest { node: identity.node.clone(), csr_pem: self.csr_pem.clone() };
        self.under_way = Some(Box::pin(async move { client.renew(&request).await }));
    }
}

fn anonymous(identity: &Identity, url: &str) -> Result<AgentClient> {
    let base = url.parse().with_context(|| format!("{url:?} is not a controller's URL"))?;
    Ok(AgentClient::new(base, client_config_of(&identity.pins(), None)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_millis(hours * 3_600_000)
    }

    fn renewal() -> Renewal {
        Renewal::new(Validity { made_at: at(100), not_after: at(108) })
    }

    #[test]
    fn a_certificate_is_renewed_from_its_half_on() {
        let check = |hours, due, good| {
            assert_eq!((renewal().is_due(at(hours)), renewal().is_good(at(hours))), (due, good), "{hours}");
        };
        check(0, false, true);
        check(100, false, true);
        check(103, false, true);
        check(104, true, true);
        check(107, true, true);
        check(108, true, false);
        check(10_000, true, false);
    }

    #[test]
    fn another_ca_does_not_wait_for_the_half() {
        let mut renewal = renewal();
        renewal.hurry();
        assert!(renewal.is_due(at(101)) && renewal.is_good(at(101)));
    }

    #[tokio::test]
    async fn what_became_urgent_during_a_renewal_is_done_again_after_it() {
        let young = Validity { made_at: at(100), not_after: at(108) };
        let mut renewals = Renewals::new(young, String::new());
        let answer = || Box::pin(async { Ok(RenewResponse { certificate_pem: String::new(), not_after: at(108) }) });
        renewals.under_way = Some(answer());
        renewals.hurry();
        renewals.next().await.unwrap().unwrap();
        assert!(renewals.renewed(young) && renewals.renewal.is_due(at(101)));
        // The next one was begun after it became urgent.
        renewals.under_way = Some(answer());
        renewals.next().await.unwrap().unwrap();
        assert!(!renewals.renewed(young) && !renewals.renewal.is_due(at(101)));
    }

    #[test]
    fn a_silent_controller_may_mean_that_the_clock_is_wrong() {
        let mut renewal = renewal();
        (0..4).for_each(|_| renewal.called(false));
        assert!(!renewal.is_due(at(101)) && renewal.is_good(at(101)));
        renewal.called(false);
        assert!(renewal.is_due(at(101)) && !renewal.is_good(at(101)));
        renewal.called(true);
        assert!(!renewal.is_due(at(101)) && renewal.is_good(at(101)));
    }
}

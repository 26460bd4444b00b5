//! Sees to it that a change on trial is confirmed by a new connection to a controller, or taken back. What that means is
//! `confirm`'s to say.

use super::{Agent, Held, is_revoked};
use crate::{
    confirm::{self, Evidence, Verdict, can_cut_off},
    host,
    identity::client_certificate,
    ledger::Ledger,
    state::StateDir,
    subscribe::Controllers,
};
use anyhow::Result;
use picket_api::{ApiError, Newer};
use picket_model::{Generation, NodeConfig, Timestamp};
use std::{future::Future, pin::Pin, time::Duration};
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

/// A controller that is there answers a new connection within this, over a slow path too; a change waits no longer for it.
const BEFORE: Duration = Duration::from_secs(2);
/// One over a path that is not slow answers within this, and then nothing else is done meanwhile.
const AT_ONCE: Duration = Duration::from_millis(200);
/// How long one try may take: a first packet that was lost is sent again after one and three seconds.
const TRY: Duration = Duration::from_secs(5);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// What is known before a change is applied that could cut the host off.
pub(super) enum Before {
    /// Whether no controller is reached anew.
    Known { was_away: bool },
    /// There is something newer, or the word that this host is revoked.
    Newer(Box<Answer>),
}

/// What a poll gives.
type Answer = Result<Option<Newer>, ApiError>;
type Probe = Pin<Box<dyn Future<Output = bool>>>;

/// The search for a controller that answers, while a change is on trial.
#[derive(Default)]
pub(super) struct Confirming {
    probe: Option<Probe>,
    /// Of which change.
    since: Option<Timestamp>,
}

impl Confirming {
    /// Waits until a controller answered, or the time is over; forever where nothing is on trial. May be dropped at any time.
    pub(super) async fn next(&mut self) -> bool {
        let Some(probe) = &mut self.probe else { return std::future::pending().await };
        let reached = probe.await;
        self.probe = None;
        reached
    }
}

/// The ledger of an agent that starts: a change that was on trial when the one before it ended is not in force, and is
/// tried once more.
pub(super) fn pick_up(state: &StateDir, ledger: Ledger, now: Timestamp) -> Ledger {
    if ledger.trial.is_none() {
        return ledger;
    }
    let revision = ledger.revision();
    let ledger = confirm::interrupted(&ledger, now);
    warn!(%revision, held = %ledger.revision(), "a change was on trial when the agent ended; what was confirmed before is held again");
    save(state, &ledger);
    ledger
}

impl Agent {
    /// Whether no new connection to a controller comes about, though a change that could cut the host off is not even
    /// applied yet. Other changes wait for no answer. Where it takes a while, whom the change takes away has no access any
    /// more meanwhile, and something newer is taken in its place: no revoke waits for this.
    pub(super) async fn look_before(&mut self, offered: &NodeConfig) -> Before {
        if self.limit().is_zero() || !can_cut_off(self.held.ledger.config.as_ref(), offered) {
            return Before::Known { was_away: false };
        }
        let controllers = match self.fresh() {
            Ok(controllers) => controllers,
            Err(error) => {
                error!(error = format!("{error:#}"), "whether the controller can be reached anew is not known");
                return Before::Known { was_away: true };
            }
        };
        let mut search = Box::pin(answered(controllers));
        if timeout(AT_ONCE, &mut search).await.is_ok() {
            return Before::Known { was_away: false };
        }
        self.withdraw(offered).await;
        // How long that took is no fault of the controller's.
        let search = timeout(BEFORE.saturating_sub(AT_ONCE), search);
        let newer = self.controllers.poll(offered.revision, None, Duration::ZERO);
        let newer = async {
            let answer = newer.await;
            if is_newer(&answer, offered.revision) { answer } else { std::future::pending().await }
        };
        tokio::select! {
            searched = search => Before::Known { was_away: searched.is_err() },
            answer = newer => Before::Newer(Box::new(answer)),
        }
    }

    /// Takes away whom a change takes away, before the rest of it.
    async fn withdraw(&mut self, offered: &NodeConfig) {
        let Some(held) = &self.held.ledger.config else { return };
        let left = confirm::without_cut(held.clone(), offered);
        if left != *held {
            self.hold(Ledger { config: Some(left), ..self.held.ledger.clone() });
            self.bring_into_force().await;
        }
    }

    /// Begins to look for a controller where a change is on trial, or suspected, and none is looked for yet.
    pub(super) fn seek_confirmation(&mut self) {
        let Some(since) = confirm::sought_since(&self.held.ledger) else { return };
        if self.confirming.since.replace(since) == Some(since) {
            return;
        }
        let limit = self.limit();
        self.confirming.probe = Some(match self.fresh() {
            _ if limit.is_zero() => Box::pin(std::future::ready(true)),
            Ok(controllers) => Box::pin(reach(controllers, limit)),
            // No fault of the change.
            Err(error) => {
                error!(error = format!("{error:#}"), "whether the controller can be reached anew is not known");
                Box::pin(std::future::ready(true))
            }
        });
    }

    /// Deals with what came of the search.
    pub(super) async fn probed(&mut self, answered: bool) {
        let Some(trial) = &self.held.ledger.trial else { return self.cleared_up(answered).await };
        let handshakes =
            self.found.iter().flat_map(|found| found.peers.values()).filter_map(|peer| peer.last_handshake);
        let verdict = confirm::verdict(trial, Evidence { answered, handshake: handshakes.max() });
        let revision = self.held.ledger.revision();
        if verdict != Verdict::TakeBack {
            self.hold(confirm::confirmed(&self.held.ledger));
            info!(%revision, ?verdict, "change confirmed");
            return self.tell();
        }
        let ledger = confirm::taken_back(&self.held.ledger, self.limit(), host::now());
        if let Some(taken) = &ledger.taken_back {
            error!(%revision, reason = taken.reason, held = %ledger.revision(), "change taken back");
            self.refused = Some(format!("revision {revision} was taken back: {}", taken.reason));
        }
        self.hold(ledger);
        self.bring_into_force().await;
        self.dial_soon();
        self.seek_confirmation();
    }

    /// Ends the suspicion of a change that was taken back.
    async fn cleared_up(&mut self, answered: bool) {
        let Some(change) = &self.held.ledger.suspected else { return };
        let revision = change.revision;
        self.hold(confirm::cleared_up(&self.held.ledger, answered, host::now()));
        if answered {
            info!(%revision, "the controller is reached without the change that was taken back");
            return;
        }
        warn!(%revision, "no controller is reached without the change either: it is not to blame, and held again");
        self.refused = None;
        self.bring_into_force().await;
        self.dial_soon();
    }

    /// Ends a trial that nobody will watch any more: what was confirmed before is in force, and the change is tried again
    /// at the next start.
    pub(super) async fn give_up_trial(&mut self) {
        if self.held.ledger.trial.is_some() {
            self.hold(confirm::interrupted(&self.held.ledger, host::now()));
            self.bring_into_force().await;
        }
    }

    /// Holds another ledger, also where it cannot be written down: then the next start finds the trial open, and ends it.
    pub(super) fn hold(&mut self, ledger: Ledger) {
        save(&self.held.state, &ledger);
        self.digest = ledger.config.as_ref().map(NodeConfig::digest);
        self.held.ledger = ledger;
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(self.held.guard.rules.confirm_seconds.into())
    }

    /// Clients without any connection yet.
    fn fresh(&self) -> Result<Controllers> {
        let Held { identity, state, .. } = &self.held;
        Controllers::new(identity, &client_certificate(state)?)
    }
}

fn save(state: &StateDir, ledger: &Ledger) {
    if let Err(error) = ledger.save(state) {
        error!(error = format!("{:#}", anyhow::Error::from(error)), "what is held is not written down");
    }
}

/// Whether a poll's answer is a reason to leave off what is about to be done: an older wanted state, the same one, or a
/// call that failed is none.
fn is_newer(answer: &Answer, offered: Generation) -> bool {
    match answer {
        Ok(answer) => answer.as_ref().is_some_and(|newer| newer.answer.revision > offered),
        Err(error) => is_revoked(error),
    }
}

/// Whether one of them answers within a time.
async fn reach(controllers: Controllers, within: Duration) -> bool {
    timeout(within, answered(controllers)).await.is_ok()
}

/// Ends when one of them answers; whatever it says.
async fn answered(controllers: Controllers) {
    loop {
        for client in controllers.clients() {
            if let Ok(Ok(_) | Err(ApiError::Problem(_))) = timeout(TRY, client.enroll_info()).await {
                return;
            }
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::tests::config;
    use picket_api::{ConfigAnswer, Problem, ProblemKind};

    #[test]
    fn only_a_newer_wanted_state_or_a_revoke_is_taken_in_place_of_a_change() {
        let offered = Generation(7);
        let answer = |revision| -> Answer {
            let (revision, full) = (Generation(revision), config());
            Ok(Some(Newer { answer: ConfigAnswer { revision, digest: full.digest(), full }, planned_in: None }))
        };
        let refused = |kind| -> Answer { Err(ApiError::Problem(Problem::new(kind, ""))) };
        assert!(is_newer(&answer(8), offered));
        assert!(is_newer(&refused(ProblemKind::NodeRevoked), offered));
        for other in [answer(7), answer(6), Ok(None), refused(ProblemKind::Unauthorized)] {
            assert!(!is_newer(&other, offered), "{other:?}");
        }
    }
}

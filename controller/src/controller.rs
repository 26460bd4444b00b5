//! What all parts of the controller share: the store, the CA, the wanted state, the reports. Parts, no behaviour of
//! their own beyond reading them.

use crate::{
    ca::Authority,
    config::{Chain, Keys},
    dns::Names,
    duties::Duties,
    hooks::Hooks,
    joins::Joins,
    knocks::Knocks,
    leases::Leases,
    metrics::{Counts, Progress},
    planning::Planning,
    reports::Reports,
    store::{Store, StoreError},
    tasks::{judge::Anew, names::Desk, poll::Rounds, push::Push},
    wanted::Wanted,
};
use picket_http::Connections;
use picket_model::{MeshId, OverlayPrefixes, Timestamp};
use picket_plan::Finding;
use picket_proofs::Proofs;
use picket_telemetry::Readiness;
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use tokio::{
    sync::watch,
    time::{Duration, Instant, sleep},
};

/// Failed attempts to join that leave a line in the audit log, each minute: strangers can try as often as they like.
const REFUSALS_LOGGED_A_MINUTE: u32 = 30;

/// Longest wait for another controller's judgement: a person stands before it.
const JUDGED_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked for.
const LOOKED_AGAIN: Duration = Duration::from_millis(50);

/// One running controller.
pub(crate) struct Controller {
    /// The mesh.
    pub(crate) mesh: MeshId,
    /// Ranges of overlay addresses.
    pub(crate) overlay: OverlayPrefixes,
    /// The validator list.
    pub(crate) chain: Chain,
    /// How long preshared keys and certificates last.
    pub(crate) keys: Keys,
    /// What survives a restart.
    pub(crate) store: Store,
    /// Whether this one of several does what is done once.
    pub(crate) duties: Duties,
    /// Who is who.
    pub(crate) ca: Authority,
    /// By which proofs hosts join that have no token.
    pub(crate) proofs: Proofs,
    /// The wanted state.
    pub(crate) wanted: Wanted,
    /// What is in force.
    pub(crate) reports: Reports,
    /// Open connections of agents.
    pub(crate) connections: Connections,
    /// What sources push, and what that wakes.
    pub(crate) push: Push,
    /// The last answers of all sources.
    pub(crate) rounds: Rounds,
    /// Names to be looked up, and what lookups gave.
    pub(crate) names: Desk,
    /// Who wants the list judged anew.
    pub(crate) anew: Anew,
    /// Wakes whoever waits for the next end of an order about the shield.
    pub(crate) shield_ordered: watch::Sender<()>,
    /// Wakes whoever waits for the next end of a drain.
    pub(crate) drained: watch::Sender<()>,
    /// How long hosts are members without being heard.
    pub(crate) leases: Leases,
    /// What clouds may tell of their instances.
    pub(crate) hooks: Hooks,
    /// Names that follow the sentries.
    pub(crate) dns: Names,
    /// Revoked hosts that came back.
    pub(crate) knocks: Knocks,
    /// What is counted.
    pub(crate) counts: Counts,
    /// Changes that are not in force everywhere yet.
    pub(crate) progress: Progress,
    /// Whose turn it is to join.
    pub(crate) joins: Joins,
    /// One plan at a time.
    pub(crate) planning: Planning,
    /// True once the controller stops.
    pub(crate) stopping: watch::Sender<bool>,
    /// Whether there is a validator set.
    pub(crate) listed: AtomicBool,
    /// What the last plan's lint had to say.
    pub(crate) findings: Mutex<Vec<Finding>>,
    /// Since when, and how many failed attempts to join were logged.
    pub(crate) refusals: Mutex<(Timestamp, u32)>,
}

impl Controller {
    /// What the last plan's lint had to say.
    pub(crate) fn findings(&self) -> MutexGuard<'_, Vec<Finding>> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the validator list judged anew, with the orders as they are stored by now; returns once a merge that began after
    /// the call is committed and planned, or after five seconds. Whether it is. Where another controller judges, that is when
    /// the last judgement is not the one of `before` any more.
    pub(crate) async fn judge_anew(&self, before: Option<Timestamp>) -> Result<bool, StoreError> {
        if self.duties.is_mine() {
            return Ok(self.anew.ask().await);
        }
        let end = Instant::now() + JUDGED_WITHIN;
        while Instant::now() < end {
            if self.store.read().await?.judged_at().await? != before {
                return Ok(true);
            }
            sleep(LOOKED_AGAIN).await;
        }
        Ok(false)
    }

    /// Whether one more failed attempt to join may be written down.
    pub(crate) fn may_log_refusal(&self, now: Timestamp) -> bool {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(refusals.0).as_secs() >= 60 || now < refusals.0 {
            *refusals = (now, 0);
        }
        refusals.1 = refusals.1.saturating_add(1);
        refusals.1 <= REFUSALS_LOGGED_A_MINUTE
    }

    /// The epoch of preshared keys at this moment.
    pub(crate) fn epoch(&self, now: Timestamp) -> u64 {
        u64::try_from(now.as_millis() / 1000).unwrap_or_default() / self.keys.preshared_seconds
    }

    /// Whether the controller can do its work.
    pub(crate) fn readiness(&self) -> Readiness {
        let listed = self.listed.load(Ordering::Relaxed);
        let reasons = if listed { Vec::new() } else { vec!["no validator list has been seen yet".to_owned()] };
        Readiness { reasons }
    }

    /// Ends once the controller stops.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as we do.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }
}

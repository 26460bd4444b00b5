//! What a message asked for, done: a launching instance is awaited, a terminating one is cut, and its cloud is told. Each step
//! is written down before the next, and can be done again: a controller that ends anywhere in between goes on where it was.

use crate::{
    api::ApiProblem,
    controller::Controller,
    drains,
    lag::{SILENCE, lag},
    now,
    origin::{self, Origin},
    revoke::{Kind, cut},
    store::{Actor, Ended, HookState, HookTask, Outcome, StoreError},
};
use picket_attest::{IdentityId, hooks::Transition};
use picket_model::{Node, NodeState, PeerHealth, Timestamp, WireGuardPublicKey};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};

/// A host that becomes ready without a report, as when a plan is made that wants less of it.
const LOOK: Duration = Duration::from_secs(1);
/// A plan that is stopped keeps a cut from its peers; after so long the cloud is told all the same.
const STOPPED: Duration = Duration::from_mins(2);
/// Between two tries to tell the cloud: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Absent credentials are told of once, however many instances come and go.
static TOLD: AtomicBool = AtomicBool::new(false);

/// Does a task as far as it goes by itself: to its end, or to where a cut is done and the cloud is to be told.
pub(crate) async fn work(controller: &Arc<Controller>, task: HookTask) -> Result<(), ApiProblem> {
    // What is done for it stands in the audit log with where the message came from, and what it was.
    let origin = Origin { address: task.address, reason: Some(task.what.clone()) };
    origin::resumed(origin, async {
        let task = match (task.state, task.transition) {
            (HookState::Waiting, Transition::Launching) => launching(controller, task).await?,
            (HookState::Waiting, Transition::Warming) => warming(controller, task).await?,
            // Its end is another's work, which gives the place free for another cut.
            (HookState::Waiting, Transition::Terminating) => return terminating(controller, task).await,
            _ => Some(task),
        };
        match task {
            Some(task) => Ok(complete(controller, task).await?),
            None => Ok(()),
        }
    })
    .await
}

/// Waits until the instance's host is ready, or its time is over. `None` where nobody waits any more.
async fn launching(controller: &Controller, task: HookTask) -> Result<Option<HookTask>, StoreError> {
    let most = Duration::from_secs(controller.hooks.lines.ready_seconds);
    let mut beat = Beat::of(controller, &task);
    loop {
        let mut arrivals = controller.reports.arrivals();
        let at = now();
        let mut tx = controller.store.read().await?;
        if is_done(&mut tx, &task).await? {
            return Ok(None);
        }
        let host = host(&mut tx, &task.subject).await?;
        drop(tx);
        let why = match host.map(|node| unready(controller, &node, at).map_or(Ok(node), Err)) {
            Some(Ok(node)) => {
                let note = format!("host {} is ready", node.name);
                return advance(controller, task, Outcome::Continue, note).await.map(Some);
            }
            Some(Err(why)) => why,
            None => "no host of it has joined".to_owned(),
        };
        if is_over(task.received_at, most, controller.hooks.started_at, at) {
            let note = format!("not ready within {} s: {why}", most.as_secs());
            return advance(controller, task, Outcome::Abandon, note).await.map(Some);
        }
        if beat.tell(controller, &task).await? == Waits::NoLonger {
            return Ok(None);
        }
        let _ = timeout(LOOK, arrivals.changed()).await;
    }
}

/// Gives an instance that goes into a warm pool the time to be set up: it cannot tell, since it joins when it is to serve. `None`
/// where nobody waits any more.
async fn warming(controller: &Controller, task: HookTask) -> Result<Option<HookTask>, StoreError> {
    let most = Duration::from_secs(controller.hooks.lines.warm_seconds);
    let mut beat = Beat::of(controller, &task);
    while now().since(task.received_at) < most {
        let mut tx = controller.store.read().await?;
        if is_done(&mut tx, &task).await? {
            return Ok(None);
        }
        drop(tx);
        if beat.tell(controller, &task).await? == Waits::NoLonger {
            return Ok(None);
        }
        sleep(LOOK).await;
    }
    let note =
        format!("it had {} s to be set up for its group's warm pool, and joins when it is to serve", most.as_secs());
    advance(controller, task, Outcome::Continue, note).await.map(Some)
}

async fn is_done(tx: &mut crate::store::Transaction, task: &HookTask) -> Result<bool, StoreError> {
    Ok(tx.hook_task(&task.id).await?.is_none_or(|task| task.state == HookState::Done))
}

/// Tells a cloud again and again to go on waiting.
struct Beat {
    every: Duration,
    last: Option<Instant>,
}

/// Whether the cloud does.
#[derive(PartialEq, Eq)]
enum Waits {
    StillOrUnknown,
    NoLonger,
}

impl Beat {
    fn of(controller: &Controller, task: &HookTask) -> Self {
        let every = Duration::from_secs(controller.hooks.lines.heartbeat_seconds);
        // A task that is resumed may have been without a heartbeat for long.
        Self { every, last: (now().since(task.received_at) < every).then(Instant::now) }
    }

    /// Where it is time. Ends the task where the cloud waits no longer.
    async fn tell(&mut self, controller: &Controller, task: &HookTask) -> Result<Waits, StoreError> {
        let is_time = self.last.is_none_or(|last| last.elapsed() >= self.every);
        let Some(action) = task.action.as_ref().filter(|_| is_time) else { return Ok(Waits::StillOrUnknown) };
        self.last = Some(Instant::now());
        match controller.hooks.autoscaling.heartbeat(action).await {
            Ok(()) => tracing::debug!(subject = task.subject, "told the cloud to go on waiting"),
            Err(error) if error.is_final() => {
                let note = format!("the cloud waits no longer: {error}");
                end(controller, task.clone(), "hook.not-completed", &note).await?;
                return Ok(Waits::NoLonger);
            }
            Err(error) => say(&error, task),
        }
        Ok(Waits::StillOrUnknown)
    }
}

/// Whether a launch was awaited for as long as it may. One from before this run of the controller, which may have been down for
/// long, has the time in which each host is heard again.
fn is_over(received_at: Timestamp, most: Duration, started_at: Timestamp, now: Timestamp) -> bool {
    now.since(received_at) >= most && (received_at >= started_at || now.since(started_at) >= SILENCE)
}

/// Cuts the instance's host, and waits until that is in force on all hosts that answer in time.
async fn terminating(controller: &Arc<Controller>, task: HookTask) -> Result<(), ApiProblem> {
    let lines = &controller.hooks.lines;
    let mut tx = controller.store.read().await?;
    let node = host(&mut tx, &task.subject).await?;
    drop(tx);
    let note = match node {
        None => "no host of it is here".to_owned(),
        Some(node) if !lines.roles.contains(&node.role) => {
            format!("host {} is a {}, which hooks.roles does not name: it stays", node.name, node.role)
        }
        Some(node) => {
            // A host that an operator had revoked before was not taken by its cloud.
            let is_taken = !matches!(node.state, NodeState::Revoked { at } if at < task.received_at);
            let (actor, wait) = (Actor::Hook(task.source), Duration::from_secs(lines.cut_seconds));
            let gone = now().since(task.received_at);
            let left = Duration::from_secs(lines.drain_seconds).saturating_sub(gone);
            if node.is_active() && !left.is_zero() {
                drains::before_cut(controller, &actor, &node, left).await?;
            }
            match cut(controller, &actor, node.id.as_str(), Kind::Revoke, wait).await {
                Ok(following) => {
                    let receipt = following.receipt().await;
                    if is_taken {
                        let mut tx = controller.store.write().await?;
                        tx.note_end(&node.id, Ended::Cloud).await?;
                        tx.commit().await?;
                    }
                    let (there, missing) = (receipt.in_force.len(), receipt.missing.len());
                    format!("host {} revoked, in force on {there} of {} hosts", node.name, there + missing)
                }
                // Tried again, unless it has been for long: the instance goes whether we are done or not.
                Err(problem) if now().since(task.received_at) < STOPPED => return Err(problem),
                Err(problem) => problem.0.detail,
            }
        }
    };
    Ok(advance(controller, task, Outcome::Continue, note).await.map(drop)?)
}

/// Tells the cloud the outcome, where it waits for one.
async fn complete(controller: &Controller, task: HookTask) -> Result<(), StoreError> {
    let outcome = task.outcome.unwrap_or(Outcome::Continue);
    let done = match outcome {
        Outcome::Continue => "hook.completed",
        Outcome::Abandon => "hook.abandoned",
    };
    let Some(action) = task.action.clone() else {
        let note = task.note.clone();
        return end(controller, task, done, &note).await;
    };
    let most = Duration::from_secs(controller.hooks.lines.complete_seconds);
    let mut pause = PAUSES.0;
    // By an earlier try whose answer was lost, or in an earlier run of the controller.
    let mut may_be_told = task.changed_at < controller.hooks.started_at;
    loop {
        let error = match controller.hooks.autoscaling.complete(&action, outcome).await {
            Ok(()) => {
                let note = format!("{}; told the cloud {outcome}", task.note);
                return end(controller, task, done, &note).await;
            }
            Err(error) => error,
        };
        if error.is_final() && may_be_told {
            let note = format!(
                "{}; the cloud no longer waits: an earlier try has told it {outcome}, or its own time was over",
                task.note
            );
            return end(controller, task, done, &note).await;
        }
        may_be_told |= error.may_have_worked();
        if error.is_final() || now().since(task.changed_at) >= most {
            say(&error, &task);
            let note = format!("{}; the cloud was not told {outcome}: {error}", task.note);
            return end(controller, task, "hook.not-completed", &note).await;
        }
        say(&error, &task);
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

fn say(error: &super::CallError, task: &HookTask) {
    let is_told = matches!(error, super::CallError::Credentials(_)) && TOLD.swap(true, Ordering::Relaxed);
    if !is_told {
        tracing::warn!(subject = task.subject, %error, "the cloud cannot be told of an instance; hosts are revoked all the same");
    }
}

async fn advance(
    controller: &Controller,
    task: HookTask,
    outcome: Outcome,
    note: String,
) -> Result<HookTask, StoreError> {
    let task = HookTask { state: HookState::Completing, outcome: Some(outcome), note, changed_at: now(), ..task };
    let mut tx = controller.store.write().await?;
    tx.advance_hook_task(&task).await?;
    tx.commit().await?;
    Ok(task)
}

async fn end(controller: &Controller, task: HookTask, action: &'static str, note: &str) -> Result<(), StoreError> {
    let at = now();
    let task = HookTask { state: HookState::Done, note: note.to_owned(), changed_at: at, ..task };
    let mut tx = controller.store.write().await?;
    if tx.advance_hook_task(&task).await? {
        let detail = format!("{}: {note}", task.transition);
        tx.record(at, &Actor::Hook(task.source), action, &task.subject, &detail).await?;
        tracing::info!(subject = task.subject, action, note, "a hook's task is done");
    }
    tx.commit().await
}

/// The host of an instance: the one that came in with its identity; else a member that came by token and is called after the
/// instance (`i-0abc`, `edge-i-0abc`). A host that proved who it is cannot be taken for another instance, whatever its name.
async fn host(tx: &mut crate::store::Transaction, subject: &str) -> Result<Option<Node>, StoreError> {
    let Ok(identity) = subject.parse::<IdentityId>() else { return tx.node_called(subject).await };
    if let Some(id) = tx.identity(&identity).await?.and_then(|known| known.node) {
        return tx.node(&id).await;
    }
    let Some((_, instance)) = subject.rsplit_once('/') else { return Ok(None) };
    let nodes = tx.nodes().await?;
    for node in nodes.values().filter(|node| node.is_active() && is_called_after(node.name.as_str(), instance)) {
        if tx.identity_of(&node.id).await?.is_none() {
            return Ok(Some(node.clone()));
        }
    }
    Ok(None)
}

fn is_called_after(name: &str, instance: &str) -> bool {
    name.strip_suffix(instance).is_some_and(|before| before.is_empty() || before.ends_with('-'))
}

/// Why a host is not ready: everything that is wanted of it is in force, and one of its tunnels at least has come up.
fn unready(controller: &Controller, node: &Node, at: Timestamp) -> Option<String> {
    if !node.is_meshed() {
        return Some(format!("host {} is revoked or in quarantine", node.name));
    }
    if let Some(why) = lag(controller, &node.id, at) {
        return Some(format!("host {} {why}", node.name));
    }
    let wanted = controller.wanted.target().and_then(|target| {
        Some(target.plan.nodes.get(&node.id)?.wireguard.peers.keys().copied().collect::<BTreeSet<_>>())
    });
    let report = controller.reports.get(&node.id).map(|received| received.stored.report);
    let reported = report.map(|report| report.peers).unwrap_or_default();
    (!is_up(&wanted.unwrap_or_default(), &reported)).then(|| format!("host {} has no tunnel yet", node.name))
}

/// Whether one of the wanted tunnels at least has had its handshake; without any wanted there is none to wait for.
fn is_up(wanted: &BTreeSet<WireGuardPublicKey>, reported: &BTreeMap<WireGuardPublicKey, PeerHealth>) -> bool {
    let shaken = |peer| reported.get(peer).is_some_and(|health: &PeerHealth| health.last_handshake.is_some());
    wanted.is_empty() || wanted.iter().any(shaken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_found_by_a_name_that_ends_as_the_instance_and_by_no_other() {
        for (name, expect) in [
            ("i-0123456789abcdef0", true),
            ("edge-i-0123456789abcdef0", true),
            ("xi-0123456789abcdef0", false),
            ("i-0123456789abcdef0-2", false),
            ("edge", false),
        ] {
            assert_eq!(is_called_after(name, "i-0123456789abcdef0"), expect, "{name}");
        }
    }

    #[test]
    fn a_launch_from_before_the_start_has_the_time_in_which_hosts_are_heard_again() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let check = |received: i64, started: i64, now: i64, expect: bool| {
            let found = is_over(at(received), Duration::from_secs(900), at(started), at(now));
            assert_eq!(found, expect, "received {received}, started {started}, now {now}");
        };
        check(1000, 500, 1899, false);
        check(1000, 500, 1900, true);
        // The controller was down when its time came.
        check(1000, 5000, 5000, false);
        check(1000, 5000, 5089, false);
        check(1000, 5000, 5090, true);
        // It had begun long enough before.
        check(1000, 1200, 1899, false);
        check(1000, 1200, 1900, true);
    }

    #[test]
    fn a_host_is_up_with_its_first_tunnel() {
        let key = |byte: u8| WireGuardPublicKey::new([byte; 32]).unwrap();
        let health = |at: Option<i64>| PeerHealth {
            last_handshake: at.map(Timestamp::from_millis),
            endpoint: None,
            received_bytes: 0,
            sent_bytes: 0,
        };
        let check = |wanted: &[u8], reported: &[(u8, Option<i64>)], expect: bool| {
            let reported = reported.iter().map(|(peer, at)| (key(*peer), health(*at))).collect();
            assert_eq!(is_up(&wanted.iter().map(|peer| key(*peer)).collect(), &reported), expect);
        };
        check(&[], &[], true);
        check(&[1, 2], &[], false);
        check(&[1, 2], &[(1, None), (3, Some(5))], false);
        check(&[1, 2], &[(1, None), (2, Some(5))], true);
    }
}

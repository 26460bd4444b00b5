//! What other controllers changed in the shared database: looked at each second, and as soon as the database says that something was.
//! The rows are the truth, the word that there is something new is only a wake-up.

use super::report;
use crate::{
    controller::Controller,
    duties::{DUTY, LENGTH, RENEWED},
    now,
    store::{Ears, Mark, StoreError},
    tasks::plan,
};
use futures_util::FutureExt as _;
use picket_model::{Node, Timestamp};
use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};

/// How often the rows are looked at, whatever is heard.
const EVERY: Duration = Duration::from_secs(1);
/// Clocks of controllers may differ by this much, and a report is not missed.
const SKEW: Duration = Duration::from_secs(10);
/// Changes within this time share a look.
const GATHER: Duration = Duration::from_millis(10);
/// Looks are so long apart at least, however much is heard: each of many hosts that join is word of a change.
const APART: Duration = Duration::from_millis(100);

/// How far this controller has seen.
#[derive(Debug)]
pub(crate) struct Seen {
    mark: Mark,
    /// When the newest report came that was read.
    report: Timestamp,
    /// The last change of a host.
    change: i64,
    /// Whether something has changed since it was made sure that all of it is planned.
    changed: bool,
}

impl Seen {
    /// Of a controller that starts.
    pub(crate) fn nothing(now: Timestamp) -> Self {
        Self { mark: Mark::default(), report: now, change: 0, changed: false }
    }
}

/// Looks for as long as the controller runs; at once done where the database is not shared.
pub(crate) async fn run(controller: Arc<Controller>) {
    if !controller.store.is_shared() {
        return;
    }
    let mut seen = Seen::nothing(now());
    let mut told: Option<Instant> = None;
    loop {
        let mut ears = match controller.store.listen().await {
            Ok(ears) => ears,
            Err(error) => {
                report("follow", &error);
                None
            }
        };
        loop {
            // Only after the wake-up is in place, so that nothing falls between two looks.
            let looked = Instant::now();
            // Of reports there is no word: what they are looked at for can wait for its second.
            let looked_at = if told.is_none_or(|at| at.elapsed() >= EVERY) {
                told = Some(looked);
                run_once(&controller, &mut seen).await
            } else {
                look(&controller, &mut seen).await
            };
            if let Err(error) = looked_at {
                report("follow", &error);
            }
            let is_heard = match &mut ears {
                Some(ears) => woken(ears, looked).await,
                None => {
                    sleep(EVERY).await;
                    false
                }
            };
            if !is_heard {
                break;
            }
        }
    }
}

/// Keeps a duty, or takes it where its holder is gone; at once done where the database is not shared.
pub(crate) async fn keep_duty(controller: Arc<Controller>) {
    while controller.store.is_shared() {
        let at = Instant::now();
        let cas = controller.ca.now().told().tag;
        match timeout(LENGTH, controller.store.be_here(&controller.duties.holder, &cas, LENGTH)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => report("duties", &error),
            Err(_) => tracing::error!("the database was not told in time that this controller is here"),
        }
        match timeout(LENGTH, controller.store.take_duty(DUTY, &controller.duties.holder, LENGTH)).await {
            Ok(Ok(is_taken)) => {
                if is_taken && !controller.duties.is_mine() {
                    tracing::info!("this controller asks for the list and does what is done once for all");
                }
                controller.duties.asked(at, is_taken);
            }
            Ok(Err(error)) => report("duties", &error),
            Err(_) => tracing::error!("the database did not say in time whose duty it is"),
        }
        sleep(RENEWED).await;
    }
}

/// Waits for the wake-up or the next look; false where nothing can be heard any more.
async fn woken(ears: &mut Ears, looked: Instant) -> bool {
    match timeout(EVERY, ears.heard()).await {
        Ok(Ok(())) => {
            sleep(GATHER.max(APART.saturating_sub(looked.elapsed()))).await;
            // What was heard meanwhile is of changes that the next look sees.
            while let Some(heard) = ears.heard().now_or_never() {
                if let Err(error) = heard {
                    report("follow", &error);
                    return false;
                }
            }
            true
        }
        Ok(Err(error)) => {
            report("follow", &error);
            sleep(EVERY).await;
            false
        }
        Err(_) => true,
    }
}

/// Looks once, at what hosts told others too.
pub(crate) async fn run_once(controller: &Controller, seen: &mut Seen) -> Result<(), StoreError> {
    hear(controller, seen).await?;
    look(controller, seen).await
}

async fn look(controller: &Controller, seen: &mut Seen) -> Result<(), StoreError> {
    let mut tx = controller.store.read().await?;
    let mark = tx.mark().await?;
    if mark == seen.mark {
        drop(tx);
        return make_sure(controller, seen).await;
    }
    // At the start everything sleeps until what it finds in the database itself.
    let line = if seen.mark == Mark::default() { mark.line } else { seen.mark.line };
    let actions = tx.actions_since(line).await?;
    // By the number of the change and no clock: another controller's may be far behind.
    let (hosts, change) = tx.nodes_changed_after(seen.change).await?;
    let mut asked = Vec::new();
    for name in tx.subjects_since(line, "node.rekey.asked").await? {
        asked.extend(tx.node_called(&name).await?);
    }
    let known = controller.wanted.target();
    let target = match &known {
        Some(known) => tx.target_after(known).await?,
        None => tx.target().await?,
    };
    let has_list = tx.has_list().await?;
    drop(tx);

    // The plan that takes a host from its peers first, then the host itself.
    if let Some(target) = target {
        plan::publish(controller, target);
    }
    for Node { id, .. } in hosts.iter().filter(|host| !host.is_active()) {
        if controller.wanted.revoke(id) {
            let closed = controller.connections.close_node(id);
            tracing::info!(node = %id, closed, "host cut by another controller");
        }
    }
    for node in asked {
        controller.wanted.nudge(&node.id);
    }
    controller.listed.store(has_list, Ordering::Relaxed);
    wake(controller, &actions);
    (seen.mark, seen.change, seen.changed) = (mark, change, true);
    Ok(())
}

/// Plans once more after changes, by one for all: whoever made the last one may have died before its plan, or be of a version that
/// cannot make it.
async fn make_sure(controller: &Controller, seen: &mut Seen) -> Result<(), StoreError> {
    if seen.changed && controller.duties.is_mine() {
        seen.changed = false;
        plan::run_once(controller).await?;
    }
    Ok(())
}

/// Takes what hosts told other controllers.
async fn hear(controller: &Controller, seen: &mut Seen) -> Result<(), StoreError> {
    let is_news =
        |node: &_, at| controller.reports.of(node, |known| known.stored.received_at).is_none_or(|known| known < at);
    let reports = controller.store.read().await?.reports_since(seen.report.minus(SKEW), is_news).await?;
    // A clock that is ahead of ours must not make us miss the others.
    let newest = reports.iter().map(|(_, stored)| stored.received_at).max().unwrap_or(seen.report);
    seen.report = seen.report.max(newest.min(now()));
    controller.reports.heard_elsewhere(reports);
    Ok(())
}

/// Wakes what sleeps until something that another controller may have changed.
fn wake(controller: &Controller, actions: &BTreeSet<String>) {
    let is_there = |start: &str| actions.iter().any(|action| action.starts_with(start));
    if is_there("shield.") {
        controller.shield_ordered.send_replace(());
    }
    if is_there("ca.rotation.") {
        controller.ca.heard.notify_one();
    }
    if is_there("node.drained") || is_there("node.undrained") {
        controller.drained.send_replace(());
    }
    if ["validators.approved", "validators.frozen", "validators.unfrozen"]
        .iter()
        .any(|action| actions.contains(*action))
    {
        controller.anew.wake();
    }
    if is_there("hook.") {
        controller.hooks.wake.notify_one();
    }
}

//! Does what hooks asked for, each task beside the others, from what is written in the database: a task that failed, or that an
//! earlier run of the controller began, is begun again.

use super::report;
use crate::{
    controller::Controller,
    hooks::{Shown, work},
    now,
    store::StoreError,
};
use picket_model::Timestamp;
use picket_plan::{Finding, FindingKind};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::sleep};

/// A task that failed is begun again after so long.
const EVERY: Duration = Duration::from_secs(2);
/// Tasks at once; those that came later wait.
const MOST: usize = 200;
/// Ids of messages are kept so much longer than a message may be old.
const KEPT_LONGER: Duration = Duration::from_hours(24);
const SWEEP: Duration = Duration::from_mins(10);
/// The listener's certificate is read again so often.
const RENEW: Duration = Duration::from_hours(1);

/// Works until the controller stops.
pub(crate) async fn run(controller: Arc<Controller>) {
    let mut tasks: JoinSet<String> = JoinSet::new();
    let mut under_way = BTreeSet::new();
    let mut swept: Option<Instant> = None;
    loop {
        if let Err(error) = begin(&controller, &mut tasks, &mut under_way).await {
            report("hooks", &error);
        }
        if swept.is_none_or(|at| at.elapsed() >= SWEEP) {
            swept = Some(Instant::now());
            if let Err(error) = sweep(&controller, now()).await {
                report("hooks", &error);
            }
        }
        tokio::select! {
            () = controller.hooks.wake.notified() => {}
            Some(ended) = tasks.join_next() => {
                match ended {
                    Ok(id) => _ = under_way.remove(&id),
                    // Which one it was is not told; all are begun again, and find what is done done.
                    Err(error) => {
                        tracing::error!(%error, "a hook's task ended in a panic");
                        tasks.abort_all();
                        while tasks.join_next().await.is_some() {}
                        under_way.clear();
                    }
                }
            }
            () = sleep(EVERY) => {}
        }
    }
}

async fn begin(
    controller: &Arc<Controller>,
    tasks: &mut JoinSet<String>,
    under_way: &mut BTreeSet<String>,
) -> Result<(), StoreError> {
    let mut tx = controller.store.read().await?;
    let (open, gone) = (tx.open_hook_tasks().await?, tx.last_sentry_taken().await?);
    drop(tx);
    let alarm = gone.map(|(name, at)| {
        let text = format!(
            "no sentry is left: {name} was the last one, and its cloud took it at {at}; see whether new ones come up and join"
        );
        Finding::warning(FindingKind::SentriesGone, &name, text)
    });
    controller.hooks.found_by("hooks", alarm.into_iter().collect());
    for task in open {
        if under_way.len() >= MOST {
            break;
        }
        if !under_way.insert(task.id.clone()) {
            continue;
        }
        let controller = controller.clone();
        tasks.spawn(async move {
            let id = task.id.clone();
            if let Err(problem) = work(&controller, task).await {
                tracing::warn!(detail = problem.0.detail, "a hook's task failed; it is tried again");
                // Longer than the loop's own pace, so that what fails at once is not tried at once.
                sleep(EVERY).await;
            }
            id
        });
    }
    Ok(())
}

async fn sweep(controller: &Controller, now: Timestamp) -> Result<(), StoreError> {
    let kept = controller.hooks.lines.oldest() + KEPT_LONGER;
    let kept = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
    let mut tx = controller.store.write().await?;
    tx.drop_old_hooks(Timestamp::from_millis(now.as_millis().saturating_sub(kept))).await?;
    tx.commit().await
}

/// Reads the listener's certificate again, for as long as it runs.
pub(crate) async fn renew(shown: Shown) {
    loop {
        sleep(RENEW).await;
        if let Err(error) = shown.renew() {
            report("hooks' certificate", &*error);
        }
    }
}

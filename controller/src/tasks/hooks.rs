//! Does what hooks asked for, each task beside the others, from what is written in the database: a task that failed, or that an
//! earlier run of the controller began, is begun again.

use super::report;
use crate::{
    controller::Controller,
    hooks::{Shown, work},
    now,
    store::{HookState, HookTask, StoreError},
};
use picket_attest::hooks::Transition;
use picket_model::Timestamp;
use picket_plan::{Finding, FindingKind};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::sleep};

/// A task that failed is begun again after so long.
const EVERY: Duration = Duration::from_secs(2);
/// Ids of messages are kept so much longer than a message may be old.
const KEPT_LONGER: Duration = Duration::from_hours(24);
const SWEEP: Duration = Duration::from_mins(10);
/// The listener's certificate is read again so often.
const RENEW: Duration = Duration::from_hours(1);

/// What a task does now. Each has places of its own, so that no cut waits behind what waits for hosts or for a cloud, however
/// many of those there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    /// It waits for a host, or for an instance to be set up, and then tells the cloud.
    Await,
    /// It cuts a host.
    Cut,
    /// It tells the cloud that a host is cut.
    Tell,
}

impl Work {
    const fn of(task: &HookTask) -> Self {
        match (task.transition, task.state) {
            (Transition::Launching | Transition::Warming, _) => Self::Await,
            (Transition::Terminating, HookState::Waiting) => Self::Cut,
            (Transition::Terminating, _) => Self::Tell,
        }
    }

    /// Tasks at once; those that came later wait.
    const fn most(self) -> usize {
        match self {
            Self::Await | Self::Tell => 200,
            Self::Cut => 2000,
        }
    }
}

/// Which of the open tasks begin now; they are under way from here on.
fn due(open: Vec<HookTask>, under_way: &mut BTreeMap<String, Work>) -> Vec<HookTask> {
    let mut taken: BTreeMap<Work, usize> = BTreeMap::new();
    under_way.values().for_each(|work| *taken.entry(*work).or_default() += 1);
    let begins = |task: &HookTask| {
        let work = Work::of(task);
        let taken = taken.entry(work).or_default();
        let begins = *taken < work.most() && !under_way.contains_key(&task.id);
        if begins {
            *taken += 1;
            under_way.insert(task.id.clone(), work);
        }
        begins
    };
    open.into_iter().filter(begins).collect()
}

/// Works until the controller stops.
pub(crate) async fn run(controller: Arc<Controller>) {
    let mut tasks: JoinSet<String> = JoinSet::new();
    let mut under_way = BTreeMap::new();
    let mut swept: Option<Instant> = None;
    loop {
        if controller.duties.is_mine()
            && let Err(error) = begin(&controller, &mut tasks, &mut under_way).await
        {
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
    under_way: &mut BTreeMap<String, Work>,
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
    for task in due(open, under_way) {
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
    let mut tx = controller.store.write().await?;
    tx.drop_old_hooks(now.minus(kept)).await?;
    tx.commit().await
}

/// Reads the listener's certificate again, for as long as it runs.
pub(crate) async fn renew(shown: Shown) {
    loop {
        sleep(RENEW).await;
        if let Err(error) = shown.renew() {
            report(shown.name(), &*error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::HookSource;

    fn task(id: &str, transition: Transition, state: HookState) -> HookTask {
        let at = Timestamp::from_millis(0);
        HookTask {
            id: id.to_owned(),
            source: HookSource::Generic,
            transition,
            subject: id.to_owned(),
            action: None,
            what: String::new(),
            address: None,
            state,
            outcome: None,
            note: String::new(),
            received_at: at,
            changed_at: at,
        }
    }

    #[test]
    fn no_cut_waits_behind_hosts_that_are_awaited_or_a_cloud_that_does_not_answer() {
        let mut open: Vec<_> = (0..300)
            .map(|number| task(&format!("launch-{number}"), Transition::Launching, HookState::Waiting))
            .chain(
                (0..300).map(|number| task(&format!("tell-{number}"), Transition::Terminating, HookState::Completing)),
            )
            .collect();
        open.push(task("cut", Transition::Terminating, HookState::Waiting));
        let mut under_way = BTreeMap::new();
        let begun = due(open.clone(), &mut under_way);
        assert_eq!((begun.len(), begun.last().unwrap().id.as_str(), under_way.len()), (401, "cut", 401));
        assert!(due(open.clone(), &mut under_way).is_empty(), "what is under way does not begin twice");
        // A place that is free goes to the one that came first.
        under_way.remove("launch-0");
        open.remove(0);
        assert_eq!(due(open, &mut under_way).iter().map(|task| task.id.as_str()).collect::<Vec<_>>(), ["launch-200"]);
    }

    #[test]
    fn cuts_have_an_end_too() {
        let cuts = (0..2001).map(|number| task(&number.to_string(), Transition::Terminating, HookState::Waiting));
        assert_eq!(due(cuts.collect(), &mut BTreeMap::new()).len(), 2000);
    }
}

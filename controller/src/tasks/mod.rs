//! What the controller does by itself, each a `run_once` and a timer. A task that fails says so and tries again; none
//! ends the program.

pub(crate) mod alarms;
pub(crate) mod ca;
pub(crate) mod certificate;
pub(crate) mod dns;
pub(crate) mod drains;
pub(crate) mod expire;
pub(crate) mod follow;
pub(crate) mod hooks;
pub(crate) mod judge;
pub(crate) mod leases;
pub(crate) mod names;
pub(crate) mod plan;
pub(crate) mod poll;
pub(crate) mod progress;
pub(crate) mod push;
pub(crate) mod reports;
pub(crate) mod shield;
pub(crate) mod webhooks;

use crate::controller::Controller;
use anyhow::Context as _;
use picket_chain::push::{Dialer, PushLimits};
use std::{error::Error, sync::Arc};
use tokio::task::JoinSet;

/// Starts all of them; they end when the controller stops.
pub(crate) fn spawn_all(controller: &Arc<Controller>) -> anyhow::Result<JoinSet<()>> {
    let asker = poll::Asker::new(&controller.chain).context("set up the chain's client")?;
    let dialer = Dialer::new(PushLimits::default()).context("set up the chain's subscriptions")?;
    let mut tasks = JoinSet::new();
    tasks.spawn(until_stopped(controller.clone(), poll::run(controller.clone(), asker)));
    tasks.spawn(until_stopped(controller.clone(), judge::run(controller.clone())));
    tasks.spawn(until_stopped(controller.clone(), names::run(controller.clone())));
    tasks.spawn(until_stopped(controller.clone(), push::run(controller.clone(), dialer)));
    tasks.spawn(until_stopped(controller.clone(), alarms::run(controller.clone())));
    tasks.spawn(until_stopped(controller.clone(), reports::run(controller.clone())));
    tasks.spawn(until_stopped(controller.clone(), progress::run(controller.clone())));
    tasks.spawn(until_stopped(controller.clone(), expire::run(controller.clone())));
    tasks.spawn(until_stopped(controller.clone(), leases::run(controller.clone())));
    tasks.spawn(until_stopped(controller.clone(), hooks::run(controller.clone())));
    tasks.spawn(until_stopped(controller.clone(), ca::run(controller.clone())));
    tasks.spawn(until_stopped(controller.clone(), certificate::run(controller.clone())));
    tasks.spawn(until_stopped(controller.clone(), shield::run(controller.clone())));
    tasks.spawn(until_stopped(controller.clone(), drains::run(controller.clone())));
    tasks.spawn(until_stopped(controller.clone(), follow::run(controller.clone())));
    tasks.spawn(until_stopped(controller.clone(), follow::keep_duty(controller.clone())));
    Ok(tasks)
}

/// A task that ends with the controller.
pub(crate) async fn until_stopped(controller: Arc<Controller>, task: impl Future<Output = ()>) {
    tokio::select! {
        () = task => {}
        () = controller.stopped() => {}
    }
}

/// A round that failed: the next one tries again.
fn report(task: &'static str, error: &(dyn Error + 'static)) {
    tracing::error!(task, error, "a round failed; the next one tries again");
}

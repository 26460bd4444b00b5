//! Lets the next CA sign once every host trusts it: as soon as the last one says so, or is no member any more.

use crate::{ca, controller::Controller, now};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// A host may have been revoked, or have been the only one to wait for.
const EVERY: Duration = Duration::from_secs(5);

/// Looks when a host says something new, and every few seconds.
pub(crate) async fn run(controller: Arc<Controller>) {
    let mut changes = controller.ca.follow();
    loop {
        if let Err(problem) = ca::switch_if_ready(&controller, now()).await {
            tracing::error!(detail = problem.0.detail, "the next CA does not sign yet; it is tried again");
        }
        tokio::select! {
            () = controller.ca.heard.notified() => {}
            _ = changes.changed() => {}
            () = sleep(EVERY) => {}
        }
    }
}

//! Takes over what other controllers did with the CA, and lets the next one sign once every host trusts it: as soon as the last one
//! says so, or is no member any more. Of several controllers one does the latter.

use super::report;
use crate::{ca, controller::Controller, duties::LENGTH, now};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// A host may have been revoked, or have been the only one to wait for.
const EVERY: Duration = Duration::from_secs(5);

/// Looks when a host says something new or another controller has taken a step, and every few seconds.
pub(crate) async fn run(controller: Arc<Controller>) {
    let mut changes = controller.ca.follow();
    let mut said = String::new();
    loop {
        if let Err(error) = ca::follow(&controller.ca, &controller.store, now()).await {
            tracing::error!(
                error = format!("{error:#}"),
                "a step of the CA's rotation that another controller took is not followed; it is tried again"
            );
        }
        // At once: a step waits until all have said by which CAs they go.
        let cas = controller.ca.now().told().tag;
        if cas != said {
            match controller.store.be_here(&controller.duties.holder, &cas, LENGTH).await {
                Ok(()) => said = cas,
                Err(error) => report("ca", &error),
            }
        }
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

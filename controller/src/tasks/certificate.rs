//! Shows a fresh server certificate long before the old one ends. No timer for its end: a new one each day costs nothing.

use super::report;
use crate::{controller::Controller, now};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

const EVERY: Duration = Duration::from_hours(24);

/// Replaces the certificate once a day; the start made the first one.
pub(crate) async fn run(controller: Arc<Controller>) {
    loop {
        sleep(EVERY).await;
        if let Err(error) = controller.ca.show_fresh(now()).await {
            report("certificate", &*error);
        }
    }
}

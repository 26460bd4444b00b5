//! Shows a fresh server certificate long before the old one ends. No timer for its end: a new one each day costs nothing.

use super::report;
use crate::{controller::Controller, now};
use anyhow::Context as _;
use picket_pki::ServedCertificate;
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

const EVERY: Duration = Duration::from_hours(24);

/// Replaces the certificate once a day; the start made the first one.
pub(crate) async fn run(controller: Arc<Controller>, served: Arc<ServedCertificate>) {
    loop {
        sleep(EVERY).await;
        if let Err(error) = run_once(&controller, &served) {
            report("certificate", &*error);
        }
    }
}

fn run_once(controller: &Controller, served: &ServedCertificate) -> anyhow::Result<()> {
    let certificate = controller.ca.server_certificate(now())?;
    served.replace(certificate).context("show a new server certificate")
}

//! The agent's next certificate: shown once it is known to be good, then written down.

use super::Agent;
use crate::{
    host,
    identity::{client_certificate, save_certificate},
};
use anyhow::Result;
use picket_api::{ApiError, node::RenewResponse};
use picket_pki::{ClientCertificate, Validity, validity_of};
use std::time::Duration;
use tracing::{error, info, warn};

impl Agent {
    /// Writes the next certificate down and shows it from now on. Whether that went well.
    pub(super) fn renewed(&mut self, renewed: &RenewResponse) -> bool {
        match self.show(renewed) {
            Ok(validity) => {
                info!(until = %validity.not_after, "certificate renewed");
                if self.renewals.renewed(validity) {
                    self.renewals.begin(&self.held.identity, &self.controllers, host::now());
                }
                // A report that waits would leave over a connection that shows the old one, which is refused from now on.
                self.tell();
                // Over a connection that shows it, the controller sees which CA it is of.
                self.ask_for_cas(Duration::ZERO);
                true
            }
            Err(error) => {
                error!(error = format!("{error:#}"), "the new certificate was not taken; the old one is shown on");
                false
            }
        }
    }

    fn show(&mut self, renewed: &RenewResponse) -> Result<Validity> {
        let validity = validity_of(&renewed.certificate_pem)?;
        let key_pem = client_certificate(&self.held.state)?.key_pem;
        let certificate = ClientCertificate { certificate_pem: renewed.certificate_pem.clone(), key_pem };
        // Fails where the certificate is not for this host's key: the old one, and its file, are good still.
        self.controllers.show(&self.held.identity, &certificate)?;
        if let Err(error) = save_certificate(&self.held.state, &renewed.certificate_pem) {
            warn!(%error, "the new certificate is shown and could not be written down: a restart begins with the old one");
        }
        Ok(validity)
    }

    pub(super) fn not_renewed(&mut self, error: &ApiError) {
        let until = self.renewals.renewal.not_after();
        warn!(%error, %until, "certificate not renewed; it is tried again, and what is in force stays");
    }
}

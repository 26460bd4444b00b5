//! `[keys]`: how long preshared keys and certificates last.

use serde::Deserialize;
use std::time::Duration;

/// How long what hosts are given lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// Seconds after which tunnels get another preshared key.
    pub preshared_seconds: u64,
    /// Seconds for which a host's certificate is good; it is renewed from the half on.
    pub certificate_seconds: u64,
}

impl Keys {
    /// Life of a certificate. The tunnel does not end with it, and what cuts a host is the revoke, which every request asks
    /// for.
    pub(crate) const fn certificate(&self) -> Duration {
        Duration::from_secs(self.certificate_seconds)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.preshared_seconds == 0 {
            return Err("keys.preshared_seconds is 0: write at least 1".to_owned());
        }
        // A certificate that ends before a host has its next one would keep it from the controller; one that lasts for
        // months is what short lives are against.
        if !(2..=90 * 24 * 3600).contains(&self.certificate_seconds) {
            let found = self.certificate_seconds;
            return Err(format!("keys.certificate_seconds is {found}: write 2 to 7776000, which is 90 days"));
        }
        Ok(())
    }
}

impl Default for Keys {
    /// A day, and eight hours.
    fn default() -> Self {
        Self { preshared_seconds: 24 * 3600, certificate_seconds: 8 * 3600 }
    }
}

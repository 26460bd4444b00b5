//! The shield at work: what the firewall stopped, looked at every two seconds where a host may tighten limits by itself.

use super::Agent;
use picket_model::{FirewallPolicy, Shield as Wish};
use std::time::Duration;
use tokio::time::Instant;
use tracing::warn;

/// How often what the firewall stopped is counted.
pub(super) const SHIELD: Duration = Duration::from_secs(2);

impl Agent {
    /// The firewall that is to be in force, its limits tight where the shield is up.
    pub(super) fn shielded(&self, mut wanted: Option<FirewallPolicy>) -> Option<FirewallPolicy> {
        self.ways.note_silent(wanted.as_mut());
        if let Some(firewall) = wanted.as_mut().filter(|firewall| firewall.shield == Wish::Auto && self.shield.is_up())
        {
            firewall.shield = Wish::On;
        }
        wanted
    }

    /// Counts, and brings other limits into force where that says so.
    pub(super) async fn watch_attacks(&mut self) {
        let ledger = &self.held.ledger;
        if ledger.config.as_ref().is_none_or(|config| config.firewall.shield != Wish::Auto) {
            self.shield.forget();
            return;
        }
        match self.filter.stopped().await {
            Ok(stopped) if self.shield.sample(Instant::now(), stopped) => {
                warn!(up = self.shield.is_up(), stopped, "an attack began or ended: limits change");
                self.bring_into_force().await;
            }
            Ok(_) => {}
            Err(error) => warn!(error = format!("{error:#}"), "what the firewall stopped is not known"),
        }
    }
}

//! Nodes' JSON-RPC, served while the firewall that guards it is in force and no longer.

use super::Agent;
use crate::doors::doors;
use picket_gateway::Door;
use picket_model::{FirewallPolicy, WireGuardConfig};
use tracing::warn;

/// The doors of a host with this firewall and these tunnels; none where it has either not.
pub(super) fn doors_of(firewall: Option<&FirewallPolicy>, wireguard: Option<&WireGuardConfig>) -> Vec<Door> {
    firewall.zip(wireguard).map(|(firewall, wireguard)| doors(firewall, wireguard)).unwrap_or_default()
}

impl Agent {
    /// Opens these doors where the firewall was read back, and closes all others.
    pub(super) async fn open(&mut self, doors: Vec<Door>) {
        let is_guarded = self.found.as_ref().is_some_and(|found| found.firewall.is_in_force());
        self.gateway.follow(if is_guarded { &doors } else { &[] }).await;
        for (port, stands) in self.gateway.stands() {
            if let Some(error) = stands.error {
                warn!(port, error, "a node's JSON-RPC is not served");
            }
        }
    }

    /// Closes every door where the firewall is not in force; what is to be open again is opened by the next comparison.
    pub(super) async fn close_unguarded(&mut self) {
        if self.found.as_ref().is_none_or(|found| !found.firewall.is_in_force()) {
            self.gateway.follow(&[]).await;
        }
    }
}

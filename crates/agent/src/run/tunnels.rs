//! Tunnels that wait for their first handshake, dialled again and looked at; and those whose keys move on.

use super::{Agent, Held, LOOK};
use crate::decide::Redial;
use crate::reconcile::Tunnels as _;
use picket_model::{PeerHealth, WireGuardPublicKey};
use std::collections::BTreeMap;
use tokio::time::Instant;
use tracing::{info, warn};

impl Agent {
    /// Looks whether tunnels have had their first handshake, and tells if so.
    pub(super) async fn look(&mut self) {
        let now = Instant::now().into_std();
        self.look = if self.awaited.is_pressing(now) { LOOK[0] } else { (self.look * 2).min(LOOK[1]) };
        let Some(found) = &mut self.found else { return };
        let Ok(peers) = self.tunnels.observe().await else { return };
        let is_news = alive(&peers) != alive(&found.peers);
        self.endpoints.keep(&peers);
        found.peers = peers;
        self.awaited.look(&found.peers, now);
        if is_news {
            info!(tunnels = alive(&found.peers), of = found.peers.len(), "handshake");
            self.look = LOOK[0];
            self.turn_keys().await;
            self.tell();
        }
    }

    /// Looks at tunnels that are in force: their keys may have to move on, and a peer may have moved.
    pub(super) async fn watch_tunnels(&mut self) {
        self.turn_keys().await;
        let Some(found) = self.found.as_ref().filter(|found| found.wireguard.is_in_force()) else { return };
        let Ok(peers) = self.tunnels.observe().await else { return };
        // Of an interface that lost its peers it is not learned that nobody is anywhere.
        if peers.keys().eq(found.peers.keys()) {
            self.endpoints.keep(&peers);
        }
    }

    /// Tries the preshared key of the other epoch where handshakes fail.
    pub(super) async fn turn_keys(&mut self) {
        self.look_for_next_key();
        let Held { ledger, guard, .. } = &self.held;
        let Ok(Some(config)) = ledger.admitted(guard) else { return };
        // Peers come with their filter and not before it.
        if self.found.as_ref().is_none_or(|found| !found.is_in_force()) {
            return;
        }
        let Some(wireguard) = self.ways.steer(&mut self.tunnels, Some(&config)) else { return };
        if let Err(error) = self.tunnels.turn_keys(&wireguard).await {
            warn!(error = format!("{error:#}"), "preshared keys not set");
        }
    }

    /// Dials again soon what has no handshake yet.
    pub(super) fn dial_soon(&mut self) {
        self.redial = Redial::begin();
        self.redial_at = Instant::now() + self.redial.pause().unwrap_or_default();
    }

    pub(super) async fn redial(&mut self) {
        if let Err(error) = self.tunnels.redial().await {
            warn!(error = format!("{error:#}"), "peers without a handshake not dialled again");
        }
        let is_pressing = self.awaited.is_pressing(Instant::now().into_std());
        self.redial = if is_pressing { Redial::awaiting() } else { self.redial.dialled() };
        self.redial_at = Instant::now() + self.redial.pause().unwrap_or_default();
    }

    pub(super) fn waits_for_handshake(&self) -> bool {
        self.found.as_ref().is_some_and(|found| alive(&found.peers) < found.peers.len())
    }
}

/// How many tunnels have had a handshake.
fn alive(peers: &BTreeMap<WireGuardPublicKey, PeerHealth>) -> usize {
    peers.values().filter(|peer| peer.last_handshake.is_some()).count()
}

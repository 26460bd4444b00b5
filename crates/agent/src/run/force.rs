//! What is held is brought into force: the firewall that follows from the host's state, tunnels, doors; and read back.

use super::{Agent, Held, LOOK, serving};
use crate::{
    posture::{AgentIs, Posture},
    reconcile::{Found, Wanted, reconcile},
    release::is_released,
    spans,
};
use tokio::time::Instant;
use tracing::{Instrument as _, Span, error, field, info};

impl Agent {
    pub(super) async fn bring_into_force(&mut self) {
        let Held { ledger, identity, .. } = &self.held;
        let span = spans::apply(&identity.name, ledger.revision());
        self.apply().instrument(span).await;
    }

    async fn apply(&mut self) {
        let posture = self.posture();
        let firewall = self.shielded(self.held.ledger.firewall(&self.held.guard, posture));
        let Held { ledger, guard, .. } = &self.held;
        let admitted = ledger.admitted(guard).ok().flatten().filter(|_| posture.has_tunnels());
        let steered = self.ways.steer(&mut self.tunnels, admitted.as_deref());
        let wireguard = steered.as_ref();
        let doors = serving::doors_of(firewall.as_ref(), wireguard);
        // A door goes before the rules that guard it, and comes after them.
        self.gateway.close_all_but(&doors).await;
        let wanted = Wanted { wireguard, firewall };
        let began = Instant::now();
        let found = reconcile(&mut self.tunnels, &mut self.filter, &wanted).await;
        self.board.counts().applied_in(began.elapsed());
        self.awaited.follow(wireguard, &found.peers, Instant::now().into_std());
        let was_in_force = self.found.as_ref().is_none_or(Found::is_in_force);
        let span = Span::current();
        span.record("wireguard", field::display(&found.wireguard)).record("firewall", field::display(&found.firewall));
        if !found.is_in_force() {
            span.record("otel.status_code", "ERROR");
            error!(wireguard = %found.wireguard, firewall = %found.firewall, "not in force");
        } else if !was_in_force || self.applied != ledger.revision() {
            info!(revision = %ledger.revision(), peers = found.kernel.peers, elements = found.kernel.elements, "in force");
        }
        if found.is_in_force() && wireguard.is_some() {
            self.applied = ledger.revision();
        }
        if found.wireguard.is_in_force() {
            self.endpoints.keep(&found.peers);
        }
        self.found = Some(found);
        self.open(doors).await;
        self.look = LOOK[0];
        self.drift.reset();
        self.tell();
        self.look_at_proofs();
    }

    /// The state from which the host's firewall follows.
    pub(super) fn posture(&self) -> Posture {
        let Held { ledger, guard, state, .. } = &self.held;
        ledger.posture(guard, is_released(state), AgentIs::AtWork(self.controllers.answers()))
    }
}

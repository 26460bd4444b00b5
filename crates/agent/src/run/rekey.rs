//! The agent takes another key into use for its tunnels, and waits for peers that do.

use super::Agent;
use crate::identity::use_next_key;
use picket_api::{ApiError, ProblemKind};
use picket_model::WireGuardPublicKey;
use tracing::{error, info, warn};

impl Agent {
    /// Sees to it that the controller knows which key is in use and which is to follow.
    pub(super) fn look_for_next_key(&mut self) {
        let uses = self.tunnels.public_key();
        if let Err(error) = self.rekey.look(&self.held.state, uses, self.controllers.client()) {
            error!(%error, "the next key of the tunnels is not announced");
        }
    }

    /// Deals with the controller's answer about keys.
    pub(super) async fn rekeyed(&mut self, answer: Result<Option<WireGuardPublicKey>, ApiError>) {
        match answer {
            Ok(None) => {}
            Ok(Some(known)) => self.use_next_key(known).await,
            // One from before keys could change.
            Err(error) if error.kind() == Some(ProblemKind::NotFound) => self.rekey.unknown(),
            Err(ApiError::Problem(problem)) => {
                warn!(detail = problem.detail, "the key of the tunnels stays");
                self.rekey.refused();
            }
            Err(_) => {}
        }
    }

    async fn use_next_key(&mut self, known: WireGuardPublicKey) {
        match use_next_key(&self.held.state, &known) {
            Ok(Some(key)) => {
                info!(key = %key.public(), "the tunnels use their next key");
                self.tunnels.use_key(key);
                self.bring_into_force().await;
                self.dial_soon();
                self.look_for_next_key();
            }
            Ok(None) => {
                warn!(key = %known, "another next key lies here than the one that the peers know: it is announced first");
            }
            Err(error) => error!(%error, "the next key of the tunnels is not taken into use"),
        }
    }
}

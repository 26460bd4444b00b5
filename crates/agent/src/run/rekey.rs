//! The agent takes another key into use for its tunnels, and waits for peers that do.

use super::Agent;
use crate::{
    identity::{make_next_key, use_next_key},
    rekey::KeyWord,
};
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
    pub(super) async fn rekeyed(&mut self, answer: Result<KeyWord, ApiError>) {
        match answer {
            Ok(KeyWord::Stays) => {}
            Ok(KeyWord::Use(known)) => self.use_next_key(known).await,
            Ok(KeyWord::Replace(key)) => self.replace(key),
            // One from before keys could change.
            Err(error) if error.kind() == Some(ProblemKind::NotFound) => self.rekey.unknown(),
            // The certificate was replaced while the question was under way: it is asked again with the next one.
            Err(error) if error.kind() == Some(ProblemKind::Unauthorized) => {}
            Err(ApiError::Problem(problem)) => {
                warn!(detail = problem.detail, "the key of the tunnels stays");
                self.rekey.refused();
            }
            Err(_) => {}
        }
    }

    /// Makes the next key, unless one waits, and announces it.
    fn replace(&mut self, key: WireGuardPublicKey) {
        if key != self.tunnels.public_key() {
            return;
        }
        match make_next_key(&self.held.state) {
            Ok(Some(next)) => {
                info!(key = %next.public(), "an operator asked for another key of the tunnels: it is made");
            }
            Ok(None) => {}
            Err(error) => return error!(%error, "an operator asked for another key of the tunnels, and it is not made"),
        }
        self.look_for_next_key();
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

//! What the agent says of itself: to the controller, and to whoever asks on this host.

use super::Agent;
use crate::{
    doors::told,
    host,
    report::report,
    state::StateDir,
    status::{LastWord, save},
};
use picket_api::ApiError;
use std::time::Duration;
use tracing::warn;

impl Agent {
    /// Reports what was found last, to the controller and to whoever asks on this host.
    pub(super) fn tell(&mut self) {
        self.tell_after(Duration::ZERO);
    }

    pub(super) fn tell_after(&mut self, delay: Duration) {
        let Some(found) = &self.found else { return };
        let (refused, engine, word) = (self.refused.clone(), self.tunnels.engine(), self.chain.word());
        let mut report = report(found, self.applied, self.digest.as_ref(), refused, engine, word);
        if let Some(wanted) = &self.held.ledger.config {
            report.unproven = self.vouching.unproven(&self.held.guard, &wanted.wireguard);
        }
        report.firewall_repairs = self.company.repairs();
        report.state = Some(self.posture().name().to_owned());
        report.defences = Some(self.defences());
        let counted = &report.kernel.packets;
        report.refused_sources = self.refused_sources.word(counted, host::now()).map(Box::new);
        report.paths = self.ways.report().map(Box::new);
        report.silent = self.ways.tell_silent();
        report.syncs = told(self.gateway.stands());
        self.told_narrow = self.ways.narrow();
        report.narrow.clone_from(&self.told_narrow);
        report.taken_back.clone_from(&self.held.ledger.taken_back);
        let word = LastWord { at: host::now(), controller_answers: self.controllers.answers(), report };
        note(&self.held.state, &word);
        self.board.tell(&word, self.held.ledger.config.as_ref(), self.renewals.renewal.not_after());
        self.reporter.put(word.report, self.controllers.client(), delay);
    }

    pub(super) fn reported(&mut self, sent: Result<(), ApiError>) {
        let delay = match sent {
            Ok(()) => {
                self.controllers.answered();
                Duration::ZERO
            }
            Err(error) => self.controllers.failed(&error),
        };
        self.reporter.send_newest(self.controllers.client(), delay);
    }
}

/// Writes down what `status` shows on this host.
pub(super) fn note(state: &StateDir, word: &LastWord) {
    if let Err(error) = save(state, word) {
        warn!(%error, "status file not written");
    }
}

//! The shield at work: what the firewall stopped, counted every two seconds; where the host may tighten limits by itself, that
//! decides. What is told of it stands here too.

use super::Agent;
use crate::{
    host, kernel_facts,
    shield::{ATTACK_PER_SECOND, Shield},
};
use picket_model::{Defences, FirewallPolicy, Shield as Wish, Timestamp};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// How often what the firewall stopped is counted.
pub(super) const SHIELD: Duration = Duration::from_secs(2);

/// Whether limits are tight, and since when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tightness {
    is_tight: bool,
    since: Timestamp,
}

impl Tightness {
    /// Of a host whose agent starts now.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { is_tight: false, since: now }
    }

    /// As it is now.
    fn note(&mut self, is_tight: bool, now: Timestamp) {
        if self.is_tight != is_tight {
            *self = Self { is_tight, since: now };
        }
    }
}

impl Agent {
    /// The firewall that is to be in force, its limits tight where the shield is up.
    pub(super) fn shielded(&mut self, mut wanted: Option<FirewallPolicy>) -> Option<FirewallPolicy> {
        self.ways.note_silent(wanted.as_mut());
        let wanted = wanted.map(|wanted| tightened(wanted, &self.shield));
        self.tightness.note(wanted.as_ref().is_some_and(|wanted| wanted.shield == Wish::On), host::now());
        wanted
    }

    /// Counts, and brings other limits into force where that says so.
    pub(super) async fn watch_attacks(&mut self) {
        let wanted = self.held.ledger.config.as_ref();
        let decides = wanted.is_some_and(|config| config.firewall.shield == Wish::Auto);
        match self.filter.stopped().await {
            Ok(stopped) if self.shield.sample(Instant::now(), stopped, decides) => {
                let per_second = self.shield.per_second();
                if self.shield.is_up() {
                    warn!(per_second, "under attack: limits are tightened");
                } else {
                    info!(per_second, "the attack is over: limits are relaxed");
                }
                self.bring_into_force().await;
            }
            Ok(_) => {}
            Err(error) if decides => warn!(error = format!("{error:#}"), "what the firewall stopped is not known"),
            Err(error) => debug!(error = format!("{error:#}"), "what the firewall stopped is not known"),
        }
    }

    /// How this host fares under attack.
    pub(super) fn defences(&self) -> Defences {
        Defences {
            is_tight: self.tightness.is_tight,
            since: self.tightness.since,
            stopped_per_second: self.shield.per_second(),
            attack_per_second: ATTACK_PER_SECOND,
            syn_cookies: kernel_facts::syn_cookies(),
            tracking: kernel_facts::tracking(),
        }
    }
}

/// A firewall whose host tightens its limits by itself, as it is while the shield is up.
fn tightened(mut wanted: FirewallPolicy, shield: &Shield) -> FirewallPolicy {
    if wanted.shield == Wish::Auto && shield.is_up() {
        wanted.shield = Wish::On;
    }
    wanted
}

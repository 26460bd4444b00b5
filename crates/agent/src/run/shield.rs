//! The shield at work: what the firewall stopped, counted every two seconds; where the host may tighten limits by itself, that
//! decides. What is told of it stands here too.

use super::Agent;
use crate::{
    host, kernel_facts,
    shield::{ATTACK_PER_SECOND, LOWER_AFTER, Shield},
    state::StateDir,
    status::last_word,
};
use picket_model::{Defences, FirewallPolicy, Shield as Wish, Timestamp};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// How often what the firewall stopped is counted.
pub(super) const SHIELD: Duration = Duration::from_secs(2);

/// Whether limits are tight, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tightness {
    is_tight: bool,
    since: Timestamp,
}

impl Tightness {
    /// As it is now.
    fn note(&mut self, is_tight: bool, now: Timestamp) {
        if self.is_tight != is_tight {
            *self = Self { is_tight, since: now };
        }
    }
}

/// The shield of an agent that starts, as the one before it left it.
pub(super) fn resumed(state: &StateDir, now: Timestamp) -> (Shield, Tightness) {
    let said = last_word(state).unwrap_or_else(|error| {
        warn!(%error, "whether limits were tight is not known: they begin relaxed");
        None
    });
    left(said.and_then(|word| Some((word.at, word.report.defences?))).as_ref(), now)
}

/// Up where it was, and was so lately: whoever attacks would only have to wait for a restart. Longer ago there may have been calm
/// enough to lower it, seen by nobody.
fn left(said: Option<&(Timestamp, Defences)>, now: Timestamp) -> (Shield, Tightness) {
    match said {
        Some((at, said)) if said.is_tight && now.since(*at) < LOWER_AFTER => {
            (Shield::raised(), Tightness { is_tight: true, since: said.since })
        }
        _ => (Shield::default(), Tightness { is_tight: false, since: now }),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_starts_anew_is_as_tight_as_it_was_moments_ago() {
        let at = |seconds: i64| Timestamp::from_millis(1_700_000_000_000 + seconds * 1000);
        let said = |is_tight| Defences {
            is_tight,
            since: at(-60),
            stopped_per_second: Some(5000),
            attack_per_second: ATTACK_PER_SECOND,
            syn_cookies: None,
            tracking: None,
        };
        let tight = Tightness { is_tight: true, since: at(-60) };
        for seconds in [0, 20, 299] {
            assert_eq!(left(Some(&(at(0), said(true))), at(seconds)), (Shield::raised(), tight), "{seconds}");
        }
        // Long ago, never, or not at all.
        for (word, seconds) in [(Some((at(0), said(true))), 300), (Some((at(0), said(false))), 1), (None, 1)] {
            let relaxed = Tightness { is_tight: false, since: at(seconds) };
            assert_eq!(left(word.as_ref(), at(seconds)), (Shield::default(), relaxed), "{word:?}");
        }
    }
}

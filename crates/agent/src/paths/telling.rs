//! The ways as the report has them: times by the clock on the wall, sizes within bounds.

use super::{Carried, Cause, Paths};
use crate::pairing::Moment;
use ipnet::IpNet;
use picket_model::{
    NodeId, Timestamp,
    paths::{self as told, MOST_CARRIED, PathsReport, SentryWay},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

impl Paths {
    /// What is told of the ways as they are now, by an agent that runs since `run`.
    pub fn report(&self, run: Timestamp, now: Moment) -> PathsReport {
        let wall = |at| before(now, at);
        let mut together: BTreeMap<(&NodeId, i64, Cause), Vec<IpNet>> = BTreeMap::new();
        for (destination, Carried { sentry, since, cause }) in self.carried.iter().take(MOST_CARRIED) {
            // To the second: what moved together is told together.
            let second = wall(*since).as_millis().div_euclid(1000);
            together.entry((sentry, second, *cause)).or_default().push(*destination);
        }
        let carried = together.into_iter().map(|((sentry, second, cause), destinations)| told::Carried {
            sentry: sentry.clone(),
            since: Timestamp::from_millis(second.saturating_mul(1000)),
            cause: cause.to_string(),
            destinations,
        });
        PathsReport {
            sentries: self.health.keys().filter_map(|sentry| Some((sentry.clone(), self.way(sentry, now)?))).collect(),
            carried: carried.collect(),
            more: u32::try_from(self.carried.len().saturating_sub(MOST_CARRIED)).unwrap_or(u32::MAX),
            moves: self.log.told(run, wall),
            moved: self.log.counts().iter().map(|(cause, count)| ((*cause).to_owned(), *count)).collect(),
        }
    }

    fn way(&self, sentry: &NodeId, now: Moment) -> Option<SentryWay> {
        let (health, burden) = (self.health.get(sentry)?, self.burdens.get(sentry));
        Some(SentryWay {
            way: health.way().name().to_owned(),
            since: before(now, health.since()),
            draining: self.draining.contains_key(sentry),
            burden: self.why_not(sentry).map(str::to_owned),
            round_trip_us: health.round_trip().map(|took| u32::try_from(took.as_micros()).unwrap_or(u32::MAX)),
            lost_permille: health.lost_permille(),
            condition: burden.and_then(|burden| burden.condition(now.steady)),
            inward: self.inward.get(sentry).map(|count| u32::try_from(*count).unwrap_or(u32::MAX)),
        })
    }
}

/// A moment of the clock that does not jump, by the one on the wall.
fn before(now: Moment, at: Instant) -> Timestamp {
    let ago: Duration = now.steady.saturating_duration_since(at);
    let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.wall.as_millis().saturating_sub(ago))
}

/// The same the other way round; a moment of the future is now.
pub(super) fn after(now: Moment, at: Timestamp) -> Instant {
    now.steady.checked_sub(now.wall.since(at)).unwrap_or(now.steady)
}

/// Since when a destination is carried so, by the clock on the wall.
pub(super) fn since(now: Moment, carried: &Carried) -> Timestamp {
    before(now, carried.since)
}

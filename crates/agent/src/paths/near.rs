//! Which sentries are near: those whose round trip is hardly longer than the nearest one's, where the policy asks for it. The others
//! are kept for when no near one carries packets. Values in, values out; `now` is passed in.

use picket_model::NodeId;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// A sentry is judged, and judged anew, once its round trip said the same for so long: a move breaks connections, and a way that is
/// just coming up is slow.
const SETTLED: Duration = Duration::from_secs(10);

/// What is known of each sentry's distance.
#[derive(Clone, Debug, Default)]
pub struct Distances(BTreeMap<NodeId, Distance>);

#[derive(Clone, Copy, Debug, Default)]
struct Distance {
    /// As it was judged; nothing where it has not been yet.
    is_near: Option<bool>,
    /// Since when its round trip says something else, and what.
    otherwise: Option<(bool, Instant)>,
}

impl Distances {
    /// Judges the sentries that carry packets by their round trips. Of the others stands what was found before.
    pub fn look(&mut self, within: Duration, round_trips: &BTreeMap<&NodeId, Duration>, now: Instant) {
        let Some(nearest) = round_trips.values().min() else { return };
        for (sentry, round_trip) in round_trips {
            let further = round_trip.saturating_sub(*nearest);
            self.0.entry((*sentry).clone()).or_default().look(further, within, now);
        }
    }

    /// Forgets all others.
    pub fn retain(&mut self, is_one: impl Fn(&NodeId) -> bool) {
        self.0.retain(|sentry, _| is_one(sentry));
    }

    /// Whether a sentry is near; `None` before it was judged.
    pub fn is_near(&self, sentry: &NodeId) -> Option<bool> {
        self.0.get(sentry)?.is_near
    }
}

impl Distance {
    fn look(&mut self, further: Duration, within: Duration, now: Instant) {
        // One that was judged is judged otherwise by a third more or less: round trips waver.
        let bound = match self.is_near {
            None => within,
            Some(true) => within * 4 / 3,
            Some(false) => within * 2 / 3,
        };
        let says = further <= bound;
        if self.is_near == Some(says) {
            self.otherwise = None;
            return;
        }
        let since = self.otherwise.filter(|(said, _)| *said == says).map_or(now, |(_, since)| since);
        self.otherwise = Some((says, since));
        if now.saturating_duration_since(since) >= SETTLED {
            *self = Self { is_near: Some(says), otherwise: None };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Walk {
        distances: Distances,
        now: Instant,
    }

    impl Walk {
        /// So many seconds with these round trips, and 20 ms more being near.
        fn go(&mut self, seconds: u64, milliseconds: &[(&str, u64)]) {
            let ids: Vec<(NodeId, u64)> = milliseconds.iter().map(|(id, took)| (id.parse().unwrap(), *took)).collect();
            let round_trips = ids.iter().map(|(id, took)| (id, Duration::from_millis(*took))).collect();
            for _ in 0..=seconds {
                self.distances.look(Duration::from_millis(20), &round_trips, self.now);
                self.now += Duration::from_secs(1);
            }
        }

        fn near(&self, id: &str) -> Option<bool> {
            self.distances.is_near(&id.parse().unwrap())
        }
    }

    fn walk() -> Walk {
        Walk { distances: Distances::default(), now: Instant::now() }
    }

    #[test]
    fn who_is_hardly_further_than_the_nearest_is_near_once_that_is_settled() {
        let mut walk = walk();
        let trips = [("n-1", 5), ("n-2", 25), ("n-3", 26)];
        walk.go(9, &trips);
        assert_eq!(walk.near("n-1"), None);
        walk.go(1, &trips);
        assert_eq!(["n-1", "n-2", "n-3", "n-4"].map(|id| walk.near(id)), [Some(true), Some(true), Some(false), None]);
    }

    #[test]
    fn a_round_trip_that_wavers_changes_nothing() {
        let mut walk = walk();
        walk.go(10, &[("n-1", 5), ("n-2", 20)]);
        walk.go(60, &[("n-1", 5), ("n-2", 31)]);
        assert_eq!(walk.near("n-2"), Some(true), "a third more");
        for _ in 0..20 {
            walk.go(8, &[("n-1", 5), ("n-2", 80)]);
            walk.go(0, &[("n-1", 5), ("n-2", 20)]);
        }
        assert_eq!(walk.near("n-2"), Some(true), "never for long");
        walk.go(10, &[("n-1", 5), ("n-2", 32)]);
        assert_eq!(walk.near("n-2"), Some(false));
        walk.go(60, &[("n-1", 5), ("n-2", 19)]);
        assert_eq!(walk.near("n-2"), Some(false), "a third less");
        walk.go(10, &[("n-1", 5), ("n-2", 18)]);
        assert_eq!(walk.near("n-2"), Some(true));
    }

    #[test]
    fn where_the_nearest_are_lost_the_next_are_the_nearest() {
        let mut walk = walk();
        walk.go(10, &[("n-1", 5), ("n-2", 90), ("n-3", 95)]);
        assert_eq!((walk.near("n-2"), walk.near("n-3")), (Some(false), Some(false)));
        walk.go(10, &[("n-2", 90), ("n-3", 95)]);
        assert_eq!((walk.near("n-1"), walk.near("n-2"), walk.near("n-3")), (Some(true), Some(true), Some(true)));
        walk.go(10, &[("n-1", 5), ("n-2", 90), ("n-3", 95)]);
        assert_eq!((walk.near("n-1"), walk.near("n-2"), walk.near("n-3")), (Some(true), Some(false), Some(false)));
        walk.distances.retain(|id| id.as_str() != "n-1");
        assert_eq!(walk.near("n-1"), None);
    }
}

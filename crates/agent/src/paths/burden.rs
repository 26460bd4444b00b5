//! Whether a sentry that carries packets well has nevertheless enough: its connection tracking is nearly full, it has more to do
//! than it can, or its node is behind others. Values in, values out; `now` is passed in.

use picket_model::paths::Condition;
use std::time::{Duration, Instant};

/// What a sentry said is believed for so long.
const FRESH: Duration = Duration::from_secs(10);
/// Tracking so full, in thousandths, is a burden until it is as empty as the second: a table that is full drops everybody's
/// first packets.
const TRACKING: (u16, u16) = (900, 800);
/// The same for load on each processor: twice what it can do, for the minute over which the kernel counts.
const LOAD: (u16, u16) = (2000, 1500);
/// A node so many blocks behind the height that two tell of is a burden once it was for a while, until it is as near as the second.
const BEHIND: (u64, u64) = (10, 3);
/// That while: a node that restarts catches up in less.
const BEHIND_FOR: Duration = Duration::from_secs(30);

/// What is known of one sentry's condition.
#[derive(Clone, Debug, Default)]
pub struct Burden {
    said: Option<(Condition, Instant)>,
    is_full: bool,
    is_loaded: bool,
    behind_since: Option<Instant>,
    is_behind: bool,
}

impl Burden {
    /// Takes what the sentry said.
    pub fn note(&mut self, said: Condition, now: Instant) {
        self.said = Some((said, now));
    }

    /// What it said, where that is no old news.
    pub fn condition(&self, now: Instant) -> Option<Condition> {
        self.said.filter(|(_, at)| now.saturating_duration_since(*at) < FRESH).map(|(said, _)| said)
    }

    /// Judges anew, beside the best height that two sentries tell of. A sentry that says nothing bears nothing that we know of.
    pub fn look(&mut self, best: Option<u64>, now: Instant) {
        let said = self.condition(now).unwrap_or_default();
        let beyond = |was: bool, value: Option<u16>, (from, until): (u16, u16)| {
            value.is_some_and(|value| if was { value >= until } else { value > from })
        };
        self.is_full = beyond(self.is_full, said.tracking_permille, TRACKING);
        self.is_loaded = beyond(self.is_loaded, said.load_permille, LOAD);
        let behind = said.height.zip(best).map_or(0, |(own, best)| best.saturating_sub(own));
        if behind > if self.is_behind { BEHIND.1 } else { BEHIND.0 } {
            let since = *self.behind_since.get_or_insert(now);
            self.is_behind = self.is_behind || now.saturating_duration_since(since) >= BEHIND_FOR;
        } else {
            (self.is_behind, self.behind_since) = (false, None);
        }
    }

    /// What it bears; `None` where nothing.
    pub fn why(&self) -> Option<&'static str> {
        match (self.is_full, self.is_loaded, self.is_behind) {
            (true, _, _) => Some("connection tracking nearly full"),
            (_, true, _) => Some("overloaded"),
            (_, _, true) => Some("its node is behind"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Walk {
        burden: Burden,
        now: Instant,
    }

    impl Walk {
        fn say(&mut self, seconds: u64, said: Condition, best: u64) -> Option<&'static str> {
            for _ in 0..seconds {
                self.now += Duration::from_secs(1);
                self.burden.note(said, self.now);
                self.burden.look(Some(best), self.now);
            }
            self.burden.why()
        }
    }

    #[test]
    fn each_burden_begins_high_and_ends_low() {
        let mut walk = Walk { burden: Burden::default(), now: Instant::now() };
        let tracking = |permille| Condition { tracking_permille: Some(permille), ..Condition::default() };
        let load = |permille| Condition { load_permille: Some(permille), ..Condition::default() };
        let height = |height| Condition { height: Some(height), ..Condition::default() };
        let full = Some("connection tracking nearly full");
        for (said, expect) in [(900, None), (901, full), (850, full), (800, full), (799, None), (900, None)] {
            assert_eq!(walk.say(1, tracking(said), 0), expect, "{said}");
        }
        for (said, expect) in [(2000, None), (2001, Some("overloaded")), (1500, Some("overloaded")), (1499, None)] {
            assert_eq!(walk.say(1, load(said), 0), expect, "{said}");
        }
        let behind = Some("its node is behind");
        assert_eq!(walk.say(60, height(90), 100), None, "ten blocks are nothing");
        assert_eq!(walk.say(29, height(89), 100), None);
        assert_eq!(walk.say(1, height(100), 100), None, "it caught up in time");
        assert_eq!(walk.say(31, height(89), 100), behind);
        assert_eq!(walk.say(1, height(96), 100), behind);
        assert_eq!(walk.say(1, height(97), 100), None);
        assert_eq!(walk.say(60, height(200), 100), None, "nobody is behind who is ahead");
        assert_eq!(walk.say(60, Condition::default(), 100), None);
    }

    #[test]
    fn what_was_said_long_ago_is_no_burden() {
        let mut walk = Walk { burden: Burden::default(), now: Instant::now() };
        walk.say(1, Condition { tracking_permille: Some(999), ..Condition::default() }, 0);
        walk.burden.look(None, walk.now + FRESH);
        assert_eq!((walk.burden.why(), walk.burden.condition(walk.now + FRESH)), (None, None));
    }
}

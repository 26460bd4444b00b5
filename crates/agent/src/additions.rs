//! How many entries a host let in within the last hour, counted by minutes and kept in the ledger, so that a restart
//! forgets nothing. Values in, values out.

use picket_model::{FirewallPolicy, Timestamp, sync};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// For so long an addition counts.
const WINDOW: Duration = Duration::from_hours(1);
/// What is added within so long is one line: the list has sixty at most.
const LINE: Duration = Duration::from_mins(1);

/// Additions within the last hour, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Additions(Vec<(Timestamp, usize)>);

impl Additions {
    /// How many there were within the hour before `now`. What lies in the future, by a clock that was turned back, counts.
    pub fn within(&self, now: Timestamp) -> usize {
        self.recent(now).map(|(_, count)| count).sum()
    }

    /// With so many more.
    #[must_use]
    pub fn plus(&self, count: usize, now: Timestamp) -> Self {
        // What a clock that was turned back left in the future is of now, or it would count for longer than an hour.
        let mut lines: Vec<_> = self.recent(now).map(|(at, count)| (at.min(now), count)).collect();
        match lines.last_mut() {
            Some((at, sum)) if now.since(*at) < LINE => *sum += count,
            _ if count > 0 => lines.push((now, count)),
            _ => {}
        }
        Self(lines)
    }

    /// Whether nothing is counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A line counts until the last addition in it is an hour old.
    fn recent(&self, now: Timestamp) -> impl Iterator<Item = (Timestamp, usize)> + '_ {
        self.0.iter().copied().filter(move |(at, _)| now.since(*at) < WINDOW + LINE)
    }
}

/// Entries of allow sets, and citizens, that `after` has and `before` has not.
pub fn added(before: Option<&FirewallPolicy>, after: &FirewallPolicy) -> usize {
    let count = |(purpose, set): (_, &picket_model::AllowSet)| {
        let known = before.map(|before| before.allowed(purpose));
        set.0.keys().filter(|network| known.is_none_or(|known| !known.0.contains_key(*network))).count()
    };
    let known = before.map(|before| sync::citizens(&before.syncs)).unwrap_or_default();
    let citizens = sync::citizens(&after.syncs);
    let citizens = citizens.0.keys().filter(|network| !known.0.contains_key(*network)).count();
    after.allow.iter().map(|(purpose, set)| count((*purpose, set))).sum::<usize>() + citizens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000).plus(Duration::from_secs(seconds))
    }

    #[test]
    fn what_was_added_counts_for_an_hour_and_survives_being_written_down() {
        let window = Additions::default().plus(5, at(0)).plus(7, at(30)).plus(1, at(120));
        assert_eq!(window.0.len(), 2);
        let window: Additions = serde_json::from_str(&serde_json::to_string(&window).unwrap()).unwrap();
        assert_eq!(window.within(at(121)), 13);
        assert_eq!(window.within(at(3661)), 1);
        assert_eq!(window.plus(0, at(3781)), Additions::default());
    }

    #[test]
    fn a_clock_that_is_turned_back_neither_forgets_nor_counts_for_ever() {
        let window = Additions::default().plus(5, at(100_000)).plus(1, at(0));
        assert_eq!(window.within(at(0)), 6);
        assert_eq!(window.within(at(3700)), 0);
    }

    #[test]
    fn the_list_stays_short() {
        let window = (0..7200).fold(Additions::default(), |window, second| window.plus(1, at(second)));
        assert!(window.0.len() <= 61, "{}", window.0.len());
        assert_eq!(window.within(at(7200)), 3600, "{window:?}");
    }
}

//! When a host tightens its limits by itself: a function of what its firewall stopped, over time. Knows neither counters'
//! names nor the kernel.

use std::time::Duration;
use tokio::time::Instant;

/// Packets stopped per second that are an attack. A scan of the whole internet by somebody else brings one in hours; a
/// validator whose set is out of date is dialled by a hundred peers every two seconds.
pub const ATTACK_PER_SECOND: u64 = 1000;
/// For how long that must go on.
const RAISE_AFTER: Duration = Duration::from_secs(10);
/// For how long it must have been less.
pub const LOWER_AFTER: Duration = Duration::from_secs(300);

/// The shield of one host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shield {
    /// The last count, and when.
    last: Option<(Instant, u64)>,
    /// Since when all counts speak for the other state.
    turning_since: Option<Instant>,
    is_up: bool,
    per_second: Option<u64>,
}

impl Shield {
    /// One that is up already: it comes down as any other does.
    pub fn raised() -> Self {
        Self { is_up: true, ..Self::default() }
    }

    /// Whether limits are to be tight.
    pub fn is_up(&self) -> bool {
        self.is_up
    }

    /// How many packets were stopped in a second, between the last two counts.
    pub fn per_second(&self) -> Option<u64> {
        self.per_second
    }

    /// Takes note of how many packets the firewall has stopped in all; whether that raised or lowered the shield, which it does
    /// where the host decides by itself alone. A count below the last is of a table that was written anew.
    pub fn sample(&mut self, at: Instant, stopped: u64, decides: bool) -> bool {
        let Some((before, count)) = self.last.replace((at, stopped)) else { return false };
        let more = stopped.checked_sub(count).unwrap_or(stopped);
        let milliseconds = u64::try_from(at.duration_since(before).as_millis()).unwrap_or(u64::MAX);
        if milliseconds == 0 {
            return false;
        }
        let per_second = more.saturating_mul(1000) / milliseconds;
        self.per_second = Some(per_second);
        if !decides {
            self.rest();
            return false;
        }
        let is_attack = per_second >= ATTACK_PER_SECOND;
        if is_attack == self.is_up {
            self.turning_since = None;
            return false;
        }
        // The count is of the time since the one before it.
        let since = *self.turning_since.get_or_insert(before);
        let long = if self.is_up { LOWER_AFTER } else { RAISE_AFTER };
        if at.duration_since(since) < long {
            return false;
        }
        self.is_up = is_attack;
        self.turning_since = None;
        true
    }

    /// Lowers it at once, where nobody wants it any more.
    pub fn rest(&mut self) {
        (self.is_up, self.turning_since) = (false, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds rates, each for so many seconds in samples of two; the seconds after which the shield changed.
    fn changes(rates: &[(u64, u64)]) -> Vec<u64> {
        let (start, mut shield, mut count, mut second) = (Instant::now(), Shield::default(), 0, 0);
        let mut changes = Vec::new();
        shield.sample(start, 0, true);
        for (rate, seconds) in rates {
            for _ in 0..seconds / 2 {
                (count, second) = (count + rate * 2, second + 2);
                if shield.sample(start + Duration::from_secs(second), count, true) {
                    changes.push(second);
                }
            }
        }
        changes
    }

    #[test]
    fn it_goes_up_after_ten_seconds_of_attack_and_down_after_five_minutes_of_calm() {
        assert_eq!(changes(&[(5000, 60), (0, 400)]), [10, 360]);
        assert_eq!(changes(&[(1000, 10)]), [10]);
    }

    #[test]
    fn a_short_burst_and_what_peers_do_by_themselves_are_no_attack() {
        assert_eq!(changes(&[(999, 3600)]), [0_u64; 0]);
        assert_eq!(changes(&[(50_000, 8), (0, 2), (50_000, 8), (0, 600)]), [0_u64; 0]);
    }

    #[test]
    fn an_attack_that_comes_back_begins_the_calm_anew() {
        assert_eq!(changes(&[(5000, 10), (0, 298), (5000, 2), (0, 298), (5000, 2), (0, 300)]), [10, 910]);
    }

    #[test]
    fn a_table_written_anew_counts_from_nothing_and_a_clock_that_stands_decides_nothing() {
        let (start, mut shield) = (Instant::now(), Shield::default());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(!shield.sample(start, 1_000_000, true));
        assert!(!shield.sample(after(0), 9_000_000, true));
        assert!(!shield.sample(after(2), 100, true));
        for second in 3..=11 {
            assert!(!shield.sample(after(second), 100 + (second - 2) * 2000, true), "{second}");
        }
        assert!(shield.sample(after(12), 20_100, true) && shield.is_up());
        // Raising it replaces the table: the count begins anew, and the attack goes on.
        assert!(!shield.sample(after(14), 4000, true) && shield.is_up());
        assert_eq!(shield.per_second(), Some(2000));
        shield.rest();
        assert!(!shield.is_up());
    }

    #[test]
    fn one_that_was_up_stays_so_until_it_was_calm_for_five_minutes() {
        let (start, mut shield) = (Instant::now(), Shield::raised());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(shield.is_up() && !shield.sample(start, 7, true));
        assert!(!shield.sample(after(2), 90_000, true) && shield.is_up());
        assert!(!shield.sample(after(300), 90_000, true) && shield.is_up());
        assert!(shield.sample(after(302), 90_000, true) && !shield.is_up());
    }

    #[test]
    fn a_host_that_does_not_decide_counts_and_stays_as_it_is() {
        let (start, mut shield) = (Instant::now(), Shield::default());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(!shield.sample(start, 0, true));
        assert!(shield.sample(after(10), 50_000, true) && shield.is_up());
        assert!(!shield.sample(after(12), 60_000, false) && !shield.is_up());
        assert_eq!(shield.per_second(), Some(5000));
        // What was counted meanwhile is no reason later: it takes its ten seconds again.
        assert!(!shield.sample(after(20), 100_000, false));
        assert!(!shield.sample(after(22), 110_000, true));
        assert!(shield.sample(after(30), 150_000, true));
    }
}

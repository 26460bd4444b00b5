//! Whether a queue of the kernel's is one that only delays: packets that wait and never run out. Then single packets are
//! marked or lost until senders go slower, in the manner of CoDel (RFC 8289), but by the one thing that can be seen of such
//! a queue from here: whether it was ever empty. So what waits is bounded by time, and no buffer has to be small, which
//! would lose whole bursts. Pure.

use std::time::{Duration, Instant};

/// How long a queue may go without being empty: some round trips within a region.
const INTERVAL: Duration = Duration::from_millis(20);

/// How far this goes: to one in a millisecond. A queue that stands even then is not the fault of those who could go slower.
const MOST_TOLD: u32 = 400;

/// One queue.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Since when it was not empty.
    since: Option<Instant>,
    next: Option<Instant>,
    /// How often senders were told.
    told: u32,
}

impl Standing {
    /// It was found empty.
    pub(super) fn emptied(&mut self) {
        if self.since.take().is_some() {
            self.next = None;
            // Where it stood a moment ago it soon will again: senders are then told a little earlier than at first.
            self.told /= 2;
        }
    }

    /// Whether the next packet shall tell its sender to go slower; asked of each, and `told` once one did.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        now >= self.next.unwrap_or(since + INTERVAL)
    }

    /// A sender was told.
    pub(super) fn told(&mut self, now: Instant) {
        self.told = (self.told + 1).min(MOST_TOLD);
        // The control law of RFC 8289, section 5.5.
        self.next = Some(now + INTERVAL.div_f64(f64::from(self.told).sqrt()));
    }

    /// Both, where the next packet is one that can be told of.
    pub(super) fn tells(&mut self, now: Instant) -> bool {
        let is_due = self.is_due(now);
        if is_due {
            self.told(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When senders are told, asked each millisecond of so many, with the queue empty at some.
    fn told(millis: u64, is_empty: impl Fn(u64) -> bool) -> Vec<u64> {
        let (start, mut queue) = (Instant::now(), Standing::default());
        (0..millis)
            .filter(|at| {
                if is_empty(*at) {
                    queue.emptied();
                }
                queue.tells(start + Duration::from_millis(*at))
            })
            .collect()
    }

    #[test]
    fn a_queue_that_runs_empty_now_and_then_is_left_alone() {
        assert!(told(1_000, |at| at % 19 == 0).is_empty());
        assert!(told(20, |_| false).is_empty());
    }

    #[test]
    fn one_that_stands_tells_more_and_more_often_until_it_is_gone() {
        let all = told(200, |_| false);
        assert_eq!(all[..5], [20, 40, 55, 67, 77]);
        let gaps: Vec<_> = all.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.is_sorted_by(|one, two| one >= two), "{gaps:?}");
        assert_eq!(told(200, |at| at == 50)[..4], [20, 40, 70, 85], "it begins anew, but not as patient");
    }

    #[test]
    fn one_that_stands_for_ever_does_not_cut_anybody_off() {
        let all = told(120_000, |_| false);
        let last = all.iter().filter(|at| **at >= 110_000).count();
        assert!((4_000..=10_000).contains(&last), "{last} in ten seconds");
        let (start, mut queue) = (Instant::now(), Standing::default());
        for at in 0..1_000_000 {
            queue.tells(start + Duration::from_micros(at * 100));
        }
        let at = start + Duration::from_secs(200);
        queue.told(at);
        assert!(!queue.is_due(at + Duration::from_micros(999)) && queue.is_due(at + Duration::from_millis(1)));
    }

    #[test]
    fn what_tells_nobody_leaves_it_to_the_next() {
        let (start, mut queue) = (Instant::now(), Standing::default());
        assert!(!queue.is_due(start));
        let later = start + Duration::from_millis(20);
        assert!(queue.is_due(later) && queue.is_due(later));
        queue.told(later);
        assert!(!queue.is_due(later + Duration::from_millis(19)));
        assert!(
            queue.is_due(later + Duration::from_millis(20)),
            "as after the first, however many strangers came between"
        );
    }
}

//! Whether one thread is enough for both directions, or what the host sends has its own. One is cheaper where it is enough: it
//! waits for no lock and wakes nobody. Pure.

use std::time::{Duration, Instant};

/// How long it is looked at what threads do before that decides anything.
const WINDOW: Duration = Duration::from_millis(100);
/// Per cent of a window that one thread works when it can hardly do more.
const FULL: u32 = 90;
/// Per cent of a window that two together work when one could do it all.
const EASY: u32 = 60;
/// After so many windows of that it shall.
const PATIENCE: u8 = 20;

/// Who takes what the host sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Threads {
    /// The thread that takes what the network brings.
    One,
    /// A thread of its own.
    Two,
}

/// What threads had to do lately.
#[derive(Debug)]
pub(super) struct Load {
    threads: Threads,
    /// Whether two threads can run at the same time.
    has_cores: bool,
    looked: Instant,
    used: Duration,
    easy: u8,
}

impl Load {
    pub(super) fn new(now: Instant, has_cores: bool) -> Self {
        Self { threads: Threads::One, has_cores, looked: now, used: Duration::ZERO, easy: 0 }
    }

    /// Whether there is something to be decided.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.looked) >= WINDOW
    }

    /// How many it shall be from now on. `used` is the processor time that all have taken since each began; `has_waited` is
    /// whether the network had no room for what the host sent, so that somebody waited for it.
    pub(super) fn look(&mut self, now: Instant, used: Duration, has_waited: bool) -> Threads {
        let window = now.saturating_duration_since(self.looked);
        let worked = used.saturating_sub(self.used) * 100;
        (self.looked, self.used) = (now, used);
        let is_easy = !has_waited && worked < window * EASY;
        self.easy = if is_easy { self.easy.saturating_add(1) } else { 0 };
        self.threads = match self.threads {
            // Who waits keeps nobody else waiting.
            Threads::One if has_waited || (self.has_cores && worked >= window * FULL) => Threads::Two,
            Threads::Two if self.easy >= PATIENCE => Threads::One,
            threads => threads,
        };
        self.threads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who carries after each window, of which threads worked so many per cent and one may have waited.
    fn threads(has_cores: bool, windows: impl IntoIterator<Item = (u32, bool)>) -> Vec<Threads> {
        let start = Instant::now();
        let (mut load, mut used) = (Load::new(start, has_cores), Duration::ZERO);
        (1..)
            .zip(windows)
            .map(|(number, (per_cent, has_waited))| {
                used += WINDOW * per_cent / 100;
                let now = start + WINDOW * number;
                assert!(load.is_due(now) && !load.is_due(now - Duration::from_nanos(1)));
                load.look(now, used, has_waited)
            })
            .collect()
    }

    #[test]
    fn one_is_enough_until_it_has_hardly_a_moment_left() {
        assert_eq!(
            threads(true, [(0, false), (89, false), (90, false), (30, false)])[1..],
            [Threads::One, Threads::Two, Threads::Two]
        );
        // Two would only take turns.
        assert_eq!(threads(false, [(99, false)]), [Threads::One]);
    }

    #[test]
    fn who_waits_for_the_network_keeps_nobody_waiting() {
        assert_eq!(threads(false, [(1, false), (1, true)]), [Threads::One, Threads::Two]);
    }

    #[test]
    fn it_is_one_again_after_two_seconds_of_little_to_do_and_not_before() {
        let busy = [(95, false)];
        let all = threads(true, busy.into_iter().chain([(59, false); 20]));
        assert_eq!((all[19], all[20]), (Threads::Two, Threads::One));
        for disturbs in [(61, false), (10, true)] {
            let windows = [(95, false)].into_iter().chain([(59, false); 19]).chain([disturbs]).chain([(59, false); 20]);
            let all = threads(true, windows);
            assert_eq!((all[39], all[40]), (Threads::Two, Threads::One), "{disturbs:?}");
        }
    }

    #[test]
    fn a_thread_that_ends_takes_its_time_with_it() {
        let start = Instant::now();
        let mut load = Load::new(start, true);
        load.look(start + WINDOW, WINDOW, false);
        assert_eq!(load.look(start + WINDOW * 2, WINDOW / 2, false), Threads::Two);
        assert_eq!(load.look(start + WINDOW * 3, WINDOW, false), Threads::Two);
    }
}

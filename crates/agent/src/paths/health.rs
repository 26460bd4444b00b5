//! Whether a sentry carries packets there and back, by probes inside its tunnel: an answer proves the way, silence ends it
//! within a second, and a way that came back is trusted after a while. Values in, values out; `now` is passed in.

use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Time between two probes of one sentry.
pub const PERIOD: Duration = Duration::from_millis(200);
/// A sentry that has not answered for so long, and for one round trip, is away: four probes in a row.
const SILENCE: Duration = Duration::from_millis(800);
/// A way back must have lost nothing for so long, twice as long for each time it failed lately.
const STEADY: Duration = Duration::from_secs(3);
/// The longest such time.
const LONGEST_STEADY: Duration = Duration::from_secs(60);
/// How long a failure is remembered.
const LATELY: Duration = Duration::from_secs(600);
/// A host that did not look for so long stood still itself, and what it did not hear then says nothing.
const STOOD_STILL: Duration = Duration::from_millis(600);
/// Probes over which loss is measured.
const WINDOW: usize = 50;
/// A way that loses more of them than this is no way to send blocks, and one that loses fewer than a third of it is one again.
const MOST_LOST: usize = 12;

/// How the way through a sentry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// Nothing has come back yet.
    Unheard,
    /// Carries packets there and back.
    Good,
    /// Carries some, and loses too many.
    Lossy,
    /// Carries none.
    Silent,
    /// Carries packets again, and has to go on doing so for a while.
    Returning,
}

impl Way {
    /// Whether destinations may be given to it.
    pub fn is_good(self) -> bool {
        self == Self::Good
    }

    /// As shown to people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unheard => "unheard",
            Self::Good => "good",
            Self::Lossy => "lossy",
            Self::Silent => "silent",
            Self::Returning => "returning",
        }
    }
}

/// What is known of the way through one sentry.
#[derive(Clone, Debug)]
pub struct Health {
    way: Way,
    since: Instant,
    looked: Instant,
    /// Probes without an answer, oldest first.
    waiting: VecDeque<(u64, Instant)>,
    heard: Option<Instant>,
    /// The last probes whose fate is known: whether they were answered.
    fates: VecDeque<bool>,
    round_trip: Duration,
    failed: VecDeque<Instant>,
}

impl Health {
    /// Nothing known, from now on.
    pub fn new(now: Instant) -> Self {
        Self {
            way: Way::Unheard,
            since: now,
            looked: now,
            waiting: VecDeque::new(),
            heard: None,
            fates: VecDeque::new(),
            round_trip: Duration::ZERO,
            failed: VecDeque::new(),
        }
    }

    /// A probe of this number is sent now. Numbers are drawn by lot: a sentry that could guess one would answer it early, and seem near.
    pub fn send(&mut self, number: u64, now: Instant) {
        self.waiting.push_back((number, now));
        self.look(now);
    }

    /// The answer to a probe came. One to no probe of the last second, or heard already, says nothing.
    pub fn answered(&mut self, number: u64, now: Instant) {
        let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == number) else { return };
        let Some((_, sent)) = self.waiting.remove(at) else { return };
        let took = now.saturating_duration_since(sent);
        // Smoothed as TCP's, RFC 6298 section 2.
        self.round_trip = if self.round_trip.is_zero() { took } else { (self.round_trip * 7 + took) / 8 };
        self.heard = Some(now);
        self.note(true);
        self.look(now);
    }

    /// How the way stands now; what has been waited for too long is lost.
    pub fn look(&mut self, now: Instant) -> Way {
        let gap = now.saturating_duration_since(self.looked);
        self.looked = self.looked.max(now);
        if gap >= STOOD_STILL {
            self.heard = self.heard.map(|heard| heard + gap);
            self.waiting.iter_mut().for_each(|(_, sent)| *sent += gap);
        }
        let patience = SILENCE + self.round_trip;
        while self.waiting.front().is_some_and(|(_, sent)| now.saturating_duration_since(*sent) >= patience) {
            self.waiting.pop_front();
            self.note(false);
        }
        while self.failed.front().is_some_and(|failed| now.saturating_duration_since(*failed) >= LATELY) {
            self.failed.pop_front();
        }
        let silent = self.heard.is_none_or(|heard| now.saturating_duration_since(heard) >= patience);
        let lost = self.lost();
        let next = match self.way {
            Way::Unheard if silent => Way::Unheard,
            _ if silent => Way::Silent,
            Way::Unheard => Way::Good,
            Way::Good if lost > MOST_LOST => Way::Lossy,
            Way::Lossy if lost <= MOST_LOST / 3 => Way::Returning,
            Way::Silent => Way::Returning,
            Way::Returning if lost > MOST_LOST => Way::Lossy,
            Way::Returning if now.saturating_duration_since(self.since) >= self.steady() => Way::Good,
            way => way,
        };
        if next != self.way {
            if self.way.is_good() {
                self.failed.push_back(now);
            }
            if next == Way::Returning || self.way == Way::Unheard {
                // What was lost before says nothing of what it carries now.
                self.fates.clear();
            }
            (self.way, self.since) = (next, now);
        }
        self.way
    }

    /// How it stood when it was last looked at.
    pub fn way(&self) -> Way {
        self.way
    }

    /// Since when it stands as it does.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// How long an answer takes, smoothed; `None` before the first.
    pub fn round_trip(&self) -> Option<Duration> {
        Some(self.round_trip).filter(|took| !took.is_zero())
    }

    /// Of the last probes whose fate is known, how many in a thousand were lost.
    pub fn lost_permille(&self) -> u16 {
        u16::try_from(self.lost() * 1000 / self.fates.len().max(1)).unwrap_or(1000)
    }

    fn lost(&self) -> usize {
        self.fates.iter().filter(|answered| !**answered).count()
    }

    fn note(&mut self, answered: bool) {
        if !answered && self.way == Way::Returning {
            // It has not been steady; the time begins anew with the next probe.
            self.way = Way::Silent;
        }
        self.fates.push_back(answered);
        if self.fates.len() > WINDOW {
            self.fates.pop_front();
        }
    }

    fn steady(&self) -> Duration {
        let doublings = u32::try_from(self.failed.len().saturating_sub(1)).unwrap_or(u32::MAX).min(8);
        (STEADY * 2_u32.pow(doublings)).min(LONGEST_STEADY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A way that is probed at its pace, and answers after 20 ms what `answers` lets through.
    struct Walk {
        health: Health,
        begun: Instant,
        now: Instant,
        probes: u64,
    }

    impl Walk {
        fn new() -> Self {
            let begun = Instant::now();
            Self { health: Health::new(begun), begun, now: begun, probes: 0 }
        }

        /// The way after so many milliseconds.
        fn go(&mut self, milliseconds: u64, answers: impl Fn(u64) -> bool) -> Way {
            let end = self.now + Duration::from_millis(milliseconds);
            while self.now < end {
                self.probes += 1;
                let number = self.probes;
                self.health.send(number, self.now);
                if answers(self.probes) {
                    self.health.answered(number, self.now + Duration::from_millis(20));
                }
                self.now += PERIOD;
            }
            self.health.look(self.now)
        }

        /// Milliseconds until it stands so.
        fn until(&mut self, way: Way, answers: impl Fn(u64) -> bool) -> u128 {
            let begun = self.now;
            while self.go(200, &answers) != way {
                assert!(self.now - self.begun < Duration::from_secs(3600), "never {way:?}");
            }
            (self.now - begun).as_millis()
        }
    }

    const ALL: fn(u64) -> bool = |_| true;
    const NONE: fn(u64) -> bool = |_| false;

    #[test]
    fn the_first_answer_is_enough() {
        let mut walk = Walk::new();
        assert_eq!(walk.go(5000, NONE), Way::Unheard);
        assert_eq!(walk.go(200, ALL), Way::Good);
        assert_eq!(walk.health.round_trip, Duration::from_millis(20));
    }

    #[test]
    fn silence_ends_a_way_within_a_second() {
        let mut walk = Walk::new();
        walk.go(10_000, ALL);
        let took = walk.until(Way::Silent, NONE);
        assert!(took <= 1000, "{took} ms");
    }

    #[test]
    fn one_lost_probe_in_ten_ends_nothing_and_four_in_ten_do() {
        let mut walk = Walk::new();
        assert_eq!(walk.go(60_000, |n| n % 10 != 0), Way::Good);
        let took = walk.until(Way::Lossy, |n| n % 5 < 3);
        assert!(took <= 10_000, "{took} ms");
        assert_eq!(walk.go(60_000, |n| n % 5 < 3), Way::Lossy);
        walk.until(Way::Good, ALL);
    }

    #[test]
    fn a_way_that_came_back_is_trusted_after_a_while_and_later_each_time() {
        let mut walk = Walk::new();
        walk.go(5000, ALL);
        let mut waits = Vec::new();
        for _ in 0..7 {
            walk.until(Way::Silent, NONE);
            waits.push(walk.until(Way::Good, ALL) / 1000);
        }
        assert_eq!(waits, [3, 6, 12, 24, 48, 60, 60]);
        // What was ten minutes ago is forgotten.
        walk.go(600_000, ALL);
        walk.until(Way::Silent, NONE);
        assert_eq!(walk.until(Way::Good, ALL) / 1000, 3);
    }

    #[test]
    fn a_way_back_that_loses_a_probe_begins_anew() {
        let mut walk = Walk::new();
        walk.go(5000, ALL);
        walk.until(Way::Silent, NONE);
        assert_eq!(walk.go(30_000, |n| n % 8 != 0), Way::Returning);
    }

    #[test]
    fn answers_that_were_not_asked_for_say_nothing() {
        let mut walk = Walk::new();
        let number = 7;
        walk.health.send(number, walk.now);
        walk.health.answered(number + 1, walk.now);
        walk.health.answered(0, walk.now);
        assert_eq!(walk.health.look(walk.now), Way::Unheard);
        walk.health.answered(number, walk.now);
        // The same answer once more is no sign of life.
        for _ in 0..10 {
            walk.now += PERIOD;
            walk.health.answered(number, walk.now);
            walk.health.look(walk.now);
        }
        assert_eq!(walk.health.look(walk.now), Way::Silent);
    }

    #[test]
    fn a_far_sentry_is_given_its_round_trip() {
        let (mut health, mut now) = (Health::new(Instant::now()), Instant::now());
        for number in 0..50 {
            health.send(number, now);
            health.answered(number, now + Duration::from_millis(350));
            now += PERIOD;
            assert_eq!(health.look(now + Duration::from_millis(350)), Way::Good);
        }
        let mut at = |milliseconds| health.look(now + Duration::from_millis(milliseconds));
        assert_eq!([600, 800, 1000, 1200, 1400].map(&mut at)[2..], [Way::Good, Way::Good, Way::Silent]);
    }
}

//! How long a source is left alone: as long as it asks for, and longer each time it fails while enough others answer. Times
//! are given.

use picket_chain::FetchError;
use picket_model::SourceId;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Longest rest a source may ask for by `Retry-After`.
const LONGEST_ASKED: Duration = Duration::from_mins(10);
/// Failures in a row after which a source is asked more seldom; one that says that it is busy is at once.
const PATIENCE: u32 = 3;
/// Longest rest of a source that fails, in times between two polls.
const LONGEST_ROUNDS: u32 = 10;

/// The sources that fail or rest.
#[derive(Debug, Default)]
pub(super) struct Rests(BTreeMap<SourceId, Rest>);

#[derive(Debug, Default)]
struct Rest {
    failures: u32,
    /// Until when we leave it alone by ourselves.
    own: Option<Instant>,
    /// Until when it asked to be left alone.
    asked: Option<Instant>,
    reason: String,
}

impl Rests {
    /// Why a source is not asked now, if so.
    pub(super) fn of(&self, source: &SourceId, now: Instant) -> Option<String> {
        let rest = self.0.get(source)?;
        let left = rest.own.max(rest.asked).filter(|until| *until > now)?.duration_since(now).as_secs();
        Some(format!("{} (left alone for {left} s more)", rest.reason))
    }

    /// A source gave a list.
    pub(super) fn answered(&mut self, source: &SourceId) {
        self.0.remove(source);
    }

    /// Too few others answered: those that rest without having asked for it are asked after all. Whether there are any.
    pub(super) fn relent(&mut self, now: Instant) -> bool {
        let rests = |until: Option<Instant>| until.is_some_and(|until| until > now);
        let mut any = false;
        for rest in self.0.values_mut().filter(|rest| rests(rest.own)) {
            rest.own = None;
            any |= !rests(rest.asked);
        }
        any
    }

    /// A source gave none. `enough`: others answered, so that nothing waits for this one; where they did not it is asked as
    /// often as ever.
    pub(super) fn failed(&mut self, source: &SourceId, error: &FetchError, enough: bool, poll: Duration, now: Instant) {
        let rest = self.0.entry(source.clone()).or_default();
        rest.failures = rest.failures.saturating_add(1);
        rest.reason = error.to_string();
        let is_busy = matches!(error, FetchError::Busy { .. });
        let doublings = if is_busy { rest.failures } else { rest.failures.saturating_sub(PATIENCE - 1) };
        let rounds = 2u32.saturating_pow(doublings).min(LONGEST_ROUNDS);
        let own = if enough && doublings > 0 { poll * rounds } else { Duration::ZERO };
        let asked = error.retry_after().map_or(Duration::ZERO, |asked| asked.min(LONGEST_ASKED));
        (rest.own, rest.asked) = (now.checked_add(own), now.checked_add(asked));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLL: Duration = Duration::from_secs(30);

    fn source() -> SourceId {
        "a.example".parse().unwrap()
    }

    fn timeout() -> FetchError {
        FetchError::Timeout { host: "a.example".to_owned(), after: Duration::from_secs(10) }
    }

    fn busy(retry_after: Option<u64>) -> FetchError {
        let retry_after = retry_after.map(Duration::from_secs);
        FetchError::Busy { host: "a.example".to_owned(), status: 429, said: String::new(), retry_after }
    }

    /// Seconds of rest after each of these failures in a row.
    fn check(errors: &[FetchError], enough: bool, expect: &[u64]) {
        let (mut rests, now) = (Rests::default(), Instant::now());
        let rested = errors.iter().map(|error| {
            rests.failed(&source(), error, enough, POLL, now);
            let rest = &rests.0[&source()];
            rest.own.max(rest.asked).unwrap().duration_since(now).as_secs()
        });
        assert_eq!(rested.collect::<Vec<_>>(), expect, "{errors:?}");
    }

    #[test]
    fn a_source_that_goes_on_failing_is_asked_more_seldom() {
        check(&vec![timeout(); 8], true, &[0, 0, 60, 120, 240, 300, 300, 300]);
        check(&vec![busy(None); 4], true, &[60, 120, 240, 300]);
    }

    #[test]
    fn without_enough_others_it_is_asked_as_often_as_ever() {
        check(&vec![timeout(); 5], false, &[0; 5]);
        check(&vec![busy(None); 3], false, &[0; 3]);
    }

    #[test]
    fn a_source_that_names_a_time_gets_it_within_reason() {
        check(&[busy(Some(7)), busy(Some(7))], false, &[7, 7]);
        check(&[busy(Some(100)), busy(Some(1_000_000))], true, &[100, 600]);
    }

    #[test]
    fn where_the_others_fail_too_it_is_asked_after_all_unless_it_named_a_time() {
        let (mut rests, now) = (Rests::default(), Instant::now());
        rests.failed(&source(), &busy(None), true, POLL, now);
        assert!(rests.of(&source(), now).is_some());
        assert!(rests.relent(now));
        assert_eq!((rests.of(&source(), now), rests.relent(now)), (None, false));
        rests.failed(&source(), &busy(Some(7)), true, POLL, now);
        assert!(!rests.relent(now));
        assert!(rests.of(&source(), now).unwrap().ends_with("(left alone for 7 s more)"));
    }

    #[test]
    fn an_answer_ends_the_rest_and_the_count() {
        let (mut rests, now) = (Rests::default(), Instant::now());
        rests.failed(&source(), &busy(None), true, POLL, now);
        let reason = rests.of(&source(), now).unwrap();
        assert!(reason.contains("is busy: HTTP 429") && reason.ends_with("(left alone for 60 s more)"), "{reason}");
        assert_eq!(rests.of(&source(), now + Duration::from_secs(60)), None);
        rests.answered(&source());
        assert_eq!(rests.of(&source(), now), None);
    }
}

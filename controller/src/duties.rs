//! What one of several controllers does for all: asking for the list and judging it, telling others of events, ending leases. Who
//! has it is a row with an end in the database; whoever finds it over takes it. It saves work and repeated messages: were two to
//! have it for a moment, each change would still be made once, by the database's own means.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The name of the duty in the database.
pub(crate) const DUTY: &str = "chores";
/// So long after its holder was last heard, another one takes it.
pub(crate) const LENGTH: Duration = Duration::from_secs(6);
/// How often its holder says that it is there.
pub(crate) const RENEWED: Duration = Duration::from_secs(2);

/// Whether the duty is this controller's.
#[derive(Debug)]
pub(crate) struct Duties {
    /// Who this controller is among the others; another one after each start.
    pub(crate) holder: String,
    until: Mutex<Until>,
}

#[derive(Clone, Copy, Debug)]
enum Until {
    /// There is one controller.
    Ever,
    /// Of several: until this moment.
    Moment(Instant),
}

impl Duties {
    /// Of the only controller, or of one of several, which has no duty yet.
    pub(crate) fn new(is_shared: bool, holder: String, now: Instant) -> Self {
        let until = if is_shared { Until::Moment(now) } else { Until::Ever };
        Self { holder, until: Mutex::new(until) }
    }

    /// Whether this controller does what is done once for all.
    pub(crate) fn is_mine(&self) -> bool {
        match *self.lock() {
            Until::Ever => true,
            Until::Moment(until) => Instant::now() < until,
        }
    }

    /// What came of asking for the duty, which was begun at this moment: the database counts from later on.
    pub(crate) fn asked(&self, at: Instant, is_taken: bool) {
        let mut until = self.lock();
        if let Until::Moment(until) = &mut *until {
            *until = if is_taken { at + LENGTH } else { at };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Until> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_controller_has_every_duty_and_one_of_several_only_what_it_took_of_late() {
        let now = Instant::now();
        let alone = Duties::new(false, "a".to_owned(), now);
        alone.asked(now, false);
        assert!(alone.is_mine());
        let one = Duties::new(true, "b".to_owned(), now);
        assert!(!one.is_mine());
        one.asked(now, true);
        assert!(one.is_mine());
        one.asked(now, false);
        assert!(!one.is_mine());
        // A database that did not answer for long: somebody else may have it by now.
        one.asked(now.checked_sub(LENGTH).unwrap(), true);
        assert!(!one.is_mine());
    }
}

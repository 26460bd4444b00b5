//! How old answers are that a controller gives again while its database is away (RFC 9111, 5.1).

use reqwest::header::{AGE, HeaderMap};
use std::sync::{Mutex, PoisonError};

/// The age of the oldest answer, in seconds.
#[derive(Debug, Default)]
pub(super) struct Age(Mutex<Option<u64>>);

impl Age {
    /// Notes an answer's age, if it says one.
    pub(super) fn note(&self, headers: &HeaderMap) {
        let said = headers.get(AGE).and_then(|age| age.to_str().ok()?.parse().ok());
        let mut oldest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *oldest = (*oldest).max(said);
    }

    pub(super) fn oldest(&self) -> Option<u64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_answer_counts_and_one_of_its_moment_says_nothing() {
        let age = Age::default();
        let check = |said: Option<&'static str>, expected: Option<u64>| {
            let headers = said.map(|text| (AGE, text.parse().unwrap()));
            age.note(&headers.into_iter().collect());
            assert_eq!(age.oldest(), expected, "{said:?}");
        };
        check(None, None);
        check(Some("later"), None);
        check(Some("0"), Some(0));
        check(Some("17"), Some(17));
        check(Some("3"), Some(17));
        check(None, Some(17));
    }
}

//! Lists page by page. A place in a list is its last entry's own place in the order, not its number: what is entered or deleted
//! meanwhile makes no entry come twice or not at all.

use super::ApiProblem;
use picket_api::{ProblemKind, operator::Page};
use std::{fmt::Display, str::FromStr};

/// Entries in one answer, unless told otherwise, and at most.
const LIMIT: (usize, usize) = (200, 1000);
/// Between the two halves of a place; no id has it.
const BETWEEN: char = ':';

/// How many entries are asked for.
pub(super) fn limit(asked: Option<usize>) -> Result<usize, ApiProblem> {
    let most = asked.unwrap_or(LIMIT.0);
    if (1..=LIMIT.1).contains(&most) {
        return Ok(most);
    }
    Err(ApiProblem::new(ProblemKind::BadRequest, format!("the limit is 1 to {}", LIMIT.1)))
}

/// The first `most` entries, of which one more may be there to show that more follow.
pub(super) fn page<T>(mut items: Vec<T>, most: usize, place: impl Fn(&T) -> String) -> Page<T> {
    let more = items.len() > most;
    items.truncate(most);
    let next = items.last().filter(|_| more).map(place);
    Page { items, next }
}

/// A place in an order by two things.
pub(super) fn place(first: &dyn Display, second: &dyn Display) -> String {
    format!("{first}{BETWEEN}{second}")
}

/// The two things again.
pub(super) fn parse<A: FromStr, B: FromStr>(after: Option<&str>) -> Result<Option<(A, B)>, ApiProblem> {
    let Some(text) = after else { return Ok(None) };
    let both = text.split_once(BETWEEN).and_then(|(first, second)| Some((first.parse().ok()?, second.parse().ok()?)));
    both.map(Some).ok_or_else(no_place)
}

/// A text that no page gave.
pub(super) fn no_place() -> ApiProblem {
    let detail = "`after` is no place in this list: give it as `next` of the page before has it, or leave it out";
    ApiProblem::new(ProblemKind::BadRequest, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{NodeId, NodeName};

    #[test]
    fn a_place_is_read_as_it_was_given_and_nothing_else_is() {
        let check = |text: &str, expect: Option<(&str, &str)>| {
            let found = parse::<NodeName, NodeId>(Some(text)).ok().flatten();
            let found = found.as_ref().map(|(name, id)| (name.as_str(), id.as_str()));
            assert_eq!(found, expect, "{text:?}");
        };
        check(&place(&"sentry-1", &"n-1"), Some(("sentry-1", "n-1")));
        for wrong in ["", ":", "n-1", "sentry-1:", ":n-1", "sentry-1:n-1:x", "sentry-1:N", "a b:n-1"] {
            check(wrong, None);
        }
        assert!(parse::<i64, NodeId>(Some("x:n-1")).is_err());
        assert_eq!(parse::<i64, NodeId>(None).unwrap(), None);
    }

    #[test]
    fn the_last_page_leads_nowhere() {
        let next = |items: usize, most| page((0..items).collect(), most, |item| place(item, &"x")).next;
        assert_eq!((next(0, 2), next(2, 2), next(3, 2).as_deref()), (None, None, Some("1:x")));
        assert!([limit(Some(0)), limit(Some(1001))].iter().all(Result::is_err));
        assert_eq!((limit(None).unwrap(), limit(Some(1)).unwrap(), limit(Some(1000)).unwrap()), (200, 1, 1000));
    }
}

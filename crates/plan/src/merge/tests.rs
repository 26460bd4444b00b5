//! Tests of the merge: one round of answers after another against the set that results.

use super::*;
use crate::fixture::{prep, validators};
use picket_model::{Brakes, Grade, ObservedValidator};
use proptest::prelude::*;
use std::{collections::BTreeMap, time::Duration};

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_000_000);

pub(super) fn policy() -> Policy {
    let brakes = Brakes {
        max_removed: 2,
        max_removed_percent: 100,
        max_added: 5,
        min_size: 3,
        max_size: 50,
        grace_seconds: 0,
        ..Brakes::default()
    };
    Policy { brakes, ..Policy::default() }
}

pub(super) fn entry(number: usize, endpoint: &str) -> ObservedValidator {
    ObservedValidator {
        prep: prep(number),
        name: String::new(),
        node_address: format!("hx{number:040x}").parse().unwrap(),
        grade: Grade::Main,
        endpoint: endpoint.parse().unwrap(),
        penalty: 0,
        jail_flags: None,
        power: None,
    }
}

pub(super) fn said(source: &str, height: u64, entries: impl IntoIterator<Item = ObservedValidator>) -> Observation {
    Observation {
        source: source.parse().unwrap(),
        height,
        seen_at: NOW,
        block_time: None,
        entries: entries.into_iter().map(|entry| (entry.prep, entry)).collect(),
        refused: Vec::new(),
        doubted: BTreeMap::new(),
    }
}

pub(super) fn list(count: usize) -> Vec<ObservedValidator> {
    (0..count).map(|number| entry(number, &format!("5.0.0.{number}:7100"))).collect()
}

fn merged(previous: &ValidatorSet, seen: &[Observation], sources: usize) -> Merged {
    merge(&MergeInput { sources, ..input(previous, seen, &policy()) })
}

pub(super) fn input<'a>(previous: &'a ValidatorSet, seen: &'a [Observation], policy: &'a Policy) -> MergeInput<'a> {
    static NOTHING: MergeMemory = MergeMemory {
        heights: BTreeMap::new(),
        changes: Vec::new(),
        advertised: BTreeMap::new(),
        names: BTreeMap::new(),
    };
    static NO_LOOKUPS: Lookups = Lookups::new();
    static NO_ORDERS: Orders = Orders { approved: None, hold: None };
    MergeInput {
        previous,
        memory: &NOTHING,
        seen,
        sources: 1,
        advertised: &[],
        lookups: &NO_LOOKUPS,
        policy,
        orders: &NO_ORDERS,
        now: NOW,
    }
}

#[test]
fn a_first_list_is_taken() {
    let first = merged(&ValidatorSet::default(), &[said("s-0", 100, list(5))], 1);
    assert_eq!(first.held, None);
    assert_eq!(first.set, validators(5));
    assert_eq!(first.height, Some(100));
}

#[test]
fn the_same_list_at_a_later_height_changes_nothing() {
    let again = merged(&validators(5), &[said("s-0", 200, list(5))], 1);
    assert_eq!(again.set, validators(5));
}

#[test]
fn a_removed_validator_goes_at_once_without_grace() {
    let next = merged(&validators(5), &[said("s-0", 200, list(4))], 1);
    assert_eq!((next.held, next.set), (None, validators(4)));
}

#[test]
fn a_removed_validator_stays_for_the_grace() {
    let mut policy = policy();
    policy.brakes.grace_seconds = 60;
    let seen = [said("s-0", 200, list(4))];
    let at = |previous: &ValidatorSet, now| merge(&MergeInput { now, ..input(previous, &seen, &policy) }).set;
    let first = at(&validators(5), NOW);
    assert_eq!(first.0[&prep(4)].absent_since, Some(NOW));
    let later = at(&first, NOW.plus(Duration::from_secs(59)));
    assert_eq!(later, first);
    assert_eq!(at(&later, NOW.plus(Duration::from_secs(60))), validators(4));
    let back = merge(&input(&first, &[said("s-0", 300, list(5))], &policy));
    assert_eq!(back.set, validators(5));
}

#[test]
fn brakes_hold_the_last_set() {
    let previous = validators(10);
    let held = |seen: Vec<ObservedValidator>, part: &str| {
        let next = merged(&previous, &[said("s-0", 200, seen)], 1);
        assert_eq!(next.set, previous);
        let reason = next.held.expect(part).reason;
        assert!(reason.contains(part), "{reason}");
    };
    held(list(5), "max_removed 2");
    held(list(2), "min_size 3");
    held(Vec::new(), "min_size 3");
    held((0..51).map(|n| entry(n, &format!("5.0.0.{n}:7100"))).collect(), "max_size 50");
    held((0..10).map(|n| entry(n, &format!("6.6.6.{n}:7100"))).collect(), "removes or moves 10");
}

#[test]
fn silence_holds_the_last_set() {
    let next = merged(&validators(5), &[], 1);
    assert_eq!(next.set, validators(5));
    assert!(next.held.unwrap().reason.contains("0 of 1 sources answered"));
    // For days too: nobody's grace runs out while nobody answers.
    let (mut policy, mut before) = (policy(), validators(5));
    policy.brakes.grace_seconds = 60;
    before.0.get_mut(&prep(4)).unwrap().absent_since = Some(NOW);
    let (mut set, mut memory) = (before.clone(), MergeMemory::default());
    for hour in 0..50 {
        let now = NOW.plus(Duration::from_hours(hour));
        let next = merge(&MergeInput { memory: &memory, now, ..input(&set, &[], &policy) });
        (set, memory) = (next.set, next.memory);
    }
    assert_eq!(set, before);
}

#[test]
fn one_liar_among_three_changes_nothing() {
    let mut lie = list(5);
    lie.push(entry(9, "6.6.6.6:7100"));
    lie[0].endpoint = "6.6.6.7:7100".parse().unwrap();
    let seen = [said("s-0", 200, list(5)), said("s-1", 200, lie), said("s-2", 200, list(5))];
    let next = merged(&validators(5), &seen, 3);
    assert_eq!(next.held, None);
    assert_eq!(next.set.0.keys().collect::<Vec<_>>(), validators(5).0.keys().collect::<Vec<_>>());
    assert!(next.set.at("6.6.6.6".parse().unwrap()).next().is_none());
    assert!(next.set.at("6.6.6.7".parse().unwrap()).next().is_none());
    let [finding] = next.findings.as_slice() else { panic!("{:?}", next.findings) };
    assert_eq!((finding.kind, finding.subject.as_str()), (FindingKind::SourceDissents, "s-1"));
    assert!(finding.text.contains(&format!("{} at 6.6.6.7:7100", prep(0))), "{finding}");
}

#[test]
fn a_disputed_entry_keeps_its_last_good_endpoint() {
    let mut other = list(5);
    other[0].endpoint = "5.0.0.77:7100".parse().unwrap();
    let next = merged(&validators(5), &[said("s-0", 200, list(5)), said("s-1", 200, other)], 2);
    assert_eq!(next.set.0[&prep(0)], validators(5).0[&prep(0)]);
    assert_eq!(next.findings.len(), 1);
}

#[test]
fn an_endpoint_no_public_host_has_is_refused_and_the_old_one_stays() {
    let mut bad = list(5);
    bad[0].endpoint = "10.0.0.1:7100".parse().unwrap();
    let next = merged(&validators(5), &[said("s-0", 200, bad)], 1);
    assert_eq!(next.set, validators(5));
    assert_eq!(next.refused.len(), 1);
    assert!(next.refused[0].1.reason.contains("private 10.0.0.0/8"), "{:?}", next.refused);
}

#[test]
fn an_entry_that_cannot_be_read_leaves_the_old_one_unless_the_grade_is_gone() {
    let with_doubt = |grade| {
        let mut seen = said("s-0", 200, list(4));
        seen.doubted.insert(prep(4), grade);
        merged(&validators(5), &[seen], 1).set
    };
    assert_eq!(with_doubt(Some(Grade::Main)), validators(5));
    assert_eq!(with_doubt(None), validators(5));
    assert_eq!(with_doubt(Some(Grade::Candidate)), validators(4));
}

#[test]
fn candidates_are_not_let_in() {
    let mut seen = list(5);
    seen[4].grade = Grade::Candidate;
    assert_eq!(merged(&ValidatorSet::default(), &[said("s-0", 100, seen)], 1).set, validators(4));
}

proptest! {
    #[test]
    fn never_more_than_the_brakes_allow(
        before in 3usize..40, endpoints in prop::collection::btree_map(0usize..60, 0u8..255, 0..60)
    ) {
        let previous = validators(before);
        let seen = endpoints.iter().map(|(number, last)| entry(*number, &format!("5.0.0.{last}:7100")));
        let next = merged(&previous, &[said("s-0", 200, seen)], 1);
        let lost = previous.iter().filter(|old| next.set.0.get(&old.prep).is_none_or(|new| new.endpoint != old.endpoint));
        prop_assert!(lost.count() <= policy().brakes.max_removed);
        prop_assert!(next.set.len() >= policy().brakes.min_size);
        if next.held.is_some() {
            prop_assert_eq!(next.set, previous);
        }
    }

    #[test]
    fn merging_again_changes_nothing(numbers in prop::collection::btree_set(0usize..40, 3..40)) {
        let seen = [said("s-0", 200, numbers.iter().map(|n| entry(*n, &format!("5.0.0.{n}:7100"))))];
        let first = merged(&ValidatorSet::default(), &seen, 1);
        let second = merged(&first.set, &seen, 1);
        prop_assert_eq!(first.set, second.set);
    }
}

//! Tests of what one source, one host or one P-Rep can make us write down: lines, rows and memory have limits.

use super::{
    tests::{NOW, entry, input, list, policy, said},
    *,
};
use crate::fixture::{prep, validators};
use picket_model::Grade;
use std::{collections::BTreeMap, time::Duration};

#[test]
fn a_source_that_lists_thousands_of_others_is_one_line() {
    let (policy, before) = (policy(), validators(5));
    let mut lie = list(5);
    lie.extend((100..5000).map(|number| entry(number, "6.6.6.6:7100")));
    for (sources, honest) in [(3, vec!["s-0", "s-1"]), (2, vec!["s-0"])] {
        let mut seen: Vec<Observation> = honest.iter().map(|source| said(source, 200, list(5))).collect();
        seen.push(said("s-2", 200, lie.clone()));
        let next = merge(&MergeInput { sources, ..input(&before, &seen, &policy) });
        assert_eq!((next.held, next.set.len()), (None, 5));
        let [finding] = next.findings.as_slice() else { panic!("{:?}", next.findings) };
        assert_eq!((finding.kind, finding.subject.as_str()), (FindingKind::SourceDissents, "s-2"));
        assert!(finding.text.contains("of 4900 P-Reps") && finding.text.ends_with("and 4897 more"), "{finding}");
    }
}

#[test]
fn a_name_or_a_grade_changes_when_enough_sources_say_so() {
    let policy = policy();
    let named = |source: &str, height, name: &str, grade| {
        let entries =
            list(5).into_iter().map(|entry| picket_model::ObservedValidator { name: name.to_owned(), grade, ..entry });
        said(source, height, entries)
    };
    let honest = |height| ["s-0", "s-1", "s-2"].map(|source| named(source, height, "a", Grade::Main));
    let merged = |previous: &ValidatorSet, seen: &[Observation]| {
        merge(&MergeInput { sources: 3, ..input(previous, seen, &policy) }).set
    };
    let before = merged(&validators(5), &honest(200));
    assert_eq!(before.0[&prep(0)].name, "a");
    let lie = [&honest(200)[..2], &[named("s-2", 205, "b", Grade::Sub)]].concat();
    assert_eq!(merged(&before, &lie), before);
    let split = [named("s-0", 200, "b", Grade::Main), named("s-1", 200, "c", Grade::Sub)];
    assert_eq!(merged(&before, &split), before);
    let renamed = [named("s-0", 200, "b", Grade::Sub), named("s-2", 200, "b", Grade::Sub)];
    let after = merged(&before, &renamed);
    assert_eq!((after.0[&prep(0)].name.as_str(), after.0[&prep(0)].grade), ("b", Grade::Sub));
}

#[test]
fn one_who_moves_with_every_block_is_followed_a_few_times_in_a_window() {
    let (policy, mut set, mut memory) = (policy(), validators(5), MergeMemory::default());
    let mut places = Vec::new();
    for turn in 0..10u64 {
        let mut moved = list(5);
        moved[0].endpoint = format!("5.0.1.{turn}:7100").parse().unwrap();
        let seen = [said("s-0", 200 + turn, moved)];
        let now = NOW.plus(Duration::from_secs(2 * turn));
        let next = merge(&MergeInput { memory: &memory, now, ..input(&set, &seen, &policy) });
        assert_eq!(next.held, None);
        let waits = next.findings.iter().any(|finding| finding.kind == FindingKind::EntryMoving);
        assert_eq!(waits, turn >= 3, "{:?}", next.findings);
        (set, memory) = (next.set, next.memory);
        places.push(set.0[&prep(0)].endpoint.to_string());
    }
    let last = places.pop().unwrap();
    assert_eq!((last.as_str(), places.iter().collect::<BTreeSet<_>>().len()), ("5.0.1.2:7100", 3));
    let seen = [said("s-0", 300, list(5))];
    let now = NOW.plus(policy.brakes.window());
    assert_eq!(
        merge(&MergeInput { memory: &memory, now, ..input(&set, &seen, &policy) }).set.0[&prep(0)].endpoint,
        list(1)[0].endpoint
    );
}

/// A host of ours that tells of so many nodes nobody knows.
fn stranger(turn: usize) -> Advertised {
    let node = |number: usize| format!("hx{:040x}", 0x5eed_0000 + turn * 1000 + number).parse().unwrap();
    Advertised {
        node: "n-1".parse().unwrap(),
        channel: "icon_dex".to_owned(),
        height: 200,
        seen_at: NOW,
        endpoints: (0..1000).map(|number| (node(number), BTreeSet::from(["6.6.6.6:7100".parse().unwrap()]))).collect(),
        refused: Vec::new(),
    }
}

#[test]
fn what_hosts_of_ours_tell_of_strangers_is_not_remembered() {
    for endpoints in [EndpointSource::Chain, EndpointSource::Both] {
        let (policy, before) = (Policy { endpoints, ..policy() }, validators(10));
        // The list is held, by a brake and then by silence: what is told meanwhile must not pile up either.
        for seen in [vec![said("s-0", 200, list(4))], Vec::new()] {
            let mut told = stranger(0);
            let known = before.0[&prep(3)].node_address;
            told.endpoints.insert(known, BTreeSet::from(["5.9.9.9:7100".parse().unwrap()]));
            let next = merge(&MergeInput { advertised: &[told], ..input(&before, &seen, &policy) });
            assert!(next.held.is_some());
            let remembered: BTreeMap<_, _> = next.memory.advertised;
            let expect = if endpoints == EndpointSource::Chain { vec![] } else { vec![known] };
            assert_eq!(remembered.into_keys().collect::<Vec<_>>(), expect);
        }
    }
}

#[test]
fn those_that_are_missing_stay_only_as_far_as_the_set_has_room() {
    let mut policy = policy();
    (policy.brakes.max_size, policy.brakes.grace_seconds, policy.brakes.max_removed) = (10, 3600, 50);
    let turned = |from: usize| (from..from + 8).map(|number| entry(number, &format!("5.0.0.{number}:7100")));
    let (mut set, mut memory) = (validators(8), MergeMemory::default());
    for turn in 1..5 {
        let seen = [said("s-0", 200, turned(turn * 2))];
        let now = NOW.plus(Duration::from_mins(10 * u64::try_from(turn).unwrap()));
        policy.brakes.max_added = 50;
        let next = merge(&MergeInput { memory: &memory, now, ..input(&set, &seen, &policy) });
        assert_eq!((next.held, next.set.len()), (None, 10), "turn {turn}");
        (set, memory) = (next.set, next.memory);
        let absent: Vec<_> = set.iter().filter(|v| v.absent_since.is_some()).map(|v| v.prep).collect();
        assert_eq!(absent, [prep(turn * 2 - 2), prep(turn * 2 - 1)], "the last to go stay");
    }
}

//! Tests of the merge against sources that lie, lag and go back, floods, slow bleeds, and addresses our own nodes see.

use super::{
    tests::{NOW, entry, input, list, policy, said},
    *,
};
use crate::fixture::{prep, validators};
use picket_model::{Approval, Grade, HoldOrder, ObservedValidator};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

fn three(lists: [(u64, Vec<ObservedValidator>); 3]) -> Vec<Observation> {
    lists.into_iter().enumerate().map(|(n, (height, list))| said(&format!("s-{n}"), height, list)).collect()
}

fn by_three(previous: &ValidatorSet, seen: &[Observation]) -> Merged {
    merge(&MergeInput { sources: 3, ..input(previous, seen, &policy()) })
}

fn approval(digest: &str) -> Approval {
    Approval { digest: digest.to_owned(), by: "op-1".parse().unwrap(), at: NOW }
}

fn has(merged: &Merged, address: &str) -> bool {
    merged.set.at(address.parse().unwrap()).next().is_some()
}

/// The sources of which there is an alarm that they say something else.
fn dissents(merged: &Merged) -> Vec<&str> {
    let dissents = merged.findings.iter().filter(|finding| finding.kind == FindingKind::SourceDissents);
    dissents.map(|finding| finding.subject.as_str()).collect()
}

/// Three sources at these heights, of which the named ones must be out.
fn check_heights(heights: [u64; 3], out: &[&str]) {
    let seen = three(heights.map(|height| (height, list(5))));
    let next = by_three(&validators(5), &seen);
    assert_eq!((&next.held, &next.set.0.keys().count()), (&None, &5), "{heights:?}");
    let texts: Vec<String> = next.findings.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), out.len(), "{texts:?}");
    assert!(out.iter().all(|source| texts.iter().any(|text| text.contains(source))), "{texts:?}");
}

#[test]
fn a_source_far_from_the_others_does_not_count() {
    check_heights([1000, 1000, 1000], &[]);
    check_heights([1000, 970, 1000], &[]);
    check_heights([1000, 969, 1000], &["source s-1 is 31 blocks behind"]);
    check_heights([1000, 1000, u64::MAX], &["source s-2 is"]);
    check_heights([1000, 0, 1000], &["source s-1 is 1000 blocks behind"]);
}

#[test]
fn a_source_that_goes_back_is_out_until_the_window_has_passed() {
    let (policy, before) = (policy(), validators(5));
    let high = merge(&input(&before, &[said("s-0", 1000, list(5))], &policy));
    let low = [said("s-0", 900, list(4))];
    let later = |seconds| NOW.plus(Duration::from_secs(seconds));
    let at =
        |seconds| merge(&MergeInput { memory: &high.memory, now: later(seconds), ..input(&before, &low, &policy) });
    assert!(at(10).findings[0].text.contains("went back 100 blocks"));
    assert_eq!((at(10).held.is_some(), at(10).set), (true, validators(5)));
    assert_eq!((at(3600).held, at(3600).set), (None, validators(4)));
}

#[test]
fn a_liar_cannot_keep_in_who_the_others_say_is_gone() {
    let next = by_three(&validators(5), &three([(200, list(4)), (200, list(5)), (200, list(4))]));
    assert_eq!((&next.held, next.set.len()), (&None, 4));
    assert_eq!(dissents(&next), ["s-1"]);
    assert!(next.findings[0].text.contains(&format!("{} not listed by enough others", prep(4))), "{:?}", next.findings);
}

#[test]
fn a_liar_cannot_give_a_validator_another_node_key() {
    let mut lie = list(5);
    lie[0].node_address = format!("hx{:040x}", 666).parse().unwrap();
    let next = by_three(&validators(5), &three([(229, lie), (200, list(5)), (200, list(5))]));
    assert_eq!(next.set.0[&prep(0)].node_address, validators(5).0[&prep(0)].node_address);
    assert_eq!(dissents(&next), ["s-0"]);
    assert!(next.findings[0].text.contains("with node key"), "{:?}", next.findings);
}

/// One list after another, ten minutes apart, and how many validators are left after each.
fn check_sequence(policy: &Policy, first: usize, lists: Vec<Vec<ObservedValidator>>, expect: &[usize]) -> Merged {
    let start = validators(first);
    let mut last = merge(&input(&start, &[said("s-0", 200, list(first))], policy));
    let mut sizes = Vec::new();
    for (minutes, entries) in lists.into_iter().enumerate() {
        let now = NOW.plus(Duration::from_mins(10 * u64::try_from(minutes).unwrap()));
        let seen = [said("s-0", 200, entries)];
        last = merge(&MergeInput { memory: &last.memory, now, ..input(&last.set, &seen, policy) });
        sizes.push(last.set.len());
    }
    assert_eq!(sizes, expect);
    last
}

#[test]
fn a_slow_bleed_is_stopped_by_the_window_and_goes_on_when_it_has_passed() {
    let lists = (0..8).map(|gone| list(19 - gone)).collect();
    let last = check_sequence(&policy(), 20, lists, &[19, 18, 18, 18, 18, 18, 18, 18]);
    assert!(last.held.unwrap().reason.contains("removes or moves 6 of 18 validators, more than max_removed 2"));
    let last = check_sequence(&policy(), 20, vec![list(19), list(18), list(17)], &[19, 18, 18]);
    let reason = last.held.unwrap().reason;
    assert!(reason.contains("removes or moves 1 of 18 validators, 3 within 1 h, more than max_removed 2"), "{reason}");
    check_sequence(
        &policy(),
        20,
        vec![list(19), list(18), list(17), list(17), list(17), list(17), list(17)],
        &[19, 18, 18, 18, 18, 18, 17],
    );
}

#[test]
fn a_share_of_the_set_is_a_brake_too_but_one_may_always_leave() {
    let mut policy = policy();
    (policy.brakes.max_removed, policy.brakes.max_removed_percent) = (50, 10);
    let last = check_sequence(&policy, 20, vec![list(18), list(17)], &[18, 18]);
    assert!(last.held.unwrap().reason.contains("more than 2, which max_removed_percent 10 allows"));
    check_sequence(&policy, 5, vec![list(4), list(3)], &[4, 4]);
}

#[test]
fn one_validator_that_flaps_uses_up_nobody_elses_room() {
    let at = |last: u8| {
        let mut list = list(10);
        list[0].endpoint = format!("5.0.1.{last}:7100").parse().unwrap();
        list
    };
    let mut without = at(5);
    without.pop();
    check_sequence(&policy(), 10, vec![at(1), at(2), at(3), at(4), without], &[10, 10, 10, 10, 9]);
}

#[test]
fn a_flood_of_registrations_is_held_except_at_the_start() {
    let last = check_sequence(&policy(), 10, vec![list(13), list(15), list(16)], &[13, 15, 15]);
    assert!(last.held.unwrap().reason.contains("more than max_added 5"));
    let first = merge(&input(&ValidatorSet::default(), &[said("s-0", 200, list(40))], &policy()));
    assert_eq!((first.held, first.set.len()), (None, 40));
}

#[test]
fn a_person_approves_exactly_what_is_held_and_nothing_else() {
    let (policy, before) = (policy(), validators(10));
    let seen = |count| [said("s-0", 200, list(count))];
    let held = merge(&input(&before, &seen(5), &policy)).held.unwrap();
    let digest = held.digest.clone().unwrap();
    assert_eq!((digest.len(), held.removes.len()), (32, 5));
    assert!(held.to_string().contains(&format!("5 would leave: {}", prep(5))), "{held}");
    let orders = Orders { approved: Some(approval(&digest)), hold: None };
    let approved = |count| merge(&MergeInput { orders: &orders, ..input(&before, &seen(count), &policy) });
    assert_eq!((approved(5).held, approved(5).set), (None, validators(5)));
    assert_eq!((approved(4).held.is_some(), approved(4).set), (true, validators(10)));
    assert_eq!(approved(5).memory.changes, [], "it does not count against the next ones");
}

#[test]
fn nobody_can_approve_an_empty_list_or_one_far_too_long() {
    let (policy, before) = (policy(), validators(10));
    let held = |entries| merge(&input(&before, &[said("s-0", 200, entries)], &policy)).held.unwrap().digest;
    assert_eq!(held(Vec::new()), None);
    assert_eq!(held(list(60)), None);
}

#[test]
fn a_penalised_validator_is_kept_for_its_own_grace() {
    let mut policy = policy();
    policy.brakes.penalty_grace_seconds = 600;
    let mut demoted = list(5);
    (demoted[3].grade, demoted[3].penalty) = (Grade::Candidate, 3);
    demoted[4].grade = Grade::Candidate;
    let (before, seen) = (validators(5), [said("s-0", 200, demoted)]);
    let first = merge(&input(&before, &seen, &policy));
    assert_eq!(first.set.0.keys().copied().collect::<Vec<_>>(), (0..4).map(prep).collect::<Vec<_>>());
    let now = NOW.plus(Duration::from_mins(10));
    assert_eq!(merge(&MergeInput { now, ..input(&first.set, &seen, &policy) }).set, validators(3));
}

fn advertised(host: &str, node: usize, endpoints: &[&str]) -> Advertised {
    Advertised {
        node: host.parse().unwrap(),
        channel: "icon_dex".to_owned(),
        height: 200,
        seen_at: NOW,
        endpoints: BTreeMap::from([(
            format!("hx{node:040x}").parse().unwrap(),
            endpoints.iter().map(|endpoint| endpoint.parse().unwrap()).collect(),
        )]),
        refused: Vec::new(),
    }
}

#[test]
fn the_policy_says_which_addresses_count() {
    let check = |endpoints, expect: &[&str]| {
        let policy = Policy { endpoints, ..policy() };
        let told = [advertised("n-1", 0, &["5.9.9.9:7100", "10.0.0.1:7100"]), advertised("n-2", 77, &["6.6.6.6:7100"])];
        let seen = [said("s-0", 200, list(5))];
        let next = merge(&MergeInput { advertised: &told, ..input(&validators(5), &seen, &policy) });
        let expect: BTreeSet<IpAddr> = expect.iter().map(|address| address.parse().unwrap()).collect();
        assert_eq!(next.set.0[&prep(0)].addresses, expect, "{endpoints:?}");
        assert_eq!(next.set.0[&prep(1)], validators(5).0[&prep(1)]);
        assert!(!has(&next, "6.6.6.6") && !has(&next, "10.0.0.1"));
        // Nobody sees it any more: what was seen stands.
        let silent = merge(&MergeInput { memory: &next.memory, ..input(&next.set, &seen, &policy) });
        assert_eq!(silent.set, next.set);
        next
    };
    check(EndpointSource::Chain, &["5.0.0.0"]);
    let told = check(EndpointSource::Advertised, &["5.9.9.9"]);
    assert!(told.refused.iter().any(|(teller, entry)| teller.as_str() == "n-1" && entry.reason.contains("private")));
    let both = check(EndpointSource::Both, &["5.0.0.0", "5.9.9.9"]);
    let seen_by = &both.set.0[&prep(0)].provenance.advertised;
    assert_eq!(seen_by[&"5.9.9.9".parse().unwrap()], BTreeSet::from(["n-1".parse().unwrap()]));
}

#[test]
fn a_stolen_host_of_ours_cannot_move_all_validators_by_what_it_tells() {
    let policy = Policy { endpoints: EndpointSource::Advertised, ..policy() };
    let lies: Vec<Advertised> = (0..10).map(|n| advertised("n-1", n, &[&format!("6.6.6.{n}:7100")])).collect();
    let (before, seen) = (validators(10), [said("s-0", 200, list(10))]);
    let next = merge(&MergeInput { advertised: &lies, ..input(&before, &seen, &policy) });
    assert_eq!((next.held.map(|held| held.moves.len()), next.set), (Some(10), before));
}

#[test]
fn an_operator_freezes_the_set_for_a_time_and_may_still_approve() {
    let (policy, before) = (policy(), validators(5));
    let until = NOW.plus(Duration::from_secs(60));
    let by = "op-1".parse().unwrap();
    let hold = HoldOrder { comment: "incident 7".into(), by, at: NOW, until: Some(until) };
    let frozen = |approved, now, count| {
        let orders = Orders { approved, hold: Some(hold.clone()) };
        merge(&MergeInput { orders: &orders, now, ..input(&before, &[said("s-0", 200, list(count))], &policy) })
    };
    let next = frozen(None, NOW, 4);
    let held = next.held.clone().unwrap();
    assert_eq!((held.kind, &next.set), (FindingKind::HeldByOperator, &before));
    assert!(held.to_string().contains("operator op-1 froze the set until"), "{held}");
    assert!(held.to_string().contains("(incident 7)"), "{held}");
    let same = frozen(None, NOW, 5).held.unwrap();
    assert_eq!((same.kind, same.digest), (FindingKind::HeldByOperator, None));
    let approved = frozen(Some(approval(&held.digest.unwrap())), NOW, 4);
    assert_eq!((approved.held, approved.set), (None, validators(4)));
    assert_eq!(frozen(None, until, 4).set, validators(4));
}

#[test]
fn a_source_whose_clock_is_wrong_is_out() {
    let (policy, before) = (policy(), validators(5));
    let check = |seconds: i64, counts: bool| {
        let mut seen = said("s-0", 200, list(4));
        seen.block_time = Some(Timestamp::from_millis(NOW.as_millis() + seconds * 1000));
        let next = merge(&input(&before, &[seen], &policy));
        assert_eq!(next.held.is_none(), counts, "{seconds}: {:?}", next.held);
        let kinds: Vec<_> = next.findings.iter().map(|finding| finding.kind).collect();
        assert_eq!(kinds.contains(&FindingKind::SourceClock), !counts, "{seconds}: {kinds:?}");
    };
    check(0, true);
    check(-300, true);
    check(300, true);
    check(-600, false);
    check(600, false);
}

/// Any answers of three sources: heights near and far, endpoints public and not, grades of all kinds.
fn answers() -> impl Strategy<Value = Vec<Observation>> {
    let one = (0..12usize, 0..3u8, any::<bool>(), 0..4u8);
    let list = prop::collection::vec(one, 0..14);
    prop::collection::vec((0..4u64, list), 3).prop_map(|sources| {
        let entries = |list: Vec<(usize, u8, bool, u8)>| {
            list.into_iter().map(|(number, last, public, grade)| {
                let network = if public { "5.0.0" } else { "10.0.0" };
                let mut entry = entry(number, &format!("{network}.{last}:7100"));
                entry.grade = [Grade::Main, Grade::Sub, Grade::Candidate, Grade::Main][usize::from(grade)];
                entry
            })
        };
        let said = |(n, (height, list))| said(&format!("s-{n}"), 200 + 20 * height, entries(list));
        sources.into_iter().enumerate().map(said).collect()
    })
}

proptest! {
    #[test]
    fn the_order_of_sources_does_not_matter(seen in answers(), turn in 0..3usize) {
        let mut turned = seen.clone();
        turned.rotate_left(turn);
        let (one, other) = (by_three(&validators(8), &seen), by_three(&validators(8), &turned));
        prop_assert_eq!(one, other);
    }

    #[test]
    fn merging_any_answers_twice_changes_nothing_and_lets_nobody_in_outside_policy(seen in answers()) {
        let first = by_three(&validators(8), &seen);
        let policy = policy();
        let again = MergeInput { sources: 3, memory: &first.memory, ..input(&first.set, &seen, &policy) };
        prop_assert_eq!(&merge(&again).set, &first.set);
        for address in first.set.iter().flat_map(|validator| &validator.addresses) {
            prop_assert!(permitted(*address, &policy).is_ok(), "{address}");
        }
    }

    #[test]
    fn one_liar_of_three_moves_nothing(lie in answers(), place in 0..3usize) {
        let mut seen = three([(250, list(8)), (251, list(8)), (252, list(8))]);
        seen[place] = Observation { source: seen[place].source.clone(), ..lie[0].clone() };
        let next = by_three(&validators(8), &seen);
        let addresses = |set: &ValidatorSet| set.iter().flat_map(|v| v.addresses.clone()).collect::<BTreeSet<_>>();
        prop_assert_eq!(addresses(&next.set), addresses(&validators(8)));
    }
}

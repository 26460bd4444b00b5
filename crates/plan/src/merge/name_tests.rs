//! Tests of names: what lookups give, how long it stands, and what a hostile name server can move.

use super::{
    tests::{NOW, input, list, policy, said},
    *,
};
use crate::fixture::{prep, validators};
use picket_model::{DnsName, NameAnswer};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_hours(24);

fn name(number: usize) -> DnsName {
    format!("node-{number}.example.com").parse().unwrap()
}

/// Five validators, of whom the first `named` have names.
fn seen(named: usize) -> [Observation; 1] {
    let mut entries = list(5.max(named));
    for (number, entry) in entries.iter_mut().enumerate().take(named) {
        entry.endpoint = format!("{}:7100", name(number)).parse().unwrap();
    }
    [said("s-0", 100, entries)]
}

fn answer(addresses: impl IntoIterator<Item = Ipv4Addr>, seconds: u64) -> Result<NameAnswer, String> {
    let addresses = addresses.into_iter().map(IpAddr::from).collect();
    Ok(NameAnswer { addresses, surplus: 0, time_to_live: Duration::from_secs(seconds) })
}

/// Rounds of merges, one after another.
struct Rounds {
    policy: Policy,
    named: usize,
    set: ValidatorSet,
    memory: MergeMemory,
    now: Timestamp,
}

impl Rounds {
    fn new(named: usize) -> Self {
        Self { policy: policy(), named, set: ValidatorSet::default(), memory: MergeMemory::default(), now: NOW }
    }

    fn round(&mut self, lookups: Lookups) -> Merged {
        let (seen, lookups) = (seen(self.named), lookups);
        let merged = merge(&MergeInput {
            memory: &self.memory,
            lookups: &lookups,
            now: self.now,
            ..input(&self.set, &seen, &self.policy)
        });
        (self.set, self.memory) = (merged.set.clone(), merged.memory.clone());
        merged
    }

    fn later(&mut self, time: Duration, lookups: Lookups) -> Merged {
        self.now = self.now.plus(time);
        self.round(lookups)
    }

    fn of(&self, number: usize) -> Vec<String> {
        self.set.0[&prep(number)].addresses.iter().map(ToString::to_string).collect()
    }
}

fn gives(addresses: &[&str]) -> Lookups {
    Lookups::from([(name(0), answer(addresses.iter().map(|address| address.parse().unwrap()), 300))])
}

fn fails() -> Lookups {
    Lookups::from([(name(0), Err("no answer\u{1b}[2J".to_owned()))])
}

fn kinds(merged: &Merged) -> Vec<FindingKind> {
    merged.findings.iter().map(|finding| finding.kind).collect()
}

#[test]
fn a_name_means_its_public_addresses() {
    let mut rounds = Rounds::new(1);
    let first = rounds.round(Lookups::new());
    assert_eq!(first.names, BTreeSet::from([name(0)]));
    assert_eq!((rounds.of(0).len(), kinds(&first)), (0, vec![FindingKind::NameUnresolved]), "not looked up yet");
    let next = rounds.round(gives(&["5.9.9.9", "127.0.0.1"]));
    assert_eq!((rounds.of(0), kinds(&next)), (vec!["5.9.9.9".to_owned()], vec![]));
    assert!(next.refused[0].1.reason.contains("loopback"), "{:?}", next.refused);
}

#[test]
fn a_name_that_fails_keeps_its_answers_for_the_grace_and_then_loses_them() {
    let mut rounds = Rounds::new(1);
    rounds.round(gives(&["5.9.9.9"]));
    let failed = rounds.later(MINUTE, fails());
    assert_eq!((rounds.of(0), kinds(&failed)), (vec!["5.9.9.9".to_owned()], vec![FindingKind::NameUnresolved]));
    assert!(failed.findings[0].text.contains("no answer\\u{1b}[2J"), "{:?}", failed.findings);
    rounds.later(6 * DAY, fails());
    assert_eq!(rounds.of(0), ["5.9.9.9"]);
    let over = rounds.later(DAY, fails());
    assert_eq!((rounds.of(0).len(), kinds(&over)), (0, vec![FindingKind::NameUnresolved]));
    assert!(over.findings[0].text.contains("its grace is over"), "{:?}", over.findings);
    rounds.later(MINUTE, gives(&["5.9.9.9"]));
    assert_eq!(rounds.of(0), ["5.9.9.9"]);
}

#[test]
fn a_name_that_gives_private_addresses_alone_counts_as_failing() {
    let mut rounds = Rounds::new(1);
    rounds.round(gives(&["10.0.0.1", "127.0.0.1"]));
    assert_eq!(rounds.of(0).len(), 0);
    rounds.later(MINUTE, gives(&["5.9.9.9"]));
    let turned = rounds.later(2 * DAY, gives(&["10.0.0.1"]));
    assert_eq!((rounds.of(0), kinds(&turned)), (vec!["5.9.9.9".to_owned()], vec![FindingKind::NameUnresolved]));
    assert!(turned.findings[0].text.contains("private 10.0.0.0/8"), "{:?}", turned.findings);
    let over = rounds.later(7 * DAY, gives(&["10.0.0.1"]));
    assert_eq!(rounds.of(0).len(), 0);
    assert!(over.refused[0].1.reason.contains("grace is over"), "{:?}", over.refused);
}

#[test]
fn an_address_that_a_name_no_longer_gives_lingers() {
    let mut rounds = Rounds::new(1);
    rounds.round(gives(&["5.9.9.1"]));
    rounds.later(MINUTE, gives(&["5.9.9.2"]));
    assert_eq!(rounds.of(0), ["5.9.9.1", "5.9.9.2"]);
    rounds.later(30 * MINUTE, fails());
    assert_eq!(rounds.of(0).len(), 2, "silence ages nothing");
    rounds.later(30 * MINUTE, gives(&["5.9.9.2"]));
    assert_eq!(rounds.of(0), ["5.9.9.2"]);
}

#[test]
fn a_name_with_a_thousand_changing_addresses_gets_few_and_moves_little() {
    let mut rounds = Rounds::new(1);
    let many = |from: u32| {
        let mut answer = answer((from..from + 16).map(|n| Ipv4Addr::from(0x0505_0000 + n)), 0).unwrap();
        answer.surplus = 984;
        Lookups::from([(name(0), Ok(answer))])
    };
    let first = rounds.round(many(0));
    assert_eq!((rounds.of(0).len(), kinds(&first)), (8, vec![FindingKind::NameOverfull]));
    assert!(first.findings[0].text.contains("8 stand, 992 were left out"), "{:?}", first.findings);
    let before = rounds.set.clone();
    for turn in 1..59 {
        rounds.later(MINUTE, many(turn * 100));
        assert_eq!(rounds.set, before, "turn {turn}");
    }
    rounds.later(MINUTE, many(7000));
    rounds.later(MINUTE, many(8000));
    assert_eq!(rounds.of(0).len(), 8);
    let changed = rounds.memory.changes.iter().filter(|change| change.kind == ChangeKind::Readdressed);
    assert!(changed.count() <= 2, "{:?}", rounds.memory.changes);
}

#[test]
fn a_hostile_name_server_moves_some_names_and_not_all() {
    let mut rounds = Rounds::new(9);
    let all = |network: u8| -> Lookups {
        let of = |number: usize| Ipv4Addr::new(5, 9, network, u8::try_from(number).unwrap());
        (0..9).map(|number| (name(number), answer([of(number)], 300))).collect()
    };
    rounds.policy.names.linger_seconds = 0;
    rounds.round(Lookups::new());
    rounds.round(all(1));
    assert_eq!(rounds.memory.changes, [], "the first answers are no change");
    let turned = rounds.later(MINUTE, all(2));
    let moved = |rounds: &Rounds| (0..9).filter(|n| rounds.of(*n) == [format!("5.9.2.{n}")]).count();
    assert_eq!((moved(&rounds), kinds(&turned)), (5, vec![FindingKind::NameReaddressed; 4]));
    // The same names may go on changing, the others stay until the window has passed.
    rounds.later(MINUTE, all(2));
    assert_eq!((moved(&rounds), rounds.memory.changes.len()), (5, 5));
    rounds.later(Duration::from_hours(1), all(2));
    assert_eq!(moved(&rounds), 9);
}

#[test]
fn lookups_come_due_by_their_time_to_live_within_the_policy() {
    let wanted = BTreeSet::from([name(0)]);
    let due_after = |seconds| {
        let mut rounds = Rounds::new(1);
        assert_eq!(names_due(&rounds.memory, &wanted, NOW), wanted);
        rounds.round(Lookups::from([(name(0), answer([Ipv4Addr::new(5, 9, 9, 9)], seconds))]));
        assert_eq!(names_due(&rounds.memory, &wanted, NOW), BTreeSet::new());
        next_lookup(&rounds.memory, &wanted).unwrap().since(NOW).as_secs()
    };
    assert_eq!([due_after(0), due_after(300), due_after(1_000_000)], [60, 300, 3600]);
    let mut rounds = Rounds::new(1);
    let mut waits = Vec::new();
    for _ in 0..12 {
        rounds.round(fails());
        let due = next_lookup(&rounds.memory, &wanted).unwrap();
        waits.push(due.since(rounds.now).as_secs());
        rounds.now = due;
    }
    assert_eq!(waits, [5, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600]);
}

#[test]
fn a_source_that_names_thousands_by_itself_has_none_looked_up() {
    let mut lie = list(5);
    lie.extend((5..2000).map(|number| super::tests::entry(number, &format!("{}:7100", name(number)))));
    let seen = [said("s-0", 100, list(5)), said("s-1", 100, list(5)), said("s-2", 100, lie)];
    let (before, policy) = (validators(5), policy());
    let next = merge(&MergeInput { sources: 3, ..input(&before, &seen, &policy) });
    assert_eq!((next.names, next.set.len()), (BTreeSet::new(), 5));
}

#[test]
fn names_of_a_held_list_are_looked_up_and_those_in_force_stay_known() {
    let mut rounds = Rounds::new(1);
    rounds.round(gives(&["5.9.9.9"]));
    rounds.policy.brakes.min_size = 10;
    rounds.named = 2;
    let held = rounds.later(MINUTE, Lookups::from([(name(1), answer([Ipv4Addr::new(5, 9, 9, 8)], 60))]));
    assert_eq!((held.held.is_some(), held.names), (true, BTreeSet::from([name(0), name(1)])));
    assert_eq!((rounds.of(0), rounds.memory.names.len()), (vec!["5.9.9.9".to_owned()], 2));
}

#[test]
fn names_out_of_use_are_forgotten() {
    let mut rounds = Rounds::new(1);
    rounds.round(gives(&["5.9.9.9"]));
    rounds.named = 0;
    rounds.round(Lookups::new());
    rounds.round(Lookups::new());
    assert_eq!(rounds.memory.names, BTreeMap::new());
}

#[test]
fn an_address_lingers_from_the_first_answer_that_lacks_it() {
    let mut rounds = Rounds::new(1);
    let hour = Duration::from_hours(1);
    let gives = |last| Lookups::from([(name(0), answer([Ipv4Addr::new(5, 9, 9, last)], 3600))]);
    rounds.round(gives(1));
    rounds.later(hour, gives(2));
    assert_eq!(rounds.of(0), ["5.9.9.1", "5.9.9.2"]);
    rounds.later(hour, gives(2));
    assert_eq!(rounds.of(0), ["5.9.9.2"]);
}

#[test]
fn who_registers_a_name_stays_where_it_was_until_the_name_resolves() {
    let mut rounds = Rounds::new(0);
    rounds.round(Lookups::new());
    rounds.named = 1;
    let moved = rounds.later(MINUTE, Lookups::new());
    assert_eq!((rounds.of(0), kinds(&moved)), (vec!["5.0.0.0".to_owned()], vec![FindingKind::NameUnresolved]));
    rounds.later(MINUTE, fails());
    assert_eq!(rounds.of(0), ["5.0.0.0"]);
    rounds.later(6 * DAY, fails());
    assert_eq!(rounds.of(0), ["5.0.0.0"]);
    let mut over = Rounds { set: rounds.set.clone(), memory: rounds.memory.clone(), ..Rounds::new(1) };
    over.now = rounds.now;
    over.later(2 * DAY, fails());
    assert_eq!(over.of(0).len(), 0);
    rounds.later(MINUTE, gives(&["5.9.9.9"]));
    assert_eq!(rounds.of(0), ["5.9.9.9"]);
}

#[test]
fn addresses_that_may_not_be_used_take_no_place() {
    let mut rounds = Rounds::new(1);
    rounds.policy.max_addresses_per_prep = 1;
    let first = rounds.round(gives(&["5.9.9.9", "1.0.0.127", "10.0.0.1", "127.0.0.1"]));
    assert_eq!(rounds.of(0), ["1.0.0.127"]);
    let reasons: Vec<_> = first.refused.iter().map(|(_, entry)| entry.reason.as_str()).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    rounds.later(MINUTE, gives(&["10.0.0.1", "5.9.9.9"]));
    rounds.later(Duration::from_hours(1), gives(&["10.0.0.1", "5.9.9.9"]));
    assert_eq!(rounds.of(0), ["5.9.9.9"]);
}

#[test]
fn a_clock_that_was_ahead_puts_off_no_lookup_and_keeps_no_address() {
    let mut rounds = Rounds::new(1);
    rounds.now = NOW.plus(365 * DAY);
    rounds.round(gives(&["5.9.9.1"]));
    rounds.now = NOW;
    rounds.round(Lookups::new());
    let wanted = BTreeSet::from([name(0)]);
    assert_eq!(next_lookup(&rounds.memory, &wanted), Some(NOW.plus(Duration::from_hours(1))));
    rounds.later(MINUTE, gives(&["5.9.9.2"]));
    rounds.later(Duration::from_hours(1), gives(&["5.9.9.2"]));
    assert_eq!(rounds.of(0), ["5.9.9.2"]);
}

#[test]
fn names_that_flap_let_the_others_have_their_turn() {
    let mut rounds = Rounds::new(6);
    rounds.policy.names.linger_seconds = 0;
    let give = |turn: u8, last: u8| -> Lookups {
        let of = |number: u8| Ipv4Addr::new(5, 9, if number == 5 { last } else { turn }, number);
        (0..6).map(|number| (name(number.into()), answer([of(number)], 60))).collect()
    };
    rounds.round(give(0, 0));
    for turn in 1..60 {
        rounds.later(MINUTE, give(turn, 1));
    }
    assert_eq!(rounds.of(5), ["5.9.0.5"], "five others took all places first");
    for turn in 60..63 {
        rounds.later(MINUTE, give(turn, 1));
    }
    assert_eq!(rounds.of(5), ["5.9.1.5"]);
}

#[test]
fn a_name_that_comes_back_after_its_grace_counts_as_one_that_changed() {
    let mut rounds = Rounds::new(9);
    let all = |gives: bool| -> Lookups {
        let of = |number: u8| if gives { answer([Ipv4Addr::new(5, 9, 1, number)], 60) } else { Err("gone".to_owned()) };
        (0..9).map(|number| (name(number.into()), of(number))).collect()
    };
    rounds.round(all(true));
    rounds.later(MINUTE, all(false));
    for _ in 0..9 {
        rounds.later(8 * DAY, all(false));
    }
    assert!((0..9).all(|number| rounds.of(number).is_empty()));
    rounds.later(DAY, all(true));
    assert_eq!((0..9).filter(|number| !rounds.of(*number).is_empty()).count(), 5);
}

#[test]
fn all_names_together_have_a_limit() {
    let mut rounds = Rounds::new(1);
    rounds.round(gives(&["5.9.9.9"]));
    assert_eq!(rounds.of(0), ["5.9.9.9"]);
    rounds.policy.max_addresses = 5;
    let held = rounds.later(MINUTE, gives(&["5.9.9.9", "5.9.9.8"])).held.unwrap();
    assert!(held.reason.contains("6 addresses, more than max_addresses 5"), "{held}");
    assert_eq!(rounds.set.len(), validators(5).len());
}

//! From found to wanted: which steps, and that they lead there.

use crate::policies::{allow, lowered, policy, prep};
use picket_firewall::{Change, Ruleset, Set, diff, transaction};
use picket_model::Purpose;
use proptest::prelude::*;

/// What the kernel would have after the changes.
fn applied(found: &Ruleset, changes: &[Change], wanted: &Ruleset) -> Ruleset {
    let mut after = found.clone();
    for change in changes {
        match change {
            Change::ReplaceTable(_) => after = wanted.clone(),
            Change::DeleteElements { set, elements } => {
                let before = after.sets[set].clone();
                assert!(
                    elements.without(&before).unwrap().is_empty(),
                    "deleting what is not there fails in the kernel"
                );
                after.sets.insert(set.clone(), before.without(elements).unwrap());
            }
            Change::AddElements { set, elements } => {
                let set = after.sets.get_mut(set).unwrap();
                assert_eq!(&elements.without(set).unwrap(), elements, "only what is missing is added");
                assert!(set.add(elements), "{elements:?} are of another kind");
            }
        }
    }
    after
}

fn lines(changes: &[Change]) -> Vec<String> {
    changes.iter().map(ToString::to_string).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn nothing_changes_what_is_wanted_already(policy in policy()) {
        let wanted = lowered(&policy);
        prop_assert_eq!(diff(&wanted, Some(&wanted)), vec![]);
        prop_assert_eq!(transaction(&wanted, &[]), "");
    }

    #[test]
    fn the_changes_lead_to_what_is_wanted(found in policy(), wanted in policy()) {
        let (found, wanted) = (lowered(&found), lowered(&wanted));
        let changes = diff(&wanted, Some(&found));
        prop_assert_eq!(applied(&found, &changes, &wanted), wanted);
        prop_assert!(!changes.iter().any(|change| matches!(change, Change::ReplaceTable(_))));
    }
}

#[test]
fn a_new_list_is_a_change_of_elements_alone() {
    let mut policy = prep();
    let found = lowered(&policy);
    policy.allow.insert(Purpose::P2p, allow(["203.0.113.12", "203.0.113.14", "2001:db8:1::11", "198.51.100.0/24"]));
    let wanted = lowered(&policy);
    let changes = diff(&wanted, Some(&found));
    assert_eq!(
        lines(&changes),
        [
            "delete from p2p_hosts4: 203.0.113.11",
            "delete from p2p_nets4: 198.51.100.128/25",
            "add to p2p_hosts4: 203.0.113.14",
            "add to p2p_nets4: 198.51.100.0/24",
        ]
    );
    insta::assert_snapshot!(transaction(&wanted, &changes), @r#"
    delete element inet picket p2p_hosts4 { 203.0.113.11 }
    delete element inet picket p2p_nets4 { 198.51.100.128/25 }
    add element inet picket p2p_hosts4 { 203.0.113.14 comment "policy test" }
    add element inet picket p2p_nets4 { 198.51.100.0/24 comment "policy test" }
    "#);
}

#[test]
fn anything_but_elements_replaces_the_table() {
    let wanted = lowered(&prep());
    let check = |found: Option<Ruleset>, expect: &str| {
        let changes = diff(&wanted, found.as_ref());
        assert_eq!(lines(&changes), [format!("replace table inet picket: {expect}")]);
        let text = transaction(&wanted, &changes);
        assert!(text.starts_with("add table inet picket\ndelete table inet picket\n"), "{text}");
    };
    let changed = |change: fn(&mut Ruleset)| {
        let mut found = wanted.clone();
        change(&mut found);
        Some(found)
    };
    check(None, "it is missing");
    check(Some(Ruleset::default()), "its chains or rules differ");
    check(changed(|r| r.foreign.push("map \"x\"".into())), "not ours in it: map \"x\"");
    check(
        changed(|r| {
            r.chains.get_mut("gate_p2p").unwrap().rules.pop();
        }),
        "its chains or rules differ",
    );
    check(
        changed(|r| {
            r.counters.pop_last();
        }),
        "it has other counters",
    );
    check(
        changed(|r| {
            r.counters.insert("more".into());
        }),
        "it has other counters",
    );
    check(
        changed(|r| {
            r.sets.pop_last();
        }),
        "it has other sets",
    );
    check(
        changed(|r| {
            r.sets.insert("more".into(), Set::Ports([].into()));
        }),
        "it has other sets",
    );
    check(
        changed(|r| {
            r.sets.insert("p2p_hosts4".into(), Set::Nets4([].into()));
        }),
        "it has other sets",
    );
}

#[test]
fn a_long_change_is_one_short_line() {
    let mut policy = prep();
    let found = lowered(&policy);
    policy.allow.insert(Purpose::Rpc, allow((0..200).map(|n| format!("198.51.100.{n}"))));
    let lines = lines(&diff(&lowered(&policy), Some(&found)));
    assert!(
        lines[1].starts_with("add to rpc_hosts4: 198.51.100.0, ") && lines[1].ends_with(" and 188 more"),
        "{lines:?}"
    );
}

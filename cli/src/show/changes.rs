//! `picket validators --history` and `picket validators diff`: how the set changed.

use super::validators::name;
use crate::table::{Page, count};
use picket_api::validators::{SetAt, ValidatorChange, ValidatorsDiff};
use picket_model::Validator;
use std::collections::BTreeSet;

/// Changes where no limit is asked for.
const LIMIT: usize = 200;
/// Most that can be asked for.
const MOST: usize = 1000;

/// Changes, newest last, and how to see older ones.
pub(crate) fn history(changes: &[ValidatorChange], limit: Option<usize>) -> String {
    let mut page = Page::default();
    if changes.is_empty() {
        page.line("no change is kept");
        return page.finish();
    }
    let row = |change: &ValidatorChange| {
        let [prep, name, what] = what(change);
        [change.version.to_string(), change.at.to_string(), height(change), prep, name, what]
    };
    page.table(["version", "at", "height", "p-rep", "name", "change"], changes.iter().map(row));
    if let (Some(oldest), Some(newest)) = (changes.first(), changes.last()) {
        // A version's changes are shown whole, so that there may be fewer than the limit; only those of one version alone may not be.
        let is_cut = oldest.version == newest.version && changes.len() >= limit.unwrap_or(LIMIT);
        let more = match (is_cut, oldest.version) {
            (true, version) if limit != Some(MOST) => Some(format!("--before {} --limit {MOST}", version + 1)),
            (_, version) => (version > 1).then(|| format!("--before {version}")),
        };
        if let Some(more) = more {
            page.blank();
            page.line(format_args!("older changes: picket validators --history {more}"));
        }
    }
    page.finish()
}

/// How two sets differ.
pub(crate) fn diff(diff: &ValidatorsDiff) -> String {
    let mut page = Page::default();
    for SetAt { generation, planned_at, version, validators } in [diff.from, diff.to] {
        let validators = count(validators, "validator");
        page.line(format_args!(
            "generation {generation}, planned {planned_at}: {validators} (version {version} of the set)"
        ));
    }
    page.blank();
    if diff.changes.is_empty() {
        page.line("the sets are the same");
        return page.finish();
    }
    let row = |change: &ValidatorChange| {
        let [prep, name, what] = what(change);
        [prep, name, what, change.at.to_string(), height(change)]
    };
    page.table(["p-rep", "name", "change", "last changed", "height"], diff.changes.iter().map(row));
    page.finish()
}

fn height(change: &ValidatorChange) -> String {
    change.height.map_or_else(|| "-".to_owned(), |height| height.to_string())
}

fn what(change: &ValidatorChange) -> [String; 3] {
    let known = change.after.as_ref().or(change.before.as_ref());
    let what = match (&change.before, &change.after) {
        (None, Some(new)) => format!("came, {} at {}{}", new.grade, new.endpoint, addresses(&BTreeSet::new(), new)),
        (Some(old), None) => format!("left, was {} at {}", old.grade, old.endpoint),
        (Some(old), Some(new)) => differences(old, new),
        (None, None) => "-".to_owned(),
    };
    [change.prep.to_string(), known.map_or_else(|| "-".to_owned(), name), what]
}

fn differences(old: &Validator, new: &Validator) -> String {
    let mut lines = Vec::new();
    if old.grade != new.grade {
        lines.push(format!("{} -> {}", old.grade, new.grade));
    }
    if old.endpoint != new.endpoint {
        lines.push(format!("{} -> {}", old.endpoint, new.endpoint));
    }
    if old.addresses != new.addresses {
        let changed = addresses(&old.addresses, new);
        lines.push(changed.trim_start_matches(", ").to_owned());
    }
    match (old.absent_since, new.absent_since) {
        (None, Some(since)) => lines.push(format!("missing from the list since {since}")),
        (Some(_), None) => lines.push("on the list again".to_owned()),
        _ => {}
    }
    if old.node_address != new.node_address {
        lines.push(format!("node {} -> {}", old.node_address, new.node_address));
    }
    if old.name != new.name {
        lines.push(format!("was called {}", name(old)));
    }
    if lines.is_empty() {
        let sources: Vec<&str> = new.provenance.sources.iter().map(|source| source.as_str()).collect();
        lines.push(format!("named by {}", sources.join(", ")));
    }
    lines.join(", ")
}

/// Addresses that are new, and those that are gone.
fn addresses(old: &BTreeSet<std::net::IpAddr>, new: &Validator) -> String {
    let came = new.addresses.difference(old).map(|address| format!(", +{address}"));
    let left = old.difference(&new.addresses).map(|address| format!(", -{address}"));
    came.chain(left).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{Generation, Grade, Provenance, Timestamp};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    fn validator(digit: char, grade: Grade, endpoint: &str, addresses: &[&str]) -> Validator {
        let address = format!("hx{}", digit.to_string().repeat(40));
        Validator {
            prep: address.parse().unwrap(),
            name: format!("node {digit}\u{1b}"),
            node_address: address.parse().unwrap(),
            grade,
            endpoint: endpoint.parse().unwrap(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            provenance: Provenance {
                sources: ["a.example".parse().unwrap()].into(),
                since_height: 5,
                advertised: [].into(),
            },
            absent_since: None,
        }
    }

    fn changes() -> Vec<ValidatorChange> {
        let one = validator('1', Grade::Main, "192.0.2.1:7100", &["192.0.2.1"]);
        let moved = validator('1', Grade::Sub, "node.example.com:7100", &["192.0.2.7", "2001:db8::7"]);
        let absent = Validator { absent_since: Some(at(30)), ..moved.clone() };
        let mut named = absent.clone();
        named.provenance.sources.insert("b.example".parse().unwrap());
        let steps = [
            (None, Some(one.clone())),
            (Some(one), Some(moved.clone())),
            (Some(moved.clone()), Some(absent.clone())),
            (Some(absent), Some(named)),
            (Some(moved), None),
        ];
        let change = |(version, (before, after)): (u64, (Option<Validator>, Option<Validator>))| ValidatorChange {
            version,
            at: at(i64::try_from(version).unwrap()),
            height: (version > 1).then_some(31_000_000 + version),
            prep: format!("hx{}", "1".repeat(40)).parse().unwrap(),
            before,
            after,
        };
        (1..).zip(steps).map(change).collect()
    }

    #[test]
    fn every_change_says_what_it_changed() {
        insta::assert_snapshot!(history(&changes(), None), @r#"
        VERSION  AT                    HEIGHT    P-REP                                       NAME          CHANGE
        1        2023-11-14T22:13:21Z  -         hx1111111111111111111111111111111111111111  node 1\u{1b}  came, main at 192.0.2.1:7100, +192.0.2.1
        2        2023-11-14T22:13:22Z  31000002  hx1111111111111111111111111111111111111111  node 1\u{1b}  main -> sub, 192.0.2.1:7100 -> node.example.com:7100, +192.0.2.7, +2001:db8::7, -192.0.2.1
        3        2023-11-14T22:13:23Z  31000003  hx1111111111111111111111111111111111111111  node 1\u{1b}  missing from the list since 2023-11-14T22:13:50Z
        4        2023-11-14T22:13:24Z  31000004  hx1111111111111111111111111111111111111111  node 1\u{1b}  named by a.example, b.example
        5        2023-11-14T22:13:25Z  31000005  hx1111111111111111111111111111111111111111  node 1\u{1b}  left, was sub at node.example.com:7100
        "#);
        assert_eq!(history(&[], None), "no change is kept\n");
        let last_line =
            |changes: &[ValidatorChange], limit| history(changes, Some(limit)).lines().last().unwrap().to_owned();
        assert!(last_line(&changes(), 5).starts_with("5 "), "version 1 is the first");
        // Fewer than were asked for, because version 2 would not have been whole.
        for limit in [3, 4, 200] {
            assert_eq!(last_line(&changes()[2..], limit), "older changes: picket validators --history --before 3");
        }
        let one = vec![changes()[1].clone(); 2];
        assert_eq!(last_line(&one, 2), "older changes: picket validators --history --before 3 --limit 1000");
        assert_eq!(last_line(&one, 3), "older changes: picket validators --history --before 2");
        let one = vec![changes()[1].clone(); MOST];
        assert_eq!(last_line(&one, MOST), "older changes: picket validators --history --before 2");
    }

    #[test]
    fn two_sets_are_named_with_their_generations() {
        let set = |generation, version, validators| SetAt {
            generation: Generation(generation),
            planned_at: at(0),
            version,
            validators,
        };
        let view = ValidatorsDiff { from: set(3, 1, 99), to: set(7, 5, 98), changes: changes()[4..].to_vec() };
        insta::assert_snapshot!(diff(&view), @r#"
        generation 3, planned 2023-11-14T22:13:20Z: 99 validators (version 1 of the set)
        generation 7, planned 2023-11-14T22:13:20Z: 98 validators (version 5 of the set)

        P-REP                                       NAME          CHANGE                                  LAST CHANGED          HEIGHT
        hx1111111111111111111111111111111111111111  node 1\u{1b}  left, was sub at node.example.com:7100  2023-11-14T22:13:25Z  31000005
        "#);
        insta::assert_snapshot!(diff(&ValidatorsDiff { changes: Vec::new(), ..view }), @r#"
        generation 3, planned 2023-11-14T22:13:20Z: 99 validators (version 1 of the set)
        generation 7, planned 2023-11-14T22:13:20Z: 98 validators (version 5 of the set)

        the sets are the same
        "#);
    }
}

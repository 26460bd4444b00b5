//! `picket validators`: the set in force, and what was not taken into it.

use crate::{
    table::{Page, count, visible},
    time::rough,
};
use picket_api::validators::{HeldChange, ValidatorsView};
use picket_model::{HoldOrder, P2pEndpoint, PolicyDeny, Timestamp, Validator};

/// Characters of a name that are shown: it is whatever somebody registered.
const LONGEST_NAME: usize = 24;

/// The set. `now` is for ages.
pub(crate) fn page(view: &ValidatorsView, now: Timestamp) -> String {
    let mut page = Page::default();
    let height = view.height.map_or_else(String::new, |height| format!(" at height {height}"));
    page.line(format_args!("{}{height}", count(view.validators.len(), "validator")));
    if let Some(hold) = &view.orders.hold {
        page.line(format_args!("! {}", frozen(hold)));
    }
    if let Some(held) = &view.held {
        page.line(format_args!("! held back: {}", held.text));
        if !held.changes.is_empty() {
            page.blank();
            page.table(["would", "p-rep", "name", "from", "to"], held.changes.iter().map(held_row));
            page.blank();
        }
    }
    if !view.refused.is_empty() {
        page.line(format_args!("{} refused: `picket validators --refused` says why", view.refused.len()));
    }
    if !view.validators.is_empty() {
        page.blank();
        let heading = ["p-rep", "name", "grade", "endpoint", "addresses", "since height", "named by"];
        page.table(heading, view.validators.iter().map(|validator| row(validator, &view.denied, now)));
    }
    page.finish()
}

fn held_row(change: &HeldChange) -> [String; 5] {
    let at = |endpoint: &Option<P2pEndpoint>| endpoint.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let HeldChange { prep, name, before, after } = change;
    [change.verb().to_owned(), prep.to_string(), short(name), at(before), at(after)]
}

/// Who froze the set, until when, and how to end it.
pub(super) fn frozen(hold: &HoldOrder) -> String {
    let until = hold.until.map_or_else(String::new, |until| format!(" until {until}"));
    let HoldOrder { by, at, comment, .. } = hold;
    format!("operator {by} froze the set at {at}{until} ({comment}); `picket validators release` ends it")
}

/// A registered name, escaped and shortened.
pub(super) fn name(validator: &Validator) -> String {
    short(&validator.name)
}

fn short(name: &str) -> String {
    let shown = visible(name);
    let mut short: String = shown.chars().take(LONGEST_NAME).collect();
    if short.len() < shown.len() {
        short.push('…');
    }
    if short.is_empty() { "-".to_owned() } else { short }
}

/// The refused entries with their reasons.
pub(crate) fn refused(view: &ValidatorsView) -> String {
    let mut page = Page::default();
    if view.refused.is_empty() {
        page.line("no entry was refused");
    } else {
        let row = |entry: &picket_api::validators::RefusedView| {
            [entry.source.to_string(), entry.refused.entry.clone(), entry.refused.reason.clone()]
        };
        page.table(["source", "entry", "reason"], view.refused.iter().map(row));
    }
    page.finish()
}

fn row(validator: &Validator, denied: &[PolicyDeny], now: Timestamp) -> [String; 7] {
    let addresses = validator.addresses.iter().map(|address| {
        let kept_out = denied.iter().any(|line| line.covers(validator, *address));
        if kept_out { format!("{address} (denied)") } else { address.to_string() }
    });
    let addresses: Vec<String> = addresses.collect();
    let sources: Vec<&str> = validator.provenance.sources.iter().map(|source| source.as_str()).collect();
    let absent = validator.absent_since.map(|at| format!("; missing from the list for {}", rough(now.since(at))));
    [
        validator.prep.to_string(),
        name(validator),
        validator.grade.to_string(),
        validator.endpoint.to_string(),
        if addresses.is_empty() { "none".to_owned() } else { addresses.join(", ") },
        validator.provenance.since_height.to_string(),
        sources.join(", ") + &absent.unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_api::validators::{HeldView, RefusedView};
    use picket_model::{Denied, Grade, Orders, Provenance, Refused};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    fn validator(
        digit: char,
        grade: Grade,
        endpoint: &str,
        addresses: &[&str],
        absent_since: Option<Timestamp>,
    ) -> Validator {
        let address = format!("hx{}", digit.to_string().repeat(40));
        Validator {
            prep: address.parse().unwrap(),
            name: match digit {
                '1' => "Zürich Nodes".to_owned(),
                '2' => "evil\u{1b}[2J and far longer than anybody wants to read".to_owned(),
                _ => String::new(),
            },
            node_address: address.parse().unwrap(),
            grade,
            endpoint: endpoint.parse().unwrap(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            provenance: Provenance {
                sources: ["a.example", "b.example"].map(|id| id.parse().unwrap()).into(),
                since_height: 31_000_000,
                advertised: [].into(),
            },
            absent_since,
        }
    }

    fn view() -> ValidatorsView {
        let refused = |entry: &str, reason: &str| RefusedView {
            source: "a.example".parse().unwrap(),
            refused: Refused { entry: entry.to_owned(), reason: reason.to_owned() },
        };
        ValidatorsView {
            validators: vec![
                validator('1', Grade::Main, "192.0.2.1:7100", &["192.0.2.1"], None),
                validator('2', Grade::Sub, "node.example.com:7100", &["192.0.2.2", "2001:db8::2"], Some(at(-130))),
                validator('3', Grade::Sub, "gone.example.com:7100", &[], None),
            ],
            refused: vec![
                refused(
                    "hx4444444444444444444444444444444444444444",
                    "\"999.999.999.999:7100\" looks like an IPv4 address",
                ),
                refused("entry 7\u{1b}[1A", "no address\r\nentry 8"),
            ],
            denied: vec![PolicyDeny {
                whom: Denied::Network("2001:db8::/64".parse().unwrap()),
                comment: "rogue".to_owned(),
                until: None,
            }],
            held: Some(HeldView {
                kind: "list-held".to_owned(),
                text: "12 of 100 would leave at once, and 10 may; to let exactly this through: picket validators approve 0123456789ab"
                    .to_owned(),
                digest: Some("0123456789ab".to_owned()),
                reason: "12 of 100 would leave at once, and 10 may".to_owned(),
                changes: vec![
                    HeldChange {
                        prep: format!("hx{}", "2".repeat(40)).parse().unwrap(),
                        name: "evil\u{1b}[2J".to_owned(),
                        before: Some("node.example.com:7100".parse().unwrap()),
                        after: None,
                    },
                    HeldChange {
                        prep: format!("hx{}", "5".repeat(40)).parse().unwrap(),
                        name: String::new(),
                        before: None,
                        after: Some("192.0.2.5:7100".parse().unwrap()),
                    },
                ],
            }),
            version: 3,
            orders: Orders {
                approved: None,
                hold: Some(HoldOrder {
                    comment: "incident 7\r\n".to_owned(),
                    by: "op-1".parse().unwrap(),
                    at: at(-3600),
                    until: Some(at(3600)),
                }),
            },
            height: Some(31_234_567),
        }
    }

    #[test]
    fn the_set_is_shown_with_its_provenance() {
        insta::assert_snapshot!(page(&view(), at(0)), @r#"
        3 validators at height 31234567
        ! operator op-1 froze the set at 2023-11-14T21:13:20Z until 2023-11-14T23:13:20Z (incident 7\r\n); `picket validators release` ends it
        ! held back: 12 of 100 would leave at once, and 10 may; to let exactly this through: picket validators approve 0123456789ab

        WOULD  P-REP                                       NAME           FROM                   TO
        leave  hx2222222222222222222222222222222222222222  evil\u{1b}[2J  node.example.com:7100  -
        come   hx5555555555555555555555555555555555555555  -              -                      192.0.2.5:7100

        2 refused: `picket validators --refused` says why

        P-REP                                       NAME                       GRADE  ENDPOINT               ADDRESSES                        SINCE HEIGHT  NAMED BY
        hx1111111111111111111111111111111111111111  Zürich Nodes               main   192.0.2.1:7100         192.0.2.1                        31000000      a.example, b.example
        hx2222222222222222222222222222222222222222  evil\u{1b}[2J and far lo…  sub    node.example.com:7100  192.0.2.2, 2001:db8::2 (denied)  31000000      a.example, b.example; missing from the list for 2 min
        hx3333333333333333333333333333333333333333  -                          sub    gone.example.com:7100  none                             31000000      a.example, b.example
        "#);
    }

    #[test]
    fn refused_entries_are_shown_with_their_reasons() {
        insta::assert_snapshot!(refused(&view()), @r#"
        SOURCE     ENTRY                                       REASON
        a.example  hx4444444444444444444444444444444444444444  "999.999.999.999:7100" looks like an IPv4 address
        a.example  entry 7\u{1b}[1A                            no address\r\nentry 8
        "#);
    }

    #[test]
    fn an_empty_set_is_said_to_be_empty() {
        let empty = ValidatorsView {
            validators: Vec::new(),
            version: 0,
            refused: Vec::new(),
            denied: Vec::new(),
            held: None,
            orders: Orders::default(),
            height: None,
        };
        assert_eq!(page(&empty, at(0)), "0 validators\n");
        assert_eq!(refused(&empty), "no entry was refused\n");
    }
}

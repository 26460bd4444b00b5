//! `picket validators approve|hold|release`: what an order came to.

use super::validators::frozen;
use crate::table::{Page, count};
use picket_api::validators::OrderReceipt;

/// Whether the plan is in force and nothing is held but what the operator's own hold keeps.
pub(crate) fn is_done(receipt: &OrderReceipt) -> bool {
    receipt.refused.is_empty()
        && receipt.held.as_ref().is_none_or(|held| receipt.orders.hold.is_some() && held.kind == "held-by-operator")
}

/// The receipt.
pub(crate) fn page(receipt: &OrderReceipt) -> String {
    let mut page = Page::default();
    let OrderReceipt { generation, validators, version, held, refused, orders } = receipt;
    page.line(format_args!(
        "generation {generation}, {} (version {version} of the set)",
        count(*validators, "validator")
    ));
    if let Some(hold) = &orders.hold {
        page.line(frozen(hold));
    }
    match held {
        Some(held) => page.line(format_args!("! held back: {}", held.text)),
        None => page.line("nothing is held back"),
    }
    for reason in refused {
        page.line(format_args!("! no host changes: the plan is refused: {reason}"));
    }
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_api::validators::HeldView;
    use picket_model::{Generation, HoldOrder, Orders, Timestamp};

    fn receipt(kind: Option<&str>, is_frozen: bool) -> OrderReceipt {
        let hold = HoldOrder {
            comment: "incident 7\u{1b}[2J".to_owned(),
            by: "op-1".parse().unwrap(),
            at: Timestamp::from_millis(1_700_000_000_000),
            until: None,
        };
        OrderReceipt {
            generation: Generation(8),
            validators: 85,
            version: 5,
            held: kind.map(|kind| HeldView {
                kind: kind.to_owned(),
                text: "the list removes 15 of 100 validators".to_owned(),
                ..HeldView::default()
            }),
            refused: Vec::new(),
            orders: Orders { approved: None, hold: is_frozen.then_some(hold) },
        }
    }

    #[test]
    fn what_an_order_came_to_is_said() {
        insta::assert_snapshot!(page(&receipt(None, false)), @r#"
        generation 8, 85 validators (version 5 of the set)
        nothing is held back
        "#);
        insta::assert_snapshot!(page(&receipt(Some("held-by-operator"), true)), @r#"
        generation 8, 85 validators (version 5 of the set)
        operator op-1 froze the set at 2023-11-14T22:13:20Z (incident 7\u{1b}[2J); `picket validators release` ends it
        ! held back: the list removes 15 of 100 validators
        "#);
    }

    #[test]
    fn only_what_the_operator_holds_may_stay_held() {
        let check = |kind, is_frozen, expect| assert_eq!(is_done(&receipt(kind, is_frozen)), expect, "{kind:?}");
        check(None, false, true);
        check(Some("held-by-operator"), true, true);
        check(Some("list-held"), true, false);
        check(Some("list-held"), false, false);
    }
}

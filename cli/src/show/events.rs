//! `picket events`: the newest lines of the audit log.

use crate::table::Page;
use picket_api::operator::EventView;

/// The log, newest last.
pub(crate) fn page(events: &[EventView]) -> String {
    let mut page = Page::default();
    if events.is_empty() {
        page.line("nothing has happened yet");
    } else {
        page.table(["at", "who", "what", "on", "more"], events.iter().map(row));
    }
    page.finish()
}

fn row(event: &EventView) -> [String; 5] {
    [event.at.to_string(), event.actor.clone(), event.action.clone(), event.subject.clone(), event.detail.clone()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::Timestamp;

    fn event(id: i64, actor: &str, action: &str, subject: &str, detail: &str) -> EventView {
        EventView {
            id,
            at: Timestamp::from_millis(1_700_000_000_000 + id * 1000),
            actor: actor.to_owned(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            detail: detail.to_owned(),
        }
    }

    #[test]
    fn events_are_one_line_each() {
        let events = [
            event(1, "controller", "plan.committed", "8", "sentry-2 leaves"),
            event(2, "op-1", "node.revoked", "n-3", "sentry-2\n2023-11-14T22:13:23Z  op-1  forged"),
        ];
        insta::assert_snapshot!(page(&events), @r#"
        AT                    WHO         WHAT            ON   MORE
        2023-11-14T22:13:21Z  controller  plan.committed  8    sentry-2 leaves
        2023-11-14T22:13:22Z  op-1        node.revoked    n-3  sentry-2\n2023-11-14T22:13:23Z  op-1  forged
        "#);
        assert_eq!(page(&[]), "nothing has happened yet\n");
    }
}

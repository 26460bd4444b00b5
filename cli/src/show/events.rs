//! `picket events`: the newest lines of the audit log.

use crate::table::Page;
use picket_api::operator::EventView;

/// The log, newest last: one line an event, below it what it changed, indented so that no text can pass for an event.
pub(crate) fn page(events: &[EventView]) -> String {
    let mut page = Page::default();
    if events.is_empty() {
        page.line("nothing has happened yet");
    }
    for event in events {
        page.line(format!("{}  {}  {}{}", event.at, event.action, event.subject, by(event)));
        event.detail.lines().for_each(|line| page.line(format!("    {line}")));
    }
    page.finish()
}

fn by(event: &EventView) -> String {
    if event.actor == "controller" { String::new() } else { format!("  by {}", event.actor) }
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
    fn details_stand_below_their_event_and_cannot_forge_one() {
        let events = [
            event(1, "controller", "plan.committed", "8", "sentry-2 leaves"),
            event(2, "op-1", "node.revoked", "n-3", "sentry-2\n2023-11-14T22:13:23Z  op-1  forged"),
        ];
        insta::assert_snapshot!(page(&events), @r"
        2023-11-14T22:13:21Z  plan.committed  8
            sentry-2 leaves
        2023-11-14T22:13:22Z  node.revoked  n-3  by op-1
            sentry-2
            2023-11-14T22:13:23Z  op-1  forged
        ");
        assert_eq!(page(&[]), "nothing has happened yet\n");
    }
}

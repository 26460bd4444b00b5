//! `picket events`: the newest lines of the audit log.

use crate::table::Page;
use picket_api::{operator::EventView, operators::LogVerdict};

/// The log, newest last: one line an event, below it what it changed, indented so that no text can pass for an event.
pub(crate) fn page(events: &[EventView]) -> String {
    let mut page = Page::default();
    if events.is_empty() {
        page.line("nothing has happened yet");
    }
    for event in events {
        page.line(format!("{}  {}  {}{}", event.at, event.action, event.subject, by(event)));
        if let Some(reason) = &event.reason {
            page.line(format!("    reason: {reason}"));
        }
        event.detail.lines().for_each(|line| page.line(format!("    {line}")));
    }
    page.finish()
}

fn by(event: &EventView) -> String {
    let from = event.address.map(|address| format!(" from {address}")).unwrap_or_default();
    if event.actor == "controller" { String::new() } else { format!("  by {}{from}", event.actor) }
}

/// Whether the log is whole, and its head: whoever keeps that elsewhere notices a log that was written anew.
pub(crate) fn verified(verdict: &LogVerdict) -> String {
    let mut page = Page::default();
    match &verdict.broken {
        None => page.line(format!("{} lines, each as it was written", verdict.lines)),
        Some(broken) => page.line(format!("! line {}: {}", broken.line, broken.text)),
    }
    page.line(format!("head  {}  {}", verdict.last, verdict.head));
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_api::operators::LogBreak;
    use picket_model::Timestamp;

    fn event(id: i64, actor: &str, action: &str, subject: &str, detail: &str) -> EventView {
        EventView {
            id,
            at: Timestamp::from_millis(1_700_000_000_000 + id * 1000),
            actor: actor.to_owned(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            detail: detail.to_owned(),
            ..EventView::default()
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

    #[test]
    fn where_from_and_why_are_shown() {
        let reason = Some("incident 7\u{1b}[2J".to_owned());
        let address = Some("192.0.2.1".parse().unwrap());
        let text = page(&[EventView { reason, address, ..event(1, "op-1", "node.revoked", "n-3", "") }]);
        assert!(text.contains("by op-1 from 192.0.2.1\n    reason: incident 7\\u{1b}[2J\n"), "{text}");
    }

    #[test]
    fn a_log_that_was_changed_is_said_to_be() {
        let whole = LogVerdict { lines: 3, last: 3, head: "ab".to_owned(), broken: None };
        assert_eq!(verified(&whole), "3 lines, each as it was written\nhead  3  ab\n");
        let broken = Some(LogBreak { line: 2, text: "it is not as it was written".to_owned() });
        assert!(verified(&LogVerdict { broken, ..whole }).starts_with("! line 2: it is not as it was written\n"));
    }
}

//! What changed last night: the last changes of a day one by one, without what happens all the time and changes nothing.

use super::{Answer, LATELY, Mark};
use crate::{
    Line, Overview,
    text::{ago, count, minute, plain},
};
use picket_api::operator::EventView;
use std::collections::BTreeMap;

/// Changes that are named; more are counted.
const LAST: usize = 6;
/// Characters of what a change itself tells.
const TOLD: usize = 90;
/// What is in the log and is no change of the mesh: somebody logged in to look, traffic took another sentry, a source changed its
/// word too often. Alarms have an answer of their own.
const NO_CHANGES: [&str; 3] = ["operator.logged-in", "paths.moved", "observations.capped"];

pub(super) fn changed(of: &Overview) -> Answer {
    let now = of.status.now;
    let lately = of.events.iter().filter(|event| now.since(event.at) < LATELY && is_change(&event.action));
    let lately: Vec<&EventView> = lately.collect();
    let oldest = of.events.first().filter(|oldest| oldest.id > 1 && now.since(oldest.at) < LATELY);
    let text = match (lately.as_slice(), oldest) {
        ([], None) => "Nothing in the last 24 hours.".to_owned(),
        ([], Some(oldest)) => {
            format!(
                "Nothing in the last {}, the oldest of which was written {}.",
                count(of.events.len(), "line"),
                ago(oldest.at, now)
            )
        }
        ([.., last], oldest) => format!(
            "{}{} in the last 24 hours; the last, {}, {}.",
            if oldest.is_some() { "More than " } else { "" },
            count(lately.len(), "change"),
            said(&last.action),
            ago(last.at, now)
        ),
    };
    let names = of.hosts.iter().map(|host| (host.view.node.id.as_str(), host.name())).collect();
    let more = lately.iter().rev().take(LAST).map(|event| line(event, &names)).collect();
    Answer { question: "What changed?", mark: Mark::Plain, text, more }
}

fn is_change(action: &str) -> bool {
    !action.starts_with("alarm.") && !NO_CHANGES.contains(&action)
}

/// When, what, on what, by whom, and the first of what it tells; leads to the whole.
fn line(event: &EventView, names: &BTreeMap<&str, &str>) -> Line {
    let subject = if event.subject.is_empty() { String::new() } else { format!(": {}", plain(&event.subject)) };
    let actor = names.get(event.actor.as_str()).copied().unwrap_or(&event.actor);
    let mut told = event.detail.lines().filter(|line| !line.is_empty());
    let first: String = told.next().map_or_else(String::new, |line| line.chars().take(TOLD).collect());
    let cut = event.detail.lines().next().is_some_and(|line| line.chars().count() > TOLD);
    let more = match told.count() {
        _ if first.is_empty() => String::new(),
        0 if cut => format!(" ({}…)", plain(&first)),
        0 => format!(" ({})", plain(&first)),
        more => format!(" ({}{} and {more} more)", plain(&first), if cut { "…" } else { "" }),
    };
    Line {
        text: format!("{} {}{subject}, by {}{more}", minute(event.at), said(&event.action), plain(actor)),
        path: Some(format!("/events?before={}#event-{}", event.id + 1, event.id)),
        todo: None,
    }
}

/// An action of the audit log as people say it.
pub(crate) fn said(action: &str) -> String {
    let known = match action {
        "plan.committed" => "a new plan",
        "node.enrolled" => "a host joined",
        "node.revoked" => "a host revoked",
        "node.quarantined" => "a host quarantined",
        "node.readmitted" => "a host readmitted",
        "node.drained" => "a sentry drained",
        "node.undrained" => "a drain taken back",
        "node.refused" => "a revoked host refused",
        "validators.changed" => "the validator set changed",
        "validators.approved" => "a held change approved",
        "validators.frozen" => "the validator set frozen",
        "validators.unfrozen" => "the validator set released",
        "policy.changed" => "the policy changed",
        "mesh.created" => "the mesh made",
        "operator.created" => "an operator's token made",
        "operator.readmitted" => "an operator let in again",
        "operator.revoked" => "an operator's token revoked",
        "operator.logged-in" => "an operator logged in",
        "token.created" => "a join token made",
        "shield.ordered" => "the shield ordered",
        other => return plain(other).replace(['.', '-'], " "),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{event, overview, prep};

    fn texts(answer: &Answer) -> Vec<&str> {
        answer.more.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn the_last_changes_of_a_day_are_named_with_time_subject_and_who() {
        let mut of = overview();
        assert_eq!(changed(&of).text, "Nothing in the last 24 hours.");
        let revoked = EventView { detail: "its disk was stolen".to_owned(), ..event(2, "node.revoked", 3 * 3600) };
        of.events = vec![event(1, "node.enrolled", 25 * 3600), revoked, event(3, "plan.committed", 5)];
        let found = changed(&of);
        assert_eq!(found.text, "2 changes in the last 24 hours; the last, a new plan, 5 s ago.");
        assert_eq!(
            texts(&found),
            [
                "22:13 UTC a new plan: prep-1, by op-1 (+ host prep-1 (prep) and 1 more)",
                "19:13 UTC a host revoked: prep-1, by op-1 (its disk was stolen)",
            ]
        );
        assert_eq!(found.more[1].path.as_deref(), Some("/events?before=13#event-12"));
        of.events.remove(0);
        assert!(changed(&of).text.starts_with("More than 2 changes"));
    }

    #[test]
    fn who_logs_in_to_look_has_changed_nothing_nor_has_an_alarm() {
        let mut of = overview();
        of.events = vec![event(1, "node.revoked", 9 * 3600)];
        let noise = [
            "operator.logged-in",
            "alarm.raised",
            "alarm.changed",
            "alarm.cleared",
            "paths.moved",
            "observations.capped",
        ];
        of.events.extend(noise.into_iter().zip(2..).map(|(action, id)| event(id, action, 60)));
        let found = changed(&of);
        assert!(found.text.contains("the last, a host revoked, 9 h ago."), "{}", found.text);
        assert_eq!(found.more.len(), 1);
        // Nothing else as far back as the lines go, which is no day.
        of.events.remove(0);
        assert_eq!(changed(&of).text, "Nothing in the last 6 lines, the oldest of which was written 60 s ago.");
    }

    #[test]
    fn more_than_a_few_are_counted_and_a_host_is_called_by_its_name() {
        let mut of = overview();
        of.hosts = vec![prep("prep-1", false)];
        let joined = EventView { actor: of.hosts[0].view.node.id.to_string(), ..event(9, "node.enrolled", 1) };
        of.events = (0..9).map(|id| event(id, "plan.committed", 60)).chain([joined]).collect();
        let found = changed(&of);
        assert!(found.text.contains("10 changes"), "{}", found.text);
        assert_eq!(found.more.len(), LAST);
        assert!(found.more[0].text.contains("a host joined: prep-1, by prep-1"), "{}", found.more[0].text);
    }

    #[test]
    fn what_a_stranger_wrote_is_spelt_out_and_short() {
        let mut of = overview();
        let detail = format!("{}\u{202e}{}", "x".repeat(80), "y".repeat(300));
        of.events = vec![EventView { detail, ..event(1, "node.enrolled", 1) }];
        let text = changed(&of).more[0].text.clone();
        assert!(text.contains("\\u{202e}") && text.ends_with("…)") && text.chars().count() < 160, "{text}");
    }
}

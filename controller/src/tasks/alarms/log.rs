//! When an alarm is worth a line in the audit log: when it comes, and when it has been away for a while. Values in, values
//! out; what is written is never deleted, so what flaps must not fill it.

use picket_api::operator::EventView;
use picket_model::Timestamp;
use picket_plan::{Finding, FindingKind};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

/// An alarm that comes back within this time was never gone.
const AWAY: Duration = Duration::from_mins(10);
/// How long a host may be behind: each change of the wanted state takes every host a moment.
const HOST_PATIENCE: Duration = Duration::from_mins(1);
/// Alarms of one kind that come at one look, each with a line of its own; beyond it they share one.
const SPELLED_OUT: usize = 20;

const RAISED: &str = "alarm.raised";
const CLEARED: &str = "alarm.cleared";

/// The alarms that were raised and are not cleared, and those about to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AlarmLog(BTreeMap<Alarm, Standing>);

/// The same thing at another time has the same kind and subject.
type Alarm = (FindingKind, String);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Standing {
    /// When it was first seen.
    since: Timestamp,
    /// Whether there is a line that says so.
    is_raised: bool,
    /// Since when it is not seen any more.
    away_since: Option<Timestamp>,
}

/// A line for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) action: &'static str,
    pub(super) subject: String,
    pub(super) detail: String,
}

impl AlarmLog {
    /// As it was, by the lines of the audit log, oldest first.
    pub(super) fn restored(events: &[EventView]) -> Self {
        let mut log = Self::default();
        for event in events {
            let (kind, subject) = event.subject.split_once(' ').unwrap_or((&event.subject, ""));
            let Some(kind) = FindingKind::ALL.into_iter().find(|known| known.as_str() == kind) else { continue };
            let alarm = (kind, subject.to_owned());
            match event.action.as_str() {
                RAISED => drop(log.0.insert(alarm, Standing { since: event.at, is_raised: true, away_since: None })),
                CLEARED => drop(log.0.remove(&alarm)),
                _ => {}
            }
        }
        log
    }

    /// Takes what is wrong now; gives what is to be written down.
    pub(super) fn look(&mut self, findings: &[Finding], now: Timestamp) -> Vec<Line> {
        let mut present: BTreeMap<Alarm, &str> = BTreeMap::new();
        for finding in findings {
            present.entry((finding.kind, finding.subject.clone())).or_insert(&finding.text);
        }
        let (mut raised, mut cleared) = (Vec::new(), Vec::new());
        for (alarm, text) in &present {
            let standing = match self.0.entry(alarm.clone()) {
                Entry::Vacant(new) => new.insert(Standing { since: now, ..Standing::default() }),
                Entry::Occupied(known) => known.into_mut(),
            };
            standing.away_since = None;
            let patience = if alarm.0 == FindingKind::HostLagging { HOST_PATIENCE } else { Duration::ZERO };
            if !standing.is_raised && now.since(standing.since) >= patience {
                standing.is_raised = true;
                raised.push((alarm.clone(), (*text).to_owned()));
            }
        }
        self.0.retain(|alarm, standing| {
            if present.contains_key(alarm) {
                return true;
            }
            let away_since = *standing.away_since.get_or_insert(now);
            let is_over = standing.is_raised && now.since(away_since) >= AWAY;
            if is_over {
                cleared.push((alarm.clone(), format!("away since {away_since}")));
            }
            standing.is_raised && !is_over
        });
        let mut lines = shortened(RAISED, raised);
        lines.extend(shortened(CLEARED, cleared));
        lines
    }
}

/// A line for each, and one for what is too much of a kind.
fn shortened(action: &'static str, alarms: Vec<(Alarm, String)>) -> Vec<Line> {
    let mut written: BTreeMap<FindingKind, usize> = BTreeMap::new();
    let mut lines = Vec::new();
    for ((kind, subject), detail) in alarms {
        let number = written.entry(kind).or_default();
        *number += 1;
        if *number <= SPELLED_OUT {
            let subject =
                if subject.is_empty() { kind.as_str().to_owned() } else { format!("{} {subject}", kind.as_str()) };
            lines.push(Line { action, subject, detail });
        }
    }
    for (kind, number) in written.into_iter().filter(|(_, number)| *number > SPELLED_OUT) {
        let detail = format!("and {} more of this kind", number - SPELLED_OUT);
        lines.push(Line { action, subject: format!("{} (more)", kind.as_str()), detail });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000).plus(Duration::from_secs(seconds))
    }

    fn failing(source: &str) -> Finding {
        Finding::warning(FindingKind::SourceFailing, source, format!("source {source}: HTTP 500"))
    }

    /// One look at a second; what is written as "+ subject" and "- subject".
    fn check(log: &mut AlarmLog, seconds: u64, findings: &[Finding], expect: &[&str]) {
        let lines = log.look(findings, at(seconds));
        let sign = |line: &Line| if line.action == RAISED { "+" } else { "-" };
        let lines: Vec<String> = lines.iter().map(|line| format!("{} {}", sign(line), line.subject)).collect();
        assert_eq!(lines, expect, "after {seconds} s");
    }

    #[test]
    fn an_alarm_is_raised_once_and_cleared_when_it_has_been_away() {
        let (log, wrong) = (&mut AlarmLog::default(), [failing("a")]);
        check(log, 0, &wrong, &["+ source-failing a"]);
        check(log, 60, &wrong, &[]);
        check(log, 61, &[], &[]);
        check(log, 660, &[], &[]);
        check(log, 661, &[], &["- source-failing a"]);
        check(log, 662, &[], &[]);
        check(log, 663, &wrong, &["+ source-failing a"]);
    }

    #[test]
    fn an_alarm_that_flaps_is_one_alarm() {
        let log = &mut AlarmLog::default();
        check(log, 0, &[failing("a")], &["+ source-failing a"]);
        for seconds in (10..3600).step_by(20) {
            check(log, seconds, &[], &[]);
            check(log, seconds + 10, &[failing("a")], &[]);
        }
    }

    #[test]
    fn what_an_alarm_says_may_change() {
        let log = &mut AlarmLog::default();
        check(log, 0, &[Finding::warning(FindingKind::NoQuorum, "", "1 of 3")], &["+ no-quorum"]);
        check(log, 1, &[Finding::warning(FindingKind::NoQuorum, "", "0 of 3")], &[]);
        check(log, 2, &[failing("a"), failing("b")], &["+ source-failing a", "+ source-failing b"]);
    }

    #[test]
    fn a_host_that_is_behind_for_a_moment_is_no_line() {
        let (log, behind) =
            (&mut AlarmLog::default(), [Finding::warning(FindingKind::HostLagging, "prep-1", "behind")]);
        check(log, 0, &behind, &[]);
        check(log, 5, &[], &[]);
        check(log, 10, &behind, &[]);
        check(log, 69, &behind, &[]);
        check(log, 70, &behind, &["+ host-lagging prep-1"]);
    }

    #[test]
    fn a_restart_raises_nothing_again_and_clears_what_went_away_meanwhile() {
        let event = |id, action: &str, subject: &str| EventView {
            id,
            at: at(0),
            actor: "controller".to_owned(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            detail: String::new(),
            ..EventView::default()
        };
        let events = [
            event(1, RAISED, "source-failing a"),
            event(2, RAISED, "source-failing b"),
            event(3, RAISED, "no-quorum"),
            event(4, CLEARED, "no-quorum"),
            event(5, "node.enrolled", "source-failing c"),
        ];
        let log = &mut AlarmLog::restored(&events);
        check(log, 100, &[failing("a")], &[]);
        check(log, 700, &[failing("a"), failing("c")], &["+ source-failing c", "- source-failing b"]);
    }

    #[test]
    fn many_of_a_kind_share_a_line() {
        let log = &mut AlarmLog::default();
        let wrong: Vec<Finding> = (0..500).map(|n| failing(&format!("{n:03}"))).collect();
        let lines = log.look(&wrong, at(0));
        assert_eq!((lines.len(), lines[20].detail.as_str()), (21, "and 480 more of this kind"));
        assert_eq!(log.look(&wrong, at(1)), []);
        log.look(&[], at(2));
        assert_eq!(log.look(&[], at(602)).len(), 21);
    }
}

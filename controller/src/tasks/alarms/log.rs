//! When an alarm is worth a line in the audit log: when it comes, when it says something else, and when it has been away for
//! a while. Values in, values out; what is written is never deleted, so neither what flaps nor who lies may fill it.

use picket_api::operator::EventView;
use picket_model::Timestamp;
use picket_plan::{Finding, FindingKind};
use std::{collections::BTreeMap, time::Duration};

/// An alarm that comes back within this time was never gone.
const AWAY: Duration = Duration::from_mins(10);
/// How long a host may be behind, and a source may say otherwise than the others: each change takes every host, and every
/// source, a moment.
const PATIENCE: Duration = Duration::from_mins(1);
/// Lines about alarms of one kind in an hour; beyond it they share one.
const MOST_LINES: usize = 50;
const HOUR: Duration = Duration::from_hours(1);

const RAISED: &str = "alarm.raised";
const CHANGED: &str = "alarm.changed";
const CLEARED: &str = "alarm.cleared";

/// The alarms that were raised and are not cleared, and those about to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AlarmLog {
    standing: BTreeMap<Alarm, Standing>,
    hours: BTreeMap<FindingKind, Hour>,
}

/// The same thing at another time has the same kind and subject.
type Alarm = (FindingKind, String);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Standing {
    /// When it was first seen.
    since: Timestamp,
    told: Told,
    /// Since when it is not seen any more.
    away_since: Option<Timestamp>,
}

/// What the audit log has of an alarm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Told {
    #[default]
    Nothing,
    /// A line that said this.
    Line(String),
    /// It was among those that were too many for lines of their own.
    Counted,
}

/// Lines written about one kind since a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Hour {
    began: Timestamp,
    written: usize,
    /// Whether there is a line that says that there are more.
    is_closed: bool,
}

/// A line for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) action: &'static str,
    pub(super) subject: String,
    pub(super) detail: String,
}

impl Line {
    fn of((kind, subject): &Alarm, action: &'static str, detail: &str) -> Self {
        let subject =
            if subject.is_empty() { kind.as_str().to_owned() } else { format!("{} {subject}", kind.as_str()) };
        Self { action, subject, detail: detail.to_owned() }
    }
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
                RAISED | CHANGED => {
                    let told = Told::Line(words(&event.detail));
                    log.standing.insert(alarm, Standing { since: event.at, told, away_since: None });
                }
                CLEARED => drop(log.standing.remove(&alarm)),
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
        self.hours.retain(|_, hour| now.since(hour.began) < HOUR);
        let mut lines = Vec::new();
        let mut more: BTreeMap<FindingKind, usize> = BTreeMap::new();
        for (alarm, text) in &present {
            let fresh = || Standing { since: now, ..Standing::default() };
            let standing = self.standing.entry(alarm.clone()).or_insert_with(fresh);
            standing.away_since = None;
            let words = words(text);
            let action = match &standing.told {
                Told::Nothing if now.since(standing.since) < patience(alarm.0) => continue,
                Told::Nothing => RAISED,
                Told::Line(before) if *before != words => CHANGED,
                Told::Line(_) | Told::Counted => continue,
            };
            let hour = self.hours.entry(alarm.0).or_insert(Hour { began: now, ..Hour::default() });
            if hour.written < MOST_LINES {
                hour.written += 1;
                standing.told = Told::Line(words);
                lines.push(Line::of(alarm, action, text));
            } else if action == RAISED {
                standing.told = Told::Counted;
                *more.entry(alarm.0).or_default() += 1;
            }
        }
        for (kind, count) in more {
            let hour = self.hours.entry(kind).or_default();
            if !hour.is_closed {
                hour.is_closed = true;
                let detail =
                    format!("and {count} more of this kind; others that come within the hour are not written down");
                lines.push(Line::of(&(kind, "(more)".to_owned()), RAISED, &detail));
            }
        }
        self.standing.retain(|alarm, standing| {
            if present.contains_key(alarm) {
                return true;
            }
            let away_since = *standing.away_since.get_or_insert(now);
            // What has no line is not waited for: who chooses the subjects must not fill the memory.
            let is_written = matches!(standing.told, Told::Line(_));
            let is_over = is_written && now.since(away_since) >= AWAY;
            if is_over {
                lines.push(Line::of(alarm, CLEARED, &format!("away since {away_since}")));
            }
            is_written && !is_over
        });
        lines
    }
}

fn patience(kind: FindingKind) -> Duration {
    match kind {
        FindingKind::HostLagging | FindingKind::PeerUnproven | FindingKind::SourceDissents => PATIENCE,
        _ => Duration::ZERO,
    }
}

/// What an alarm says but for its numbers: where those alone change it is the same.
fn words(text: &str) -> String {
    text.chars().filter(|character| !character.is_ascii_digit()).collect()
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
        let sign = |line: &Line| match line.action {
            RAISED => "+",
            CHANGED => "~",
            _ => "-",
        };
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
        let other = Finding::warning(FindingKind::SourceFailing, "a", "source a: it is on chain 2");
        check(log, 3, &[other.clone(), failing("b")], &["~ source-failing a"]);
        check(log, 4, &[other, failing("b")], &[]);
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
            detail: format!("source {}: HTTP 500", subject.split(' ').next_back().unwrap_or_default()),
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
        assert_eq!(lines.len(), 51);
        assert!(lines[50].detail.starts_with("and 450 more of this kind"), "{:?}", lines[50]);
        assert_eq!(log.look(&wrong, at(1)), []);
        log.look(&[], at(2));
        assert_eq!(log.look(&[], at(602)).len(), 50);
    }

    #[test]
    fn who_chooses_the_subjects_fills_neither_the_log_nor_the_memory() {
        let log = &mut AlarmLog::default();
        let mut written = 0;
        for round in 0..7200 {
            let wrong: Vec<Finding> = (0..20).map(|n| failing(&format!("{round}-{n}"))).collect();
            written += log.look(&wrong, at(round)).len();
            assert!(log.standing.len() <= 120, "{}", log.standing.len());
        }
        assert!(written <= 2 * 2 * 51, "{written}");
    }

    #[test]
    fn an_alarm_that_says_one_thing_and_another_is_not_written_each_time() {
        let log = &mut AlarmLog::default();
        let says = |what: &str| Finding::warning(FindingKind::SourceFailing, "a", what);
        let written = (0..3600)
            .map(|round| log.look(&[says(["busy", "timeout"][round % 2])], at(u64::try_from(round).unwrap())).len());
        assert_eq!(written.sum::<usize>(), MOST_LINES);
    }
}

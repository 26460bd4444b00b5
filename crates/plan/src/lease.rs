//! When a lease's end may remove a host: brakes for the day when it is the controller that hears nobody, and patience with
//! clocks and starts. Which leases are over is a fact of the database.

use crate::{Finding, FindingKind};
use picket_model::{NodeName, NodeRole, Timestamp};
use serde::Deserialize;
use std::time::Duration;

/// A look so long after the one before was not made in time: the program stood still, and heard nobody meanwhile.
const LATE: Duration = Duration::from_secs(30);
/// The wall clock may be this far off what passed by the clock that does not jump before it is taken for a jump.
const JUMP: Duration = Duration::from_secs(10);

/// The `[leases]` section of the controller's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeaseRules {
    /// How long a sentry is a member without being heard; 0 for ever.
    pub sentry_seconds: u64,
    /// The same for a validator's host.
    pub prep_seconds: u64,
    /// After a start, after a jump of the clock, and after a time in which no host at all was heard, no lease ends for so
    /// long: hosts get the time to come back.
    pub grace_seconds: u64,
    /// At most this share of a role's hosts may go by their leases' ends within the window; one always may.
    pub max_share_percent: u8,
    /// Length of that window.
    pub window_seconds: u64,
}

impl Default for LeaseRules {
    fn default() -> Self {
        Self {
            sentry_seconds: 6 * 3600,
            prep_seconds: 0,
            grace_seconds: 60,
            max_share_percent: 50,
            window_seconds: 600,
        }
    }
}

impl LeaseRules {
    /// The lease of a role; `None` where it has none.
    pub fn length(&self, role: NodeRole) -> Option<Duration> {
        let seconds = match role {
            NodeRole::Sentry => self.sentry_seconds,
            NodeRole::Prep => self.prep_seconds,
        };
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }
}

/// How the hosts of one role stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseFacts {
    /// The role.
    pub role: NodeRole,
    /// Members with this role.
    pub active: usize,
    /// Those whose lease is over and who have no open poll; the one that was heard longest ago first.
    pub due: Vec<NodeName>,
    /// Those whom their lease's end removed within the window.
    pub ended_lately: usize,
    /// Whether any host of this role has a poll open: where none has, it may be the way to them that is cut.
    pub any_heard: bool,
}

/// How many of those that are due may go now, and what to tell where it is not all of them.
pub fn leases_to_end(facts: &LeaseFacts, rules: &LeaseRules) -> (usize, Vec<Finding>) {
    let LeaseFacts { role, active, due, ended_lately, any_heard } = facts;
    let share = (active + ended_lately) * usize::from(rules.max_share_percent) / 100;
    let by_share = share.max(1).saturating_sub(*ended_lately);
    let (most, why) = if !any_heard {
        (0, format!("no {role} at all is heard, so it may be the controller that is cut off from them"))
    } else if active.saturating_sub(1) < by_share {
        (active.saturating_sub(1), format!("it is the last {role} of the mesh"))
    } else {
        let (percent, window) = (rules.max_share_percent, rules.window_seconds);
        (by_share, format!("no more than {percent} % of the {role} hosts may go by their leases within {window} s"))
    };
    let held = due.iter().skip(most);
    let findings = held.map(|name| {
        let text = format!(
            "host {name}: its lease is over and it stays: {why}; `picket revoke {name}` removes it, if it is gone"
        );
        Finding::warning(FindingKind::LeaseHeld, name, text)
    });
    (most.min(due.len()), findings.collect())
}

/// Whether leases may be judged by the clock now. Both clocks are the caller's.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    grace: Duration,
    /// The wall clock and the one that does not jump, at the last look.
    last: Option<(Timestamp, Duration)>,
    /// Since when, by the clock that does not jump, nothing has disturbed.
    calm_since: Duration,
}

impl Patience {
    /// From a start at zero of the clock that does not jump.
    pub const fn new(grace: Duration) -> Self {
        Self { grace, last: None, calm_since: Duration::ZERO }
    }

    /// Looks at both clocks: true once they have agreed, and somebody was heard, for the whole grace. A machine that slept, a
    /// clock that was set, and a network that was cut make every lease look over; hosts renew theirs within the grace.
    pub fn is_over(&mut self, now: Timestamp, elapsed: Duration, any_heard: bool) -> bool {
        if let Some((then, before)) = self.last {
            let passed = elapsed.saturating_sub(before);
            let expected = then.plus(passed);
            if now.since(expected).max(expected.since(now)) > JUMP || passed > LATE {
                self.calm_since = elapsed;
            }
        }
        if !any_heard {
            self.calm_since = elapsed;
        }
        self.last = Some((now, elapsed));
        elapsed.saturating_sub(self.calm_since) >= self.grace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(active: usize, due: usize, ended_lately: usize) -> LeaseFacts {
        let due = (0..due).map(|number| format!("sentry-{number}").parse().unwrap()).collect();
        LeaseFacts { role: NodeRole::Sentry, active, due, ended_lately, any_heard: true }
    }

    #[test]
    fn a_lease_ends_unless_a_brake_holds_it() {
        let check = |active, due, lately, ends, why: &str| {
            let (most, findings) = leases_to_end(&facts(active, due, lately), &LeaseRules::default());
            assert_eq!((most, findings.len()), (ends, due - ends), "{active} {due} {lately}: {findings:?}");
            assert!(findings.iter().all(|f| f.text.contains(why) && f.kind == FindingKind::LeaseHeld), "{findings:?}");
        };
        check(5, 0, 0, 0, "");
        check(5, 1, 0, 1, "");
        check(5, 2, 0, 2, "");
        check(5, 3, 0, 2, "no more than 50 %");
        check(3, 2, 2, 0, "no more than 50 %");
        check(20, 19, 0, 10, "no more than 50 %");
        check(10, 9, 10, 0, "no more than 50 %");
        check(10, 9, 0, 5, "no more than 50 %");
        // The last one stays, whatever the share.
        check(1, 1, 0, 0, "the last sentry");
        check(2, 2, 0, 1, "no more than 50 %");
    }

    #[test]
    fn the_last_one_stays_even_where_the_share_would_let_it_go() {
        let all = LeaseRules { max_share_percent: 100, ..LeaseRules::default() };
        let (most, findings) = leases_to_end(&facts(4, 4, 0), &all);
        assert_eq!((most, findings.len(), findings[0].subject.as_str()), (3, 1, "sentry-3"));
        assert!(findings[0].text.contains("the last sentry"), "{findings:?}");
    }

    #[test]
    fn a_controller_that_hears_no_host_of_a_role_removes_none_of_it() {
        let silent = LeaseFacts { any_heard: false, ..facts(5, 2, 0) };
        let (most, findings) = leases_to_end(&silent, &LeaseRules::default());
        assert_eq!((most, findings.len()), (0, 2));
        assert!(findings[0].text.contains("controller that is cut off"), "{findings:?}");
    }

    #[test]
    fn a_start_and_a_jump_of_the_clock_give_hosts_a_grace() {
        let mut patience = Patience::new(Duration::from_secs(60));
        let mut check = |wall: i64, elapsed: u64, expect: bool| {
            let over = patience.is_over(Timestamp::from_millis(wall * 1000), Duration::from_secs(elapsed), true);
            assert_eq!(over, expect, "{wall} {elapsed}");
        };
        check(1000, 0, false);
        check(1030, 30, false);
        check(1059, 59, false);
        check(1060, 60, true);
        check(1074, 65, true);
        // The machine slept for an hour, which the clock that does not jump did not see.
        check(4680, 70, false);
        check(4700, 90, false);
        check(4729, 119, false);
        check(4740, 130, true);
        // Somebody set the clock back.
        check(900, 135, false);
        check(930, 165, false);
        check(955, 190, false);
        check(960, 195, true);
    }

    #[test]
    fn hosts_get_a_grace_to_come_back_after_a_time_in_which_nobody_was_heard() {
        let mut patience = Patience::new(Duration::from_secs(60));
        let mut check = |seconds: u64, any_heard: bool, expect: bool| {
            let wall = Timestamp::from_millis(0).plus(Duration::from_secs(seconds));
            assert_eq!(patience.is_over(wall, Duration::from_secs(seconds), any_heard), expect, "{seconds}");
        };
        (0..60).step_by(5).for_each(|second| check(second, true, false));
        check(60, true, true);
        check(65, false, false);
        check(70, true, false);
        (75..125).step_by(5).for_each(|second| check(second, true, false));
        check(125, true, true);
        // The program stood still, and both clocks went on.
        check(4000, true, false);
        check(4030, true, false);
        check(4060, true, true);
    }

    #[test]
    fn leases_go_by_role() {
        let rules = LeaseRules::default();
        assert_eq!(rules.length(NodeRole::Sentry), Some(Duration::from_secs(21_600)));
        assert_eq!(rules.length(NodeRole::Prep), None);
    }
}

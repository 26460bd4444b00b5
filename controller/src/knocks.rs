//! Revoked hosts that come back: refused each time, counted, and told of once an hour and not once a try. In memory only:
//! what a restart forgets, the next try tells again.

use picket_model::{Node, NodeId, NodeState, Timestamp};
use picket_plan::{Finding, FindingKind};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A host that asks so soon after its revoke is only hearing of it.
const FAREWELL: Duration = Duration::from_secs(10);
/// Time between two lines of the audit log on one host.
const TOLD_AGAIN: Duration = Duration::from_hours(1);
/// How long after its last try a host is an alarm.
const ALARMING: Duration = Duration::from_mins(15);

/// Who came back: at most one entry for each revoked host, since whoever gets here has shown that host's key.
#[derive(Debug, Default)]
pub(crate) struct Knocks(Mutex<BTreeMap<NodeId, Knock>>);

#[derive(Clone, Copy, Debug)]
struct Knock {
    tries: u64,
    from: IpAddr,
    last: Timestamp,
    told: Timestamp,
}

/// What a try of a revoked host came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It is only hearing that it was revoked.
    Farewell,
    /// It was counted.
    Counted,
    /// It was counted, and is to be written down.
    News,
}

impl Knocks {
    /// Notes one try of a host; nothing where it is not revoked.
    pub(crate) fn note(&self, node: &Node, from: IpAddr, now: Timestamp) -> Told {
        let NodeState::Revoked { at } = node.state else { return Told::Farewell };
        if now.since(at) < FAREWELL {
            return Told::Farewell;
        }
        let mut knocks = self.lock();
        let before = knocks.get(&node.id).copied();
        let is_told = before.is_some_and(|knock| now.since(knock.told) < TOLD_AGAIN && now >= knock.told);
        let tries = before.map_or(0, |knock| knock.tries).saturating_add(1);
        let told = before.filter(|_| is_told).map_or(now, |knock| knock.told);
        knocks.insert(node.id.clone(), Knock { tries, from, last: now, told });
        if is_told { Told::Counted } else { Told::News }
    }

    /// The revoked hosts that came back of late.
    pub(crate) fn findings<'a>(&self, nodes: impl Iterator<Item = &'a Node>, now: Timestamp) -> Vec<Finding> {
        let knocks = self.lock();
        let returned = nodes.filter_map(|node| {
            let Knock { tries, from, last, .. } = knocks.get(&node.id).copied()?;
            let NodeState::Revoked { at } = node.state else { return None };
            let text = format!(
                "host {}, revoked at {at}, came back {tries} times and was refused, last from {from} at {last}: is it still \
                 running, or has somebody its key?",
                node.name
            );
            (now.since(last) < ALARMING).then(|| Finding::warning(FindingKind::RevokedReturned, &node.id, text))
        });
        returned.collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Knock>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{NodeRole, fixture};

    const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn node(state: NodeState) -> Node {
        Node { state, ..fixture::node("sentry-1", NodeRole::Sentry, 1) }
    }

    #[test]
    fn a_revoked_host_that_comes_back_is_told_of_once_an_hour_and_counted_each_time() {
        let (knocks, revoked) = (Knocks::default(), node(NodeState::Revoked { at: at(1000) }));
        let check = |seconds, expect| assert_eq!(knocks.note(&revoked, FROM, at(seconds)), expect, "{seconds} s");
        check(1001, Told::Farewell);
        check(1010, Told::News);
        for seconds in 1011..1100 {
            check(seconds, Told::Counted);
        }
        check(1010 + 3600, Told::News);
        check(1011 + 3600, Told::Counted);
        // A clock that was set back hides nothing.
        check(2000, Told::News);
    }

    #[test]
    fn it_is_an_alarm_for_a_while_and_a_member_is_none() {
        let (knocks, revoked) = (Knocks::default(), node(NodeState::Revoked { at: at(0) }));
        let member = node(NodeState::Active);
        assert_eq!(knocks.note(&member, FROM, at(100)), Told::Farewell);
        assert_eq!(knocks.findings([&revoked].into_iter(), at(100)), []);
        knocks.note(&revoked, FROM, at(100));
        knocks.note(&revoked, FROM, at(101));
        let findings = knocks.findings([&revoked].into_iter(), at(102));
        let [finding] = findings.as_slice() else { panic!("{findings:?}") };
        assert!(finding.text.contains("came back 2 times") && finding.text.contains("192.0.2.7"), "{finding}");
        assert_eq!(knocks.findings([&revoked].into_iter(), at(101 + 15 * 60)), []);
    }
}

//! The shield of hosts: what a person orders about it, and how a host says that it fares under attack. Values only; who
//! tightens what is the planner's and the agent's to say.

use crate::{NodeId, Shield, Timestamp, TokenId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A person's word about the shield, which goes before the policy's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShieldOrder {
    /// What is ordered.
    pub shield: Shield,
    /// Who.
    pub by: TokenId,
    /// When.
    pub at: Timestamp,
    /// When it ends by itself; never where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl ShieldOrder {
    /// Whether it is in force.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// Orders about all hosts and about single ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShieldOrders {
    /// About every host without an order of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<ShieldOrder>,
    /// About one host each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hosts: BTreeMap<NodeId, ShieldOrder>,
}

impl ShieldOrders {
    /// The order that a host is under at `now`: its own, else the one for all.
    pub fn of(&self, node: &NodeId, now: Timestamp) -> Option<&ShieldOrder> {
        let active = |order: &&ShieldOrder| order.is_active(now);
        self.hosts.get(node).filter(active).or(self.all.as_ref().filter(active))
    }

    /// When the next order after `now` ends by itself.
    pub fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        let orders = self.hosts.values().chain(&self.all);
        orders.filter_map(|order| order.until).filter(|until| now < *until).min()
    }
}

/// How a host defends itself, as its agent tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Defences {
    /// Whether its limits are tight now, by order, policy or itself.
    pub is_tight: bool,
    /// Since when they are, or are not; an agent knows no further back than its own start.
    pub since: Timestamp,
    /// Packets to guarded ports that its firewall stopped in a second, counted last; `None` before they were counted twice.
    #[serde(default)]
    pub stopped_per_second: Option<u64>,
    /// So many in a second, for some time, are an attack.
    pub attack_per_second: u64,
    /// Whether its kernel answers with SYN cookies where a listener's queue is full (`net.ipv4.tcp_syncookies`, for both
    /// families); `None` where it does not say.
    #[serde(default)]
    pub syn_cookies: Option<bool>,
    /// How full its connection tracking is; `None` where it does not say.
    #[serde(default)]
    pub tracking: Option<Tracking>,
}

/// How full a host's connection tracking is. A kernel whose table is full drops the first packets of everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tracking {
    /// Connections it knows of (`nf_conntrack_count`).
    pub connections: u64,
    /// Most it takes (`nf_conntrack_max`); zero for no limit.
    pub most: u64,
}

/// From this share of the table on something is to be done, in percent.
const NEARLY_FULL: u64 = 80;

impl Tracking {
    /// The share that is taken, in percent, rounded down; zero where there is no limit.
    pub fn percent(&self) -> u64 {
        self.connections.saturating_mul(100).checked_div(self.most).unwrap_or_default()
    }

    /// Whether there is little room left.
    pub fn is_nearly_full(&self) -> bool {
        self.percent() >= NEARLY_FULL
    }
}

impl Defences {
    /// Whether more is stopped than peers bring by themselves.
    pub fn is_attacked(&self) -> bool {
        self.stopped_per_second.is_some_and(|stopped| stopped >= self.attack_per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn order(shield: Shield, seconds: Option<u64>) -> ShieldOrder {
        let until = seconds.map(|seconds| NOW.plus(Duration::from_secs(seconds)));
        ShieldOrder { shield, by: "op-1".parse().unwrap(), at: NOW, until }
    }

    #[test]
    fn a_hosts_own_order_goes_first_and_each_ends_by_its_time() {
        let [one, other] = ["n-1", "n-2"].map(|id| id.parse::<NodeId>().unwrap());
        let orders = ShieldOrders {
            all: Some(order(Shield::On, Some(60))),
            hosts: BTreeMap::from([(one.clone(), order(Shield::Off, Some(10)))]),
        };
        let check = |seconds, expect: [Option<Shield>; 2], next: Option<u64>| {
            let now = NOW.plus(Duration::from_secs(seconds));
            let found = [&one, &other].map(|id| orders.of(id, now).map(|order| order.shield));
            assert_eq!(found, expect, "after {seconds} s");
            assert_eq!(orders.next_end(now), next.map(|at| NOW.plus(Duration::from_secs(at))), "after {seconds} s");
        };
        check(0, [Some(Shield::Off), Some(Shield::On)], Some(10));
        check(10, [Some(Shield::On), Some(Shield::On)], Some(60));
        check(60, [None, None], None);
        let lasting = ShieldOrders { all: Some(order(Shield::Auto, None)), hosts: BTreeMap::new() };
        assert_eq!(
            lasting.of(&one, NOW.plus(Duration::from_hours(9999))).map(|order| order.shield),
            Some(Shield::Auto)
        );
        assert_eq!(lasting.next_end(NOW), None);
    }

    #[test]
    fn a_table_is_nearly_full_from_four_fifths_on() {
        let check = |connections, most, percent, nearly| {
            let tracking = Tracking { connections, most };
            assert_eq!((tracking.percent(), tracking.is_nearly_full()), (percent, nearly), "{tracking:?}");
        };
        check(0, 65_536, 0, false);
        check(79_999, 100_000, 79, false);
        check(80_000, 100_000, 80, true);
        check(5, 0, 0, false);
        check(u64::MAX, 1, u64::MAX, true);
    }
}

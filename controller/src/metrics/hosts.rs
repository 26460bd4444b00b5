//! What each host last reported, as metrics by host. Names that hosts give stand in labels only where they are of a known
//! kind, and few.

use picket_model::{Defences, Generation, Node, NodeId, NodeReport, PathsReport, SyncServed, Timestamp};
use picket_telemetry::{
    Metrics,
    metrics::{Counters, Fractions, Gauges, Labels, gauge},
};
use std::{collections::BTreeMap, num::NonZeroU16};

/// Decisions of one host that are shown; there are about fifteen.
const MOST_DECISIONS: usize = 32;
/// Longest name of a decision.
const DECISION_BYTES: usize = 32;
/// Sentries of one host that are shown.
const MOST_SENTRIES: usize = 64;
/// How a way may stand, and why destinations move: what a host says else is not shown.
const WAYS: [&str; 5] = ["unheard", "good", "lossy", "silent", "returning"];
const CAUSES: [&str; 6] = ["new", "gone", "drained", "burdened", "nearer", "better"];

const NODE: (&str, &str) = ("node", "hosts of the mesh");
const BY_NODE: &[(&str, &str)] = &[NODE];
const BY_DECISION: &[(&str, &str)] = &[NODE, ("decision", "32 a host")];
const BY_OUTCOME: &[(&str, &str)] = &[NODE, ("port", "32 a host"), ("outcome", "32 a port")];
const BY_SENTRY: &[(&str, &str)] = &[NODE, ("sentry", "64 a host")];
const BY_WAY: &[(&str, &str)] = &[NODE, ("sentry", "64 a host"), ("way", "5")];
const BY_CAUSE: &[(&str, &str)] = &[NODE, ("cause", "10")];
const BY_NAME: &[(&str, &str)] = &[NODE, ("name", "1 a host"), ("role", "1 a host")];

/// Handles into the registry.
#[derive(Clone, Debug)]
pub(crate) struct HostCounts {
    named: Gauges,
    wanted: Gauges,
    applied: Gauges,
    in_force: Gauges,
    reported: Fractions,
    tunnels: Gauges,
    repairs: Counters,
    chain_height: Gauges,
    chain_good: Gauges,
    chain_lag: Gauges,
    packets: Counters,
    syncs: Counters,
    tight: Gauges,
    stopped: Gauges,
    tracked: Gauges,
    tracked_most: Gauges,
    paths_destinations: Gauges,
    paths_way: Gauges,
    paths_round_trip: Fractions,
    paths_loss: Fractions,
    paths_moved: Counters,
}

/// One host, as far as it is known to stand.
#[derive(Clone, Copy)]
pub(crate) struct Standing<'a> {
    /// Which.
    pub(crate) node: &'a NodeId,
    /// Last generation in which what is wanted of it changed.
    pub(crate) wanted: Generation,
    /// Whether it reads back exactly that, and is heard.
    pub(crate) is_in_force: bool,
    /// Its last report, and when that came.
    pub(crate) report: Option<(&'a NodeReport, Timestamp)>,
}

impl HostCounts {
    /// Registers everything.
    pub(super) fn new(metrics: &mut Metrics) -> Self {
        let m = metrics;
        Self {
            named: m.labelled("host_info", "Names and roles of hosts that are members: 1", BY_NAME, Gauges::default()),
            wanted: m.labelled(
                "host_generation_wanted",
                "Last generation in which what is wanted of a host changed",
                BY_NODE,
                Gauges::default(),
            ),
            applied: m.labelled(
                "host_generation_applied",
                "Last such generation that a host read back complete",
                BY_NODE,
                Gauges::default(),
            ),
            in_force: m.labelled(
                "host_in_force",
                "Whether a host reads back exactly what is wanted of it, and is heard",
                BY_NODE,
                Gauges::default(),
            ),
            reported: m.labelled(
                "host_reported_timestamp_seconds",
                "When a host last reported, in seconds since the Unix epoch",
                BY_NODE,
                Fractions::default(),
            ),
            tunnels: m.labelled("host_tunnels", "Peers of a host's WireGuard device", BY_NODE, Gauges::default()),
            repairs: m.labelled(
                "host_firewall_repairs",
                "Changes of others to a host's firewall that its agent put right since it started",
                BY_NODE,
                Counters::default(),
            ),
            chain_height: m.labelled(
                "host_chain_height",
                "Height of the chain of the node beside a host's agent",
                BY_NODE,
                Gauges::default(),
            ),
            chain_good: m.labelled(
                "host_chain_good",
                "Whether the node beside a host's agent answers, has its chain started and tells of no error",
                BY_NODE,
                Gauges::default(),
            ),
            chain_lag: m.labelled(
                "host_chain_lag_blocks",
                "Blocks by which the node beside a host's agent is behind the highest source; reports come each 30 s",
                BY_NODE,
                Gauges::default(),
            ),
            packets: m.labelled(
                "host_packets",
                "Packets to guarded ports by host and decision, since the host's table was last replaced",
                BY_DECISION,
                Counters::default(),
            ),
            syncs: m.labelled(
                "host_sync_requests",
                "Requests to nodes' JSON-RPC by sentry, port and outcome, since the port was opened",
                BY_OUTCOME,
                Counters::default(),
            ),
            tight: m.labelled("host_limits_tight", "Whether a host's limits are tight", BY_NODE, Gauges::default()),
            stopped: m.labelled(
                "host_stopped_per_second",
                "Packets to guarded ports that a host's firewall stopped in a second, by its last report",
                BY_NODE,
                Gauges::default(),
            ),
            tracked: m.labelled(
                "host_tracked_connections",
                "Connections in a host's connection tracking",
                BY_NODE,
                Gauges::default(),
            ),
            tracked_most: m.labelled(
                "host_tracked_connections_max",
                "Most connections that a host's connection tracking takes",
                BY_NODE,
                Gauges::default(),
            ),
            paths_destinations: m.labelled(
                "paths_destinations",
                "Destinations of a hidden validator's host by the sentry that carries them",
                BY_SENTRY,
                Gauges::default(),
            ),
            paths_way: m.labelled(
                "paths_way",
                "How the way of a hidden validator's host through a sentry stands: 1 for the state it has",
                BY_WAY,
                Gauges::default(),
            ),
            paths_round_trip: m.labelled(
                "paths_round_trip_seconds",
                "Round trip of probes from a hidden validator's host to a sentry, inside the tunnel",
                BY_SENTRY,
                Fractions::default(),
            ),
            paths_loss: m.labelled(
                "paths_loss_ratio",
                "Share of the last probes from a hidden validator's host to a sentry that had no answer",
                BY_SENTRY,
                Fractions::default(),
            ),
            paths_moved: m.labelled(
                "paths_moved",
                "Destinations of a hidden validator's host that got another sentry since its agent started, by cause",
                BY_CAUSE,
                Counters::default(),
            ),
        }
    }

    /// Sets names and roles, of these hosts alone.
    pub(crate) fn named<'a>(&self, nodes: impl Iterator<Item = &'a Node>) {
        self.named.clear();
        for node in nodes.filter(|node| node.is_active()) {
            let name = [("name", node.name.to_string()), ("role", node.role.to_string())];
            self.named.get_or_create(&labels(&node.id).into_iter().chain(name).collect()).set(1);
        }
    }

    /// Forgets how hosts stand.
    pub(crate) fn nobody_stands(&self) {
        let gauges = [&self.wanted, &self.applied, &self.in_force, &self.tunnels, &self.chain_height, &self.chain_good];
        gauges.into_iter().chain([&self.chain_lag]).for_each(|family| {
            family.clear();
        });
        self.reported.clear();
        self.repairs.clear();
    }

    /// Sets how one host stands, which was forgotten before. `highest` is the height that the sources tell of.
    pub(crate) fn stands(&self, host: &Standing<'_>, highest: Option<u64>) {
        let labels = labels(host.node);
        let set = |family: &Gauges, value: i64| {
            family.get_or_create(&labels).set(value);
        };
        set(&self.wanted, gauge(host.wanted.0));
        set(&self.in_force, host.is_in_force.into());
        let Some((report, at)) = host.report else { return };
        set(&self.applied, gauge(report.applied.0));
        set(&self.tunnels, gauge(report.kernel.peers));
        self.reported.get_or_create(&labels).set(at.as_secs_f64());
        let repairs = report.firewall_repairs.as_ref().map_or(0, |repairs| repairs.count);
        self.repairs.get_or_create(&labels).inc_by(repairs);
        let Some(chain) = &report.chain else { return };
        set(&self.chain_good, chain.is_good().into());
        if let Some(height) = chain.height {
            set(&self.chain_height, gauge(height));
            highest.into_iter().for_each(|highest| set(&self.chain_lag, gauge(highest.saturating_sub(height))));
        }
    }

    /// Sets what hosts' firewalls counted, of these hosts alone. Names come from hosts: few, and of a known kind.
    pub(crate) fn packets(&self, hosts: impl Iterator<Item = (NodeId, BTreeMap<String, u64>)>) {
        self.packets.clear();
        for (node, packets) in hosts {
            for (decision, count) in packets.into_iter().filter(|(name, _)| is_decision(name)).take(MOST_DECISIONS) {
                let labels = vec![("node", node.to_string()), ("decision", decision)];
                self.packets.get_or_create(&labels).inc_by(count);
            }
        }
    }

    /// Sets what became of requests to nodes' JSON-RPC, of these hosts alone. Names come from hosts: few, and of one kind.
    pub(crate) fn syncs(&self, hosts: impl Iterator<Item = (NodeId, BTreeMap<NonZeroU16, SyncServed>)>) {
        self.syncs.clear();
        for (node, syncs) in hosts {
            for (port, served) in syncs.into_iter().take(MOST_DECISIONS) {
                for (outcome, count) in
                    served.requests.into_iter().filter(|(name, _)| is_word(name)).take(MOST_DECISIONS)
                {
                    let labels = vec![("node", node.to_string()), ("port", port.to_string()), ("outcome", outcome)];
                    self.syncs.get_or_create(&labels).inc_by(count);
                }
            }
        }
    }

    /// Sets how hosts defend themselves, of these hosts alone; what one does not say has no value.
    pub(crate) fn defences(&self, hosts: impl Iterator<Item = (NodeId, Defences)>) {
        for family in [&self.tight, &self.stopped, &self.tracked, &self.tracked_most] {
            family.clear();
        }
        for (node, said) in hosts {
            let labels = vec![("node", node.to_string())];
            let set = |family: &Gauges, value: u64| {
                family.get_or_create(&labels).set(gauge(value));
            };
            set(&self.tight, said.is_tight.into());
            said.stopped_per_second.into_iter().for_each(|stopped| set(&self.stopped, stopped));
            if let Some(tracking) = said.tracking {
                set(&self.tracked, tracking.connections);
                set(&self.tracked_most, tracking.most);
            }
        }
    }

    /// Sets how hidden validators' ways stand, of these hosts alone.
    pub(crate) fn paths(&self, hosts: impl Iterator<Item = (NodeId, Box<PathsReport>)>) {
        for family in [&self.paths_destinations, &self.paths_way] {
            family.clear();
        }
        self.paths_moved.clear();
        self.paths_round_trip.clear();
        self.paths_loss.clear();
        for (node, said) in hosts {
            for (sentry, way) in said.sentries.iter().take(MOST_SENTRIES) {
                let labels = vec![("node", node.to_string()), ("sentry", sentry.to_string())];
                let share = gauge(said.share(sentry));
                self.paths_destinations.get_or_create(&labels).set(share);
                self.paths_loss.get_or_create(&labels).set(f64::from(way.lost_permille) / 1000.0);
                if let Some(took) = way.round_trip_us {
                    self.paths_round_trip.get_or_create(&labels).set(f64::from(took) / 1_000_000.0);
                }
                for name in WAYS {
                    let labels = labels.iter().cloned().chain([("way", name.to_owned())]).collect();
                    self.paths_way.get_or_create(&labels).set(i64::from(way.way == name));
                }
            }
            // A sentry that was lost is lost in the way that it stood.
            for cause in CAUSES.iter().chain(&WAYS) {
                if let Some(count) = said.moved.get(*cause) {
                    let labels = vec![("node", node.to_string()), ("cause", (*cause).to_owned())];
                    self.paths_moved.get_or_create(&labels).inc_by(*count);
                }
            }
        }
    }
}

fn labels(node: &NodeId) -> Labels {
    vec![("node", node.to_string())]
}

/// Whether a name that a host gave is one of a firewall's decisions.
fn is_decision(name: &str) -> bool {
    let words = ["allowed_", "limited_", "refused_"];
    words.iter().any(|word| name.starts_with(word)) && is_word(name)
}

/// Whether a host's name of something can stand in a label.
fn is_word(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.len() <= DECISION_BYTES && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_hosts_count_is_shown_by_host_as_far_as_it_is_a_decision() {
        let mut metrics = Metrics::new("test", "0");
        let counts = HostCounts::new(&mut metrics);
        let shown = |hosts: &[(&str, &[(&str, u64)])]| {
            let map =
                |packets: &[(&str, u64)]| packets.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
            counts.packets(hosts.iter().map(|(node, packets)| (node.parse().unwrap(), map(packets))));
            let text = metrics.render().unwrap();
            let lines = text.lines().filter(|line| line.starts_with("picket_host_packets_total{"));
            lines.map(str::to_owned).collect::<BTreeSet<_>>()
        };
        let hostile = [("refused_p2p", 7), ("allowed_rpc", u64::MAX), ("x", 1), ("refused_\"}", 1), ("refused_P", 1)];
        let all = shown(&[("n-1", &hostile), ("n-2", &[("limited_new_public", 0)])]);
        assert_eq!(all.len(), 3, "{all:?}");
        assert!(all.contains("picket_host_packets_total{node=\"n-1\",decision=\"refused_p2p\"} 7"), "{all:?}");
        assert_eq!(shown(&[("n-2", &[])]).len(), 0, "a host that is gone is not shown");
        let many: Vec<String> = (0..1000).map(|n| format!("refused_{n}")).collect();
        let many: Vec<(&str, u64)> = many.iter().map(|name| (name.as_str(), 1)).collect();
        assert_eq!(shown(&[("n-1", &many)]).len(), MOST_DECISIONS);
    }

    #[test]
    fn a_host_that_says_nothing_of_its_defences_has_no_value() {
        let mut metrics = Metrics::new("test", "0");
        let counts = HostCounts::new(&mut metrics);
        let said = Defences {
            is_tight: true,
            since: Timestamp::from_millis(0),
            stopped_per_second: None,
            attack_per_second: 1000,
            syn_cookies: None,
            tracking: Some(picket_model::Tracking { connections: 7, most: u64::MAX }),
        };
        counts.defences([("n-1".parse().unwrap(), said)].into_iter());
        let shown = |metrics: &Metrics| {
            let text = metrics.render().unwrap();
            let lines = text.lines().filter(|line| line.starts_with("picket_host_") && line.contains("node="));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let expect = [
            "picket_host_limits_tight{node=\"n-1\"} 1".to_owned(),
            "picket_host_tracked_connections{node=\"n-1\"} 7".to_owned(),
            format!("picket_host_tracked_connections_max{{node=\"n-1\"}} {}", i64::MAX),
        ];
        assert_eq!(shown(&metrics), expect);
        counts.defences(std::iter::empty());
        assert_eq!(shown(&metrics), [""; 0], "a host that is gone is not shown");
    }

    #[test]
    fn ways_are_shown_by_host_and_sentry_as_far_as_their_words_are_known() {
        let mut metrics = Metrics::new("test", "0");
        let counts = HostCounts::new(&mut metrics);
        let way = |way: &str, round_trip_us| picket_model::paths::SentryWay {
            way: way.to_owned(),
            lost_permille: 125,
            round_trip_us,
            ..Default::default()
        };
        let said = PathsReport {
            sentries: [("n-2", way("good", Some(20_000))), ("n-3", way("x\"}", None))]
                .map(|(id, way)| (id.parse().unwrap(), way))
                .into(),
            moved: [("silent".to_owned(), 3), ("whatever".to_owned(), 9)].into(),
            ..Default::default()
        };
        counts.paths([("n-1".parse().unwrap(), Box::new(said))].into_iter());
        let text = metrics.render().unwrap();
        let shown = |line: &str| text.lines().filter(|found| found.starts_with(line)).collect::<Vec<_>>();
        assert_eq!(shown("picket_paths_way{").iter().filter(|line| line.ends_with(" 1")).count(), 1);
        assert_eq!(
            shown("picket_paths_round_trip_seconds{"),
            ["picket_paths_round_trip_seconds{node=\"n-1\",sentry=\"n-2\"} 0.02"]
        );
        assert_eq!(shown("picket_paths_loss_ratio{").len(), 2);
        assert_eq!(shown("picket_paths_moved_total{"), ["picket_paths_moved_total{node=\"n-1\",cause=\"silent\"} 3"]);
        counts.paths(std::iter::empty());
        assert!(!metrics.render().unwrap().contains("n-1"), "a host that is gone is not shown");
    }
}

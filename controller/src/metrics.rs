//! What the controller counts.

use picket_api::ProblemKind;
use picket_model::{Defences, NodeId, PathsReport, SyncServed, Timestamp};
use picket_plan::{Finding, FindingKind};
use picket_telemetry::{
    Metrics,
    metrics::metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
    sync::atomic::AtomicU64,
};

/// Decisions of one host that are shown; there are about fifteen.
const MOST_DECISIONS: usize = 32;
/// Longest name of a decision.
const DECISION_BYTES: usize = 32;

/// Names and values of labels.
type Labels = Vec<(&'static str, String)>;

/// Sentries of one host that are shown.
const MOST_SENTRIES: usize = 64;
/// How a way may stand, and why destinations move: what a host says else is not shown.
const WAYS: [&str; 5] = ["unheard", "good", "lossy", "silent", "returning"];
const CAUSES: [&str; 5] = ["new", "gone", "drained", "burdened", "better"];

/// Handles into the registry.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    /// Number of the target.
    pub(crate) generation: Gauge,
    /// Validators in the set.
    pub(crate) validators: Gauge,
    /// Whether the validator set is held.
    pub(crate) validators_held: Gauge,
    /// Entries of the list that were refused.
    pub(crate) validators_refused: Gauge,
    /// Version of the validator set.
    pub(crate) validators_version: Gauge,
    /// Hosts that read back exactly what is wanted.
    pub(crate) in_force: Gauge,
    /// Plans that became the target.
    pub(crate) plans: Counter,
    /// From the last answer of a poll to the commit of the plan it made, in seconds.
    pub(crate) list_to_commit: Histogram,
    nodes: Family<Labels, Gauge>,
    polls: Family<Labels, Counter>,
    enrolments: Family<Labels, Counter>,
    refusals: Family<Labels, Counter>,
    hooks: Family<Labels, Counter>,
    push_events: Family<Labels, Counter>,
    push_connected: Family<Labels, Gauge>,
    alarms: Family<Labels, Gauge>,
    packets: Family<Labels, Gauge>,
    syncs: Family<Labels, Gauge>,
    tight: Family<Labels, Gauge>,
    stopped: Family<Labels, Gauge>,
    tracked: Family<Labels, Gauge>,
    tracked_most: Family<Labels, Gauge>,
    paths_destinations: Family<Labels, Gauge>,
    paths_way: Family<Labels, Gauge>,
    paths_round_trip: Family<Labels, Gauge<f64, AtomicU64>>,
    paths_loss: Family<Labels, Gauge<f64, AtomicU64>>,
    paths_moved: Family<Labels, Gauge>,
    source_up: Family<Labels, Gauge>,
    source_height: Family<Labels, Gauge>,
    source_answered: Family<Labels, Gauge>,
    dns_changes: Family<Labels, Counter>,
    dns_addresses: Family<Labels, Gauge>,
    /// Requests of revoked hosts that came back.
    pub(crate) revoked_refused: Counter,
}

impl Counts {
    /// Registers everything.
    pub(crate) fn new(metrics: &mut Metrics) -> Self {
        // 1 ms to 8 s.
        let seconds = exponential_buckets(0.001, 2.0, 14);
        Self {
            generation: metrics.register("generation", "Number of the wanted state", Gauge::default()),
            validators: metrics.register("validators", "Validators in the set", Gauge::default()),
            validators_held: metrics.register(
                "validators_held",
                "Whether the validator set is held against the list",
                Gauge::default(),
            ),
            validators_refused: metrics.register(
                "validators_refused",
                "Entries of the validator list that are refused",
                Gauge::default(),
            ),
            validators_version: metrics.register(
                "validators_version",
                "Version of the validator set",
                Gauge::default(),
            ),
            in_force: metrics.register("hosts_in_force", "Hosts that read back what is wanted", Gauge::default()),
            plans: metrics.register("plans", "Plans that became the wanted state", Counter::default()),
            list_to_commit: metrics.register(
                "list_to_commit_seconds",
                "From the last answer of a poll to the commit of its plan",
                Histogram::new(seconds),
            ),
            nodes: metrics.register("hosts", "Enrolled hosts by state", Family::default()),
            polls: metrics.register("polls", "Polls of validator-list sources by result", Family::default()),
            enrolments: metrics.register("enrolments", "Requests to join by result", Family::default()),
            refusals: metrics.register(
                "enrolments_refused",
                "Requests to join that were refused, by reason",
                Family::default(),
            ),
            hooks: metrics.register("hook_messages", "Messages of clouds by result", Family::default()),
            push_events: metrics.register("push_events", "Events that sources pushed", Family::default()),
            push_connected: metrics.register("push_connected", "Whether a source pushes events", Family::default()),
            alarms: metrics.register("alarms", "Alarms in force by kind", Family::default()),
            packets: metrics.register(
                "host_packets",
                "Packets to guarded ports by host and decision, since the host's table was last replaced",
                Family::default(),
            ),
            syncs: metrics.register(
                "host_sync_requests",
                "Requests to nodes' JSON-RPC by sentry, port and outcome, since the port was opened",
                Family::default(),
            ),
            tight: metrics.register("host_limits_tight", "Whether a host's limits are tight", Family::default()),
            stopped: metrics.register(
                "host_stopped_per_second",
                "Packets to guarded ports that a host's firewall stopped in a second, by its last report",
                Family::default(),
            ),
            tracked: metrics.register(
                "host_tracked_connections",
                "Connections in a host's connection tracking",
                Family::default(),
            ),
            tracked_most: metrics.register(
                "host_tracked_connections_max",
                "Most connections that a host's connection tracking takes",
                Family::default(),
            ),
            paths_destinations: metrics.register(
                "paths_destinations",
                "Destinations of a hidden validator's host by the sentry that carries them",
                Family::default(),
            ),
            paths_way: metrics.register(
                "paths_way",
                "How the way of a hidden validator's host through a sentry stands: 1 for the state it has",
                Family::default(),
            ),
            paths_round_trip: metrics.register(
                "paths_round_trip_seconds",
                "Round trip of probes from a hidden validator's host to a sentry, inside the tunnel",
                Family::default(),
            ),
            paths_loss: metrics.register(
                "paths_loss_ratio",
                "Share of the last probes from a hidden validator's host to a sentry that had no answer",
                Family::default(),
            ),
            paths_moved: metrics.register(
                "paths_moved",
                "Destinations of a hidden validator's host that got another sentry since its agent started, by cause",
                Family::default(),
            ),
            source_up: metrics.register("source_up", "Whether a source gave a list when last asked", Family::default()),
            source_height: metrics.register("source_height", "Height of a source's last list", Family::default()),
            source_answered: metrics.register(
                "source_answered_timestamp_seconds",
                "When a source last gave a list, in seconds since the Unix epoch",
                Family::default(),
            ),
            dns_changes: metrics.register(
                "dns_changes",
                "Changes of names that follow the sentries, by name and result",
                Family::default(),
            ),
            dns_addresses: metrics.register(
                "dns_addresses",
                "Addresses of a name that follows the sentries, as last read",
                Family::default(),
            ),
            revoked_refused: metrics.register(
                "revoked_refused",
                "Requests of revoked hosts that came back",
                Counter::default(),
            ),
        }
    }

    /// Sets the number of hosts by state.
    pub(crate) fn hosts(&self, active: usize, revoked: usize) {
        for (state, count) in [("active", active), ("revoked", revoked)] {
            let labels = vec![("state", state.to_owned())];
            self.nodes.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Counts one answer of a source, or none.
    pub(crate) fn polled(&self, source: &str, good: bool) {
        let result = if good { "ok" } else { "failed" };
        let labels = vec![("source", source.to_owned()), ("result", result.to_owned())];
        self.polls.get_or_create(&labels).inc();
    }

    /// Counts one event that a source pushed.
    pub(crate) fn pushed(&self, source: &str) {
        self.push_events.get_or_create(&vec![("source", source.to_owned())]).inc();
    }

    /// Sets whether a source pushes events.
    pub(crate) fn push_connected(&self, source: &str, connected: bool) {
        self.push_connected.get_or_create(&vec![("source", source.to_owned())]).set(i64::from(connected));
    }

    /// Sets the number of alarms of every kind, so that an alert can be written before the first of a kind.
    pub(crate) fn alarms(&self, findings: &[Finding]) {
        for kind in FindingKind::ALL {
            let subjects = findings.iter().filter(|finding| finding.kind == kind).map(|finding| &finding.subject);
            let count = subjects.collect::<BTreeSet<_>>().len();
            let labels = vec![("kind", kind.as_str().to_owned())];
            self.alarms.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Sets what hosts' firewalls counted, of these hosts alone. Names come from hosts: few, and of a known kind.
    pub(crate) fn packets(&self, hosts: impl Iterator<Item = (NodeId, BTreeMap<String, u64>)>) {
        self.packets.clear();
        for (node, packets) in hosts {
            for (decision, count) in packets.into_iter().filter(|(name, _)| is_decision(name)).take(MOST_DECISIONS) {
                let labels = vec![("node", node.to_string()), ("decision", decision)];
                self.packets.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
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
                    self.syncs.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
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
            let set = |family: &Family<Labels, Gauge>, value: u64| {
                family.get_or_create(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
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
        for family in [&self.paths_destinations, &self.paths_way, &self.paths_moved] {
            family.clear();
        }
        self.paths_round_trip.clear();
        self.paths_loss.clear();
        for (node, said) in hosts {
            for (sentry, way) in said.sentries.iter().take(MOST_SENTRIES) {
                let labels = vec![("node", node.to_string()), ("sentry", sentry.to_string())];
                let share = i64::try_from(said.share(sentry)).unwrap_or(i64::MAX);
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
                    self.paths_moved.get_or_create(&labels).set(i64::try_from(*count).unwrap_or(i64::MAX));
                }
            }
        }
    }

    /// Sets how a source stands; a height and a time that are not known have no value.
    pub(crate) fn source(&self, source: &str, up: bool, height: Option<u64>, answered_at: Option<Timestamp>) {
        let labels = vec![("source", source.to_owned())];
        self.source_up.get_or_create(&labels).set(i64::from(up));
        if let Some(height) = height {
            self.source_height.get_or_create(&labels).set(i64::try_from(height).unwrap_or(i64::MAX));
        }
        if let Some(at) = answered_at {
            self.source_answered.get_or_create(&labels).set(at.as_millis().div_euclid(1000));
        }
    }

    /// Counts a change of a name, or one that failed.
    pub(crate) fn dns_changed(&self, name: &str, good: bool) {
        let result = if good { "ok" } else { "failed" };
        self.dns_changes.get_or_create(&vec![("name", name.to_owned()), ("result", result.to_owned())]).inc();
    }

    /// Sets how many addresses a name has.
    pub(crate) fn dns_found(&self, name: &str, addresses: usize) {
        let labels = vec![("name", name.to_owned())];
        self.dns_addresses.get_or_create(&labels).set(i64::try_from(addresses).unwrap_or(i64::MAX));
    }

    /// Counts one message that came by a hook.
    pub(crate) fn hook(&self, source: &str, result: &str) {
        let labels = vec![("source", source.to_owned()), ("result", result.to_owned())];
        self.hooks.get_or_create(&labels).inc();
    }

    /// Counts one request to join, and why it was refused where it was.
    pub(crate) fn enrolled(&self, refused: Option<ProblemKind>) {
        let result = if refused.is_none() { "ok" } else { "refused" };
        self.enrolments.get_or_create(&vec![("result", result.to_owned())]).inc();
        if let Some(kind) = refused {
            self.refusals.get_or_create(&vec![("reason", kind.as_str().to_owned())]).inc();
        }
    }
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

    #[test]
    fn what_hosts_count_is_shown_by_host_as_far_as_it_is_a_decision() {
        let mut metrics = Metrics::new("test", "0");
        let counts = Counts::new(&mut metrics);
        let shown = |hosts: &[(&str, &[(&str, u64)])]| {
            let map =
                |packets: &[(&str, u64)]| packets.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
            counts.packets(hosts.iter().map(|(node, packets)| (node.parse().unwrap(), map(packets))));
            let text = metrics.render().unwrap();
            let lines = text.lines().filter(|line| line.starts_with("picket_host_packets{"));
            lines.map(str::to_owned).collect::<BTreeSet<_>>()
        };
        let hostile = [("refused_p2p", 7), ("allowed_rpc", u64::MAX), ("x", 1), ("refused_\"}", 1), ("refused_P", 1)];
        let all = shown(&[("n-1", &hostile), ("n-2", &[("limited_new_public", 0)])]);
        assert_eq!(all.len(), 3, "{all:?}");
        assert!(all.contains("picket_host_packets{node=\"n-1\",decision=\"refused_p2p\"} 7"), "{all:?}");
        assert_eq!(shown(&[("n-2", &[])]).len(), 0, "a host that is gone is not shown");
        let many: Vec<String> = (0..1000).map(|n| format!("refused_{n}")).collect();
        let many: Vec<(&str, u64)> = many.iter().map(|name| (name.as_str(), 1)).collect();
        assert_eq!(shown(&[("n-1", &many)]).len(), MOST_DECISIONS);
    }

    #[test]
    fn a_host_that_says_nothing_of_its_defences_has_no_value() {
        let mut metrics = Metrics::new("test", "0");
        let counts = Counts::new(&mut metrics);
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
        let counts = Counts::new(&mut metrics);
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
        assert_eq!(shown("picket_paths_moved{"), ["picket_paths_moved{node=\"n-1\",cause=\"silent\"} 3"]);
        counts.paths(std::iter::empty());
        assert!(!metrics.render().unwrap().contains("n-1"), "a host that is gone is not shown");
    }
}

//! What the controller counts.

use picket_api::ProblemKind;
use picket_model::Timestamp;
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
use std::collections::BTreeSet;

/// Names and values of labels.
type Labels = Vec<(&'static str, String)>;

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
    source_up: Family<Labels, Gauge>,
    source_height: Family<Labels, Gauge>,
    source_answered: Family<Labels, Gauge>,
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
            source_up: metrics.register("source_up", "Whether a source gave a list when last asked", Family::default()),
            source_height: metrics.register("source_height", "Height of a source's last list", Family::default()),
            source_answered: metrics.register(
                "source_answered_timestamp_seconds",
                "When a source last gave a list, in seconds since the Unix epoch",
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

//! What the controller counts: of the list, of plans, of who joins, of its own API and database. Hosts are in `hosts`,
//! how long a change takes until it is in force in `progress`.

mod hosts;
mod progress;
mod requests;
#[cfg(test)]
mod tests;

pub(crate) use hosts::{HostCounts, Standing};
use progress::{COMMITTED, IN_FORCE};
pub(crate) use progress::{Change, Progress};
pub(crate) use requests::{Answered, counted};

use crate::store::Begun;
use picket_api::ProblemKind;
use picket_model::Timestamp;
use picket_plan::{Finding, FindingKind};
use picket_telemetry::{
    Metrics,
    metrics::{
        Counters, Fractions, Gauges, Histograms, gauge,
        metrics::{
            counter::Counter,
            gauge::Gauge,
            histogram::{Histogram, exponential_buckets},
        },
        seconds_by_label,
    },
    traces,
};
use std::{collections::BTreeSet, time::Duration};

/// Results of a request to join.
const OK: &str = "ok";
const REFUSED: &str = "refused";
const SOURCE: (&str, &str) = ("source", "sources configured");
const BY_SOURCE: &[(&str, &str)] = &[SOURCE];
const BY_SOURCE_AND_RESULT: &[(&str, &str)] = &[SOURCE, ("result", "2")];
const BY_CHANGE: &[(&str, &str)] = &[("change", "3")];
const BY_STEP: &[(&str, &str)] = &[("change", "3"), ("step", "2")];
const OPERATION: (&str, &str) = ("operation", "operations of the API, and none");
const BY_TRANSACTION: &[(&str, &str)] = &[("kind", "2")];

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
    /// What each host reports.
    pub(crate) hosts: HostCounts,
    /// Requests of revoked hosts that came back.
    pub(crate) revoked_refused: Counter,
    nodes: Gauges,
    polls: Counters,
    enrolments: Counters,
    refusals: Counters,
    hooks: Counters,
    push_events: Counters,
    push_connected: Gauges,
    alarms: Gauges,
    source_up: Gauges,
    source_agrees: Gauges,
    source_height: Gauges,
    source_answered: Gauges,
    dns_changes: Counters,
    dns_addresses: Gauges,
    changes: Histograms,
    unfinished: Counters,
    requests: Counters,
    request_seconds: Histograms,
    ca_expires: Fractions,
}

impl Counts {
    /// Registers everything; `begun` is what the store counts by itself.
    pub(crate) fn new(metrics: &mut Metrics, begun: &Begun) -> Self {
        let m = metrics;
        traces::register(m);
        m.labelled(
            "database_begin_seconds",
            "How long transactions waited to begin: for those before them, and for a connection",
            BY_TRANSACTION,
            begun.waited.clone(),
        );
        m.labelled(
            "database_failures",
            "Transactions that could not be begun: the database is away, or too much waits for it",
            BY_TRANSACTION,
            begun.failed.clone(),
        );
        m.register("database_up", "Whether the last transaction could be begun", begun.up.clone());
        let counts = Self {
            generation: m.register("generation", "Number of the wanted state", Gauge::default()),
            validators: m.register("validators", "Validators in the set", Gauge::default()),
            validators_held: m.register(
                "validators_held",
                "Whether the validator set is held against the list",
                Gauge::default(),
            ),
            validators_refused: m.register(
                "validators_refused",
                "Entries of the validator list that are refused",
                Gauge::default(),
            ),
            validators_version: m.register("validators_version", "Version of the validator set", Gauge::default()),
            in_force: m.register("hosts_in_force", "Hosts that read back what is wanted", Gauge::default()),
            plans: m.register("plans", "Plans that became the wanted state", Counter::default()),
            list_to_commit: m.register(
                "list_to_commit_seconds",
                "From the last answer of a poll to the commit of its plan",
                // 1 ms to 8 s.
                Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            ),
            hosts: HostCounts::new(m),
            revoked_refused: m.register(
                "revoked_refused",
                "Requests of revoked hosts that came back",
                Counter::default(),
            ),
            nodes: m.labelled("hosts", "Enrolled hosts by state", &[("state", "2")], Gauges::default()),
            polls: m.labelled(
                "polls",
                "Polls of validator-list sources by result",
                BY_SOURCE_AND_RESULT,
                Counters::default(),
            ),
            enrolments: m.labelled(
                "enrolments",
                "Requests to join by result",
                &[("result", "2")],
                Counters::default(),
            ),
            refusals: m.labelled(
                "enrolments_refused",
                "Requests to join that were refused, by reason",
                &[("reason", "kinds of problems that the API knows, about 20")],
                Counters::default(),
            ),
            hooks: m.labelled(
                "hook_messages",
                "Messages of clouds by result",
                &[("source", "3"), ("result", "about 10")],
                Counters::default(),
            ),
            push_events: m.labelled("push_events", "Events that sources pushed", BY_SOURCE, Counters::default()),
            push_connected: m.labelled(
                "push_connected",
                "Whether a source pushes events",
                BY_SOURCE,
                Gauges::default(),
            ),
            alarms: m.labelled(
                "alarms",
                "Alarms in force by kind",
                &[("kind", "kinds of alarms, about 40")],
                Gauges::default(),
            ),
            source_up: m.labelled(
                "source_up",
                "Whether a source gave a list when last asked",
                BY_SOURCE,
                Gauges::default(),
            ),
            source_agrees: m.labelled(
                "source_agrees",
                "Whether a source says what those say that agree, at a height like theirs, with a chain that goes on",
                BY_SOURCE,
                Gauges::default(),
            ),
            source_height: m.labelled("source_height", "Height of a source's last list", BY_SOURCE, Gauges::default()),
            source_answered: m.labelled(
                "source_answered_timestamp_seconds",
                "When a source last gave a list, in seconds since the Unix epoch",
                BY_SOURCE,
                Gauges::default(),
            ),
            dns_changes: m.labelled(
                "dns_changes",
                "Changes of names that follow the sentries, by name and result",
                &[("name", "names configured"), ("result", "2")],
                Counters::default(),
            ),
            dns_addresses: m.labelled(
                "dns_addresses",
                "Addresses of a name that follows the sentries, as last read",
                &[("name", "names configured")],
                Gauges::default(),
            ),
            changes: m.labelled(
                "change_seconds",
                "From a request to join or to revoke, or the answer of a source, to the commit of the plan it made, and until \
                 every host that this touches has read it back",
                BY_STEP,
                seconds_by_label(),
            ),
            unfinished: m.labelled(
                "changes_unfinished",
                "Changes that were not in force everywhere after ten minutes",
                BY_CHANGE,
                Counters::default(),
            ),
            requests: m.labelled(
                "api_requests",
                "Requests by operation and class of status; none is what no operation answered",
                &[OPERATION, ("status", "5")],
                Counters::default(),
            ),
            request_seconds: m.labelled(
                "api_request_seconds",
                "How long requests took, of which those for news wait up to 50 s for it",
                &[OPERATION],
                seconds_by_label(),
            ),
            ca_expires: m.labelled(
                "ca_expires_timestamp_seconds",
                "When the certificate of the mesh's CA ends, in seconds since the Unix epoch",
                &[("ca", "1")],
                Fractions::default(),
            ),
        };
        counts.begin_at_zero();
        counts
    }

    /// Counters of changes are there before the first of a kind: Prometheus sees no increase in a series that begins with its
    /// first event, so that the first change that did not come into force would be no alarm.
    fn begin_at_zero(&self) {
        for change in Change::ALL {
            self.unfinished(change).inc_by(0);
            for step in [COMMITTED, IN_FORCE] {
                drop(self.change(change, step));
            }
        }
        for result in [OK, REFUSED] {
            self.joined(result).inc_by(0);
        }
    }

    /// Sets the number of hosts by state.
    pub(crate) fn hosts(&self, active: usize, revoked: usize) {
        for (state, count) in [("active", active), ("revoked", revoked)] {
            self.nodes.get_or_create(&vec![("state", state.to_owned())]).set(gauge(count));
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
            self.alarms.get_or_create(&vec![("kind", kind.as_str().to_owned())]).set(gauge(count));
        }
    }

    /// Sets how a source stands; a height and a time that are not known have no value.
    pub(crate) fn source(
        &self,
        source: &str,
        (up, agrees): (bool, bool),
        height: Option<u64>,
        answered_at: Option<Timestamp>,
    ) {
        let labels = vec![("source", source.to_owned())];
        self.source_up.get_or_create(&labels).set(i64::from(up));
        self.source_agrees.get_or_create(&labels).set(i64::from(agrees));
        if let Some(height) = height {
            self.source_height.get_or_create(&labels).set(gauge(height));
        }
        if let Some(at) = answered_at {
            self.source_answered.get_or_create(&labels).set(at.as_millis().div_euclid(1000));
        }
    }

    /// Sets when the CA at work ends.
    pub(crate) fn ca_ends(&self, fingerprint: &str, at: Timestamp) {
        self.ca_expires.clear();
        self.ca_expires.get_or_create(&vec![("ca", fingerprint.to_owned())]).set(at.as_secs_f64());
    }

    /// Counts a change of a name, or one that failed.
    pub(crate) fn dns_changed(&self, name: &str, good: bool) {
        let result = if good { "ok" } else { "failed" };
        self.dns_changes.get_or_create(&vec![("name", name.to_owned()), ("result", result.to_owned())]).inc();
    }

    /// Sets how many addresses a name has.
    pub(crate) fn dns_found(&self, name: &str, addresses: usize) {
        self.dns_addresses.get_or_create(&vec![("name", name.to_owned())]).set(gauge(addresses));
    }

    /// Counts one message that came by a hook.
    pub(crate) fn hook(&self, source: &str, result: &str) {
        let labels = vec![("source", source.to_owned()), ("result", result.to_owned())];
        self.hooks.get_or_create(&labels).inc();
    }

    /// Counts one request to join, and why it was refused where it was.
    pub(crate) fn enrolled(&self, refused: Option<ProblemKind>) {
        self.joined(if refused.is_none() { OK } else { REFUSED }).inc();
        if let Some(kind) = refused {
            self.refusals.get_or_create(&vec![("reason", kind.as_str().to_owned())]).inc();
        }
    }

    /// Counts how long a change took to this step.
    fn took(&self, change: Change, step: &'static str, took: Duration) {
        self.change(change, step).observe(took.as_secs_f64());
    }

    fn change(&self, change: Change, step: &'static str) -> Histogram {
        let labels = vec![("change", change.as_str().to_owned()), ("step", step.to_owned())];
        self.changes.get_or_create_owned(&labels)
    }

    fn unfinished(&self, change: Change) -> Counter {
        self.unfinished.get_or_create_owned(&vec![("change", change.as_str().to_owned())])
    }

    fn joined(&self, result: &'static str) -> Counter {
        self.enrolments.get_or_create_owned(&vec![("result", result.to_owned())])
    }

    /// Counts one answer of the API; `None` where no operation gave it.
    fn answered(&self, operation: Option<&'static str>, status: u16, took: Duration) {
        let operation = ("operation", operation.unwrap_or("none").to_owned());
        let class = ("status", format!("{}xx", status / 100));
        self.requests.get_or_create(&vec![operation.clone(), class]).inc();
        self.request_seconds.get_or_create(&vec![operation]).observe(took.as_secs_f64());
    }
}

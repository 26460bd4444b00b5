//! What the agent counts, from its own reports and from looks at the node beside it. Names that come from other hosts are
//! those of the wanted state.

use super::health::{Seen, Verdict};
use crate::status::LastWord;
use picket_model::{NodeConfig, Timestamp};
use picket_telemetry::{
    Metrics,
    metrics::{
        Counters, Fractions, Gauges, Labels, gauge,
        metrics::{gauge::Gauge, histogram::Histogram},
        seconds,
    },
    traces,
};
use std::{sync::atomic::AtomicU64, time::Duration};

/// Decisions, outcomes and ports that are shown; there are about fifteen of each.
const MOST: usize = 32;
/// What a chain's state is shown as; all others are goloop's own texts, as of a task.
const STATES: [&str; 3] = ["started", "unknown", "other"];

const PEER: (&str, &str) = ("peer", "peers of this host");
const BY_PEER: &[(&str, &str)] = &[PEER];

type Fraction = Gauge<f64, AtomicU64>;

/// Handles into the registry.
#[derive(Clone, Debug)]
pub struct Counts {
    wanted: Gauge,
    applied: Gauge,
    in_force: Gauges,
    refused: Gauge,
    controller_answers: Gauge,
    certificate: Fraction,
    reported: Fraction,
    applying: Histogram,
    answers: Counters,
    peers: Gauge,
    elements: Gauge,
    unproven: Gauge,
    narrow: Gauge,
    repairs: Counters,
    handshake: Fractions,
    received: Counters,
    sent: Counters,
    round_trip: Fractions,
    loss: Fractions,
    packets: Counters,
    tight: Gauge,
    stopped: Gauges,
    tracked: Gauges,
    tracked_most: Gauges,
    syncs: Counters,
    node: NodeCounts,
}

/// What is counted of the node beside the agent; without one there are no values.
#[derive(Clone, Debug)]
struct NodeCounts {
    up: Gauges,
    ready: Gauges,
    state: Gauges,
    height: Gauges,
    block_age: Fractions,
    peers: Gauges,
    round: Gauges,
    round_took: Fractions,
    disk_free: Gauges,
    disk: Gauges,
    grade: Gauges,
    penalty: Gauges,
    jailed: Gauges,
    blocks: Counters,
    missed: Counters,
}

impl Counts {
    /// Registers everything.
    pub fn new(m: &mut Metrics) -> Self {
        traces::register(m);
        Self {
            wanted: m.register("generation_wanted", "Last generation in which what is wanted of this host changed, as held", Gauge::default()),
            applied: m.register("generation_applied", "Last such generation that was read back complete", Gauge::default()),
            in_force: m.labelled("in_force", "Whether what is wanted was read back, by part", &[("part", "2")], Gauges::default()),
            refused: m.register("wanted_refused", "Whether this host refuses what is wanted of it", Gauge::default()),
            controller_answers: m.register("controller_answers", "Whether the controller answered the last call", Gauge::default()),
            certificate: m.register("certificate_expires_timestamp_seconds", "When this host's certificate ends, in seconds since the Unix epoch; it is renewed from half of its life on", Fraction::default()),
            reported: m.register("reported_timestamp_seconds", "When this host last told how it stands, in seconds since the Unix epoch", Fraction::default()),
            applying: m.register("apply_seconds", "From a wanted state that is held to its reading back, as every comparison with the kernel too", seconds()),
            answers: m.labelled("controller_calls", "Answers of controllers to the call for news, by result", &[("result", "3")], Counters::default()),
            peers: m.register("tunnels", "Peers of the WireGuard device", Gauge::default()),
            elements: m.register("firewall_elements", "Elements in all allow sets, as read back", Gauge::default()),
            unproven: m.register("peers_unproven", "Peers that are wanted and that this host's own guard does not let in", Gauge::default()),
            narrow: m.register("peers_narrow", "Peers whose tunnels carry less than is wanted", Gauge::default()),
            repairs: m.labelled("firewall_repairs", "Changes of others to this host's firewall that were put right since the agent started", &[], Counters::default()),
            handshake: m.labelled("tunnel_handshake_timestamp_seconds", "Last handshake with a peer, in seconds since the Unix epoch; no value before the first", BY_PEER, Fractions::default()),
            received: m.labelled("tunnel_received_bytes", "Bytes received from a peer since the device was made", BY_PEER, Counters::default()),
            sent: m.labelled("tunnel_sent_bytes", "Bytes sent to a peer since the device was made", BY_PEER, Counters::default()),
            round_trip: m.labelled("tunnel_round_trip_seconds", "Round trip of probes to a sentry inside the tunnel, of hidden validators' hosts", BY_PEER, Fractions::default()),
            loss: m.labelled("tunnel_loss_ratio", "Share of the last probes to a sentry that had no answer, of hidden validators' hosts", BY_PEER, Fractions::default()),
            packets: m.labelled("firewall_packets", "Packets to guarded ports by decision, since the table was last replaced", &[("decision", "32")], Counters::default()),
            tight: m.register("limits_tight", "Whether the limits per source are tight", Gauge::default()),
            stopped: m.labelled("firewall_stopped_per_second", "Packets to guarded ports that the firewall stopped in a second, counted last", &[], Gauges::default()),
            tracked: m.labelled("tracked_connections", "Connections in the kernel's connection tracking", &[], Gauges::default()),
            tracked_most: m.labelled("tracked_connections_max", "Most connections that it takes; 0 for no limit", &[], Gauges::default()),
            syncs: m.labelled("sync_requests", "Requests to the node's JSON-RPC by port and outcome, since the port was opened", &[("port", "32"), ("outcome", "32 a port")], Counters::default()),
            node: NodeCounts::new(m),
        }
    }

    /// Counts an answer to the call for news: `news`, `nothing` or `failed`.
    pub fn answered(&self, result: &'static str) {
        self.answers.get_or_create(&vec![("result", result.to_owned())]).inc();
    }

    /// Counts one comparison with the kernel, and what it changed.
    pub fn applied_in(&self, took: Duration) {
        self.applying.observe(took.as_secs_f64());
    }

    /// Sets what the agent says of itself.
    pub(super) fn show(&self, word: &LastWord, wanted: Option<&NodeConfig>, certificate_ends: Timestamp) {
        let report = &word.report;
        self.wanted.set(gauge(wanted.map_or(0, |wanted| wanted.revision.0)));
        self.applied.set(gauge(report.applied.0));
        for (part, status) in [("wireguard", &report.wireguard), ("firewall", &report.firewall)] {
            self.in_force.get_or_create(&vec![("part", part.to_owned())]).set(status.is_in_force().into());
        }
        self.refused.set(report.refused.is_some().into());
        self.controller_answers.set(word.controller_answers.unwrap_or_default().into());
        self.certificate.set(certificate_ends.as_secs_f64());
        self.reported.set(word.at.as_secs_f64());
        self.peers.set(gauge(report.kernel.peers));
        self.elements.set(gauge(report.kernel.elements));
        self.unproven.set(gauge(report.unproven.len()));
        self.narrow.set(gauge(report.narrow.len()));
        let count = report.firewall_repairs.as_ref().map_or(0, |repairs| repairs.count);
        let repairs = self.repairs.get_or_create_owned(&Labels::new());
        // Both count since this process began.
        repairs.inc_by(count.saturating_sub(repairs.get()));
        self.packets.clear();
        for (decision, count) in report.kernel.packets.iter().take(MOST) {
            self.packets.get_or_create(&vec![("decision", decision.clone())]).inc_by(*count);
        }
        self.syncs.clear();
        for (port, served) in report.syncs.iter().take(MOST) {
            for (outcome, count) in served.requests.iter().take(MOST) {
                self.syncs
                    .get_or_create(&vec![("port", port.to_string()), ("outcome", outcome.clone())])
                    .inc_by(*count);
            }
        }
        self.show_defences(word);
        self.show_tunnels(word, wanted);
    }

    fn show_defences(&self, word: &LastWord) {
        let families = [&self.stopped, &self.tracked, &self.tracked_most];
        for family in families {
            family.clear();
        }
        let Some(defences) = &word.report.defences else { return };
        self.tight.set(defences.is_tight.into());
        let tracking = defences.tracking;
        let values = [defences.stopped_per_second, tracking.map(|t| t.connections), tracking.map(|t| t.most)];
        for (family, value) in families.into_iter().zip(values) {
            value.into_iter().for_each(|value| {
                family.get_or_create(&Labels::new()).set(gauge(value));
            });
        }
    }

    fn show_tunnels(&self, word: &LastWord, wanted: Option<&NodeConfig>) {
        for family in [&self.handshake, &self.round_trip, &self.loss] {
            family.clear();
        }
        for family in [&self.received, &self.sent] {
            family.clear();
        }
        let ways = word.report.paths.as_ref();
        for (key, peer) in wanted.into_iter().flat_map(|wanted| &wanted.wireguard.peers) {
            let labels = vec![("peer", peer.name.to_string())];
            if let Some(seen) = word.report.peers.get(key) {
                seen.last_handshake.into_iter().for_each(|at| {
                    self.handshake.get_or_create(&labels).set(at.as_secs_f64());
                });
                self.received.get_or_create(&labels).inc_by(seen.received_bytes);
                self.sent.get_or_create(&labels).inc_by(seen.sent_bytes);
            }
            if let Some(way) = ways.and_then(|ways| ways.sentries.get(&peer.node)) {
                self.loss.get_or_create(&labels).set(f64::from(way.lost_permille) / 1000.0);
                way.round_trip_us.into_iter().for_each(|took| {
                    self.round_trip.get_or_create(&labels).set(f64::from(took) / 1_000_000.0);
                });
            }
        }
    }

    /// Sets what a look at the node gave.
    pub(super) fn show_node(&self, seen: &Seen, verdict: &Verdict) {
        self.node.show(seen, verdict);
    }
}

impl NodeCounts {
    fn new(m: &mut Metrics) -> Self {
        Self {
            up: m.labelled("node_up", "Whether the node on this host answers", &[], Gauges::default()),
            ready: m.labelled("node_ready", "Whether the node makes progress: 1 for the verdict it has", &[("verdict", "3")], Gauges::default()),
            state: m.labelled("node_chain_state", "State of the node's chain: 1 for the one it has", &[("state", "3")], Gauges::default()),
            height: m.labelled("node_block_height", "Height of the node's last block", &[], Gauges::default()),
            block_age: m.labelled("node_block_age_seconds", "How old the node's last block was when the node was looked at", &[], Fractions::default()),
            peers: m.labelled("node_peers", "Validators with a link to the node", &[], Gauges::default()),
            round: m.labelled("node_consensus_round", "Round of the consensus at the node's height: 0 where all is well", &[], Gauges::default()),
            round_took: m.labelled("node_round_seconds", "How long the node's last round of consensus took", &[], Fractions::default()),
            disk_free: m.labelled("node_disk_free_bytes", "Bytes free where the node's data is", &[], Gauges::default()),
            disk: m.labelled("node_disk_bytes", "Bytes in all where the node's data is", &[], Gauges::default()),
            grade: m.labelled("prep_grade", "Grade of the validator by getPRep: 0 main, 1 sub, 2 candidate, 3 not registered", &[], Gauges::default()),
            penalty: m.labelled("prep_penalty", "Penalty of the validator by getPRep: 0 none, 1 disqualified, 2 accumulated failures, 3 validation failure, 4 missed vote, 5 double sign", &[], Gauges::default()),
            jailed: m.labelled("prep_jailed", "Whether the validator is in jail", &[], Gauges::default()),
            blocks: m.labelled("prep_blocks", "Blocks that the validator was to validate, by getPRep", &[], Counters::default()),
            missed: m.labelled("prep_missed_blocks", "Blocks that it was to validate and did not", &[], Counters::default()),
        }
    }

    fn show(&self, seen: &Seen, verdict: &Verdict) {
        let none = Labels::new();
        let families = [&self.height, &self.peers, &self.round, &self.disk_free, &self.disk];
        let values = [
            seen.height,
            seen.peers.and_then(|peers| peers.try_into().ok()),
            seen.round,
            seen.disk.map(|disk| disk.0),
            seen.disk.map(|disk| disk.1),
        ];
        for (family, value) in families.into_iter().zip(values) {
            set(family, value);
        }
        for (family, value) in [(&self.block_age, seen.block_age), (&self.round_took, seen.round_took)] {
            family.clear();
            value.into_iter().for_each(|value| {
                family.get_or_create(&none).set(value.as_secs_f64());
            });
        }
        set(&self.up, Some(seen.error.is_none().into()));
        for (name, is_it) in [
            ("unknown", *verdict == Verdict::Unknown),
            ("well", verdict.is_well()),
            ("unwell", matches!(verdict, Verdict::Unwell(_))),
        ] {
            self.ready.get_or_create(&vec![("verdict", name.to_owned())]).set(is_it.into());
        }
        let state = match seen.state.as_deref() {
            None => STATES[1],
            Some(state) => STATES.into_iter().find(|known| *known == state).unwrap_or(STATES[2]),
        };
        for known in STATES {
            self.state.get_or_create(&vec![("state", known.to_owned())]).set((known == state).into());
        }
        let prep = seen.prep.as_ref();
        set(&self.grade, prep.map(|prep| prep.grade));
        set(&self.penalty, prep.map(|prep| prep.penalty));
        set(&self.jailed, prep.and_then(|prep| prep.jailed).map(u64::from));
        for family in [&self.blocks, &self.missed] {
            family.clear();
        }
        if let Some(prep) = prep {
            self.blocks.get_or_create(&none).inc_by(prep.total_blocks);
            self.missed.get_or_create(&none).inc_by(prep.missed_blocks());
        }
    }
}

/// A value, or none.
fn set(family: &Gauges, value: Option<u64>) {
    family.clear();
    value.into_iter().for_each(|value| {
        family.get_or_create(&Labels::new()).set(gauge(value));
    });
}

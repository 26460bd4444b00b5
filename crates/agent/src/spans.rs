//! Spans of what an agent does, for traces.

use picket_api::ConfigAnswer;
use picket_model::{Generation, NodeName};
use picket_telemetry::{
    SPANS, TraceParent,
    traces::{follow, number},
};
use tracing::{Span, field::Empty, info_span};

/// Of a wanted state that came, on the host of this name which holds that revision; below the span in which it was planned.
pub fn configuration(node: &NodeName, held: Generation, answer: &ConfigAnswer, planned_in: Option<String>) -> Span {
    let span = info_span!(
        target: SPANS, "configuration", %node, generation = number(answer.full.generation.0),
        revision = number(answer.revision.0), held = number(held.0), refused = Empty
    );
    follow(&span, planned_in.and_then(|span| TraceParent::read(&span)).as_ref());
    span
}

/// Of its judgement.
pub fn judge() -> Span {
    info_span!(target: SPANS, "judge")
}

/// Of what is held, being applied on the host of this name.
pub fn apply(node: &NodeName, revision: Generation) -> Span {
    info_span!(
        target: SPANS, "apply", otel.status_code = Empty, %node, revision = number(revision.0), wireguard = Empty,
        firewall = Empty
    )
}

/// Of a step with the tunnels.
pub fn wireguard(step: &'static str) -> Span {
    info_span!(target: SPANS, "wireguard", otel.name = format!("wireguard {step}"))
}

/// Of the firewall.
pub fn firewall() -> Span {
    info_span!(target: SPANS, "firewall")
}

/// Of a report, below the span in which it was done what it says.
pub fn report(applied: Generation, done_in: Option<&TraceParent>) -> Span {
    let span = info_span!(
        target: SPANS, parent: None, "report", otel.kind = "client", otel.status_code = Empty, applied = number(applied.0)
    );
    follow(&span, done_in);
    span
}

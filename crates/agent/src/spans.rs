//! Spans of the parts of what an agent applies, for traces.

use picket_telemetry::SPANS;
use tracing::{Span, info_span};

/// Of a step with the tunnels.
pub fn wireguard(step: &'static str) -> Span {
    info_span!(target: SPANS, "wireguard", otel.name = format!("wireguard {step}"))
}

/// Of the firewall.
pub fn firewall() -> Span {
    info_span!(target: SPANS, "firewall")
}

//! Counts requests to the API, and makes a span of each: outermost, so that what is refused before any operation sees it counts too.

use crate::{controller::Controller, wanted::HostWanted};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use picket_api::openapi::Operation;
use picket_http::Peer;
use picket_telemetry::{
    SPANS, TraceParent,
    traces::{HEADER, follow, number, rename},
};
use std::{sync::Arc, time::Instant};
use tracing::{Instrument as _, Span, field::Empty, info_span};

/// Which operation gave an answer: an extension of the response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered(pub(crate) &'static Operation);

/// Counts a request by who answered, how, and how long that took.
pub(crate) async fn counted(State(controller): State<Arc<Controller>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let span = of_request(&controller, &request);
    let response = next.run(request).instrument(span.clone()).await;
    let operation = response.extensions().get::<Answered>().map(|answered| answered.0);
    let status = response.status().as_u16();
    controller.counts.answered(operation.map(|operation| operation.id), status, began.elapsed());
    if let Some(Operation { method, path, .. }) = operation {
        let method = method.as_str();
        rename(&span, || format!("{method} {path}"));
        span.record("http.request.method", method).record("http.route", path);
    }
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
    span.record("http.response.status_code", number(status));
    response
}

/// A span without anything that was sent: what is asked for is its route, once that is known, and who asks their role. It belongs
/// to a span of whoever asks only where that is a member of the mesh.
fn of_request(controller: &Controller, request: &Request) -> Span {
    let span = info_span!(
        target: SPANS, "request", otel.kind = "server", otel.status_code = Empty, http.route = Empty,
        http.request.method = Empty, http.response.status_code = Empty, role = Empty, node = Empty
    );
    if span.is_disabled() {
        return span;
    }
    let identity = request.extensions().get::<Peer>().and_then(Peer::node);
    let is_member = identity.is_some_and(|identity| {
        identity.mesh == controller.mesh && matches!(controller.wanted.of(&identity.node), HostWanted::Content { .. })
    });
    if is_member {
        let parent = request.headers().get(HEADER).and_then(|value| TraceParent::read(value.to_str().ok()?));
        follow(&span, parent.as_ref());
    }
    span
}

//! Says that something changed, over server-sent events; what, the page asks for itself. Whoever has no place is refreshed by the
//! script alone.

use super::{Desk, Shared, guard::Seen};
use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
};
use futures_util::stream;
use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{sleep, timeout},
};

/// Changes within this time are said once.
const GATHER: Duration = Duration::from_millis(250);
/// Times on the page grow old by themselves, and alarms come without a report.
const AT_LEAST_EVERY: Duration = Duration::from_secs(10);

/// What changes the page.
struct Followed {
    desk: Arc<Desk>,
    cookie: String,
    reports: watch::Receiver<()>,
    plans: watch::Receiver<()>,
    judged: watch::Receiver<u64>,
    _place: OwnedSemaphorePermit,
}

/// The stream of one page.
pub(super) async fn live(State(desk): Shared, seen: Seen) -> Response {
    let Ok(place) = desk.live.clone().try_acquire_owned() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let controller = &desk.controller;
    let followed = Followed {
        reports: controller.reports.arrivals(),
        plans: controller.wanted.changes(),
        judged: controller.anew.judged(),
        cookie: seen.cookie,
        _place: place,
        desk,
    };
    let events = stream::unfold(followed, async |mut followed| {
        followed.next().await.map(|event| (Ok::<_, Infallible>(event), followed))
    });
    let mut response = Sse::new(events).into_response();
    // A proxy that gathers what it passes on would keep it.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Followed {
    /// The next change; `None` where the session is over or the controller stops.
    async fn next(&mut self) -> Option<Event> {
        let changed = async {
            tokio::select! {
                _ = self.reports.changed() => {}
                _ = self.plans.changed() => {}
                _ = self.judged.changed() => {}
            }
            sleep(GATHER).await;
        };
        tokio::select! {
            _ = timeout(AT_LEAST_EVERY, changed) => {}
            () = self.desk.controller.stopped() => return None,
        }
        self.reports.mark_unchanged();
        self.plans.mark_unchanged();
        self.judged.mark_unchanged();
        let is_alive = self.desk.sessions.is_alive(&self.cookie, Instant::now());
        is_alive.then(|| Event::default().event("changed").data("1"))
    }
}

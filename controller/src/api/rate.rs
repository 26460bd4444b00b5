//! How often one source may be refused that has not shown who it is. A leaky bucket for each source, counted in time: no timers.
//! How many connections and bytes it may have is `picket-http`'s to say.

use super::ApiProblem;
use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use picket_api::ProblemKind;
use picket_http::Peer;
use picket_model::network::canonical;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Sources remembered: 20 MB of them at most.
const MOST_SOURCES: usize = 100_000;

/// The buckets of one listener.
#[derive(Debug)]
pub(crate) struct Rate {
    /// One request leaks away in so long.
    each: Duration,
    /// Requests at once.
    burst: u32,
    /// Which answers count.
    counts: fn(StatusCode) -> bool,
    started: Instant,
    /// When each source's bucket is empty, since the start; empty ones are forgotten.
    empty_at: Mutex<BTreeMap<IpAddr, Duration>>,
}

impl Rate {
    /// For hosts that show no certificate: whatever is refused.
    pub(crate) fn of_strangers() -> Arc<Self> {
        Self::new(Duration::from_millis(100), 100, |status| status.is_client_error())
    }

    /// For operators: tokens that are not known.
    pub(crate) fn of_operators() -> Arc<Self> {
        Self::new(Duration::from_secs(1), 60, |status| status == StatusCode::UNAUTHORIZED)
    }

    fn new(each: Duration, burst: u32, counts: fn(StatusCode) -> bool) -> Arc<Self> {
        Arc::new(Self { each, burst, counts, started: Instant::now(), empty_at: Mutex::default() })
    }

    /// How long the source has to wait; `None` where it may ask now.
    fn wait(&self, source: IpAddr, now: Duration) -> Option<Duration> {
        let empty_at = self.empty_at.lock().unwrap_or_else(PoisonError::into_inner);
        let level = empty_at.get(&source)?.saturating_sub(now);
        let room = self.each * self.burst.saturating_sub(1);
        (level > room).then(|| level.saturating_sub(room))
    }

    /// Counts a request.
    fn count(&self, source: IpAddr, now: Duration) {
        let mut empty_at = self.empty_at.lock().unwrap_or_else(PoisonError::into_inner);
        if empty_at.len() >= MOST_SOURCES && !empty_at.contains_key(&source) {
            empty_at.retain(|_, empty| *empty > now);
            // So many at once are no few sources that ask too often: the limit of connections is against them.
            if empty_at.len() >= MOST_SOURCES {
                return;
            }
        }
        let empty = empty_at.entry(source).or_insert(now);
        *empty = (*empty).max(now) + self.each;
    }
}

/// Answers a source that was refused too often with 429, and counts what is refused. Whoever is let in is not counted, so
/// that hosts behind one address translation join together, however many they are.
pub(crate) async fn limit(State(rate): State<Arc<Rate>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().filter(|peer| peer.node().is_none());
    let Some(source) = peer.map(|peer| source(peer.address.ip())) else { return next.run(request).await };
    if let Some(wait) = rate.wait(source, rate.started.elapsed()) {
        return too_many(wait);
    }
    let response = next.run(request).await;
    if (rate.counts)(response.status()) {
        rate.count(source, rate.started.elapsed());
    }
    response
}

fn too_many(wait: Duration) -> Response {
    let seconds = wait.as_secs() + 1;
    let detail = format!("too many requests without credentials from this source: try again in {seconds} s");
    let mut response = ApiProblem::new(ProblemKind::TooManyRequests, detail).into_response();
    if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
}

/// An IPv4 address stands for itself, an IPv6 address for its /64, which one host has whole.
pub(crate) fn source(address: IpAddr) -> IpAddr {
    const HOST_BITS: u32 = 64;
    match canonical(address) {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> HOST_BITS << HOST_BITS).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_burst_and_then_its_pace() {
        let rate = Rate::new(Duration::from_secs(1), 3, |_| true);
        let [one, two] = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse().unwrap());
        let ask = |source, seconds| {
            let now = Duration::from_secs(seconds);
            let may = rate.wait(source, now).is_none();
            if may {
                rate.count(source, now);
            }
            may
        };
        assert_eq!([ask(one, 0), ask(one, 0), ask(one, 0), ask(one, 0)], [true, true, true, false]);
        assert!(ask(two, 0), "another source has its own");
        assert_eq!([ask(one, 1), ask(one, 1)], [true, false]);
        assert_eq!(rate.wait(one, Duration::from_secs(1)), Some(Duration::from_secs(1)));
        assert_eq!([ask(one, 100), ask(one, 100), ask(one, 100), ask(one, 100)], [true, true, true, false]);
    }

    #[test]
    fn a_flood_of_sources_takes_no_more_memory_and_shuts_nobody_out() {
        let rate = Rate::new(Duration::from_secs(1), 1, |_| true);
        let address = |number: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(number));
        (0..100_010).for_each(|number| rate.count(address(number), Duration::ZERO));
        assert_eq!(rate.empty_at.lock().unwrap().len(), MOST_SOURCES);
        assert_eq!(rate.wait(address(200_000), Duration::ZERO), None);
        rate.count(address(200_000), Duration::from_secs(5));
        assert_eq!(rate.empty_at.lock().unwrap().len(), 1);
    }

    #[test]
    fn an_ipv6_host_cannot_take_another_address_of_its_64() {
        let [one, two, other] =
            ["2001:db8::1", "2001:db8::ffff:0:0:2", "2001:db8:0:1::1"].map(|a| source(a.parse().unwrap()));
        assert!(one == two && one != other);
    }
}

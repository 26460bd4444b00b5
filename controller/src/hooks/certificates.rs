//! SNS as subscribers need it: the certificates that it signs with, fetched once each, and the confirmation of a subscription.
//! Where they are is decided in `picket-attest`; here nothing else is asked.

use crate::api::source;
use picket_attest::{Certificate, hooks::sns::Topic};
use picket_model::Timestamp;
use picket_proofs::outside::{body, innermost};
use reqwest::{StatusCode, Url, header};
use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use thiserror::Error;
use tokio::sync::OnceCell;

/// Certificates kept; AWS has one at a time for each region.
const MOST: usize = 32;
/// Most that are fetched in a minute for the messages of one source, whatever they name.
const MOST_OF_ONE: usize = 10;
/// Most that are fetched in a minute for all of them.
const MOST_OF_ALL: usize = 120;
/// Largest certificate, and confirmation, that is read, in bytes.
const LARGEST: usize = 16 << 10;

/// Why there is no certificate to verify a message with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum NoCertificate {
    /// SNS has none of this name: the message is invented.
    #[error("https://{place} is no certificate of SNS (HTTP {status}): it did not sign the message")]
    None {
        /// Where it was looked for.
        place: String,
        /// What SNS said.
        status: u16,
    },
    /// The message's source named too many that are not known.
    #[error("{MOST_OF_ONE} certificates were fetched within a minute for messages of this source: try again")]
    TooMany,
    /// It cannot be had now, whoever the sender is.
    #[error("{0}")]
    Unavailable(String),
}

/// The certificates known so far.
pub(super) struct Certificates {
    client: reqwest::Client,
    /// Where SNS is asked, in place of the topic's own host.
    url: Option<Url>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// One that is being fetched is empty so far.
    by_place: BTreeMap<String, Arc<OnceCell<Certificate>>>,
    /// When, and for whom.
    fetched: VecDeque<(Timestamp, IpAddr)>,
}

impl Held {
    /// Whether one more may be fetched now for a message of this source; counts it. A proxy on this host stands for everybody.
    fn may_fetch(&mut self, source: IpAddr, now: Timestamp) -> Result<(), NoCertificate> {
        let is_past = |(at, _): &(Timestamp, IpAddr)| now.since(*at) >= Duration::from_mins(1) || now < *at;
        while self.fetched.front().is_some_and(is_past) {
            self.fetched.pop_front();
        }
        let of_one = self.fetched.iter().filter(|(_, other)| *other == source).count();
        if of_one >= MOST_OF_ONE && !source.is_loopback() {
            return Err(NoCertificate::TooMany);
        }
        if self.fetched.len() >= MOST_OF_ALL {
            let why = format!("{MOST_OF_ALL} certificates were fetched within a minute: try again");
            return Err(NoCertificate::Unavailable(why));
        }
        self.fetched.push_back((now, source));
        Ok(())
    }

    /// The place of a certificate; those that nobody fetches any more have none.
    fn place(&mut self, place: &str) -> Arc<OnceCell<Certificate>> {
        self.by_place.retain(|_, cell| cell.initialized() || Arc::strong_count(cell) > 1);
        let known = self.by_place.values().filter(|cell| cell.initialized()).count();
        if known >= MOST && !self.by_place.contains_key(place) {
            self.by_place.retain(|_, cell| !cell.initialized());
        }
        self.by_place.entry(place.to_owned()).or_default().clone()
    }
}

impl Certificates {
    pub(super) fn new(client: reqwest::Client, url: Option<Url>) -> Self {
        Self { client, url, held: Mutex::default() }
    }

    /// The certificate at this path of the topic's own host, for a message that came from `from`. Whoever comes while it is
    /// fetched waits for the same answer, and nobody for another's.
    pub(super) async fn of(
        &self,
        topic: &Topic,
        path: &str,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<Certificate, NoCertificate> {
        let place = format!("{}{path}", topic.host());
        let cell = self.held().place(&place);
        let fetch = async || {
            self.held().may_fetch(source(from), now)?;
            self.fetch(topic, path, &place).await
        };
        cell.get_or_try_init(fetch).await.cloned()
    }

    async fn fetch(&self, topic: &Topic, path: &str, place: &str) -> Result<Certificate, NoCertificate> {
        let unavailable = |error: String| NoCertificate::Unavailable(format!("https://{place}: {error}"));
        let pem = self.get(topic, path).await.map_err(|error| match error {
            // What a later try may find otherwise is not the sender's fault.
            GetError::Status(StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) => {
                unavailable(error.to_string())
            }
            GetError::Status(status) if status.is_client_error() => {
                NoCertificate::None { place: place.to_owned(), status: status.as_u16() }
            }
            error => unavailable(error.to_string()),
        })?;
        let pem = String::from_utf8(pem).map_err(|_| unavailable("it is no text".to_owned()))?;
        Certificate::parse(&pem, false).map_err(|error| unavailable(error.to_string()))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the subscription is wanted.
    pub(super) async fn confirm(&self, topic: &Topic, path: &str) -> Result<(), String> {
        self.get(topic, path).await.map(drop).map_err(|error| format!("https://{}/: {error}", topic.host()))
    }

    async fn get(&self, topic: &Topic, path: &str) -> Result<Vec<u8>, GetError> {
        let host = topic.host();
        let base =
            self.url.as_ref().map_or_else(|| format!("https://{host}"), |url| url.origin().ascii_serialization());
        let request = self.client.get(format!("{base}{path}")).header(header::HOST, host);
        let response = request.send().await.map_err(|error| GetError::Unreachable(innermost(&error)))?;
        match response.status() {
            StatusCode::OK => body(response, LARGEST).await.map_err(|error| GetError::Unreachable(error.to_string())),
            status => Err(GetError::Status(status)),
        }
    }
}

/// Why SNS gave nothing.
#[derive(Debug, Error)]
enum GetError {
    #[error("HTTP {}", .0.as_u16())]
    Status(StatusCode),
    #[error("{0}")]
    Unreachable(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, routing::get};
    use std::future::pending;

    #[test]
    fn a_source_has_so_many_certificates_a_minute_and_all_have_more() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let source = |number: u8| IpAddr::from([192, 0, 2, number]);
        let mut held = Held::default();
        assert!((0..10).all(|second| held.may_fetch(source(1), at(100 + second)).is_ok()));
        assert_eq!(held.may_fetch(source(1), at(159)), Err(NoCertificate::TooMany));
        assert_eq!(held.may_fetch(source(2), at(159)), Ok(()), "another source has its own");
        assert!(held.may_fetch(source(1), at(160)).is_ok() && held.may_fetch(source(1), at(160)).is_err());
        // A clock that was set back stops nobody for long.
        assert!(held.may_fetch(source(1), at(10)).is_ok());

        let mut held = Held::default();
        assert!((0..120).all(|number| held.may_fetch(source(number / 10), at(100)).is_ok()));
        assert!(matches!(held.may_fetch(source(200), at(100)), Err(NoCertificate::Unavailable(_))));
    }

    #[test]
    fn a_proxy_on_this_host_stands_for_everybody() {
        let (mut held, proxy) = (Held::default(), IpAddr::from([127, 0, 0, 1]));
        let at = Timestamp::from_millis(0);
        assert!((0..120).all(|_| held.may_fetch(proxy, at).is_ok()));
        assert!(held.may_fetch(proxy, at).is_err());
    }

    #[tokio::test]
    async fn a_certificate_that_is_known_waits_for_none_that_is_being_fetched() {
        let router = Router::new()
            .route("/good.pem", get(|| async { picket_lab::cloud::aws_certificate(0, 2020, 2120) }))
            .route("/slow.pem", get(pending::<()>));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let certificates = Certificates::new(
            picket_proofs::outside::client(picket_proofs::outside::host_roots(), false).unwrap(),
            Some(url),
        );
        let topic: Topic = "arn:aws:sns:eu-central-1:123456789012:picket".parse().unwrap();
        let (from, at) = (IpAddr::from([192, 0, 2, 1]), Timestamp::from_millis(0));
        let get = |path: &'static str| certificates.of(&topic, path, from, at);
        get("/good.pem").await.unwrap();
        tokio::select! {
            biased;
            _ = get("/slow.pem") => unreachable!("it is never answered"),
            // Neither the one that is known nor another that is not.
            found = async { (get("/good.pem").await, get("/none.pem").await) } => {
                assert!(found.0.is_ok());
                assert!(matches!(found.1, Err(NoCertificate::None { status: 404, .. })));
            }
        }
        // What was not had leaves nothing behind once the next is looked for.
        get("/good.pem").await.unwrap();
        assert_eq!(certificates.held().by_place.len(), 1);
        assert_eq!(certificates.held().fetched.len(), 3);
    }
}

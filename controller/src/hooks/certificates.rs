//! SNS as subscribers need it: the certificates that it signs with, fetched once each, and the confirmation of a subscription.
//! Where they are is decided in `picket-attest`; here nothing else is asked.

use super::{body, innermost};
use picket_attest::{Certificate, hooks::sns::Topic};
use picket_model::Timestamp;
use reqwest::{StatusCode, Url, header};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};
use tokio::sync::Mutex;

/// Certificates kept; AWS has one at a time for each region.
const MOST: usize = 32;
/// Most that are fetched in a minute, whatever messages name.
const MOST_A_MINUTE: usize = 10;
/// Largest certificate, and confirmation, that is read, in bytes.
const LARGEST: usize = 16 << 10;

/// The certificates known so far.
pub(super) struct Certificates {
    client: reqwest::Client,
    /// Where SNS is asked, in place of the topic's own host.
    url: Option<Url>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    by_place: BTreeMap<String, Certificate>,
    fetched: VecDeque<Timestamp>,
}

impl Held {
    /// Whether one more may be fetched now; counts it.
    fn may_fetch(&mut self, now: Timestamp) -> bool {
        let is_past = |at: &Timestamp| now.since(*at) >= Duration::from_mins(1) || now < *at;
        while self.fetched.front().is_some_and(is_past) {
            self.fetched.pop_front();
        }
        let may = self.fetched.len() < MOST_A_MINUTE;
        if may {
            self.fetched.push_back(now);
        }
        may
    }
}

impl Certificates {
    pub(super) fn new(client: reqwest::Client, url: Option<Url>) -> Self {
        Self { client, url, held: Mutex::default() }
    }

    /// The certificate at this path of the topic's own host. Whoever comes while it is fetched waits for the same answer.
    pub(super) async fn of(&self, topic: &Topic, path: &str, now: Timestamp) -> Result<Certificate, String> {
        let place = format!("{}{path}", topic.host());
        let mut held = self.held.lock().await;
        if let Some(known) = held.by_place.get(&place) {
            return Ok(known.clone());
        }
        if !held.may_fetch(now) {
            return Err(format!("{MOST_A_MINUTE} certificates were fetched within a minute: try again"));
        }
        let pem = self.get(topic, path).await.map_err(|error| format!("https://{place}: {error}"))?;
        let certificate = String::from_utf8(pem).map_err(|_| "it is no text".to_owned());
        let certificate =
            certificate.and_then(|pem| Certificate::parse(&pem, false).map_err(|error| error.to_string()));
        let certificate = certificate.map_err(|error| format!("https://{place}: {error}"))?;
        if held.by_place.len() >= MOST {
            held.by_place.clear();
        }
        held.by_place.insert(place, certificate.clone());
        Ok(certificate)
    }

    /// Says that the subscription is wanted.
    pub(super) async fn confirm(&self, topic: &Topic, path: &str) -> Result<(), String> {
        self.get(topic, path).await.map(drop).map_err(|error| format!("https://{}/: {error}", topic.host()))
    }

    async fn get(&self, topic: &Topic, path: &str) -> Result<Vec<u8>, String> {
        let host = topic.host();
        let base =
            self.url.as_ref().map_or_else(|| format!("https://{host}"), |url| url.origin().ascii_serialization());
        let request = self.client.get(format!("{base}{path}")).header(header::HOST, host);
        let response = request.send().await.map_err(|error| innermost(&error))?;
        match response.status() {
            StatusCode::OK => body(response, LARGEST).await,
            status => Err(format!("HTTP {}", status.as_u16())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_certificates_a_minute_and_no_more() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let mut held = Held::default();
        assert!((0..10).all(|second| held.may_fetch(at(100 + second))));
        assert!(!held.may_fetch(at(159)));
        assert!(held.may_fetch(at(160)) && !held.may_fetch(at(160)));
        // A clock that was set back stops nobody for long.
        assert!(held.may_fetch(at(10)));
    }
}

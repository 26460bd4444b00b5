//! Key sets of token issuers, from the configured URL or file: kept for an hour, asked for anew when a token names a key that
//! is not there, at most once a minute, whoever asks.

use crate::{
    config::IssuerLines,
    outside::{self, BodyError},
};
use picket_attest::{Jwks, JwksError, jwks};
use picket_model::Timestamp;
use reqwest::StatusCode;
use rustls::RootCertStore;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use thiserror::Error;
use tokio::sync::Mutex;

/// How long a set counts as fresh.
const FRESH: Duration = Duration::from_hours(1);
/// How long one is used that cannot be had anew: issuers announce a new key well before they sign with it.
const LONGEST_USE: Duration = Duration::from_hours(24);
/// Between two requests to one issuer, whatever tokens name.
const BETWEEN: Duration = Duration::from_secs(60);

/// Why there are no keys.
#[derive(Debug, Error)]
pub enum KeysError {
    /// No answer, or a broken one.
    #[error("{place}: {reason}")]
    Unreachable {
        /// URL or file.
        place: String,
        /// Every cause, joined.
        reason: String,
    },
    /// Another status than 200; redirects are not followed.
    #[error("{place} answers HTTP {status}")]
    Status {
        /// URL.
        place: String,
        /// Status.
        status: u16,
    },
    /// No key set.
    #[error("{place}: {cause}")]
    Set {
        /// URL or file.
        place: String,
        /// What is wrong with it.
        cause: JwksError,
    },
    /// Asked for less than a minute ago, without success.
    #[error("they were asked for less than a minute ago, and did not come")]
    Waiting,
}

/// The key sets of all issuers.
pub struct Keys {
    client: reqwest::Client,
    held: BTreeMap<String, Mutex<Held>>,
}

/// One issuer's set.
#[derive(Default)]
struct Held {
    place: String,
    keys: Option<Arc<Jwks>>,
    had_at: Timestamp,
    asked_at: Option<Timestamp>,
}

impl Held {
    /// Whether to ask for the set again, for this key.
    fn is_to_ask(&self, key: &str, now: Timestamp) -> bool {
        let rested = self.asked_at.is_none_or(|asked| now.since(asked) >= BETWEEN || now < asked);
        let fresh = now.since(self.had_at) < FRESH && now >= self.had_at;
        rested && !(fresh && self.keys.as_ref().is_some_and(|keys| keys.has(key)))
    }

    /// The set, unless it is too old to be believed.
    fn usable(&self, now: Timestamp) -> Option<Arc<Jwks>> {
        self.keys.clone().filter(|_| now.since(self.had_at) < LONGEST_USE)
    }
}

impl Keys {
    /// For these issuers, with the root certificates of this host.
    pub fn new(issuers: &[IssuerLines]) -> anyhow::Result<Self> {
        Self::with_roots(issuers, outside::host_roots())
    }

    /// For these issuers, with these root certificates.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn with_roots(issuers: &[IssuerLines], roots: RootCertStore) -> anyhow::Result<Self> {
        let client = outside::client(roots, true)?;
        let held = |issuer: &IssuerLines| Held { place: issuer.jwks.clone(), ..Held::default() };
        let held = issuers.iter().map(|issuer| (issuer.issuer.clone(), Mutex::new(held(issuer)))).collect();
        Ok(Self { client, held })
    }

    /// The set of a configured issuer, asked for anew where it is old or lacks this key and a minute has passed. Whoever comes
    /// while it is being asked for waits for the same answer.
    pub async fn of(&self, issuer: &str, key: &str, now: Timestamp) -> Result<Arc<Jwks>, KeysError> {
        let Some(held) = self.held.get(issuer) else { return Ok(Arc::default()) };
        let mut held = held.lock().await;
        if !held.is_to_ask(key, now) {
            return held.usable(now).ok_or(KeysError::Waiting);
        }
        held.asked_at = Some(now);
        match self.ask(&held.place).await {
            Ok(keys) => {
                let keys = Arc::new(keys);
                (held.keys, held.had_at) = (Some(keys.clone()), now);
                Ok(keys)
            }
            Err(error) => {
                tracing::warn!(issuer, error = &error as &dyn std::error::Error, "no new keys of a token issuer");
                held.usable(now).ok_or(error)
            }
        }
    }

    async fn ask(&self, place: &str) -> Result<Jwks, KeysError> {
        let unreachable = |reason: String| KeysError::Unreachable { place: place.to_owned(), reason };
        let text = if place.starts_with('/') {
            let size = tokio::fs::metadata(place).await.map_err(|error| unreachable(error.to_string()))?.len();
            if size > jwks::LARGEST as u64 {
                return Err(KeysError::Set { place: place.to_owned(), cause: JwksError::TooLarge });
            }
            tokio::fs::read(place).await.map_err(|error| unreachable(error.to_string()))?
        } else {
            let answer =
                self.client.get(place).send().await.map_err(|error| unreachable(outside::innermost(&error)))?;
            if answer.status() != StatusCode::OK {
                return Err(KeysError::Status { place: place.to_owned(), status: answer.status().as_u16() });
            }
            outside::body(answer, jwks::LARGEST).await.map_err(|error| match error {
                BodyError::Broken(reason) => unreachable(reason),
                BodyError::TooLarge(_) => KeysError::Set { place: place.to_owned(), cause: JwksError::TooLarge },
            })?
        };
        Jwks::parse(&text).map_err(|cause| KeysError::Set { place: place.to_owned(), cause })
    }
}

#[cfg(test)]
mod tests;

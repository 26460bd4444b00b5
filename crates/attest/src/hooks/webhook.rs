//! Signed webhooks in the format of Standard Webhooks (standardwebhooks.com, version 1): HMAC-SHA-256 over id, time and body.
//! Both ends: what is sent to us and what is sent to others.

use super::{HookError, LARGEST, Transition, in_time};
use crate::shown::shown;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use picket_model::Timestamp;
use ring::hmac;
use serde::Deserialize;
use std::{fmt, time::Duration};
use zeroize::Zeroizing;

/// The header with the message's id.
pub const ID: &str = "webhook-id";
/// The header with the time at which it was sent, in seconds since the Unix epoch.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// The header with its signatures.
pub const SIGNATURE: &str = "webhook-signature";
/// How long a message is good after it was sent, as the format recommends.
const LONGEST_AGE: Duration = Duration::from_mins(5);
/// Longest id and header of signatures, in characters.
const LONGEST_ID: usize = 128;
const LONGEST_SIGNATURE: usize = 1024;

/// The secret that both ends share.
pub struct Secret(hmac::Key);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl Secret {
    /// Reads a secret: `whsec_` and 24 to 64 bytes in base64, as the format has it.
    ///
    /// # Errors
    /// What to write; never what was written.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let encoded = text.trim();
        let encoded = encoded.strip_prefix("whsec_").unwrap_or(encoded);
        let bytes = STANDARD.decode(encoded).map(Zeroizing::new).ok().filter(|bytes| (24..=64).contains(&bytes.len()));
        let bytes = bytes.ok_or("no webhook secret: write `whsec_` and 24 to 64 random bytes in base64")?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The value of [`SIGNATURE`] for a message.
    pub fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> String {
        format!("v1,{}", STANDARD.encode(hmac::sign(&self.0, &signed(id, &seconds(at), body))))
    }

    /// Verifies a message by its three headers. A header may hold several signatures, while a secret is being replaced.
    ///
    /// # Errors
    /// A [`HookError`] that says what is wrong; the signature comes before the time.
    pub fn verify(&self, headers: Headers<'_>, body: &[u8], now: Timestamp) -> Result<(), HookError> {
        let Headers { id, timestamp, signature } = headers;
        if body.len() > LARGEST {
            return Err(HookError::TooLarge);
        }
        if !(1..=LONGEST_ID).contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(HookError::Field(ID));
        }
        if signature.len() > LONGEST_SIGNATURE {
            return Err(HookError::Field(SIGNATURE));
        }
        let message = signed(id, timestamp, body);
        let fits = |signature: &str| {
            let tag = signature.strip_prefix("v1,").and_then(|encoded| STANDARD.decode(encoded).ok());
            tag.is_some_and(|tag| hmac::verify(&self.0, &message, &tag).is_ok())
        };
        if !signature.split(' ').any(fits) {
            return Err(HookError::Signature);
        }
        let at = timestamp.parse::<i64>().ok().and_then(|seconds| seconds.checked_mul(1000));
        in_time(at.map(Timestamp::from_millis).ok_or(HookError::Field(TIMESTAMP))?, LONGEST_AGE, now)
    }
}

/// The three headers of a message.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    /// [`ID`].
    pub id: &'a str,
    /// [`TIMESTAMP`].
    pub timestamp: &'a str,
    /// [`SIGNATURE`].
    pub signature: &'a str,
}

/// The value of [`TIMESTAMP`].
pub fn seconds(at: Timestamp) -> String {
    at.as_millis().div_euclid(1000).to_string()
}

fn signed(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat()
}

/// What a webhook may say to us.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Which way the host goes.
    pub action: Transition,
    /// The host, by name or id.
    pub node: String,
}

impl Order {
    /// Reads a body.
    ///
    /// # Errors
    /// A [`HookError`] where it is not that.
    pub fn parse(body: &[u8]) -> Result<Self, HookError> {
        let order: Self = serde_json::from_slice(body).map_err(|error| HookError::Json(shown(&error.to_string())))?;
        let is_id = |text: &str| {
            (1..=63).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
        };
        if is_id(&order.node) { Ok(order) } else { Err(HookError::Field("node")) }
    }
}

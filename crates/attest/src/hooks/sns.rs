//! SNS messages as subscribers by HTTPS are sent them. A message is `Unverified` until a certificate of the topic's own region
//! has verified it; where that certificate may come from is decided here, fetching it is the caller's.

use super::{HookError, Notice, account, event::Event, in_time, is_region, lifecycle, object, plain, time};
use crate::{Certificate, shown::shown};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use picket_model::Timestamp;
use ring::signature::{RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Map, Value};
use std::{fmt, fmt::Write as _, str::FromStr, time::Duration};

/// A topic: `arn:aws:sns:REGION:ACCOUNT:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Topic {
    text: String,
    region: String,
}

impl Topic {
    /// Its region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Where SNS of its region is: nothing that a message says can change that.
    pub fn host(&self) -> String {
        let end = if self.region.starts_with("cn-") { ".cn" } else { "" };
        format!("sns.{}.amazonaws.com{end}", self.region)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Topic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{} is no topic: write arn:aws:sns:REGION:ACCOUNT:NAME", shown(text));
        let parts: Vec<&str> = text.split(':').collect();
        let ["arn", "aws" | "aws-cn" | "aws-us-gov", "sns", region, account, name] = parts.as_slice() else {
            return Err(wrong());
        };
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        // FIFO topics, which end in .fifo, have no subscribers by HTTPS.
        let is_name = (1..=256).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !(is_region(region) && is_account && is_name) {
            return Err(wrong());
        }
        Ok(Self { text: text.to_owned(), region: (*region).to_owned() })
    }
}

/// What a verified message is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Something happened to an instance.
    Notice(Box<Notice>),
    /// An autoscaling group tries whether its messages arrive.
    Test,
    /// SNS asks whether the subscription is wanted: so it is, if this address is asked for.
    Subscription {
        /// Path and query at the topic's [`host`](Topic::host).
        path: String,
    },
    /// The subscription has ended.
    Unsubscribed,
}

/// A message whose signature is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id, the same each time it is sent.
    pub id: String,
    /// When it was sent first.
    pub at: Timestamp,
    /// What it is for.
    pub purpose: Purpose,
}

/// A message whose signature nobody has looked at: it may say anything.
pub struct Unverified {
    map: Map<String, Value>,
    topic: Topic,
}

impl fmt::Debug for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unverified(hidden)")
    }
}

impl Unverified {
    /// Reads a message.
    ///
    /// # Errors
    /// A [`HookError`] where it is none, or names no topic.
    pub fn parse(body: &[u8]) -> Result<Self, HookError> {
        let map = object(body)?;
        let topic = plain(&map, "TopicArn")?.parse().map_err(|_| HookError::Field("TopicArn"))?;
        Ok(Self { map, topic })
    }

    /// The topic it claims to be of.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The path at the topic's [`host`](Topic::host) of the certificate that it claims to be signed with.
    ///
    /// # Errors
    /// [`HookError::Host`] where that would be anywhere else; SHA-1 is refused before anything is fetched.
    pub fn certificate_path(&self, sha1: bool) -> Result<String, HookError> {
        self.is_sha1(sha1)?;
        let (field, host) = ("SigningCertURL", self.topic.host());
        let url = plain(&self.map, field)?;
        let path = url.strip_prefix("https://").and_then(|rest| rest.strip_prefix(host.as_str()));
        let name = path.and_then(|path| path.strip_prefix("/SimpleNotificationService-")?.strip_suffix(".pem"));
        let is_name = |name: &&str| (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric());
        match (path, name.filter(is_name)) {
            (Some(path), Some(_)) => Ok(path.to_owned()),
            _ => Err(HookError::Host { field, found: shown(url), expected: host }),
        }
    }

    /// What it says, once this certificate has verified it and its time is right.
    ///
    /// # Errors
    /// A [`HookError`] that says what is wrong; the signature comes first.
    pub fn verify(
        &self,
        certificate: &Certificate,
        sha1: bool,
        longest: Duration,
        now: Timestamp,
    ) -> Result<Message, HookError> {
        let signature = self.map.get("Signature").and_then(Value::as_str).ok_or(HookError::Field("Signature"))?;
        let signature = STANDARD.decode(signature).map_err(|_| HookError::Signature)?;
        if now < certificate.valid.0 || now > certificate.valid.1 {
            return Err(HookError::Certificate);
        }
        let algorithm = if self.is_sha1(sha1)? {
            &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY
        } else {
            &RSA_PKCS1_2048_8192_SHA256
        };
        let signed = self.signed()?;
        let key = UnparsedPublicKey::new(algorithm, &certificate.key);
        key.verify(signed.as_bytes(), &signature).map_err(|_| HookError::Signature)?;
        let (id, at) = (plain(&self.map, "MessageId")?.to_owned(), time(&self.map, "Timestamp")?);
        in_time(at, longest, now)?;
        Ok(Message { id, at, purpose: self.purpose()? })
    }

    /// Whether it is signed with SHA-1, where that may be.
    fn is_sha1(&self, allowed: bool) -> Result<bool, HookError> {
        match plain(&self.map, "SignatureVersion")? {
            "2" => Ok(false),
            "1" if allowed => Ok(true),
            "1" => Err(HookError::Sha1),
            other => Err(HookError::Version(shown(other))),
        }
    }

    /// The text that is signed (SNS developer guide, "Verifying the signatures of Amazon SNS messages"): names and values in
    /// this order, each with a line's end.
    fn signed(&self) -> Result<String, HookError> {
        let (mut fields, last): (&[&'static str], _) = match self.kind()? {
            "Notification" => (&["Message", "MessageId", "Subject", "Timestamp", "TopicArn"], "Type"),
            _ => (&["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn"], "Type"),
        };
        let mut text = String::new();
        while let Some((field, rest)) = fields.split_first() {
            fields = rest;
            let value = match self.map.get(*field) {
                Some(Value::String(value)) => value,
                // A notification without a subject is signed without that line.
                None | Some(Value::Null) if *field == "Subject" => continue,
                _ => return Err(HookError::Field(field)),
            };
            let _ = write!(text, "{field}\n{value}\n");
        }
        let _ = write!(text, "{last}\n{}\n", self.kind()?);
        Ok(text)
    }

    fn kind(&self) -> Result<&str, HookError> {
        match plain(&self.map, "Type")? {
            kind @ ("Notification" | "SubscriptionConfirmation" | "UnsubscribeConfirmation") => Ok(kind),
            other => Err(HookError::Kind(shown(other))),
        }
    }

    fn purpose(&self) -> Result<Purpose, HookError> {
        match self.kind()? {
            "Notification" => self.notification(),
            "SubscriptionConfirmation" => {
                let (field, host) = ("SubscribeURL", self.topic.host());
                let url = self.map.get(field).and_then(Value::as_str).ok_or(HookError::Field(field))?;
                if !url.starts_with(&format!("https://{host}/?Action=ConfirmSubscription&")) {
                    return Err(HookError::Host { field, found: shown(url), expected: host });
                }
                let token = self.map.get("Token").and_then(Value::as_str).ok_or(HookError::Field("Token"))?;
                if !(1..=1024).contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                    return Err(HookError::Field("Token"));
                }
                // Written by us, so that nothing else of the URL counts. A topic has no character that needs escaping.
                Ok(Purpose::Subscription {
                    path: format!("/?Action=ConfirmSubscription&TopicArn={}&Token={token}", self.topic),
                })
            }
            _ => Ok(Purpose::Unsubscribed),
        }
    }

    /// A notification of an autoscaling group, or an EventBridge event that a rule sent to the topic.
    fn notification(&self) -> Result<Purpose, HookError> {
        let message = self.map.get("Message").and_then(Value::as_str).ok_or(HookError::Field("Message"))?;
        let map = object(message.as_bytes())?;
        if map.contains_key("detail-type") {
            return Ok(Purpose::Notice(Box::new(Event::of(&map)?.notice)));
        }
        if map.get("Event").and_then(Value::as_str) == Some("autoscaling:TEST_NOTIFICATION") {
            return Ok(Purpose::Test);
        }
        let account = account(&map, "AccountId")?;
        let what = format!("SNS notification of {}", plain(&map, "LifecycleTransition")?);
        Ok(Purpose::Notice(Box::new(lifecycle(&map, account, self.topic.region(), &what)?)))
    }
}

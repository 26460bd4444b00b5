//! Messages of clouds about their instances, read and verified: EventBridge, SNS, Pub/Sub, and the signed webhooks that anybody
//! can send. What is done about them is the controller's to decide; none of them ever admits anybody.

pub mod event;
pub mod pubsub;
pub mod sns;
pub mod webhook;

use crate::{identity::IdentityId, json, shown::shown, token::is_instance};
use picket_model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{fmt, time::Duration};
use thiserror::Error;

/// Largest message that is read, in bytes: SNS and EventBridge send at most 256 KiB, and a lifecycle notice has less than 2.
pub const LARGEST: usize = 32 << 10;
/// Longest name, token or id that is kept, in characters. The longest of AWS's is the name of a group, with 255.
const LONGEST: usize = 255;
/// How far the clocks of cloud and controller may be apart.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Which way an instance goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transition {
    /// It comes up, and its cloud may wait until it is ready.
    Launching,
    /// It comes up to be stopped, and serves another day: its cloud may wait until it is set up. No order of an operator's.
    #[serde(skip_deserializing)]
    Warming,
    /// It goes for good.
    Terminating,
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Launching => "launching",
            Self::Warming => "warming",
            Self::Terminating => "terminating",
        })
    }
}

/// A lifecycle action of an autoscaling group that waits for an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LifecycleAction {
    /// Region of the group.
    pub region: String,
    /// Name of the group.
    pub group: String,
    /// Name of the hook.
    pub hook: String,
    /// Which action of the hook it is.
    pub token: String,
    /// The instance.
    pub instance: String,
}

/// What a message says of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Where it goes.
    pub transition: Transition,
    /// AWS account or GCP project.
    pub account: String,
    /// AWS region or GCP zone.
    pub place: String,
    /// Autoscaling group, where the message names one.
    pub group: Option<String>,
    /// The instance's id.
    pub instance: String,
    /// Who it is among proven identities.
    pub identity: IdentityId,
    /// What the cloud waits for.
    pub action: Option<LifecycleAction>,
    /// What the cloud calls this kind of message, for the audit log.
    pub what: String,
}

/// Why a message is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HookError {
    /// Too large.
    #[error("the message has more than {LARGEST} bytes")]
    TooLarge,
    /// Not the JSON it should be.
    #[error("the message cannot be read: {0}")]
    Json(String),
    /// A field is missing or has another form.
    #[error("the message's field `{0}` is missing or has another form than it should")]
    Field(&'static str),
    /// A kind of message that is not taken.
    #[error("messages of kind {0} are not taken")]
    Kind(String),
    /// Too old.
    #[error("the message was made at {0}, which is too long ago")]
    TooOld(Timestamp),
    /// From the future.
    #[error("the message was made at {0}, which has not come; see whether the clocks are right")]
    NotYet(Timestamp),
    /// Not signed as it should be.
    #[error("the message's signature is wrong")]
    Signature,
    /// An older kind of signature.
    #[error(
        "the message is signed with SHA-1: set the topic's attribute SignatureVersion to 2, or write hooks.sns_sha1 = true"
    )]
    Sha1,
    /// Another kind of signature.
    #[error("the message's signature is of version {0}: 2 is taken")]
    Version(String),
    /// A certificate or an answer would come from somewhere else than the topic's own SNS.
    #[error("the message's {field} is {found}, and must be at https://{expected}/")]
    Host {
        /// Which field.
        field: &'static str,
        /// What it says.
        found: String,
        /// Where it must be.
        expected: String,
    },
    /// A certificate that is over, or not valid yet.
    #[error("the certificate that should have signed the message is not in date")]
    Certificate,
}

/// Refuses what is older than `longest` or from the future.
///
/// # Errors
/// [`HookError::TooOld`] or [`HookError::NotYet`].
pub fn in_time(at: Timestamp, longest: Duration, now: Timestamp) -> Result<(), HookError> {
    if at > now.plus(CLOCK_SKEW) {
        return Err(HookError::NotYet(at));
    }
    if now.since(at) > longest {
        return Err(HookError::TooOld(at));
    }
    Ok(())
}

/// One JSON object. Fields that are not asked for are let be: clouds add new ones.
fn object(body: &[u8]) -> Result<Map<String, Value>, HookError> {
    if body.len() > LARGEST {
        return Err(HookError::TooLarge);
    }
    json::object(body).map_err(HookError::Json)
}

/// A text that may be shown, stored and sent back as it is: visible ASCII and blanks.
fn plain<'a>(map: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, HookError> {
    let is_plain = |text: &&str| {
        (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
    };
    map.get(name).and_then(Value::as_str).filter(is_plain).ok_or(HookError::Field(name))
}

fn time(map: &Map<String, Value>, name: &'static str) -> Result<Timestamp, HookError> {
    plain(map, name)?.parse().map_err(|_| HookError::Field(name))
}

/// An AWS account: 12 digits.
fn account<'a>(map: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, HookError> {
    let is_account = |text: &&str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    Some(plain(map, name)?).filter(is_account).ok_or(HookError::Field(name))
}

/// Whether a text can be an AWS region, and so a part of a host's name.
pub fn is_region(text: &str) -> bool {
    (5..=32).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && text.contains('-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// The lifecycle action of an autoscaling group: the fields are the same in an event's `detail` and in a notification by SNS.
fn lifecycle(map: &Map<String, Value>, account: &str, region: &str, what: &str) -> Result<Notice, HookError> {
    // Groups that have a warm pool say where the instance goes: EC2 Auto Scaling User Guide, "Warm pool example events".
    let is_into_pool = map.get("Destination").and_then(Value::as_str) == Some("WarmPool");
    let transition = match plain(map, "LifecycleTransition")? {
        "autoscaling:EC2_INSTANCE_LAUNCHING" if is_into_pool => Transition::Warming,
        "autoscaling:EC2_INSTANCE_LAUNCHING" => Transition::Launching,
        "autoscaling:EC2_INSTANCE_TERMINATING" => Transition::Terminating,
        other => return Err(HookError::Kind(shown(other))),
    };
    let instance = plain(map, "EC2InstanceId")?;
    let group = plain(map, "AutoScalingGroupName")?;
    let action = LifecycleAction {
        region: region.to_owned(),
        group: group.to_owned(),
        hook: plain(map, "LifecycleHookName")?.to_owned(),
        token: plain(map, "LifecycleActionToken")?.to_owned(),
        instance: instance.to_owned(),
    };
    let notice = ec2(transition, account, region, instance, "EC2InstanceId", what)?;
    Ok(Notice { group: Some(group.to_owned()), action: Some(action), ..notice })
}

fn ec2(
    transition: Transition,
    account: &str,
    region: &str,
    instance: &str,
    field: &'static str,
    what: &str,
) -> Result<Notice, HookError> {
    let id = Some(instance).filter(|instance| is_instance(instance));
    let identity = id.and_then(|id| format!("aws/{account}/{id}").parse().ok()).ok_or(HookError::Field(field))?;
    Ok(Notice {
        transition,
        account: account.to_owned(),
        place: region.to_owned(),
        group: None,
        instance: instance.to_owned(),
        identity,
        action: None,
        what: what.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_neither_old_nor_from_the_future() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let check = |made: i64, expect: Result<(), HookError>| {
            assert_eq!(in_time(at(made), Duration::from_secs(300), at(10_000)), expect, "{made}");
        };
        check(10_000, Ok(()));
        check(9_700, Ok(()));
        check(9_699, Err(HookError::TooOld(at(9_699))));
        check(10_060, Ok(()));
        check(10_061, Err(HookError::NotYet(at(10_061))));
    }

    #[test]
    fn a_region_can_stand_in_a_hosts_name() {
        for good in ["eu-central-1", "us-gov-west-1", "cn-north-1", "ap-southeast-2"] {
            assert!(is_region(good), "{good}");
        }
        let long = format!("eu-{}", "a".repeat(40));
        for bad in [
            "",
            "eu",
            "eu.central.1",
            "eu-central-1.evil.example",
            "EU-central-1",
            "-eu-1",
            "eu-central-",
            "a/b-c",
            &long,
        ] {
            assert!(!is_region(bad), "{bad:?}");
        }
    }
}

//! EventBridge events, as an API destination is sent them. They bear no signature: who sends them is known by a secret in a
//! header, which is the caller's to compare.

use super::{HookError, Notice, Transition, account, ec2, is_region, lifecycle, object, plain, time};
use crate::shown::shown;
use picket_model::Timestamp;
use serde_json::{Map, Value};

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its id, the same each time it is sent.
    pub id: String,
    /// When it happened.
    pub at: Timestamp,
    /// What it says.
    pub notice: Notice,
}

impl Event {
    /// Reads an event of the three kinds that are of use here.
    ///
    /// # Errors
    /// A [`HookError`] for another kind, or fields that are not as AWS writes them.
    pub fn parse(body: &[u8]) -> Result<Self, HookError> {
        Self::of(&object(body)?)
    }

    pub(super) fn of(map: &Map<String, Value>) -> Result<Self, HookError> {
        let kind = plain(map, "detail-type")?;
        let (account, region) = (account(map, "account")?, plain(map, "region")?);
        if !is_region(region) {
            return Err(HookError::Field("region"));
        }
        let detail = map.get("detail").and_then(Value::as_object).ok_or(HookError::Field("detail"))?;
        let goes = match kind {
            "EC2 Instance-launch Lifecycle Action" => Some(false),
            "EC2 Instance-terminate Lifecycle Action" => Some(true),
            "EC2 Spot Instance Interruption Warning" => None,
            other => return Err(HookError::Kind(shown(other))),
        };
        let source = if goes.is_some() { "aws.autoscaling" } else { "aws.ec2" };
        if plain(map, "source")? != source {
            return Err(HookError::Field("source"));
        }
        let notice = match goes {
            Some(goes) => {
                let notice = lifecycle(detail, account, region, kind)?;
                if (notice.transition == Transition::Terminating) != goes {
                    return Err(HookError::Field("LifecycleTransition"));
                }
                notice
            }
            None => {
                let instance = plain(detail, "instance-id")?;
                // Hibernated or stopped, an instance comes back with its disk and its keys.
                if plain(detail, "instance-action")? != "terminate" {
                    return Err(HookError::Kind(format!("{kind} that do not terminate")));
                }
                ec2(Transition::Terminating, account, region, instance, "instance-id", kind)?
            }
        };
        Ok(Self { id: plain(map, "id")?.to_owned(), at: time(map, "time")?, notice })
    }
}

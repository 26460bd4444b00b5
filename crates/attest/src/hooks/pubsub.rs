//! Pub/Sub push messages that hold entries of a Cloud Audit Log: a Compute Engine instance was deleted, or preempted. Who sends
//! them is known by the OIDC token beside them, which `token` verifies.

use super::{HookError, Notice, Transition, object, plain, time};
use crate::shown::shown;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use picket_model::Timestamp;
use serde_json::{Map, Value};

/// The end of an instance by the name of Compute Engine's method (`protoPayload.methodName`), any version's.
const DELETE: &str = "compute.instances.delete";
/// An end only of instances that are made to be deleted then (`instanceTerminationAction`). The default is that they are
/// stopped, and may be started again with their id, their disk and their keys.
const PREEMPTED: &str = "compute.instances.preempted";

/// One push message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Its id, the same each time it is sent.
    pub id: String,
    /// When it was published.
    pub at: Timestamp,
    /// The subscription that sends it.
    pub subscription: String,
    /// Which instance has ended; `None` for an entry that speaks of no end, or of one that was refused.
    pub notice: Option<Notice>,
}

impl Push {
    /// Reads a message and the log entry within. `preempted`: whether instances that are preempted are deleted.
    ///
    /// # Errors
    /// A [`HookError`] where it is none.
    pub fn parse(body: &[u8], preempted: bool) -> Result<Self, HookError> {
        let map = object(body)?;
        let message = map.get("message").and_then(Value::as_object).ok_or(HookError::Field("message"))?;
        let data = message.get("data").and_then(Value::as_str).ok_or(HookError::Field("data"))?;
        let data = STANDARD.decode(data).map_err(|_| HookError::Field("data"))?;
        Ok(Self {
            id: plain(message, "messageId")?.to_owned(),
            at: time(message, "publishTime")?,
            subscription: plain(&map, "subscription")?.to_owned(),
            notice: entry(&object(&data)?, preempted)?,
        })
    }
}

/// What an entry of the log says (LogEntry of Cloud Logging with an AuditLog in it).
fn entry(entry: &Map<String, Value>, preempted: bool) -> Result<Option<Notice>, HookError> {
    let part = |name: &'static str| entry.get(name).and_then(Value::as_object).ok_or(HookError::Field(name));
    let payload = part("protoPayload")?;
    let method = plain(payload, "methodName")?;
    // beta.compute.instances.delete, v1.compute.instances.delete, compute.instances.preempted
    let is = |end: &str| method.strip_suffix(end).is_some_and(|version| version.is_empty() || version.ends_with('.'));
    if !(is(DELETE) || preempted && is(PREEMPTED)) {
        return Ok(None);
    }
    if plain(payload, "serviceName")? != "compute.googleapis.com" {
        return Err(HookError::Field("serviceName"));
    }
    // A request that was refused, or did not work, is logged too, and ends nothing.
    let code = payload.get("status").and_then(|status| status.get("code"));
    if code.is_some_and(|code| code.as_i64() != Some(0)) {
        return Ok(None);
    }
    let resource = part("resource")?;
    if plain(resource, "type")? != "gce_instance" {
        return Err(HookError::Kind(shown(plain(resource, "type")?)));
    }
    let labels = resource.get("labels").and_then(Value::as_object).ok_or(HookError::Field("labels"))?;
    let (project, instance) = (plain(labels, "project_id")?, plain(labels, "instance_id")?);
    let place = plain(labels, "zone")?;
    if !instance.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(HookError::Field("instance_id"));
    }
    let identity = format!("gcp/{project}/{instance}").parse().map_err(|_| HookError::Field("project_id"))?;
    Ok(Some(Notice {
        transition: Transition::Terminating,
        account: project.to_owned(),
        place: place.to_owned(),
        group: None,
        instance: instance.to_owned(),
        identity,
        action: None,
        what: format!("audit log entry {method}"),
    }))
}

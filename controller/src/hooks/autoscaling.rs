//! EC2 Auto Scaling, as far as lifecycle actions go: its query API.

use super::CredentialSource;
use crate::{now, store::Outcome};
use picket_attest::hooks::LifecycleAction;
use picket_aws::{Request, Scope, sign, xml::element};
use picket_proofs::outside::{body, innermost};
use reqwest::Url;
use std::time::SystemTime;
use thiserror::Error;

/// The version of the API: there is one.
const VERSION: &str = "2011-01-01";
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
const LARGEST: usize = 256 << 10;

/// Why Auto Scaling did not do what it was asked.
#[derive(Debug, Error)]
pub enum CallError {
    /// There are no credentials to ask with.
    #[error("no AWS credentials: {0}")]
    Credentials(String),
    /// It could not be asked.
    #[error("ask {place}: {reason}")]
    Unreachable {
        /// Where.
        place: String,
        /// Why.
        reason: String,
    },
    /// It refused.
    #[error("Auto Scaling answers HTTP {status}, {code}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its code, as `ValidationError`.
        code: String,
        /// Its words.
        message: String,
    },
}

impl CallError {
    /// Whether asking again can change nothing: the action is over, or never was.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "ValidationError")
    }

    /// Whether it may have done what it was asked all the same.
    pub(super) fn may_have_worked(&self) -> bool {
        match self {
            Self::Credentials(_) => false,
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => *status >= 500,
        }
    }
}

/// A client of Auto Scaling in all regions.
#[derive(Debug)]
pub struct Autoscaling {
    client: reqwest::Client,
    credentials: CredentialSource,
    url: Option<Url>,
}

impl Autoscaling {
    /// Asks each region's own address, or always this one.
    pub fn new(client: reqwest::Client, credentials: CredentialSource, url: Option<Url>) -> Self {
        Self { client, credentials, url }
    }

    /// Answers a lifecycle action.
    pub(super) async fn complete(&self, action: &LifecycleAction, outcome: Outcome) -> Result<(), CallError> {
        let mut fields = fields(action);
        fields.push(("LifecycleActionResult", outcome.as_str()));
        self.call(&action.region, "CompleteLifecycleAction", &fields).await.map(drop)
    }

    /// Has the action wait once more as long as its hook says.
    pub(super) async fn heartbeat(&self, action: &LifecycleAction) -> Result<(), CallError> {
        self.call(&action.region, "RecordLifecycleActionHeartbeat", &fields(action)).await.map(drop)
    }

    /// Calls any action of the API; its answer is XML.
    ///
    /// # Errors
    /// A [`CallError`].
    pub async fn call(&self, region: &str, action: &str, fields: &[(&str, &str)]) -> Result<String, CallError> {
        let end = if region.starts_with("cn-") { ".cn" } else { "" };
        let place = self
            .url
            .as_ref()
            .map_or_else(|| format!("https://autoscaling.{region}.amazonaws.com{end}/"), ToString::to_string);
        let unreachable = |reason: String| CallError::Unreachable { place: place.clone(), reason };
        let form =
            Url::parse_with_params("http://form/", [("Action", action), ("Version", VERSION)].iter().chain(fields));
        let form = form.map_err(|error| unreachable(error.to_string()))?;
        let form = form.query().unwrap_or_default().as_bytes();

        let at = now();
        let credentials = self.credentials.get(at).await.map_err(CallError::Credentials)?;
        let request = Request { method: "POST", url: &place, content_type: FORM, body: form };
        let scope = Scope { service: "autoscaling", region };
        let headers =
            sign(&request, scope, credentials, SystemTime::now()).map_err(|error| unreachable(error.to_string()))?;
        let mut request = self.client.post(&place).body(form.to_vec());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = request.send().await.map_err(|error| unreachable(innermost(&error)))?;
        let status = response.status();
        let text = body(response, LARGEST).await.map_err(|error| unreachable(error.to_string()))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        if status.is_success() {
            return Ok(text);
        }
        let words = |tag: &str| element(&text, tag).unwrap_or("none").chars().take(200).collect::<String>();
        let [code, message] = ["Code", "Message"].map(|tag| words(tag).escape_debug().to_string());
        Err(CallError::Refused { status: status.as_u16(), code, message })
    }
}

fn fields(action: &LifecycleAction) -> Vec<(&'static str, &str)> {
    vec![
        ("AutoScalingGroupName", action.group.as_str()),
        ("LifecycleHookName", &action.hook),
        ("LifecycleActionToken", &action.token),
        ("InstanceId", &action.instance),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errors_words_are_found_and_tell_whether_to_ask_again() {
        let xml = "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>No active Lifecycle \
                   Action found with token x</Message></Error><RequestId>1</RequestId></ErrorResponse>";
        assert_eq!(element(xml, "Code"), Some("ValidationError"));
        assert!(element(xml, "Message").unwrap().starts_with("No active"));
        let refused = |code: &str| CallError::Refused { status: 400, code: code.into(), message: String::new() };
        assert!(refused("ValidationError").is_final());
        assert!(!refused("Throttling").is_final() && !refused("AccessDenied").is_final());
        assert!(!CallError::Credentials(String::new()).is_final());
        assert!(!refused("Throttling").may_have_worked() && !CallError::Credentials(String::new()).may_have_worked());
        let broken = CallError::Refused { status: 503, code: "InternalFailure".into(), message: String::new() };
        assert!(broken.may_have_worked() && !broken.is_final());
    }
}

//! AWS credentials of the controller: from its environment, else of its instance's role by the metadata service (IMDSv2 only).
//! Absent, hooks revoke all the same.

use anyhow::Context as _;
use picket_aws::Credentials;
use picket_model::Timestamp;
use picket_proofs::outside::{body, innermost};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use std::{
    fmt,
    time::{Duration, SystemTime},
};
use tokio::sync::Mutex;

/// Got anew so long before their end: AWS has new ones five minutes before.
const BEFORE_END: Duration = Duration::from_mins(4);
/// The metadata service answers at once, or there is none.
const PATIENCE: Duration = Duration::from_secs(2);
const LARGEST: usize = 16 << 10;
const ROLES: &str = "latest/meta-data/iam/security-credentials/";

/// Where credentials come from.
pub struct CredentialSource {
    client: reqwest::Client,
    metadata: Url,
    environment: Option<Credentials>,
    held: Mutex<Option<(Credentials, Timestamp)>>,
}

impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialSource(hidden)")
    }
}

/// What the metadata service says of a role (EC2 user guide, "Retrieve security credentials from instance metadata").
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RoleLines {
    access_key_id: String,
    secret_access_key: String,
    token: String,
    expiration: String,
}

impl CredentialSource {
    /// From this process's environment, else from this metadata service.
    ///
    /// # Errors
    /// Where its address is none.
    pub fn new(client: reqwest::Client, metadata: &str) -> anyhow::Result<Self> {
        let environment = from_environment(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        let metadata = metadata.parse().with_context(|| format!("read the metadata service's address {metadata:?}"))?;
        Ok(Self { client, metadata, environment, held: Mutex::default() })
    }

    /// Credentials that are good now.
    pub(crate) async fn get(&self, now: Timestamp) -> Result<Credentials, String> {
        if let Some(credentials) = &self.environment {
            return Ok(credentials.clone());
        }
        let mut held = self.held.lock().await;
        if let Some((credentials, end)) = held.as_ref()
            && now.plus(BEFORE_END) < *end
        {
            return Ok(credentials.clone());
        }
        let (credentials, end) = self.of_role().await.map_err(|error| {
            format!(
                "no AWS_ACCESS_KEY_ID in the environment, and none of an instance's role at {}: {error}",
                self.metadata
            )
        })?;
        *held = Some((credentials.clone(), end));
        Ok(credentials)
    }

    async fn of_role(&self) -> Result<(Credentials, Timestamp), String> {
        let place = |path: &str| self.metadata.join(path).map_err(|error| error.to_string());
        let session = self.client.put(place("latest/api/token")?).header("x-aws-ec2-metadata-token-ttl-seconds", "60");
        let session = text(session).await?;
        let get = async |path: &str| {
            text(self.client.get(place(path)?).header("x-aws-ec2-metadata-token", session.trim())).await
        };
        let roles = get(ROLES).await?;
        let role = roles.lines().next().unwrap_or_default().trim();
        let is_name = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
        if role.is_empty() || !role.chars().all(is_name) {
            return Err("the instance has no role".to_owned());
        }
        let lines = get(&format!("{ROLES}{role}")).await?;
        // What it holds is never shown, not even where it cannot be read.
        let lines: RoleLines = serde_json::from_str(&lines).map_err(|_| "the role's credentials cannot be read")?;
        let end: Timestamp = lines.expiration.parse().map_err(|_| "the role's credentials name no end")?;
        let RoleLines { access_key_id, secret_access_key, token, .. } = lines;
        let token = (!token.is_empty()).then_some(token);
        Ok((Credentials::new(access_key_id, secret_access_key, token, None::<SystemTime>, "instance role"), end))
    }
}

fn from_environment(value: impl Fn(&str) -> Option<String>) -> Option<Credentials> {
    let (id, secret) = (value("AWS_ACCESS_KEY_ID")?, value("AWS_SECRET_ACCESS_KEY")?);
    Some(Credentials::new(id, secret, value("AWS_SESSION_TOKEN"), None::<SystemTime>, "environment"))
}

async fn text(request: reqwest::RequestBuilder) -> Result<String, String> {
    let response = request.timeout(PATIENCE).send().await.map_err(|error| innermost(&error))?;
    match response.status() {
        StatusCode::OK => String::from_utf8(body(response, LARGEST).await.map_err(|error| error.to_string())?)
            .map_err(|_| "the answer is no text".to_owned()),
        status => Err(format!("HTTP {}", status.as_u16())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_has_both_halves_or_none() {
        let of = |pairs: &[(&str, &str)]| {
            from_environment(|name| {
                pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(of(&[("AWS_ACCESS_KEY_ID", "AKID")]).is_none());
        assert!(of(&[("AWS_SECRET_ACCESS_KEY", "s")]).is_none());
        let both = of(&[("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", "s")]).unwrap();
        assert_eq!((both.access_key_id(), both.session_token()), ("AKID", None));
        let session =
            [("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", "hidden-one"), ("AWS_SESSION_TOKEN", "t")];
        let session = of(&session).unwrap();
        assert_eq!(session.session_token(), Some("t"));
        assert!(!format!("{session:?}").contains("hidden-one"));
    }
}

//! What the claims of a verified token say of a host: AWS STS, GCP, and any other OIDC issuer.

use crate::{
    identity::{Identity, Kind},
    jwks::Jwks,
    jwt::{Claims, JwtError, Unverified, seconds},
    shown::shown,
};
use picket_model::Timestamp;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use thiserror::Error;

/// Where AWS STS puts its own claims (IAM user guide, "Understanding token claims").
const STS: &str = "https://sts.amazonaws.com/";

/// An issuer whose tokens are believed, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// What its tokens prove.
    pub kind: Kind,
    /// `iss` of its tokens: a URL, compared as text.
    pub url: String,
    /// For AWS STS: the only account it may speak for. Each account has an issuer of its own.
    pub account: Option<String>,
}

/// Why a token proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Not a good token.
    #[error(transparent)]
    Token(#[from] JwtError),
    /// A claim that this kind of token has is missing or not as it should be.
    #[error("the token has no usable claim `{claim}`: {remedy}")]
    Claim {
        /// Which.
        claim: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// AWS: another account than the issuer's.
    #[error("the token is of AWS account {found}, and its issuer is that of account {expected}")]
    Account {
        /// In the token.
        found: String,
        /// By configuration.
        expected: String,
    },
}

/// Who a token says its host is, once key, issuer, audience and times are right.
///
/// # Errors
/// A [`TokenError`] that says what is wrong.
pub fn identify(
    issuer: &Issuer,
    token: Unverified<'_>,
    keys: &Jwks,
    audience: &str,
    now: Timestamp,
) -> Result<Identity, TokenError> {
    let claims = token.verify(keys, &issuer.url, audience, now)?;
    let (issued_at, expires_at) = (claims.time("iat")?, claims.time("exp")?);
    let identity = Identity {
        kind: issuer.kind,
        account: String::new(),
        instance: String::new(),
        region: None,
        zone: None,
        image: None,
        instance_name: None,
        tags: BTreeMap::new(),
        claims: Map::new(),
        launched_at: None,
        issued_at: Some(issued_at),
        expires_at: Some(expires_at),
    };
    let identity = match issuer.kind {
        Kind::AwsSts => sts(identity, &claims, issuer)?,
        Kind::Gcp => gcp(identity, &claims)?,
        Kind::Oidc | Kind::AwsDocument => {
            Identity { account: issuer.url.clone(), instance: claims.text("sub")?.to_owned(), ..identity }
        }
    };
    Ok(Identity { claims: claims.0, ..identity })
}

/// An EC2 instance, by the ARN that STS gives for whose credentials asked. Request tags are not looked at: the host itself
/// chooses them.
fn sts(identity: Identity, claims: &Claims, issuer: &Issuer) -> Result<Identity, TokenError> {
    let wrong = |claim, remedy| TokenError::Claim { claim, remedy };
    let own = claims.0.get(STS).and_then(Value::as_object);
    let own = own.ok_or_else(|| wrong(STS, "ask for it with sts:GetWebIdentityToken"))?;
    let text = |name: &str| own.get(name).and_then(Value::as_str);
    let account = text("aws_account").ok_or_else(|| wrong("aws_account", "ask for it with sts:GetWebIdentityToken"))?;
    if issuer.account.as_deref() != Some(account) {
        let expected = issuer.account.clone().unwrap_or_else(|| "none".to_owned());
        return Err(TokenError::Account { found: shown(account), expected });
    }
    let not_ec2 = || wrong("ec2_source_instance_arn", "ask for it on an EC2 instance, with the instance's own role");
    let arn = text("ec2_source_instance_arn").ok_or_else(not_ec2)?;
    // arn:aws:ec2:REGION:ACCOUNT:instance/ID
    let parts: Vec<&str> = arn.split(':').collect();
    let [_, _, "ec2", region, owner, resource] = parts.as_slice() else { return Err(not_ec2()) };
    let instance = resource.strip_prefix("instance/").filter(|id| is_instance(id)).ok_or_else(not_ec2)?;
    if *owner != account {
        return Err(TokenError::Account { found: shown(owner), expected: account.to_owned() });
    }
    let tags = own.get("principal_tags").and_then(Value::as_object).into_iter().flatten();
    let tags = tags.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
    let (account, instance, region) = (account.to_owned(), instance.to_owned(), Some((*region).to_owned()));
    Ok(Identity { account, instance, region, tags, ..identity })
}

/// A Compute Engine instance; only tokens in full format name it.
fn gcp(identity: Identity, claims: &Claims) -> Result<Identity, TokenError> {
    let wrong = |claim| TokenError::Claim { claim, remedy: "ask the metadata server for it with format=full" };
    let engine = claims.0.get("google").and_then(|google| google.get("compute_engine"));
    let engine = engine.and_then(Value::as_object).ok_or_else(|| wrong("google.compute_engine"))?;
    let text = |name: &'static str| engine.get(name).and_then(Value::as_str).ok_or_else(|| wrong(name));
    let is_plain = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || more.contains(c))
    };
    let project = text("project_id").ok().filter(|id| is_plain(id, "-.:")).ok_or_else(|| wrong("project_id"))?;
    let instance = text("instance_id")?;
    if instance.is_empty() || !instance.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong("instance_id"));
    }
    let zone = text("zone").ok().filter(|zone| is_plain(zone, "-")).ok_or_else(|| wrong("zone"))?;
    // us-central1-c is a zone of us-central1.
    let region = zone.rsplit_once('-').map(|(region, _)| region.to_owned());
    let launched_at = engine.get("instance_creation_timestamp").and_then(seconds);
    Ok(Identity {
        account: project.to_owned(),
        instance: instance.to_owned(),
        region,
        zone: Some(zone.to_owned()),
        instance_name: text("instance_name").ok().map(str::to_owned),
        launched_at: Some(launched_at.ok_or_else(|| wrong("instance_creation_timestamp"))?),
        ..identity
    })
}

/// Whether a text is an EC2 instance's id: `i-` and hexadecimal digits, 8 in the old form and 17 in the new.
pub(crate) fn is_instance(text: &str) -> bool {
    let digits = text.strip_prefix("i-").unwrap_or_default();
    (8..=32).contains(&digits.len()) && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

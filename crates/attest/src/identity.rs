//! Who a proof says a host is.

use picket_model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt, str::FromStr};
use thiserror::Error;

/// Kinds of proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The AWS instance identity document with its signature. Whoever has a copy can show it: it names no keys.
    AwsDocument,
    /// A token of `sts:GetWebIdentityToken`, asked for on an EC2 instance.
    AwsSts,
    /// The identity token of GCP's metadata server, in full format.
    Gcp,
    /// A token of any other OIDC issuer.
    Oidc,
}

impl Kind {
    /// Whether the proof names the keys it admits, so that a copy of it is of no use with other keys.
    pub const fn names_the_keys(self) -> bool {
        !matches!(self, Self::AwsDocument)
    }

    /// Whether the proof tells when the instance was launched.
    pub const fn tells_the_launch(self) -> bool {
        matches!(self, Self::AwsDocument | Self::Gcp)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AwsDocument => "aws-document",
            Self::AwsSts => "aws-sts",
            Self::Gcp => "gcp",
            Self::Oidc => "oidc",
        })
    }
}

/// What a verified proof says. Only what is signed is here.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Which kind of proof said it.
    pub kind: Kind,
    /// AWS account, GCP project, or the URL of an OIDC issuer.
    pub account: String,
    /// The instance within the account; for OIDC the subject.
    pub instance: String,
    /// Cloud region.
    pub region: Option<String>,
    /// Availability zone.
    pub zone: Option<String>,
    /// Machine image, where the proof tells it (AWS documents).
    pub image: Option<String>,
    /// What the cloud calls the instance (GCP); instances of a managed group are called after the group.
    pub instance_name: Option<String>,
    /// Tags that the account's administrators gave: principal tags of AWS tokens. Not those the host itself asks for.
    pub tags: BTreeMap<String, String>,
    /// All claims of a token.
    pub claims: Map<String, Value>,
    /// When the instance was launched, where the proof tells it.
    pub launched_at: Option<Timestamp>,
    /// When a token was made.
    pub issued_at: Option<Timestamp>,
    /// When a token's time is over.
    pub expires_at: Option<Timestamp>,
}

impl Identity {
    /// What it is remembered by: the same for every proof of one instance.
    ///
    /// # Errors
    /// An [`IdentityIdError`] for a subject that could not be shown or stored as it is.
    pub fn id(&self) -> Result<IdentityId, IdentityIdError> {
        match self.kind {
            Kind::AwsDocument | Kind::AwsSts => format!("aws/{}/{}", self.account, self.instance),
            Kind::Gcp => format!("gcp/{}/{}", self.account, self.instance),
            // Issuers have no '#', so that no two pairs have one text.
            Kind::Oidc => format!("oidc/{}#{}", self.account, self.instance),
        }
        .parse()
    }
}

/// Longest text of an identity.
const LONGEST_ID: usize = 400;

/// One instance or subject, whatever proof it shows: `aws/ACCOUNT/INSTANCE`, `gcp/PROJECT/INSTANCE`,
/// `oidc/ISSUER#SUBJECT`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityId(String);

/// The text is not an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "an identity is written aws/ACCOUNT/INSTANCE, gcp/PROJECT/INSTANCE or oidc/ISSUER#SUBJECT, in at most 400 visible \
     ASCII characters"
)]
pub struct IdentityIdError;

impl IdentityId {
    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdentityId {
    type Err = IdentityIdError;

    fn from_str(text: &str) -> Result<Self, IdentityIdError> {
        let is_whole = |rest: &str, between: char| {
            rest.split_once(between).is_some_and(|(account, instance)| !account.is_empty() && !instance.is_empty())
        };
        let known = match text.split_once('/') {
            Some(("aws" | "gcp", rest)) => is_whole(rest, '/'),
            Some(("oidc", rest)) => is_whole(rest, '#'),
            _ => false,
        };
        let shows = text.len() <= LONGEST_ID && text.bytes().all(|byte| byte.is_ascii_graphic());
        if known && shows { Ok(Self(text.to_owned())) } else { Err(IdentityIdError) }
    }
}

impl fmt::Display for IdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_have_one_text_and_nothing_to_escape() {
        for good in ["aws/123456789012/i-0abc", "gcp/my-project/4570452845155348778", "oidc/https://a.example/x#sub/1"]
        {
            assert_eq!(good.parse::<IdentityId>().unwrap().to_string(), good);
        }
        let long = format!("oidc/https://a.example#{}", "a".repeat(400));
        for bad in [
            "",
            "aws",
            "aws/1",
            "aws//i",
            "aws/1/",
            "gcp/p",
            "azure/a/b",
            "oidc/https://a/b",
            "aws/1/i 2",
            "aws/1/ü",
            &long,
        ] {
            assert!(bad.parse::<IdentityId>().is_err(), "{bad:?}");
        }
    }
}

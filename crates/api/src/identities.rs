//! What operators see of identities that were vouched for, and what they order about them.

use picket_model::{NodeId, NodeName, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One identity, in the answer of `GET /v1/identities`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IdentityView {
    /// `aws/ACCOUNT/INSTANCE`, `gcp/PROJECT/INSTANCE` or `oidc/ISSUER#SUBJECT`.
    pub identity: String,
    /// The host that came in with it; `None` where it was only forbidden.
    pub host: Option<IdentityHost>,
    /// When that was.
    pub bound_at: Option<Timestamp>,
    /// Since when it may not join.
    pub forbidden_at: Option<Timestamp>,
    /// How often it was refused since: shown with other keys, or though it is forbidden.
    pub refused: u32,
    /// When last.
    pub refused_at: Option<Timestamp>,
}

/// The host that came in with an identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IdentityHost {
    /// Its id.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Whether it is still a member.
    pub member: bool,
}

/// Body of `POST /v1/identities/forget`: the identity may join anew, with other keys. The answer is the identity as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgetIdentity {
    /// Which.
    #[schemars(length(max = 400), regex(pattern = "^(aws|gcp|oidc)/"))]
    pub identity: String,
    /// Forget one that is forbidden too.
    #[serde(default)]
    pub forbidden: bool,
}

/// Body of `POST /v1/identities/forbid`: the identity may never join, seen before or not. The answer is the identity as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForbidIdentity {
    /// Which.
    #[schemars(length(max = 400), regex(pattern = "^(aws|gcp|oidc)/"))]
    pub identity: String,
}

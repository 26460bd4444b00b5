//! Errors on the wire: `application/problem+json` (RFC 9457) with a stable `type`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Media type of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// What went wrong, for programs. The text on the wire never changes once released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// The request could not be read.
    BadRequest,
    /// No or wrong credentials.
    Unauthorized,
    /// Known, and not allowed to do this.
    Forbidden,
    /// No such thing.
    NotFound,
    /// The join token is not known.
    TokenUnknown,
    /// The join token's time is over.
    TokenExpired,
    /// The join token has been used as often as it may.
    TokenUsed,
    /// The join token is for the other role.
    TokenRole,
    /// The proof of identity is not good: signature, keys, issuer, audience or time.
    ProofRefused,
    /// The proof is good, and no rule of this mesh admits it.
    ProofDenied,
    /// The identity came in before, with other keys.
    IdentityBound,
    /// The identity may not join this mesh.
    IdentityForbidden,
    /// The join token was revoked.
    TokenRevoked,
    /// The join token is for hosts of other names.
    TokenName,
    /// The join token is for hosts elsewhere.
    TokenSource,
    /// Another host has this key.
    KeyTaken,
    /// A member elsewhere has this machine id: a cloned image.
    MachineTaken,
    /// Too many requests from one source; try again later.
    TooManyRequests,
    /// Another host has this name.
    NameTaken,
    /// This host has been revoked.
    NodeRevoked,
    /// Somebody else changed the same thing first.
    Conflict,
    /// The request was carried out before, and the controller ended before its answer was kept.
    AnswerLost,
    /// The controller cannot do it now.
    Unavailable,
    /// A fault of the controller; its log says more.
    Internal,
    /// A kind this program does not know yet.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}

impl ProblemKind {
    /// As on the wire, and in labels of metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::TokenUnknown => "token-unknown",
            Self::TokenExpired => "token-expired",
            Self::TokenUsed => "token-used",
            Self::TokenRole => "token-role",
            Self::ProofRefused => "proof-refused",
            Self::ProofDenied => "proof-denied",
            Self::IdentityBound => "identity-bound",
            Self::IdentityForbidden => "identity-forbidden",
            Self::TokenRevoked => "token-revoked",
            Self::TokenName => "token-name",
            Self::TokenSource => "token-source",
            Self::KeyTaken => "key-taken",
            Self::MachineTaken => "machine-taken",
            Self::TooManyRequests => "too-many-requests",
            Self::NameTaken => "name-taken",
            Self::NodeRevoked => "node-revoked",
            Self::Conflict => "conflict",
            Self::AnswerLost => "answer-lost",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
            Self::Unknown => "unknown",
        }
    }

    /// The HTTP status that goes with it.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized | Self::TokenUnknown | Self::TokenExpired | Self::TokenUsed | Self::TokenRevoked => 401,
            Self::ProofRefused => 401,
            Self::ProofDenied | Self::IdentityForbidden => 403,
            Self::Forbidden | Self::TokenRole | Self::TokenName | Self::TokenSource => 403,
            Self::NotFound => 404,
            Self::IdentityBound | Self::KeyTaken | Self::MachineTaken | Self::NameTaken | Self::Conflict => 409,
            Self::AnswerLost => 409,
            Self::NodeRevoked => 410,
            Self::TooManyRequests => 429,
            Self::Unavailable => 503,
            Self::Internal | Self::Unknown => 500,
        }
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// What went wrong, for programs.
    #[serde(rename = "type")]
    pub kind: ProblemKind,
    /// HTTP status.
    pub status: u16,
    /// What was attempted, on what, and what to do; for people.
    pub detail: String,
}

impl Problem {
    /// A problem with the status that goes with its kind.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, status: kind.status(), detail: detail.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

//! Errors on the wire: `application/problem+json` (RFC 9457) with a stable `type`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Media type of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// What went wrong, for programs. The text on the wire never changes once released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// Another host has this key.
    KeyTaken,
    /// Another host has this name.
    NameTaken,
    /// This host has been revoked.
    NodeRevoked,
    /// Somebody else changed the same thing first.
    Conflict,
    /// The controller cannot do it now.
    Unavailable,
    /// A fault of the controller; its log says more.
    Internal,
    /// A kind this program does not know yet.
    #[serde(other)]
    Unknown,
}

impl ProblemKind {
    /// The HTTP status that goes with it.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized | Self::TokenUnknown | Self::TokenExpired | Self::TokenUsed => 401,
            Self::ProofRefused => 401,
            Self::ProofDenied | Self::IdentityForbidden => 403,
            Self::Forbidden | Self::TokenRole => 403,
            Self::NotFound => 404,
            Self::IdentityBound => 409,
            Self::KeyTaken | Self::NameTaken | Self::Conflict => 409,
            Self::NodeRevoked => 410,
            Self::Unavailable => 503,
            Self::Internal | Self::Unknown => 500,
        }
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

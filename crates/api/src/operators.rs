//! Who may ask, and the log of what they did: `GET|POST /v1/operators`, `POST /v1/operators/{id}/revoke`, `GET /v1/events` and
//! `GET /v1/events/verify`.

use picket_model::{Timestamp, TokenId};
use picket_pki::{Fingerprint, OperatorRole};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Header in which a request that changes something says why, in UTF-8, one line of at most 200 characters.
pub const REASON: &str = "picket-reason";

/// Header that names a request, chosen by whoever asks: repeated under the same name within a day, a request that changes something
/// is carried out once and gets the same answer. 1 to 64 letters, digits, '-', '_', '.'.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Makes an operator's token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateOperator {
    /// What they may do.
    pub role: OperatorRole,
    /// How long the token is good for, in seconds; until it is revoked where absent.
    #[serde(default)]
    #[schemars(range(min = 60, max = 31_622_400))]
    pub expires_seconds: Option<u64>,
    /// Whose it is, for people.
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub comment: String,
}

/// An operator's token, shown once.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct OperatorCreated {
    /// Who it is, without the secret.
    pub operator: OperatorView,
    /// The whole token, secret included: `picket-op1.<id>.<secret>`.
    pub token: String,
    /// The CA by which the controller is known.
    #[schemars(with = "String")]
    pub ca_fingerprint: Fingerprint,
}

impl std::fmt::Debug for OperatorCreated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OperatorCreated({})", self.operator.id)
    }
}

/// An operator as kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperatorView {
    /// The public half of the token: who it is in the audit log.
    pub id: TokenId,
    /// What they may do.
    pub role: OperatorRole,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// The operator who made it; `None` for one made on the controller's host.
    pub made_by: Option<TokenId>,
    /// Whose it is, for people.
    pub comment: String,
}

/// Query of `GET /v1/events`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct EventsQuery {
    /// Only lines before this one.
    pub before: Option<i64>,
    /// At most so many, 1 to 1000; 200 where absent.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<usize>,
}

/// Whether the audit log is as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogVerdict {
    /// Lines that are.
    pub lines: u64,
    /// Number of the last of them; zero for none.
    pub last: i64,
    /// Its hash: a log that was written anew from some line on has another one.
    pub head: String,
    /// The first line that is not; `None` where all are.
    pub broken: Option<LogBreak>,
}

/// A line of the log that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogBreak {
    /// Its number.
    pub line: i64,
    /// What is wrong.
    pub text: String,
}

//! What a person orders about the validator list, besides the policy.

use crate::{Timestamp, TokenId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Orders in force. Neither makes a list believable that is empty or far too long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Orders {
    /// The one held change that may go through.
    pub approved: Option<Approval>,
    /// Nothing of the list may change the set.
    pub hold: Option<HoldOrder>,
}

/// Lets exactly one held change of the validator list through; of no use for any other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Approval {
    /// Digest of the change, as the hold names it.
    pub digest: String,
    /// Who.
    pub by: TokenId,
    /// When.
    pub at: Timestamp,
}

/// Freezes the validator set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HoldOrder {
    /// Why, for people.
    pub comment: String,
    /// Who.
    pub by: TokenId,
    /// When.
    pub at: Timestamp,
    /// When it ends by itself; never where absent.
    pub until: Option<Timestamp>,
}

impl HoldOrder {
    /// Whether it is in force.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

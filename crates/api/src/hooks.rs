//! Answers of `POST /v1/hooks/{aws,gcp,generic}`. What arrives there has the form of the cloud that sends it (`picket_attest::hooks`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookAnswer {
    /// For people: taken, taken before, or that it asks for nothing.
    pub message: String,
}

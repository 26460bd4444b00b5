//! What an enrolled host asks and tells: `GET /v1/node/config?after=R`, `PUT /v1/node/report`.
//! The body of the report is `picket_model::NodeReport`.

use picket_model::{Digest, Generation, NodeConfig};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Longest time the controller lets a poll wait before it answers 204, "nothing newer".
pub const LONGEST_POLL: Duration = Duration::from_secs(50);

/// The query of a long poll.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ConfigQuery {
    /// The revision the host holds; zero for none. Answered when there is a newer one.
    pub after: Generation,
}

/// A newer wanted state. The host compares the digest with what it then holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigAnswer {
    /// Revision of the content.
    pub revision: Generation,
    /// Digest of the content.
    pub digest: Digest,
    /// The whole wanted state.
    pub full: NodeConfig,
}

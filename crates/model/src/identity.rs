//! What two hosts derive the secret of their tunnel from: the public half of a host's identity key, and the epoch.

use crate::{KeyError, WireGuardPublicKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The public half of a host's identity key (X25519), made on the host and another one than that of its tunnels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct IdentityKey(pub WireGuardPublicKey);

impl fmt::Display for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for IdentityKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        text.parse().map(Self)
    }
}

/// What the two ends of a tunnel derive its preshared key from. The key itself is on no wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pairing {
    /// The other end's identity key.
    pub identity: IdentityKey,
    /// Number of the key: another one, another key. Both ends are told the same.
    pub epoch: u64,
    /// The number before it, which the other end may still have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

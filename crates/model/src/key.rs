//! Public keys. Private keys are not words of the model: they stay in the crates that use them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use thiserror::Error;

/// A WireGuard public key (X25519), written in base64 as `wg` does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[A-Za-z0-9+/]{43}=$"))]
pub struct WireGuardPublicKey([u8; 32]);

/// The text is not a WireGuard public key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not a WireGuard public key: 44 characters of base64 that stand for 32 bytes, not all zero")]
pub struct KeyError;

impl WireGuardPublicKey {
    /// From the 32 bytes of the key. The all-zero key is refused: it stands for "no key" in WireGuard's interfaces.
    pub fn new(bytes: [u8; 32]) -> Result<Self, KeyError> {
        if bytes == [0; 32] { Err(KeyError) } else { Ok(Self(bytes)) }
    }

    /// The 32 bytes of the key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for WireGuardPublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes = STANDARD.decode(text).map_err(|_| KeyError)?;
        Self::new(bytes.try_into().map_err(|_| KeyError)?)
    }
}

impl TryFrom<String> for WireGuardPublicKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<WireGuardPublicKey> for String {
    fn from(key: WireGuardPublicKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for WireGuardPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for WireGuardPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_agree() {
        let key = WireGuardPublicKey::new([7; 32]).unwrap();
        assert_eq!(key.to_string().parse::<WireGuardPublicKey>().unwrap(), key);
        assert_eq!(WireGuardPublicKey::new([0; 32]), Err(KeyError));
        for bad in ["", "AAAA", "not base64 at all, but 44 characters long!!!"] {
            assert!(bad.parse::<WireGuardPublicKey>().is_err(), "{bad:?}");
        }
    }
}

//! Secrets of a device: private and preshared keys. They are wiped when dropped and never print.
//! Where they are kept, and where the random bytes come from, is the caller's business.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use picket_model::WireGuardPublicKey;
use std::{fmt, str::FromStr};
use thiserror::Error;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

/// The text or the bytes are not a secret key. Says nothing of what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a WireGuard key: 44 characters of base64 that stand for 32 bytes, not all zero")]
pub struct SecretError;

/// A device's private key (X25519), clamped as RFC 7748 section 5 says and `wg genkey` does.
#[derive(Clone)]
pub struct PrivateKey(StaticSecret);

impl PrivateKey {
    /// From 32 random bytes of the caller.
    pub fn from_random(mut bytes: [u8; 32]) -> Self {
        bytes[0] &= 248;
        bytes[31] = (bytes[31] & 127) | 64;
        let key = Self(StaticSecret::from(bytes));
        bytes.zeroize();
        key
    }

    /// From the 32 bytes of a key. All zero is refused: it stands for "no key" in WireGuard's interfaces.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, SecretError> {
        if bytes == [0; 32] { Err(SecretError) } else { Ok(Self::from_random(bytes)) }
    }

    /// The key's text, as `wg genkey` writes it. For the file it is kept in, never for a log.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.0.as_bytes()))
    }

    /// The key that others know this device by.
    #[expect(clippy::expect_used, reason = "a clamped scalar times the base point is never zero")]
    pub fn public(&self) -> WireGuardPublicKey {
        WireGuardPublicKey::new(PublicKey::from(&self.0).to_bytes()).expect("public key of a clamped scalar")
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    pub(crate) fn secret(&self) -> StaticSecret {
        self.0.clone()
    }
}

impl FromStr for PrivateKey {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        Self::from_bytes(decode(text)?)
    }
}

impl PartialEq for PrivateKey {
    /// Equal if the public keys are: no comparison of secrets whose time could tell something.
    fn eq(&self, other: &Self) -> bool {
        self.public() == other.public()
    }
}

impl Eq for PrivateKey {}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

/// A secret shared by the two ends of one tunnel, mixed into its handshakes.
#[derive(Clone, PartialEq, Eq)]
pub struct PresharedKey([u8; 32]);

impl PresharedKey {
    /// From the 32 bytes of a key. All zero is refused: it stands for "no key" in WireGuard's interfaces.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, SecretError> {
        if bytes == [0; 32] { Err(SecretError) } else { Ok(Self(bytes)) }
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for PresharedKey {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        Self::from_bytes(decode(text)?)
    }
}

impl Drop for PresharedKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(…)")
    }
}

fn decode(text: &str) -> Result<[u8; 32], SecretError> {
    let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| SecretError)?);
    bytes.as_slice().try_into().map_err(|_| SecretError)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7748 section 6.1, Alice.
    const ALICE_PRIVATE: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
    const ALICE_PUBLIC: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

    #[test]
    fn public_key_is_that_of_rfc_7748() {
        let key: PrivateKey = ALICE_PRIVATE.parse().unwrap();
        assert_eq!(key.public().to_string(), ALICE_PUBLIC);
    }

    #[test]
    fn text_is_read_and_written_as_wg_does() {
        let key = PrivateKey::from_random([0xff; 32]);
        assert_eq!(key.to_text().parse::<PrivateKey>().unwrap(), key);
        assert_eq!((key.as_bytes()[0], key.as_bytes()[31]), (0xf8, 0x7f));
        for bad in ["", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", &"A".repeat(44)] {
            assert_eq!(bad.parse::<PrivateKey>(), Err(SecretError), "{bad:?}");
            assert_eq!(bad.parse::<PresharedKey>(), Err(SecretError), "{bad:?}");
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let private: PrivateKey = ALICE_PRIVATE.parse().unwrap();
        let preshared: PresharedKey = ALICE_PRIVATE.parse().unwrap();
        assert_eq!(format!("{private:?} {preshared:?}"), "PrivateKey(…) PresharedKey(…)");
    }
}

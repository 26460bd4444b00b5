//! The public keys of a token issuer: a JSON Web Key Set (RFC 7517) as a value.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt};
use thiserror::Error;

/// Largest set that is read, in bytes: Google's has about 2 KiB.
pub const LARGEST: usize = 64 << 10;
/// Most keys of a set.
const MOST_KEYS: usize = 64;
/// Sizes of RSA keys that are taken, in bytes of the modulus: 2048 to 8192 bits, as ring takes them.
const RSA_SIZES: std::ops::RangeInclusive<usize> = 256..=1024;

/// Algorithms that are taken, each bound to one kind of key: which one counts is the key's affair, never the token's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rs256,
    Es256,
    Es384,
}

impl Algorithm {
    /// By its name in tokens and keys (RFC 7518, 3.1).
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "ES384" => Some(Self::Es384),
            _ => None,
        }
    }
}

/// Why a key set cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JwksError {
    /// Not a key set.
    #[error("not a JSON Web Key Set: {0}")]
    NotJson(String),
    /// Too large.
    #[error("a key set of more than {LARGEST} bytes or {MOST_KEYS} keys")]
    TooLarge,
    /// Two keys of one id.
    #[error("two keys have the id {0}")]
    Twice(String),
    /// Nothing to verify with.
    #[error("no key of it can be used: RSA of 2048 bits or more, or P-256 or P-384, each with a `kid`")]
    Empty,
}

/// The keys of one issuer that can be used, by their ids.
#[derive(Clone, Debug, Default)]
pub struct Jwks(BTreeMap<String, Key>);

#[derive(Clone)]
pub(crate) enum Key {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.algorithm())
    }
}

#[derive(Deserialize)]
struct SetLines {
    keys: Vec<KeyLines>,
}

#[derive(Deserialize)]
struct KeyLines {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwks {
    /// Reads a set. Keys that cannot verify what is taken here are left out, as RFC 7517 (5) has it: other kinds, other
    /// purposes, RSA below 2048 bits, keys without an id.
    ///
    /// # Errors
    /// A [`JwksError`] where no key is left or two have one id.
    pub fn parse(text: &[u8]) -> Result<Self, JwksError> {
        if text.len() > LARGEST {
            return Err(JwksError::TooLarge);
        }
        let set: SetLines = serde_json::from_slice(text).map_err(|error| JwksError::NotJson(error.to_string()))?;
        if set.keys.len() > MOST_KEYS {
            return Err(JwksError::TooLarge);
        }
        let mut keys = BTreeMap::new();
        for mut lines in set.keys {
            let (Some(id), Some(key)) = (lines.kid.take(), lines.key()) else { continue };
            if keys.insert(id.clone(), key).is_some() {
                return Err(JwksError::Twice(crate::shown::shown(&id)));
            }
        }
        if keys.is_empty() { Err(JwksError::Empty) } else { Ok(Self(keys)) }
    }

    /// Whether there is a key of this id.
    pub fn has(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    pub(crate) fn key(&self, id: &str) -> Option<&Key> {
        self.0.get(id)
    }
}

impl KeyLines {
    fn key(&self) -> Option<Key> {
        if self.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let key = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let modulus = decoded(self.n.as_ref()?)?;
                // Some issuers write the sign byte, which ring does not take.
                let modulus = modulus.strip_prefix(&[0]).map(<[u8]>::to_vec).unwrap_or(modulus);
                let fits = RSA_SIZES.contains(&modulus.len());
                fits.then_some(())?;
                Key::Rsa { modulus, exponent: decoded(self.e.as_ref()?)? }
            }
            ("EC", Some("P-256")) => Key::P256(self.point(32)?),
            ("EC", Some("P-384")) => Key::P384(self.point(48)?),
            _ => return None,
        };
        let says = self.alg.as_deref().is_none_or(|name| Algorithm::named(name) == Some(key.algorithm()));
        says.then_some(key)
    }

    /// The uncompressed form (SEC 1, 2.3.3), which ring takes.
    fn point(&self, size: usize) -> Option<Vec<u8>> {
        let (x, y) = (decoded(self.x.as_ref()?)?, decoded(self.y.as_ref()?)?);
        (x.len() == size && y.len() == size).then(|| [&[4], x.as_slice(), y.as_slice()].concat())
    }
}

impl Key {
    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa { .. } => Algorithm::Rs256,
            Self::P256(_) => Algorithm::Es256,
            Self::P384(_) => Algorithm::Es384,
        }
    }

    /// Whether the signature is of this key, by the key's one algorithm.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let of = |algorithm, key: &[u8]| UnparsedPublicKey::new(algorithm, key).verify(message, signature);
        let verified = match self {
            Self::Rsa { modulus, exponent } => RsaPublicKeyComponents { n: modulus, e: exponent }.verify(
                &signature::RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
            Self::P256(point) => of(&signature::ECDSA_P256_SHA256_FIXED, point),
            Self::P384(point) => of(&signature::ECDSA_P384_SHA384_FIXED, point),
        };
        verified.is_ok()
    }
}

fn decoded(text: &String) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_that_can_be_used_are_kept() {
        let n = URL_SAFE_NO_PAD.encode([0xff; 256]);
        let (weak, x) = (URL_SAFE_NO_PAD.encode([0xff; 128]), URL_SAFE_NO_PAD.encode([1; 32]));
        let rsa = |more: &str| format!(r#"{{"kty": "RSA", "n": "{n}", "e": "AQAB", {more}}}"#);
        let kept = |key: &str| Jwks::parse(format!(r#"{{"keys": [{key}]}}"#).as_bytes()).map(|set| set.0.len());
        assert_eq!(kept(&rsa(r#""kid": "a", "alg": "RS256", "use": "sig", "more": 1"#)), Ok(1));
        assert_eq!(kept(&format!("{},{}", rsa(r#""kid": "a""#), rsa(r#""kid": "b""#))), Ok(2));
        assert_eq!(kept(&format!(r#"{{"kty": "EC", "crv": "P-256", "kid": "a", "x": "{x}", "y": "{x}"}}"#)), Ok(1));
        let twice = format!("{},{}", rsa(r#""kid": "a""#), rsa(r#""kid": "a""#));
        assert_eq!(kept(&twice), Err(JwksError::Twice("\"a\"".to_owned())));
        for none in [
            rsa(r#""use": "sig""#),
            rsa(r#""kid": "a", "use": "enc""#),
            rsa(r#""kid": "a", "alg": "HS256""#),
            rsa(r#""kid": "a", "alg": "ES256""#),
            format!(r#"{{"kty": "RSA", "n": "{weak}", "e": "AQAB", "kid": "a"}}"#),
            format!(r#"{{"kty": "oct", "k": "{x}", "kid": "a"}}"#),
            format!(r#"{{"kty": "EC", "crv": "P-384", "kid": "a", "x": "{x}", "y": "{x}"}}"#),
            format!(r#"{{"kty": "EC", "crv": "P-256", "kid": "a", "x": "{x}="  , "y": "{x}"}}"#),
            String::new(),
        ] {
            assert_eq!(kept(&none), Err(JwksError::Empty), "{none}");
        }
        assert!(matches!(Jwks::parse(b"{}"), Err(JwksError::NotJson(_))));
        assert_eq!(Jwks::parse(&vec![b' '; LARGEST + 1]).unwrap_err(), JwksError::TooLarge);
    }
}

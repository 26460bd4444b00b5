//! JSON Web Tokens in compact form (RFC 7515, 7519), read strictly. A token is `Unverified` until a key set of its issuer has
//! verified it; the key says which algorithm counts, the token's header may only agree (RFC 8725, 3.1).

use crate::{
    json,
    jwks::{Algorithm, Jwks},
    shown::shown,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use picket_model::Timestamp;
use serde_json::{Map, Value};
use std::{fmt, time::Duration};
use thiserror::Error;

/// Largest token that is read, in bytes. GCP's have about 1.5 KiB; those of AWS may carry fifty tags.
pub const LARGEST: usize = 16 << 10;
/// How far the clocks of issuer and controller may be apart.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);
/// How old a token may be, whatever end it names: AWS's and GCP's live for an hour at most.
pub const LONGEST_AGE: Duration = Duration::from_hours(1);

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JwtError {
    /// Too large.
    #[error("the token has more than {LARGEST} bytes")]
    TooLarge,
    /// Not three parts of base64url.
    #[error("not a signed token: three parts of base64url with dots between them, nothing before or after")]
    Form,
    /// A part that is not the JSON it should be.
    #[error("the token's {part} cannot be read: {why}")]
    Json {
        /// Header or claims.
        part: &'static str,
        /// Where it breaks.
        why: String,
    },
    /// An algorithm that is not taken: `none` and everything with a shared secret are such.
    #[error("the token is signed with {0}: RS256, ES256 and ES384 are taken")]
    Algorithm(String),
    /// A header that asks for what we do not do.
    #[error("the token's header has {0}, which is not supported")]
    Header(&'static str),
    /// No key id.
    #[error("the token does not name its key (`kid`)")]
    NoKeyId,
    /// The issuer has no such key.
    #[error("the token's key {0} is none of the issuer's")]
    UnknownKey(String),
    /// The key is of another algorithm than the header says.
    #[error("the token's algorithm is not that of its key")]
    WrongAlgorithm,
    /// Not signed by that key.
    #[error("the token's signature is wrong")]
    Signature,
    /// A claim is missing or of another form.
    #[error("the token's claim `{0}` is missing or has another form than it should")]
    Claim(&'static str),
    /// Another issuer.
    #[error("the token is of issuer {found}, not {expected}")]
    Issuer {
        /// Its own.
        found: String,
        /// The right one.
        expected: String,
    },
    /// For somebody else.
    #[error("the token's audience is {found}; it must be {expected} alone")]
    Audience {
        /// Its own.
        found: String,
        /// The right one.
        expected: String,
    },
    /// Its time is over.
    #[error("the token's time was over at {0}")]
    Expired(Timestamp),
    /// Its time has not come.
    #[error("the token is not valid before {0}; see whether the clocks are right")]
    NotYet(Timestamp),
    /// Made too long ago.
    #[error("the token was made at {0}, which is longer ago than an hour")]
    TooOld(Timestamp),
}

/// A token whose signature nobody has looked at: it may say anything.
pub struct Unverified<'a> {
    signed: &'a str,
    algorithm: Algorithm,
    key: String,
    claims: Map<String, Value>,
    signature: Vec<u8>,
}

impl fmt::Debug for Unverified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unverified(hidden)")
    }
}

impl<'a> Unverified<'a> {
    /// Reads a token.
    ///
    /// # Errors
    /// A [`JwtError`] for anything but one token with a supported header.
    pub fn parse(token: &'a str) -> Result<Self, JwtError> {
        if token.len() > LARGEST {
            return Err(JwtError::TooLarge);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(JwtError::Form)?;
        let decoded = |text: &str| match URL_SAFE_NO_PAD.decode(text) {
            Ok(bytes) if !bytes.is_empty() => Ok(bytes),
            _ => Err(JwtError::Form),
        };
        let object = |part, text: &str| json::object(&decoded(text)?).map_err(|why| JwtError::Json { part, why });
        let header = object("header", header)?;
        let text = |name| header.get(name).and_then(Value::as_str);
        let algorithm = text("alg").ok_or(JwtError::Claim("alg"))?;
        let algorithm = Algorithm::named(algorithm).ok_or_else(|| JwtError::Algorithm(shown(algorithm)))?;
        for unsupported in ["crit", "b64", "zip", "enc"] {
            if header.contains_key(unsupported) {
                return Err(JwtError::Header(unsupported));
            }
        }
        // Keys and addresses of keys in the header (jwk, jku, x5c, x5u) are not looked at: the issuer's set is what counts.
        let key = text("kid").filter(|key| !key.is_empty()).ok_or(JwtError::NoKeyId)?.to_owned();
        let (claims, signature) = (object("claims", claims)?, decoded(signature)?);
        Ok(Self { signed, algorithm, key, claims, signature })
    }

    /// The issuer it claims to be of, to find that one's keys.
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// When it claims to have been made.
    pub fn made_at(&self) -> Option<Timestamp> {
        self.claims.get("iat").and_then(seconds)
    }

    /// The id of the key it claims to be signed with.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its claims, once key, issuer, audience and times are right. A token for several audiences is refused, since it was not
    /// made for us alone.
    ///
    /// # Errors
    /// A [`JwtError`] that says what is wrong; the signature comes first.
    pub fn verify(self, keys: &Jwks, issuer: &str, audience: &str, now: Timestamp) -> Result<Claims, JwtError> {
        let key = keys.key(&self.key).ok_or_else(|| JwtError::UnknownKey(shown(&self.key)))?;
        if key.algorithm() != self.algorithm {
            return Err(JwtError::WrongAlgorithm);
        }
        if !key.verifies(self.signed.as_bytes(), &self.signature) {
            return Err(JwtError::Signature);
        }
        let claims = Claims(self.claims);
        let found = claims.text("iss")?;
        if found != issuer {
            return Err(JwtError::Issuer { found: shown(found), expected: issuer.to_owned() });
        }
        match claims.0.get("aud") {
            Some(Value::String(found)) if found == audience => {}
            Some(Value::Array(found)) if found.len() == 1 && found[0] == audience => {}
            Some(found) => {
                let found = found.as_str().map_or_else(|| shown(&found.to_string()), shown);
                return Err(JwtError::Audience { found, expected: audience.to_owned() });
            }
            None => return Err(JwtError::Claim("aud")),
        }
        claims.check_times(now)?;
        Ok(claims)
    }
}

/// The claims of a verified token.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims(pub(crate) Map<String, Value>);

impl Claims {
    /// All of them.
    pub fn into_inner(self) -> Map<String, Value> {
        self.0
    }

    pub(crate) fn text(&self, name: &'static str) -> Result<&str, JwtError> {
        self.0.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).ok_or(JwtError::Claim(name))
    }

    /// A NumericDate (RFC 7519, 2), in whole seconds as all issuers known write it.
    pub(crate) fn time(&self, name: &'static str) -> Result<Timestamp, JwtError> {
        self.0.get(name).and_then(seconds).ok_or(JwtError::Claim(name))
    }

    fn check_times(&self, now: Timestamp) -> Result<(), JwtError> {
        let (made, end) = (self.time("iat")?, self.time("exp")?);
        let begin = if self.0.contains_key("nbf") { self.time("nbf")?.max(made) } else { made };
        if begin > now.plus(CLOCK_SKEW) {
            return Err(JwtError::NotYet(begin));
        }
        if now > end.plus(CLOCK_SKEW) {
            return Err(JwtError::Expired(end));
        }
        if now.since(made) > LONGEST_AGE + CLOCK_SKEW {
            return Err(JwtError::TooOld(made));
        }
        Ok(())
    }
}

/// A moment in whole seconds since the epoch.
pub(crate) fn seconds(value: &Value) -> Option<Timestamp> {
    value.as_i64()?.checked_mul(1000).map(Timestamp::from_millis)
}

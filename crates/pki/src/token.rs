//! Join tokens (a host proves it may enrol) and operator tokens (a person proves who they are), as text and as hashes.
//! Only the id of a token is ever logged; the secret leaves these types by name only.

use crate::fingerprint::{Fingerprint, lower_hex};
use picket_model::TokenId;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{fmt, str::FromStr};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

const JOIN: &str = "picket1";
const OPERATOR: &str = "picket-op1";

/// Which part of a token's text is wrong. Never quotes the text: the wrong part may be the secret in the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Does not begin as a join token does.
    #[error("a join token begins with `picket1.`")]
    NotJoin,
    /// Does not begin as an operator token does.
    #[error("an operator token begins with `picket-op1.`")]
    NotOperator,
    /// A part is missing.
    #[error("the token is cut short: {expected}")]
    CutShort {
        /// The form of the whole.
        expected: &'static str,
    },
    /// The fingerprint is not one.
    #[error("the token's CA fingerprint (second part) is not 64 lower-case hexadecimal digits")]
    Fingerprint,
    /// The id is not one.
    #[error("the token's id (the part before the secret) is not 1 to 32 characters of a-z, 0-9, '-', '.'")]
    Id,
    /// The secret is not one.
    #[error("the token's secret (last part) is not 64 lower-case hexadecimal digits")]
    Secret,
}

/// The secret half of a token: 256 random bits. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct TokenSecret(Zeroizing<[u8; 32]>);

impl TokenSecret {
    /// From random bytes of the caller ([`crate::random`]).
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// What is stored in its place.
    pub fn hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(*self.0).into())
    }

    fn to_hex(&self) -> String {
        hex::encode(*self.0)
    }
}

impl FromStr for TokenSecret {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        lower_hex(text).map(Self::from_bytes).ok_or(TokenError::Secret)
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(hidden)")
    }
}

/// SHA-256 of a token's secret, as 64 lower-case hexadecimal digits: for storage. Compared in constant time.
///
/// A plain hash is enough, since the secret is random and not a password.
#[derive(Clone, Copy, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretHash([u8; 32]);

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl FromStr for SecretHash {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        lower_hex(text).map(Self).ok_or(TokenError::Secret)
    }
}

impl TryFrom<String> for SecretHash {
    type Error = TokenError;

    fn try_from(text: String) -> Result<Self, TokenError> {
        text.parse()
    }
}

impl From<SecretHash> for String {
    fn from(hash: SecretHash) -> Self {
        hash.to_string()
    }
}

impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(hidden)")
    }
}

/// Lets a host enrol, and tells it which CA to trust: `picket1.<ca-fingerprint>.<token-id>.<secret>`.
#[derive(Clone, Debug)]
pub struct JoinToken {
    /// The CA the host pins.
    pub ca: Fingerprint,
    /// The half that may be logged.
    pub id: TokenId,
    /// The half that may not.
    pub secret: TokenSecret,
}

impl JoinToken {
    /// The whole token as text, secret included.
    pub fn to_secret_string(&self) -> SecretString {
        format!("{JOIN}.{}.{}.{}", self.ca, self.id, self.secret.to_hex()).into()
    }

    /// What is stored in place of the secret.
    pub fn secret_hash(&self) -> SecretHash {
        self.secret.hash()
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    /// White space around the text is ignored: tokens come from files and terminals.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        const SHORT: TokenError = TokenError::CutShort { expected: "picket1.<ca-fingerprint>.<token-id>.<secret>" };
        let rest = after_scheme(text, JOIN).ok_or(TokenError::NotJoin)?;
        let (ca, rest) = rest.split_once('.').ok_or(SHORT)?;
        let ca = ca.parse().map_err(|_| TokenError::Fingerprint)?;
        let (id, secret) = id_and_secret(rest).ok_or(SHORT)??;
        Ok(Self { ca, id, secret })
    }
}

/// What an operator presents as bearer token: `picket-op1.<id>.<secret>`.
#[derive(Clone, Debug)]
pub struct OperatorToken {
    /// The half that may be logged.
    pub id: TokenId,
    /// The half that may not.
    pub secret: TokenSecret,
}

impl OperatorToken {
    /// The whole token as text, secret included.
    pub fn to_secret_string(&self) -> SecretString {
        format!("{OPERATOR}.{}.{}", self.id, self.secret.to_hex()).into()
    }

    /// What is stored in place of the secret.
    pub fn secret_hash(&self) -> SecretHash {
        self.secret.hash()
    }
}

impl FromStr for OperatorToken {
    type Err = TokenError;

    /// White space around the text is ignored: tokens come from files and terminals.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        const SHORT: TokenError = TokenError::CutShort { expected: "picket-op1.<id>.<secret>" };
        let rest = after_scheme(text, OPERATOR).ok_or(TokenError::NotOperator)?;
        let (id, secret) = id_and_secret(rest).ok_or(SHORT)??;
        Ok(Self { id, secret })
    }
}

/// What an operator may do. A viewer sees what an enroller sees and more, an admin may do everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OperatorRole {
    /// Make join tokens, see and revoke those it made, and see the hosts: for programs.
    Enroller,
    /// Read.
    Viewer,
    /// Read and change.
    Admin,
}

impl fmt::Display for OperatorRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enroller => "enroller",
            Self::Viewer => "viewer",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for OperatorRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "enroller" => Ok(Self::Enroller),
            "viewer" => Ok(Self::Viewer),
            "admin" => Ok(Self::Admin),
            _ => Err(format!("{text:?} is not an operator's role: enroller, viewer or admin")),
        }
    }
}

fn after_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    text.trim().strip_prefix(scheme)?.strip_prefix('.')
}

/// `None` where there is no dot. An id may have dots of its own, a secret has none.
fn id_and_secret(text: &str) -> Option<Result<(TokenId, TokenSecret), TokenError>> {
    let (id, secret) = text.rsplit_once('.')?;
    Some(secret.parse().and_then(|secret| Ok((id.parse().map_err(|_| TokenError::Id)?, secret))))
}

#[cfg(test)]
mod tests;

//! Names of things as types, so that one kind of id cannot be given for another.
//! Parsing is strict: what is accepted can be printed, logged and put into a path without escaping.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use thiserror::Error;

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdError {
    /// Empty, too long, or with a character that this kind of id does not have.
    #[error(
        "{kind}: {text:?} is not 1 to {longest} characters of a-z, 0-9, '-', '.' beginning and ending with a letter or digit"
    )]
    Text {
        /// Kind of id, in words.
        kind: &'static str,
        /// The refused text, shortened.
        text: String,
        /// Longest length allowed.
        longest: usize,
    },
    /// Not `hx` and 40 lower-case hexadecimal digits.
    #[error("{text:?} is not an ICON address: `hx` followed by 40 lower-case hexadecimal digits")]
    Address {
        /// The refused text, shortened.
        text: String,
    },
}

/// At most the first 60 characters: hostile text must not fill logs.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $longest:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(extend("pattern" = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", "maxLength" = $longest))]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
                let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
                let fits = text.len() <= $longest
                    && edge(text.chars().next())
                    && edge(text.chars().next_back())
                    && text.chars().all(inner);
                if fits {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(IdError::Text { kind: $kind, text: shortened(text), longest: $longest })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// One mesh: everything a controller owns belongs to exactly one.
    MeshId, "mesh id", 64
}
text_id! {
    /// An enrolled host; given by the controller, never reused.
    NodeId, "node id", 64
}
text_id! {
    /// What the operator calls a host.
    NodeName, "node name", 63
}
text_id! {
    /// Hosts that are brought up alike, as an autoscaling group or the hosts of a region.
    PoolName, "pool name", 63
}
text_id! {
    /// The public half of a join token; the only part of it that is ever logged.
    TokenId, "token id", 32
}
text_id! {
    /// A validator-list source, by its short name (for a URL: host and port).
    SourceId, "source id", 80
}

macro_rules! icon_address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(extend("pattern" = "^hx[0-9a-f]{40}$"))]
        pub struct $name([u8; 20]);

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let refused = || IdError::Address { text: shortened(text) };
                let digits = text.strip_prefix("hx").ok_or_else(refused)?;
                if digits.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(refused());
                }
                let mut bytes = [0; 20];
                hex::decode_to_slice(digits, &mut bytes).map_err(|_| refused())?;
                Ok(Self(bytes))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(address: $name) -> Self {
                address.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "hx{}", hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

icon_address! {
    /// A P-Rep's owner address, its identity on chain (`address` in `getPReps`).
    PrepId
}
icon_address! {
    /// A P-Rep's P2P and consensus identity (`nodeAddress` in `getPReps`); often not the owner address.
    NodeAddress
}

/// Number of a plan: every change of the wanted state has a higher one. Zero is "nothing planned yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_strict() {
        let good = "hx0b047c751658f7ce1b2595da34d57a0e7dad357d";
        assert_eq!(good.parse::<PrepId>().unwrap().to_string(), good);
        let (prefix, upper, short, long) =
            (good.replace("hx", "cx"), good.replace('b', "B"), &good[..41], format!("{good}0"));
        for bad in ["", "hx", prefix.as_str(), upper.as_str(), short, long.as_str(), "hx\n"] {
            assert!(bad.parse::<PrepId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn text_ids_have_nothing_to_escape() {
        for good in ["a", "sentry-1", "seoul.sentry-2", "0"] {
            assert!(good.parse::<NodeName>().is_ok(), "{good:?}");
        }
        let long = "a".repeat(64);
        for bad in ["", "-a", "a-", ".a", "A", "a b", "a\n", "a/b", "ü", "a\"", long.as_str()] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_pool_is_called_as_a_host_may_be() {
        let longest = "a".repeat(63);
        for good in ["edge", "eu-central-1", longest.as_str()] {
            assert_eq!(good.parse::<PoolName>().unwrap().as_str(), good);
        }
        for bad in [String::new(), "Edge".to_owned(), "edge\n".to_owned(), "a,b".to_owned(), longest + "a"] {
            let error = bad.parse::<PoolName>().unwrap_err().to_string();
            assert!(error.starts_with("pool name: "), "{error}");
            assert!(serde_json::from_value::<PoolName>(bad.into()).is_err());
        }
    }

    #[test]
    fn a_refused_text_is_shortened_in_the_error() {
        let error = "x y".repeat(1000).parse::<NodeName>().unwrap_err();
        assert!(error.to_string().len() < 250, "{error}");
    }
}

//! Names of hosts by pattern: a text in which `*` stands for anything, and nothing else is special.

use crate::{IdError, NodeName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Longest pattern, in characters: as long as a name.
const LONGEST: usize = 63;

/// Which names a host may have, such as `sentry-*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[a-z0-9.*-]+$", "maxLength" = LONGEST))]
pub struct NamePattern(String);

impl NamePattern {
    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole name is as the pattern says.
    pub fn matches(&self, name: &NodeName) -> bool {
        matches(&self.0, name.as_str())
    }
}

/// Whether the whole text is as a pattern says, in which `*` stands for anything.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    // Without a star the text is the pattern.
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        // The earliest place leaves the most for what follows.
        match rest.find(part).and_then(|at| rest.get(at + part.len()..)) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

impl FromStr for NamePattern {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.*".contains(c);
        if text.is_empty() || text.len() > LONGEST || !text.chars().all(fits) {
            let text = text.chars().take(LONGEST).collect();
            return Err(IdError::Text { kind: "name pattern (with * for anything)", text, longest: LONGEST });
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for NamePattern {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<NamePattern> for String {
    fn from(pattern: NamePattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_anything_and_nothing_else_is_special() {
        let check = |pattern: &str, name: &str, expect: bool| {
            let pattern: NamePattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(&name.parse().unwrap()), expect, "{pattern} {name}");
        };
        check("sentry-1", "sentry-1", true);
        check("sentry-1", "sentry-12", false);
        check("sentry-1", "my-sentry-1", false);
        check("sentry-*", "sentry-1", true);
        check("sentry-*", "prep-1", false);
        check("*", "anything.at-all", true);
        check("**", "x", true);
        check("*-eu-*", "sentry-eu-1", true);
        check("*-eu-*", "sentry-us-1", false);
        check("a*b*c", "a1b2c", true);
        check("a*b*c", "abc", true);
        check("a*b*c", "acb", false);
        check("a*a", "a", false);
        check("a*ab", "aab", true);
        check("s.1", "s-1", false);
    }

    #[test]
    fn a_pattern_has_nothing_to_escape() {
        for bad in ["", "A*", "a b", "a?", "[a-z]", "a\n", "ü", &"a".repeat(64)] {
            assert!(bad.parse::<NamePattern>().is_err(), "{bad:?}");
        }
    }
}

//! Names of network interfaces that may stand in a rule: nft has no way to escape a quote, so nothing that could end
//! the name early is let in.

use std::{fmt, str::FromStr};
use thiserror::Error;

/// Longest interface name, in bytes: `IFNAMSIZ` (16) less the closing zero, `linux/if.h`.
const LONGEST: usize = 15;

/// A network interface's name, e.g. `picket0`: 1 to 15 ASCII letters, digits, '.', '-' or '_'.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceName(String);

/// Why a text is no interface name for a rule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not an interface name of 1 to 15 letters, digits, '.', '-' or '_'")]
pub struct InterfaceNameError(String);

impl InterfaceName {
    /// The host's own, on which it speaks to itself.
    pub fn loopback() -> Self {
        Self("lo".to_owned())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = InterfaceNameError;

    fn from_str(text: &str) -> Result<Self, InterfaceNameError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let is_name = (1..=LONGEST).contains(&text.len()) && text.bytes().all(plain) && text != "." && text != "..";
        if is_name { Ok(Self(text.to_owned())) } else { Err(InterfaceNameError(text.chars().take(40).collect())) }
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_could_end_the_name_early_is_let_in() {
        for text in ["picket0", "wg-1", "eth0.100", "a", "abcdefghijklmno"] {
            assert_eq!(text.parse::<InterfaceName>().unwrap().to_string(), text);
        }
        for text in ["", ".", "..", "abcdefghijklmnop", "wg\"0", "wg*", "wg 0", "wg/0", "wg\n0", "wg0;", "wgé"] {
            assert!(text.parse::<InterfaceName>().is_err(), "{text:?}");
        }
    }
}

//! One chain as its sources are asked about it: its id, its name in goloop, and the contract that keeps its P-Reps.

use serde::Deserialize;
use std::{fmt, str::FromStr};
use thiserror::Error;

/// What tells one ICON chain from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Network id that every answer must name: 1 is ICON mainnet.
    pub nid: u64,
    /// goloop's name of the chain, for subscriptions to a source whose URL names no channel.
    pub channel: String,
    /// The contract that keeps the P-Reps.
    pub score: ScoreAddress,
}

impl Network {
    /// ICON mainnet.
    pub fn mainnet() -> Self {
        Self { nid: 1, channel: "icon_dex".to_owned(), score: ScoreAddress::CHAIN }
    }
}

/// Address of a contract: `cx` and 40 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct ScoreAddress([u8; 20]);

impl ScoreAddress {
    /// The SCORE of the chain itself, which keeps the P-Reps (goloop `icon/chainscore_iiss.go`).
    pub const CHAIN: Self = Self([0; 20]);
}

/// A text that is no address of a contract.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no address of a contract: write `cx` followed by 40 lower-case hexadecimal digits")]
pub struct ScoreError(String);

impl FromStr for ScoreAddress {
    type Err = ScoreError;

    fn from_str(text: &str) -> Result<Self, ScoreError> {
        let digits = text.strip_prefix("cx").filter(|digits| !digits.bytes().any(|byte| byte.is_ascii_uppercase()));
        let bytes = digits.and_then(|digits| hex::decode(digits).ok()).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| ScoreError(text.chars().take(60).collect()))
    }
}

impl TryFrom<String> for ScoreAddress {
    type Error = ScoreError;

    fn try_from(text: String) -> Result<Self, ScoreError> {
        text.parse()
    }
}

impl fmt::Display for ScoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cx{}", hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contracts_are_strict_and_print_as_they_were_written() {
        let text = "cx0000000000000000000000000000000000000000";
        assert_eq!((text.parse(), ScoreAddress::CHAIN.to_string()), (Ok(ScoreAddress::CHAIN), text.to_owned()));
        for wrong in
            ["", "cx", "hx0000000000000000000000000000000000000000", "cx000000000000000000000000000000000000000A"]
        {
            assert!(wrong.parse::<ScoreAddress>().is_err(), "{wrong}");
        }
    }
}

//! One chain as its sources are asked about it: its id, its name in goloop, and the contract that keeps its P-Reps.
//! ICON's public networks by name. Nothing is asked here.

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
        Preset::Mainnet.network()
    }
}

/// A public network of ICON by name: ids and channels as in iconloop/icon_network_info.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub enum Preset {
    /// The network with the real ICX.
    Mainnet,
    /// The test network that follows mainnet's rules.
    Lisbon,
    /// The test network that gets new rules first.
    Berlin,
}

impl Preset {
    /// Every one of them.
    pub const ALL: [Self; 3] = [Self::Mainnet, Self::Lisbon, Self::Berlin];

    /// The name that operators write.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mainnet => "mainnet",
            Self::Lisbon => "lisbon",
            Self::Berlin => "berlin",
        }
    }

    /// The network as its sources are asked about it.
    pub fn network(self) -> Network {
        let nid = match self {
            Self::Mainnet => 1,
            Self::Lisbon => 2,
            Self::Berlin => 7,
        };
        Network { nid, channel: "icon_dex".to_owned(), score: ScoreAddress::CHAIN }
    }

    /// URLs of public sources, to be used where the operator names none. Mainnet has three, so that one of them may be
    /// away or wrong: the foundation's citizen nodes, its P-Rep nodes, and the community's. Test networks have one each,
    /// which is one witness.
    pub const fn sources(self) -> &'static [&'static str] {
        match self {
            Self::Mainnet => &[
                "https://ctz.solidwallet.io/api/v3",
                "https://preps.net.solidwallet.io/api/v3",
                "https://api.icon.community/api/v3",
            ],
            Self::Lisbon => &["https://lisbon.net.solidwallet.io/api/v3"],
            Self::Berlin => &["https://berlin.net.solidwallet.io/api/v3"],
        }
    }
}

/// A text that is no name of a public network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no network known by name: write one of {choices}, or name an own network by its nid, channel and sources", choices = Preset::ALL.map(Preset::name).join(", "))]
pub struct PresetError(String);

impl FromStr for Preset {
    type Err = PresetError;

    fn from_str(text: &str) -> Result<Self, PresetError> {
        let known = Self::ALL.into_iter().find(|preset| preset.name() == text);
        known.ok_or_else(|| PresetError(text.chars().take(60).collect()))
    }
}

impl TryFrom<String> for Preset {
    type Error = PresetError;

    fn try_from(text: String) -> Result<Self, PresetError> {
        text.parse()
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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
    use crate::Source;
    use std::collections::BTreeSet;

    #[test]
    fn public_networks_go_by_their_names_and_bring_sources_that_are_separate_witnesses() {
        let mut nids = Vec::new();
        for preset in Preset::ALL {
            assert_eq!(preset.to_string().parse(), Ok(preset));
            let ids: BTreeSet<_> = preset.sources().iter().map(|url| Source::new(url).unwrap().id().clone()).collect();
            assert_eq!(ids.len(), preset.sources().len(), "{preset}");
            nids.push(preset.network().nid);
        }
        assert_eq!(nids, [1, 2, 7]);
        assert_eq!(
            "Lisbon".parse::<Preset>().unwrap_err().to_string(),
            "\"Lisbon\" is no network known by name: write one of mainnet, lisbon, berlin, or name an own network by its \
             nid, channel and sources"
        );
    }

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

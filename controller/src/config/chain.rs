//! `[chain]`: which validator list, from where.

use picket_chain::{Network, Preset, ScoreAddress, Source, SourceError};
use picket_model::Policy;
use serde::Deserialize;
use std::time::Duration;

/// The validator list: ICON mainnet's where nothing is said.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "ChainLines")]
pub struct Chain {
    /// The public network whose values stand where the file has none.
    pub network: Preset,
    /// Network id that every answer must name: 1 is ICON mainnet.
    pub nid: u64,
    /// Seconds between polls.
    pub poll_seconds: u64,
    /// JSON-RPC endpoints; a majority of them must agree.
    pub sources: Vec<SourceUrl>,
    /// Whether to subscribe to the sources' events too, so that a change is seen within a block.
    pub push: bool,
    /// goloop's name of the chain, for subscriptions to a source whose URL names no channel.
    pub channel: String,
    /// The contract that keeps the P-Reps.
    pub score: ScoreAddress,
}

/// The validator list as it is written: a network by name, and what is otherwise than there.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ChainLines {
    network: Option<Preset>,
    nid: Option<u64>,
    poll_seconds: Option<u64>,
    sources: Option<Vec<SourceUrl>>,
    push: Option<bool>,
    channel: Option<String>,
    score: Option<ScoreAddress>,
}

impl From<ChainLines> for Chain {
    fn from(lines: ChainLines) -> Self {
        let preset = lines.network.unwrap_or(Preset::Mainnet);
        let known = || preset.sources().iter().filter_map(|url| SourceUrl::try_from((*url).to_owned()).ok()).collect();
        let Network { nid, channel, score } = preset.network();
        Self {
            network: preset,
            nid: lines.nid.unwrap_or(nid),
            poll_seconds: lines.poll_seconds.unwrap_or(30),
            sources: lines.sources.unwrap_or_else(known),
            push: lines.push.unwrap_or(true),
            channel: lines.channel.unwrap_or(channel),
            score: lines.score.unwrap_or(score),
        }
    }
}

impl Chain {
    /// The chain as its sources are asked about it.
    pub fn network(&self) -> Network {
        Network { nid: self.nid, channel: self.channel.clone(), score: self.score }
    }

    /// Time between polls.
    pub const fn poll(&self) -> Duration {
        Duration::from_secs(self.poll_seconds)
    }

    /// Fewest validators of a believable list, where the operator does not say: test networks have few.
    pub(super) fn min_size(&self) -> usize {
        match self.network {
            Preset::Mainnet => Policy::default().brakes.min_size,
            Preset::Lisbon | Preset::Berlin => 4,
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let sources = &self.sources;
        if sources.is_empty() {
            return Err("chain.sources is empty: name at least one JSON-RPC endpoint, or leave the line out".to_owned());
        }
        for (place, source) in sources.iter().enumerate() {
            if sources.iter().take(place).any(|earlier| earlier.0.id() == source.0.id()) {
                return Err(format!("chain.sources names {} twice: one host is one witness", source.0.id()));
            }
        }
        if self.poll_seconds == 0 {
            return Err("chain.poll_seconds is 0: write at least 1".to_owned());
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if self.channel.is_empty() || !self.channel.chars().all(is_name) {
            let channel = &self.channel;
            return Err(format!(
                "chain.channel is {channel:?}: write goloop's name of the chain, such as \"icon_dex\""
            ));
        }
        Ok(())
    }
}

impl Default for Chain {
    fn default() -> Self {
        ChainLines::default().into()
    }
}

/// A source, written as its URL.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SourceUrl(pub Source);

impl TryFrom<String> for SourceUrl {
    type Error = SourceError;

    fn try_from(text: String) -> Result<Self, SourceError> {
        Source::new(&text).map(Self)
    }
}

//! The configuration file: small, every line of it optional, unknown lines refused.

use crate::{ca::CaConfig, proofs::Attest};
use ipnet::{Ipv4Net, Ipv6Net};
use picket_attest::Rule;
use picket_chain::{Network, Preset, ScoreAddress, Source, SourceError};
use picket_model::Policy;
use picket_plan::LeaseRules;
use serde::Deserialize;
use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};
use thiserror::Error;

/// Read if it exists and no other file is named.
pub const DEFAULT_PATH: &str = "/etc/picket/controller.toml";
/// Database, CA and the operator's token, unless another folder is named.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/picket/controller";

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The file says something that is not understood.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// A value is out of its range.
    #[error("{}: {message}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Which value, and what to write.
        message: String,
    },
}

/// What the operator may set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// The validator list.
    pub chain: Chain,
    /// Ranges of addresses inside the mesh; those chosen at first start where absent.
    pub overlay: Overlay,
    /// How long hosts are members without being heard.
    pub leases: LeaseRules,
    /// How long preshared keys and certificates last.
    pub keys: Keys,
    /// Where the secrets of the mesh's CA come from.
    pub ca: CaConfig,
    /// The policy; absent, the stored one stays in force.
    pub policy: Option<Policy>,
    /// Whose proofs of identity are believed.
    pub attest: Attest,
    /// Who may join by such a proof.
    pub enroll: Vec<Rule>,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// For agents, with their certificates: must be reachable from every host.
    pub agents: SocketAddr,
    /// For operators, with their tokens.
    pub operators: SocketAddr,
    /// Health and metrics, without authentication.
    pub health: SocketAddr,
}

impl Default for Listen {
    /// Agents on all addresses of both families, the others on loopback.
    fn default() -> Self {
        Self {
            agents: (Ipv6Addr::UNSPECIFIED, 7443).into(),
            operators: (Ipv4Addr::LOCALHOST, 7444).into(),
            health: (Ipv4Addr::LOCALHOST, 7445).into(),
        }
    }
}

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
    fn min_size(&self) -> usize {
        match self.network {
            Preset::Mainnet => Policy::default().brakes.min_size,
            Preset::Lisbon | Preset::Berlin => 4,
        }
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

/// Ranges of addresses inside the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Overlay {
    /// IPv4; 10.86.0.0/16 at first start.
    pub v4: Option<Ipv4Net>,
    /// IPv6; a random /48 of fd00::/8 at first start (RFC 4193).
    pub v6: Option<Ipv6Net>,
}

/// How long what hosts are given lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// Seconds after which tunnels get another preshared key.
    pub preshared_seconds: u64,
    /// Seconds for which a host's certificate is good; it is renewed from the half on.
    pub certificate_seconds: u64,
}

impl Keys {
    /// Life of a certificate. The tunnel does not end with it, and what cuts a host is the revoke, which every request asks
    /// for.
    pub(crate) const fn certificate(&self) -> Duration {
        Duration::from_secs(self.certificate_seconds)
    }

    fn check(&self) -> Result<(), String> {
        if self.preshared_seconds == 0 {
            return Err("keys.preshared_seconds is 0: write at least 1".to_owned());
        }
        // A certificate that ends before a host has its next one would keep it from the controller; one that lasts for
        // months is what short lives are against.
        if !(2..=90 * 24 * 3600).contains(&self.certificate_seconds) {
            let found = self.certificate_seconds;
            return Err(format!("keys.certificate_seconds is {found}: write 2 to 7776000, which is 90 days"));
        }
        Ok(())
    }
}

impl Default for Keys {
    /// A day, and eight hours.
    fn default() -> Self {
        Self { preshared_seconds: 24 * 3600, certificate_seconds: 8 * 3600 }
    }
}

impl Config {
    /// Reads the file named, else the default one if it exists, else none.
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        let path = named.unwrap_or(Path::new(DEFAULT_PATH));
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(cause) if named.is_none() && cause.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(cause) => Err(ConfigError::Read { path: path.to_owned(), cause }),
        }
    }

    /// Reads a file's text; `path` is for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|error| {
            let (line, column) = position(text, error.span().map_or(0, |span| span.start));
            let message = with_hint(error.message().trim().replace('\n', ", "));
            ConfigError::Line { path: path.to_owned(), line, column, message }
        })?;
        if let Some(policy) = &mut config.policy
            && !says_min_size(text)
        {
            policy.brakes.min_size = config.chain.min_size();
        }
        config.check().map_err(|message| ConfigError::Value { path: path.to_owned(), message })?;
        Ok(config)
    }

    /// The policy of a new mesh where the file has none.
    pub fn first_policy(&self) -> Policy {
        let mut policy = Policy::default();
        policy.brakes.min_size = self.chain.min_size();
        policy
    }

    fn check(&self) -> Result<(), String> {
        let sources = &self.chain.sources;
        if sources.is_empty() {
            return Err("chain.sources is empty: name at least one JSON-RPC endpoint, or leave the line out".to_owned());
        }
        for (place, source) in sources.iter().enumerate() {
            if sources.iter().take(place).any(|earlier| earlier.0.id() == source.0.id()) {
                return Err(format!("chain.sources names {} twice: one host is one witness", source.0.id()));
            }
        }
        if self.chain.poll_seconds == 0 {
            return Err("chain.poll_seconds is 0: write at least 1".to_owned());
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if self.chain.channel.is_empty() || !self.chain.channel.chars().all(is_name) {
            let channel = &self.chain.channel;
            return Err(format!(
                "chain.channel is {channel:?}: write goloop's name of the chain, such as \"icon_dex\""
            ));
        }
        if self.overlay.v4.is_some_and(|net| net.prefix_len() > 28) {
            return Err("overlay.v4 is too narrow: give a /28 or wider".to_owned());
        }
        // Hosts' IPv6 addresses take the lower 64 bits.
        if self.overlay.v6.is_some_and(|net| net.prefix_len() > 64) {
            return Err("overlay.v6 is too narrow: give a /64 or wider".to_owned());
        }
        if self.policy.as_ref().is_some_and(|policy| policy.names.shortest_seconds == 0) {
            return Err("policy.names.shortest_seconds is 0: write at least 1".to_owned());
        }
        if let Some(agree) = self.policy.as_ref().and_then(|policy| policy.agree)
            && !(1..=sources.len()).contains(&agree)
        {
            return Err(format!("policy.agree is {agree}: write 1 to {}, the number of chain.sources", sources.len()));
        }
        self.keys.check()?;
        self.ca.check()?;
        self.attest.check(&self.enroll)
    }
}

/// Whether the file itself sets `policy.brakes.min_size`.
fn says_min_size(text: &str) -> bool {
    let file: Option<toml::Table> = text.parse().ok();
    file.is_some_and(|file| file.get("policy").and_then(|p| p.get("brakes")?.get("min_size")).is_some())
}

/// What to write, where the type that was expected does not say it.
fn with_hint(message: String) -> String {
    if message.contains("DenyLine") || message.contains("PolicyDeny") {
        let line = "{ network = \"192.0.2.0/24\", comment = \"why\" }";
        return format!("a line of policy.deny is written {line}, or with prep = \"hx...\" in place of network");
    }
    if message.contains("PolicyAllow") {
        let line = "{ purpose = \"p2p\", network = \"192.0.2.0/24\", comment = \"why\" }";
        return format!("a line of policy.allow is written {line}");
    }
    message
}

/// Line and column of a byte, both from 1.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let found = match Config::parse(text, Path::new("c.toml")) {
            Ok(config) => format!("{config:?}"),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expect), "{text:?} gives {found}");
    }

    #[test]
    fn no_file_means_mainnet_with_defaults() {
        let config = Config::parse("", Path::new("c.toml")).unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.chain.sources.len(), 3);
        assert_eq!((config.listen.agents.port(), config.listen.operators.port()), (7443, 7444));
        assert!(Config::load(Some(Path::new("/nowhere/c.toml"))).is_err());
    }

    #[test]
    fn a_wrong_line_is_named_by_file_line_and_column() {
        check("[chain]\nnid = 1\npol_seconds = 3\n", "c.toml:3:1: unknown field `pol_seconds`");
        check("[listen]\nagents = \"7443\"\n", "c.toml:2:10: ");
        check("[policy]\nadmin = [\"192.0.2.0\"]\n", "c.toml:2:");
        check("[chain]\nsources = [\"ftp://example.com\"]\n", "c.toml:2:11: \"ftp://example.com\" begins with neither");
        check("nonsense", "c.toml:1:");
    }

    #[test]
    fn values_out_of_range_are_refused_with_what_to_write() {
        check("[chain]\nsources = []", "chain.sources is empty");
        check("[chain]\nsources = [\"http://a.example/x\", \"http://a.example/y\"]", "names a.example twice");
        check("[chain]\npoll_seconds = 0", "at least 1");
        check("[chain]\nchannel = \"a/b\"", "such as \"icon_dex\"");
        check("[policy]\nagree = 4", "1 to 3");
        check("[overlay]\nv4 = \"10.0.0.0/30\"", "/28 or wider");
        check("[keys]\npreshared_seconds = 0", "at least 1");
        check("[keys]\ncertificate_seconds = 1", "write 2 to 7776000");
        check("[keys]\ncertificate_seconds = 7776001", "write 2 to 7776000");
    }

    #[test]
    fn a_policy_is_read_over_its_defaults() {
        let text = "[policy]\nadmin = [\"192.0.2.0/24\"]\n[policy.brakes]\nmin_size = 4\n";
        let policy = Config::parse(text, Path::new("c.toml")).unwrap().policy.unwrap();
        assert_eq!((policy.brakes.min_size, policy.brakes.max_removed), (4, 10));
        assert_eq!(policy.grades, Policy::default().grades);
    }

    #[test]
    fn a_network_is_named_and_any_of_it_may_be_set_beside() {
        let chain = |text: &str| Config::parse(text, Path::new("c.toml")).unwrap().chain;
        assert_eq!(chain(""), chain("[chain]\nnetwork = \"mainnet\""));
        let lisbon = chain("[chain]\nnetwork = \"lisbon\"");
        assert_eq!((lisbon.nid, lisbon.sources.len(), lisbon.poll_seconds), (2, 1, 30));
        assert_eq!(lisbon.sources[0].0.id().as_str(), "lisbon.net.solidwallet.io");
        let berlin = chain("[chain]\nnetwork = \"berlin\"\nsources = [\"http://a.example\"]\npush = false");
        assert_eq!((berlin.nid, berlin.sources[0].0.id().as_str(), berlin.push), (7, "a.example", false));
        let own = chain("[chain]\nnid = 0x53\nchannel = \"own\"\nsources = [\"http://a.example\"]");
        assert_eq!((own.nid, own.channel.as_str(), own.score), (0x53, "own", ScoreAddress::CHAIN));
        check(
            "[chain]\nnetwork = \"lisboa\"\n",
            "c.toml:2:11: \"lisboa\" is no network known by name: write one of mainnet",
        );
        check("[chain]\nnetwrk = \"lisbon\"\n", "c.toml:2:1: unknown field `netwrk`");
    }

    #[test]
    fn a_short_list_is_believable_on_a_test_network() {
        let check = |text: &str, first: usize, configured: Option<usize>| {
            let config = Config::parse(text, Path::new("c.toml")).unwrap();
            let said = config.policy.as_ref().map(|policy| policy.brakes.min_size);
            assert_eq!((config.first_policy().brakes.min_size, said), (first, configured), "{text:?}");
        };
        check("", 20, None);
        check("[policy]\nadmin = []", 20, Some(20));
        check("[chain]\nnetwork = \"lisbon\"", 4, None);
        check("[chain]\nnetwork = \"berlin\"\n[policy]\nadmin = []", 4, Some(4));
        check("[chain]\nnetwork = \"berlin\"\n[policy.brakes]\nmax_removed = 1", 4, Some(4));
        check("[chain]\nnetwork = \"berlin\"\n[policy.brakes]\nmin_size = 20", 4, Some(20));
    }

    #[test]
    fn lines_of_the_policy_say_why_and_may_end() {
        let deny =
            "[policy]\ndeny = [{ network = \"192.0.2.0/24\", comment = \"abuse\", until = \"2026-12-24T18:00:00Z\" }]";
        let policy = Config::parse(deny, Path::new("c.toml")).unwrap().policy.unwrap();
        let end = "2026-12-24T18:00:00Z".parse().unwrap();
        assert_eq!(policy.deny[0].until, Some(end));
        assert_eq!(policy.next_end(end), None);
        let old = "[policy]\ndeny = [\"192.0.2.0/24\"]";
        check(old, "c.toml:2:9: a line of policy.deny is written { network = \"192.0.2.0/24\", comment = \"why\" }");
        check("[policy]\nallow = [\"192.0.2.0/24\"]", "c.toml:2:10: a line of policy.allow is written { purpose = ");
        check("[policy]\ndeny = [{ comment = \"whom?\" }]", "c.toml:2:8: a deny line names either network");
        check("[policy]\ndeny = [{ network = \"192.0.2.0/24\" }]", "missing field `comment`");
        let until = "[policy]\ndeny = [{ network = \"192.0.2.0/24\", comment = \"x\", until = \"tomorrow\" }]";
        check(until, "\"tomorrow\" is no point in time: write it as in \"2026-12-24T18:00:00Z\"");
        check("[policy.names]\nshortest_seconds = 0", "at least 1");
    }
}

//! The configuration file: small, every line of it optional, unknown lines refused. Each section with rules of its own is in
//! a file of its own.

mod chain;
mod keys;
mod overlay;
mod policy;
#[cfg(test)]
mod tests;

pub use chain::{Chain, SourceUrl};
pub use keys::Keys;
pub use overlay::Overlay;

use crate::{
    ca::CaConfig,
    hooks::{HooksLines, WebhookLines},
    page::PageLines,
    store::{Place, ServerUrl},
};
use picket_attest::Rule;
use picket_dns::DnsLines;
use picket_model::Policy;
use picket_plan::LeaseRules;
use picket_proofs::Attest;
use picket_telemetry::Collector;
use serde::Deserialize;
use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
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
    /// The PostgreSQL database; a file in the state folder where absent.
    pub database: Option<ServerUrl>,
    /// The file with that database's password.
    pub database_password_file: Option<PathBuf>,
    /// Where the secrets of the mesh's CA come from.
    pub ca: CaConfig,
    /// The policy; absent, the stored one stays in force.
    pub policy: Option<Policy>,
    /// Whose proofs of identity are believed.
    pub attest: Attest,
    /// Who may join by such a proof.
    pub enroll: Vec<Rule>,
    /// What clouds may tell of their instances.
    pub hooks: HooksLines,
    /// Who is told of events.
    pub webhook: Vec<WebhookLines>,
    /// Names that follow the sentries.
    pub dns: Vec<DnsLines>,
    /// The status page; none where absent.
    pub page: Option<PageLines>,
    /// Where traces are sent.
    pub traces: Traces,
}

/// Where traces are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Traces {
    /// The collector; nowhere where absent.
    pub collector: Option<Collector>,
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
    /// For clouds that tell of their instances; `None` where none does.
    pub hooks: Option<SocketAddr>,
}

impl Default for Listen {
    /// Agents on all addresses of both families, the others on loopback.
    fn default() -> Self {
        Self {
            agents: (Ipv6Addr::UNSPECIFIED, 7443).into(),
            operators: (Ipv4Addr::LOCALHOST, 7444).into(),
            health: (Ipv4Addr::LOCALHOST, 7445).into(),
            hooks: None,
        }
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
            let message = policy::with_hint(error.message().trim().replace('\n', ", "));
            ConfigError::Line { path: path.to_owned(), line, column, message }
        })?;
        if let Some(said) = &mut config.policy
            && !policy::says_min_size(text)
        {
            said.brakes.min_size = config.chain.min_size();
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

    /// Where the database is, whose file would be this one.
    pub fn database(&self, file: PathBuf) -> Place {
        Place::of(self.database.as_ref(), self.database_password_file.as_deref(), file)
    }

    /// Everywhere that it listens.
    fn listeners(&self) -> Vec<SocketAddr> {
        let Listen { agents, operators, health: _, hooks } = self.listen;
        let page = self.page.as_ref();
        let pages = [page.map(|page| page.listen), page.and_then(|page| Some(page.public.as_ref()?.listen))];
        [Some(agents), Some(operators), hooks].into_iter().chain(pages).flatten().collect()
    }

    fn check(&self) -> Result<(), String> {
        if self.database.is_none() && self.database_password_file.is_some() {
            return Err(
                "database_password_file is given and no database: write `database = \"postgres://…\"`".to_owned()
            );
        }
        self.chain.check()?;
        self.overlay.check()?;
        if let Some(policy) = &self.policy {
            policy::check(policy, self.chain.sources.len(), &self.listeners())?;
        }
        self.keys.check()?;
        self.hooks.check(self.listen.hooks)?;
        WebhookLines::check(&self.webhook)?;
        DnsLines::check(&self.dns)?;
        self.page.as_ref().map_or(Ok(()), PageLines::check)?;
        self.ca.check()?;
        self.attest.check(&self.enroll)
    }
}

/// Line and column of a byte, both from 1.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
    (line, column)
}

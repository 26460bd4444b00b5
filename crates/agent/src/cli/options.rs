//! What the longer commands of an agent are told on the line: how to join, and where the host's own node is.

use crate::{proof::ProofOptions, watch::NodeOptions};
use anyhow::{Context as _, Result, ensure};
use clap::Args;
use picket_chain::node::{self as goloop, Goloop};
use picket_model::{NodeName, NodeRole, PrepId};
use picket_pki::JoinToken;
use std::{net::SocketAddr, path::PathBuf};
use zeroize::Zeroizing;

/// Variable that may hold the join token, so that it does not stand in the process list.
const TOKEN_VARIABLE: &str = "PICKET_JOIN_TOKEN";

/// The host's own node.
#[derive(Args)]
pub struct GoloopOptions {
    /// This validator's goloop, to hear which addresses its peers advertise: http://127.0.0.1:9080, or the path of its
    /// cli.sock.
    #[arg(long, value_name = "URL or PATH", env = "PICKET_GOLOOP")]
    pub goloop: Option<goloop::Place>,
    /// Its chain.
    #[arg(long, value_name = "NAME", env = "PICKET_GOLOOP_CHANNEL", default_value = "icon_dex")]
    pub goloop_channel: goloop::Channel,
    /// A sentry's own node, by its RPC port: hidden validators give no share to a sentry whose node is behind the others.
    #[arg(long, value_name = "URL", env = "PICKET_NODE")]
    pub node: Option<goloop::Place>,
    /// Where the node keeps its data, for metrics of the room on that disk.
    #[arg(long, value_name = "DIR", env = "PICKET_NODE_DATA")]
    pub node_data: Option<PathBuf>,
    /// Address of the validator, hx..., for metrics of its missed blocks and penalties, as the node tells them.
    #[arg(long, value_name = "ADDRESS", env = "PICKET_PREP_ADDRESS")]
    pub prep_address: Option<PrepId>,
}

impl GoloopOptions {
    /// What to look at for the node's health.
    pub(super) fn watched(&self) -> Option<NodeOptions> {
        let place = self.goloop.clone().or_else(|| self.node.clone())?;
        let goloop = Goloop { place, channel: self.goloop_channel.clone() };
        Some(NodeOptions { goloop, data: self.node_data.clone(), prep: self.prep_address })
    }

    /// What to ask; an error for the other role's.
    pub(super) fn beside(self, role: NodeRole) -> Result<Option<Goloop>> {
        ensure!(
            role == NodeRole::Prep || self.goloop.is_none(),
            "--goloop is for validators; this is the agent of a {role}"
        );
        ensure!(
            role == NodeRole::Sentry || self.node.is_none(),
            "--node is for sentries; this is the agent of a {role}"
        );
        ensure!(
            !matches!(self.node, Some(goloop::Place::Socket(_))),
            "--node is an RPC port, http://127.0.0.1:PORT: a socket tells no height"
        );
        Ok(self.goloop.or(self.node).map(|place| Goloop { place, channel: self.goloop_channel }))
    }
}

/// How to join.
#[derive(Args)]
pub struct EnrollOptions {
    /// A controller's agent address, https://HOST:PORT; may be given several times.
    #[arg(long = "controller", value_name = "URL", env = "PICKET_CONTROLLER", value_delimiter = ',', required = true)]
    pub controllers: Vec<String>,
    /// Join token, picket1....; better in a file or in PICKET_JOIN_TOKEN, where the process list does not show it.
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// File that holds the join token.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// A proof of identity in place of a token.
    #[command(flatten)]
    pub proof: ProofOptions,
    /// Name of this host in the mesh [default: the host name].
    #[arg(long, env = "PICKET_NAME")]
    pub name: Option<NodeName>,
    /// Where its tunnels are reached from outside, IP:PORT; 0.0.0.0 stands for the address the controller sees
    /// [default: 0.0.0.0:51820 for a sentry, none for a validator, which dials].
    #[arg(long, value_name = "IP:PORT")]
    pub endpoint: Option<SocketAddr>,
}

impl EnrollOptions {
    /// The join token, from wherever it was given, if it was; a variable that is empty gives none. Errors never quote it.
    pub fn token(&self) -> Result<Option<JoinToken>> {
        let text = match (&self.token, &self.token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(file)) => {
                let text = std::fs::read_to_string(file);
                Some(text.with_context(|| format!("read the join token from {}", file.display()))?)
            }
            (None, None) => std::env::var(TOKEN_VARIABLE).ok().filter(|text| !text.trim().is_empty()),
        };
        let text = text.map(Zeroizing::new);
        text.map(|text| text.parse().context("the join token cannot be read")).transpose()
    }
}

/// What somebody is told who gave neither a token nor a proof.
pub fn how_to_join() -> String {
    format!(
        "give a join token: --token-file FILE, {TOKEN_VARIABLE} in the environment, or --token TOKEN; or prove who this host is \
         with --proof KIND"
    )
}

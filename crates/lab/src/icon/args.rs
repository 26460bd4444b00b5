//! The fake endpoint as a program: its options and its life.

use super::{ChainState, FakeIcon};
use anyhow::Context as _;
use picket_model::PrepId;
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use tokio::net::TcpListener;

/// Serve a recorded P-Rep list as a goloop node does.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address to serve JSON-RPC on
    #[arg(long, default_value = "127.0.0.1:9000")]
    pub listen: SocketAddr,
    /// Address to be controlled at; without it nobody changes anything
    #[arg(long)]
    pub control: Option<SocketAddr>,
    /// File with a whole JSON-RPC answer to getPReps; mainnet's list of February 2021 without it
    #[arg(long)]
    pub fixture: Option<PathBuf>,
    /// Register an endpoint before anybody asks; may be given several times
    #[arg(long, value_name = "HX=HOST:PORT", value_parser = endpoint)]
    pub set_endpoint: Vec<(PrepId, String)>,
    /// Seconds between blocks; 0 stands still
    #[arg(long, default_value_t = 2)]
    pub block_seconds: u64,
}

/// Serves until it is ended.
///
/// # Errors
/// Where the fixture cannot be read, names no such P-Rep, or an address cannot be bound.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let fake = FakeIcon::new(chain(&args)?);
    let listener = bind(args.listen).await?;
    let control = match args.control {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    if args.block_seconds > 0 {
        tokio::spawn(fake.chain().clone().make_blocks(Duration::from_secs(args.block_seconds)));
    }
    fake.serve(listener, control).await.context("serve the fake ICON endpoint")
}

pub(super) fn chain(args: &Args) -> anyhow::Result<ChainState> {
    let mut chain = match &args.fixture {
        None => ChainState::mainnet(),
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
            ChainState::from_answer(&text).with_context(|| format!("read {}", path.display()))?
        }
    };
    for (prep, endpoint) in &args.set_endpoint {
        chain
            .set_endpoint(*prep, endpoint)
            .with_context(|| format!("set the endpoint of {prep}: the list has no such P-Rep"))?;
    }
    Ok(chain)
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))
}

fn endpoint(text: &str) -> Result<(PrepId, String), String> {
    let (prep, endpoint) = text.split_once('=').ok_or("write hx…=host:port")?;
    Ok((prep.parse().map_err(|error| format!("{error}"))?, endpoint.to_owned()))
}

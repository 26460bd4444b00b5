//! The rim: gathers facts of this host, each within seconds, as far as its rights reach. Changes nothing.

mod agent;
mod controller;
mod files;
mod firewalls;
mod network;
mod programs;
mod sockets;

use super::facts::{Facts, Node, Part, Seen};
use picket_chain::node::{Channel, Goloop, Place};
use picket_model::{NodeId, Timestamp};
use picket_pki::Fingerprint;
use picket_progress::Progress;
use reqwest::Url;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{Path, PathBuf},
};

/// What to look at, as it was typed.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Asked {
    /// What this host is for; found out by what is installed here unless you say it
    #[arg(long, value_enum)]
    pub(crate) part: Option<Part>,
    /// A controller's agent address, https://HOST:PORT, where this host is not enrolled yet; --ca says whose
    #[arg(long = "controller", value_name = "URL", value_parser = crate::args::parse_url)]
    pub(crate) controllers: Vec<Url>,
    /// Folder of the agent
    #[arg(long, value_name = "DIR", default_value = "/var/lib/picket/agent")]
    pub(crate) state_dir: PathBuf,
    /// This host's goloop, http://127.0.0.1:PORT or the path of its cli.sock; both usual ports are tried unless you say it
    #[arg(long, value_name = "URL or PATH", env = "PICKET_GOLOOP")]
    pub(crate) goloop: Option<Place>,
    /// Its chain
    #[arg(long, value_name = "NAME", env = "PICKET_GOLOOP_CHANNEL", default_value = "icon_dex")]
    pub(crate) goloop_channel: Channel,
    /// End with status 2 for a warning, too
    #[arg(long)]
    pub(crate) strict: bool,
}

/// Where goloop answers unless somebody changed it: its own default, and icon2-docker's.
const GOLOOPS: [&str; 2] = ["http://127.0.0.1:9080", "http://127.0.0.1:9000"];

/// Everything that can be seen. `ca` is whose controllers named by hand are; `operator` is the controller of a context file, asked
/// already.
pub(crate) async fn look(
    asked: &Asked,
    ca: Option<Fingerprint>,
    operator: Option<super::facts::Controller>,
    now: Timestamp,
    progress: &Progress,
) -> Facts {
    progress.now("the agent of this host");
    let root = Path::new("/");
    let (part, agent) = agent::look(asked).await;
    let identity = agent.as_ref().ok().and_then(|agent| agent.as_ref()?.status.as_ref().ok()?.identity.as_ref());
    let mut urls: Vec<_> = asked.controllers.clone();
    let pin = match identity {
        Some(identity) if urls.is_empty() => {
            urls = identity.controllers.iter().filter_map(|url| Url::parse(url).ok()).collect();
            Some(identity.ca_fingerprint)
        }
        _ => ca,
    };
    let mut names: BTreeSet<_> = urls.iter().filter_map(network::name_of).collect();
    if part == Part::Controller {
        names.extend(files::sources(root).iter().filter_map(network::name_of));
    }
    progress.now("names of controllers and chain endpoints");
    let names = network::lookup(names).await;
    progress.now(format!("controllers ({})", urls.len()));
    let mut controllers = controller::ask(&urls, pin).await;
    controllers.extend(operator);
    let mut far: BTreeSet<IpAddr> = names.values().flatten().flatten().copied().collect();
    far.extend(urls.iter().filter_map(network::address_of));
    let word = agent.as_ref().ok().and_then(|agent| agent.as_ref()?.status.as_ref().ok()?.agent.as_ref());
    let peers = word.iter().flat_map(|word| word.report.peers.values());
    far.extend(peers.filter_map(|peer| peer.endpoint).map(|endpoint| endpoint.ip().to_canonical()));
    let widths: BTreeMap<_, _> = far
        .into_iter()
        .filter(|address| !address.is_loopback())
        .map(|address| (address, sockets::width(address)))
        .collect();
    progress.now("this host's kernel, firewalls and node");
    Facts {
        part,
        kernel: files::kernel(root),
        nft: programs::nft_version().await,
        firewalls: firewalls::look(root).await,
        clock_is_kept: programs::clock_is_kept().await,
        name_servers: files::name_servers(root),
        names,
        controllers,
        listeners: sockets::listeners(root),
        own: sockets::own_addresses(),
        widths,
        goloop: goloop(asked, now).await,
        agent,
    }
}

async fn goloop(asked: &Asked, now: Timestamp) -> Option<Node> {
    let places: Vec<Place> = match &asked.goloop {
        Some(place) => vec![place.clone()],
        None => GOLOOPS.into_iter().filter_map(|place| place.parse().ok()).collect(),
    };
    let asks_by_name = asked.goloop.is_some();
    for place in places {
        let goloop = Goloop { place, channel: asked.goloop_channel.clone() };
        let system = goloop.system().await;
        // Any program may have the usual port; one that was named is goloop, or it is to be said that it is not.
        if system.is_ok() || asks_by_name {
            return Some(inspect(&goloop, system.map_err(|error| error.to_string()), now).await);
        }
    }
    None
}

async fn inspect(goloop: &Goloop, system: Seen<picket_chain::node::System>, now: Timestamp) -> Node {
    // Whose answer it would be is of no matter here: nothing is stored.
    let chain = match "doctor".parse::<NodeId>() {
        Ok(me) => goloop.ask(&me, now).await.map(|said| said.health).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    Node { place: goloop.place.to_string(), chain, system }
}

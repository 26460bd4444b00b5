//! `picket audit`: a host's ports as this machine, or another one that was asked, finds them. What the answers mean is decided
//! in `show::audit`.

use crate::show::audit::{Audit, Promise, Where};
use anyhow::{Context as _, bail, ensure};
use picket_api::{
    OperatorClient,
    operator::{ExplainQuery, NodeView},
    probe::{Probe, knock, with_usual},
};
use picket_model::NodeId;
use std::{
    collections::BTreeSet,
    fs::File,
    io::{Read, stdin},
    net::IpAddr,
    num::NonZeroU16,
    path::Path,
};

/// Bytes of a file of findings; one of all ports there are is smaller.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// What to look at, and from where.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    /// The host.
    pub(crate) node: &'a NodeId,
    /// Where it is; `None` for the endpoint of its tunnels.
    pub(crate) address: Option<IpAddr>,
    /// More TCP ports than the guarded and the usual ones.
    pub(crate) more: &'a [NonZeroU16],
    /// What another machine found; `None` for this one.
    pub(crate) found: Option<&'a Path>,
}

/// Holds what was found against what the plan says for the address it was found from.
pub(crate) async fn audit(client: &OperatorClient, asked: Asked<'_>) -> anyhow::Result<Audit> {
    let Asked { node, address, more, found } = asked;
    let nodes = client.nodes_of(None).await?;
    let view = nodes.iter().find(|view| view.node.is_active() && is_called(view, node));
    let Some(view) = view else { bail!("there is no host {node}: see `picket nodes`") };
    let there = match found {
        Some(file) => Some(read(file)?),
        None => None,
    };
    let address = there.as_ref().map(|probe| probe.address).or(address);
    let Some(address) = address.or_else(|| view.node.endpoint.map(|endpoint| endpoint.ip())) else {
        bail!("the address of {} is not known to the controller: give it with --address", view.node.name);
    };
    let from = match &there {
        Some(probe) => probe.from,
        None => here(address, BTreeSet::new()).await?.from,
    };
    let explanation = client.explain(&ExplainQuery { address: from, port: None, generation: None }).await?;
    let verdict = explanation.hosts.iter().find(|host| host.node == view.node.id);
    let Some(verdict) = verdict else { bail!("{} is in no plan yet: nothing is promised of it", view.node.name) };
    let overlay = view.node.overlay;
    let is_inside = [IpAddr::from(overlay.v4), overlay.v6.into()].contains(&address);
    let mut promised = Promise::of(verdict, if is_inside { Where::Inside } else { Where::Outside });
    let probe = match there {
        Some(probe) => {
            // A guarded port that nobody knocked at is no kept promise.
            let tried: BTreeSet<_> = probe.ports.iter().map(|port| port.at).collect();
            let missing: Vec<_> =
                promised.keys().filter(|port| !tried.contains(port)).map(ToString::to_string).collect();
            ensure!(missing.is_empty(), "nobody knocked at {} there: add them with --port", missing.join(", "));
            probe
        }
        None => here(address, promised.keys().copied().chain(with_usual(more.iter().copied())).collect()).await?,
    };
    for port in &probe.ports {
        promised.entry(port.at).or_insert(Promise::LeftAlone);
    }
    Ok(Audit::new(view.node.name.clone(), explanation.generation, &promised, probe))
}

fn is_called(view: &NodeView, node: &NodeId) -> bool {
    view.node.id == *node || view.node.name.as_str() == node.as_str()
}

async fn here(address: IpAddr, ports: BTreeSet<picket_model::GuardedPort>) -> anyhow::Result<Probe> {
    let knocked = tokio::task::spawn_blocking(move || knock(address, &ports)).await?;
    knocked.with_context(|| format!("find this machine's way to {address}"))
}

fn read(file: &Path) -> anyhow::Result<Probe> {
    let shown = file.display();
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(stdin())
    } else {
        Box::new(File::open(file).with_context(|| format!("open {shown}"))?)
    };
    let mut text = String::new();
    source.take(MOST_BYTES).read_to_string(&mut text).with_context(|| format!("read {shown}"))?;
    serde_json::from_str(&text).with_context(|| format!("{shown} is not what `picket-*-agent probe` prints"))
}

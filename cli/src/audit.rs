//! `picket audit`: knocks at a host's ports from this machine. What the answers mean is decided in `show::audit`.

use crate::show::audit::{Audit, Found, Promise};
use anyhow::{Context as _, bail};
use picket_api::{
    OperatorClient,
    operator::{ExplainQuery, NodeView},
};
use picket_model::NodeId;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    net::{IpAddr, SocketAddr, UdpSocket},
    num::NonZeroU16,
    time::Duration,
};
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

/// Ports that are tried beside the guarded ones: SSH, which shows that the host is there, and what else listens on hosts
/// like these.
const USUAL: [u16; 5] = [22, 80, 443, 8080, 9090];
/// A packet without an answer for this long was dropped. One that was lost is sent again after a second.
const SILENT: Duration = Duration::from_millis(2500);

/// Tries the host's ports from here and holds what was found against what the plan says for this machine's address.
pub(crate) async fn audit(
    client: &OperatorClient,
    node: &NodeId,
    address: Option<IpAddr>,
    more: &[NonZeroU16],
) -> anyhow::Result<Audit> {
    let nodes = client.nodes_of(None).await?;
    let view = nodes.iter().find(|view| view.node.is_active() && is_called(view, node));
    let Some(view) = view else { bail!("there is no host {node}: see `picket nodes`") };
    let Some(address) = address.or_else(|| view.node.endpoint.map(|endpoint| endpoint.ip())) else {
        bail!("the address of {} is not known to the controller: give it with --address", view.node.name);
    };
    let from = own_address(address).with_context(|| format!("find this machine's address towards {address}"))?;
    let explanation = client.explain(&ExplainQuery { address: from, port: None, generation: None }).await?;
    let verdict = explanation.hosts.iter().find(|host| host.node == view.node.id);
    let Some(verdict) = verdict else { bail!("{} is in no plan yet: nothing is promised of it", view.node.name) };
    let mut promised = Promise::of(verdict);
    let more = more.iter().map(|port| port.get()).chain(USUAL).collect::<BTreeSet<_>>();
    for port in more {
        promised.entry(port).or_insert(Promise::LeftAlone);
    }
    let found = knock(address, promised.keys().copied()).await;
    Ok(Audit::new(view.node.name.clone(), address, from, explanation.generation, &promised, &found))
}

fn is_called(view: &NodeView, node: &NodeId) -> bool {
    view.node.id == *node || view.node.name.as_str() == node.as_str()
}

/// The address from which packets to that one leave. No packet is sent.
fn own_address(to: IpAddr) -> std::io::Result<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((to, 9))?;
    Ok(socket.local_addr()?.ip())
}

/// One TCP connection to each port, all at once; closed as soon as it is open.
async fn knock(address: IpAddr, ports: impl Iterator<Item = u16>) -> BTreeMap<u16, Found> {
    let mut tries = JoinSet::new();
    for port in ports {
        tries.spawn(async move {
            let tried = timeout(SILENT, TcpStream::connect(SocketAddr::new(address, port))).await;
            let found = match tried {
                Ok(Ok(_)) => Found::Open,
                Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Found::NobodyListens,
                Ok(Err(error)) if error.kind() != ErrorKind::TimedOut => Found::Unreachable(error.to_string()),
                Ok(Err(_)) | Err(_) => Found::Silent,
            };
            (port, found)
        });
    }
    tries.join_all().await.into_iter().collect()
}

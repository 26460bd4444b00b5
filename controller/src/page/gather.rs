//! What a view is made from, read from store and memory. Reads only.

use crate::{
    api::{ApiProblem, views},
    controller::Controller,
    lag::{lag, silent},
    store::{Cut, Transaction},
};
use picket_model::{Node, NodeName, Timestamp};
use picket_page::{CutState, HostState, Overview, Tunnel, tunnels};

/// Hosts on one page.
pub(super) const MOST_HOSTS: usize = 1000;
/// Lines of the audit log from which a day is counted.
const MOST_EVENTS: usize = 1000;

/// Hosts and what is between them.
pub(super) struct Hosts {
    /// The first thousand, by name.
    pub(super) hosts: Vec<HostState>,
    /// Tunnels between them.
    pub(super) tunnels: Vec<Tunnel>,
    /// Whether there are more.
    pub(super) more: bool,
}

/// Every host.
pub(super) async fn hosts(controller: &Controller, now: Timestamp) -> Result<Hosts, ApiProblem> {
    let mut found = views::nodes(controller, None, None, MOST_HOSTS, now).await?;
    let more = found.len() > MOST_HOSTS;
    found.truncate(MOST_HOSTS);
    let target = controller.wanted.target();
    let of = |view: picket_api::operator::NodeView| {
        let is_asked = view.node.reports();
        HostState {
            lag: is_asked.then(|| lag(controller, &view.node.id, now)).flatten(),
            config: target.as_ref().and_then(|target| target.plan.nodes.get(&view.node.id).cloned()),
            is_silent: is_asked && silent(controller, &view.node.id, now).is_some(),
            cut: None,
            view,
        }
    };
    let hosts: Vec<HostState> = found.into_iter().map(of).collect();
    let tunnels = tunnels(&hosts, now);
    Ok(Hosts { hosts, tunnels, more })
}

/// One host by id or name, with how far its cut is in force, and the tunnels of all.
pub(super) async fn host(
    controller: &Controller,
    id_or_name: &str,
    now: Timestamp,
) -> Result<(HostState, Vec<Tunnel>), ApiProblem> {
    let mut tx = controller.store.read().await?;
    let node = tx.node_called(id_or_name).await?.ok_or_else(|| crate::revoke::not_found(id_or_name))?;
    let cut = if node.is_meshed() { None } else { cut(controller, &mut tx, &node, now).await? };
    drop(tx);
    let Hosts { hosts, tunnels, .. } = hosts(controller, now).await?;
    let found = hosts.into_iter().find(|host| host.view.node.id == node.id);
    let found = found.ok_or_else(|| crate::revoke::not_found(id_or_name))?;
    Ok((HostState { cut, ..found }, tunnels))
}

/// How far a cut is in force: whoever had to do with the host reads back exactly what is wanted now.
async fn cut(
    controller: &Controller,
    tx: &mut Transaction,
    node: &Node,
    now: Timestamp,
) -> Result<Option<CutState>, ApiProblem> {
    let Some(Cut { generation, hosts }) = tx.cut(&node.id).await? else { return Ok(None) };
    let nodes = tx.nodes().await?;
    let members = hosts.iter().filter_map(|id| nodes.get(id)).filter(|node| node.reports());
    let (missing, confirmed): (Vec<&Node>, Vec<&Node>) =
        members.partition(|node| lag(controller, &node.id, now).is_some());
    let names = |nodes: Vec<&Node>| -> Vec<NodeName> { nodes.into_iter().map(|node| node.name.clone()).collect() };
    Ok(Some(CutState { generation, confirmed: names(confirmed), missing: names(missing) }))
}

/// All that the first view needs.
pub(super) async fn overview(controller: &Controller, now: Timestamp) -> Result<Overview, ApiProblem> {
    let status = views::status(controller, now).await?;
    let Hosts { hosts, tunnels, .. } = hosts(controller, now).await?;
    let held = views::validators(controller, now).await?.held;
    let events = controller.store.read().await?.events(MOST_EVENTS).await?;
    Ok(Overview { status, hosts, tunnels, held, events })
}

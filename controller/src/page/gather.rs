//! What a view is made from, read from store and memory. Reads only. Nothing is cut here: what a view leaves out, it says.

use crate::{
    api::{ApiProblem, views},
    controller::Controller,
    lag::{lag, silent},
    store::{Cut, Transaction},
};
use picket_api::operator::NodeView;
use picket_model::{Node, NodeRole, Timestamp};
use picket_page::{CutState, HostState, Overview, Tunnel, tunnels};

/// Lines of the audit log from which a day is counted.
const MOST_EVENTS: usize = 1000;

/// Members and what is between them.
pub(super) struct Members {
    /// By name.
    pub(super) hosts: Vec<HostState>,
    /// Tunnels between them.
    pub(super) tunnels: Vec<Tunnel>,
}

/// Every member.
pub(super) async fn members(controller: &Controller, now: Timestamp) -> Result<Members, ApiProblem> {
    let hosts = states(controller, now, Node::is_active).await?;
    let tunnels = tunnels(&hosts, now);
    Ok(Members { hosts, tunnels })
}

/// Every host that was revoked.
pub(super) async fn revoked(controller: &Controller, now: Timestamp) -> Result<Vec<HostState>, ApiProblem> {
    states(controller, now, |node| !node.is_active()).await
}

async fn states(
    controller: &Controller,
    now: Timestamp,
    is_asked: impl Fn(&Node) -> bool,
) -> Result<Vec<HostState>, ApiProblem> {
    let found = views::nodes_that(controller, is_asked, usize::MAX, now).await?;
    Ok(found.into_iter().map(|view| state(controller, view, now)).collect())
}

fn state(controller: &Controller, view: NodeView, now: Timestamp) -> HostState {
    let is_asked = view.node.reports();
    let target = controller.wanted.target();
    HostState {
        lag: is_asked.then(|| lag(controller, &view.node.id, now)).flatten(),
        is_silent: is_asked && silent(controller, &view.node.id, now).is_some(),
        config: target.and_then(|target| target.plan.nodes.get(&view.node.id).cloned()),
        cut: None,
        view,
    }
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
    let lease = tx.leases().await?.get(&node.id).copied().unwrap_or_default();
    drop(tx);
    let host = HostState { cut, ..state(controller, views::node(controller, &node, lease, now), now) };
    // Tunnels are what validators' hosts tell of them.
    let preps = states(controller, now, |node| node.role == NodeRole::Prep && node.is_active()).await?;
    Ok((host, tunnels(&preps, now)))
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
    let names = |nodes: Vec<&Node>| nodes.into_iter().map(|node| node.name.clone()).collect();
    Ok(Some(CutState { generation, confirmed: names(confirmed), missing: names(missing) }))
}

/// All that the first view needs.
pub(super) async fn overview(controller: &Controller, now: Timestamp) -> Result<Overview, ApiProblem> {
    let status = views::status(controller, now).await?;
    let Members { hosts, tunnels } = members(controller, now).await?;
    let held = views::validators(controller, now).await?.held;
    let events = controller.store.read().await?.events(MOST_EVENTS).await?;
    Ok(Overview { status, hosts, tunnels, held, events })
}

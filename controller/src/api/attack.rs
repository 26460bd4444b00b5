//! What hosts refuse and whom, as operators see it: the last reports put together, and the blocklist that is made of them. Reads
//! only.

use super::{Answer, ApiProblem, Shared, auth::Viewer, problem::Asked};
use crate::{controller::Controller, now, store::StoredReport};
use axum::{Json, extract::State};
use picket_api::attack::{AttackHost, AttackView, BlocklistQuery, LEAST_SAMPLES};
use picket_model::{
    AttackSource, Blocklist, BlocklistBy, Node, NodeId, NodeName, RefusedSources, Timestamp, network::canonical,
};
use picket_plan::{AttackedHost, Belonging, attack_sources, blocklist as list};
use std::{collections::BTreeMap, net::IpAddr};

/// Sources of one kind in a view.
const MOST: usize = 100;

/// What is refused where, and whom.
pub(super) async fn view(State(controller): Shared, _: Viewer) -> Answer<AttackView> {
    Ok(Json(shown(&controller, now()).await?))
}

/// Whom to keep out somewhere else.
pub(super) async fn blocklist(
    State(controller): Shared,
    _: Viewer,
    Asked(query): Asked<BlocklistQuery>,
) -> Answer<Blocklist> {
    Ok(Json(made(&controller, &query, now()).await?))
}

/// The view, for the status page too.
pub(crate) async fn shown(controller: &Controller, now: Timestamp) -> Result<AttackView, ApiProblem> {
    let nodes = controller.store.read().await?.nodes().await?;
    let said = said(controller, &nodes);
    let attacked = attacked(&said);
    let most = |by| -> Vec<AttackSource> { attack_sources(&attacked, by).into_iter().take(MOST).collect() };
    let hosts = said.iter().map(|(node, stored)| {
        let refused = stored.as_ref().and_then(|stored| stored.report.refused_sources.as_deref());
        AttackHost {
            node: node.id.clone(),
            name: node.name.clone(),
            defences: stored.as_ref().and_then(|stored| stored.report.defences.clone()),
            reported_at: stored.as_ref().map(|stored| stored.received_at),
            samples: refused.map(|refused| (refused.samples, refused.seconds)),
            acting: refused.map(|refused| refused.acting.clone()).unwrap_or_default(),
        }
    });
    let hosts = hosts.collect();
    Ok(AttackView { now, hosts, addresses: most(BlocklistBy::Address), networks: most(BlocklistBy::Prefix) })
}

/// The blocklist, for the status page too.
pub(crate) async fn made(
    controller: &Controller,
    query: &BlocklistQuery,
    now: Timestamp,
) -> Result<Blocklist, ApiProblem> {
    let mut tx = controller.store.read().await?;
    let (nodes, merged) = (tx.nodes().await?, tx.merged().await?);
    let policy = tx.policy().await?.unwrap_or_default().1;
    drop(tx);
    let validators = merged.map(|merged| merged.set).unwrap_or_default();
    let said = said(controller, &nodes);
    let seen = seen(&said, &nodes);
    let belonging = Belonging { nodes: &nodes, seen: &seen, validators: &validators, policy: &policy };
    let asked = (query.by.unwrap_or_default(), query.least.unwrap_or(LEAST_SAMPLES));
    Ok(list(&attacked(&said), asked, &belonging, now))
}

/// Members that report, in order of name, and what each said last.
type Said<'a> = Vec<(&'a Node, Option<StoredReport>)>;

fn said<'a>(controller: &Controller, nodes: &'a BTreeMap<NodeId, Node>) -> Said<'a> {
    let mut members: Vec<&Node> = nodes.values().filter(|node| node.reports()).collect();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    let stored = |node: &Node| controller.reports.get(&node.id).map(|received| received.stored);
    members.into_iter().map(|node| (node, stored(node))).collect()
}

fn attacked<'a>(said: &'a Said<'_>) -> Vec<AttackedHost<'a>> {
    let of = |(node, stored): &'a (&Node, Option<StoredReport>)| {
        let report = &stored.as_ref()?.report;
        let refused: &RefusedSources = report.refused_sources.as_deref()?;
        let stopped = report.defences.as_ref().and_then(|defences| defences.stopped_per_second);
        Some(AttackedHost { name: &node.name, refused, stopped_per_second: stopped.unwrap_or_default() })
    };
    said.iter().filter_map(of).collect()
}

/// Where tunnels of members come from, as their peers see it.
fn seen(said: &Said<'_>, nodes: &BTreeMap<NodeId, Node>) -> BTreeMap<IpAddr, NodeName> {
    let members = nodes.values().filter(|node| node.is_active());
    let names: BTreeMap<_, &NodeName> = members.map(|node| (node.wireguard_key, &node.name)).collect();
    let reports = said.iter().filter_map(|(_, stored)| Some(&stored.as_ref()?.report));
    let peers = reports.flat_map(|report| &report.peers);
    peers.filter_map(|(key, peer)| Some((canonical(peer.endpoint?.ip()), (*names.get(key)?).clone()))).collect()
}

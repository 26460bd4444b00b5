//! Hidden validators' ways as operators see them: the plan, what hosts report, and the names that the chain has for addresses.

use super::{
    Answer, ApiProblem, Shared,
    auth::{Admin, Viewer},
    problem::{Asked, Body, Named},
};
use crate::{controller::Controller, drains, lag::lag, now, revoke::not_found, store::Actor};
use axum::{Json, extract::State};
use ipnet::IpNet;
use picket_api::paths::{DestinationPath, DrainNode, DrainView, HostPaths, PathsQuery, PathsView, SentryPath};
use picket_model::{
    Hidden, Node, NodeConfig, NodeId, NodeName, NodeReport, Timestamp, ValidatorSet,
    network::canonical,
    paths::{Carried, PathsReport},
};
use std::{collections::BTreeMap, net::IpAddr};

/// The ways of all hidden validators, or of one.
pub(super) async fn view(State(controller): Shared, _: Viewer, Asked(query): Asked<PathsQuery>) -> Answer<PathsView> {
    Ok(Json(shown(&controller, query.node.as_deref(), now()).await?))
}

/// Has a sentry left.
pub(super) async fn drain(
    State(controller): Shared,
    Admin(operator): Admin,
    Named(node): Named<String>,
    Body(request): Body<DrainNode>,
) -> Answer<DrainView> {
    Ok(Json(drains::drain(&controller, &Actor::Operator(operator.id), &node, request).await?))
}

/// Takes that back.
pub(super) async fn undrain(
    State(controller): Shared,
    Admin(operator): Admin,
    Named(node): Named<String>,
) -> Answer<Node> {
    Ok(Json(drains::undrain(&controller, &Actor::Operator(operator.id), &node).await?))
}

async fn shown(controller: &Controller, only: Option<&str>, now: Timestamp) -> Result<PathsView, ApiProblem> {
    let mut tx = controller.store.read().await?;
    let nodes = tx.nodes().await?;
    let only = match only {
        Some(name) => Some(tx.node_called(name).await?.ok_or_else(|| not_found(name))?.id),
        None => None,
    };
    let validators = tx.merged().await?.map(|merged| merged.set).unwrap_or_default();
    drop(tx);
    let (known, target) = (Known { nodes: &nodes, owners: owners(&validators) }, controller.wanted.target());
    let configs = target.iter().flat_map(|target| target.plan.nodes.values());
    let configs = configs.filter(|config| only.as_ref().is_none_or(|only| *only == config.node));
    let hosts = configs.filter_map(|config| {
        let received = controller.reports.get(&config.node).map(|received| received.stored);
        Some(HostPaths {
            in_force: lag(controller, &config.node, now).is_none(),
            reported_at: received.as_ref().map(|stored| stored.received_at),
            ..known.host(config, config.firewall.hidden.as_ref()?, received.as_ref().map(|stored| &stored.report))?
        })
    });
    let mut hosts: Vec<HostPaths> = hosts.collect();
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(PathsView { now, hosts, drains: drains::views(controller, now).await? })
}

/// Whose each address is.
type Owners = BTreeMap<IpAddr, Vec<(picket_model::PrepId, String)>>;

fn owners(validators: &ValidatorSet) -> Owners {
    let mut owners = Owners::new();
    for validator in validators.iter() {
        for address in &validator.addresses {
            owners.entry(canonical(*address)).or_default().push((validator.prep, validator.name.clone()));
        }
    }
    owners
}

struct Known<'a> {
    nodes: &'a BTreeMap<NodeId, Node>,
    owners: Owners,
}

impl Known<'_> {
    fn host(&self, config: &NodeConfig, hidden: &Hidden, report: Option<&NodeReport>) -> Option<HostPaths> {
        let paths = report.and_then(|report| report.paths.as_deref());
        let sentries =
            hidden.sentries.iter().filter_map(|(id, share)| self.sentry(config, (id, share.get()), report, paths));
        let mut sentries: Vec<SentryPath> = sentries.collect();
        sentries.sort_by(|a, b| a.name.cmp(&b.name));
        let carried = paths.iter().flat_map(|paths| &paths.carried);
        let mut destinations: Vec<DestinationPath> = carried.flat_map(|carried| self.destinations(carried)).collect();
        destinations.sort_by_key(|path| path.destination);
        Some(HostPaths {
            node: config.node.clone(),
            name: self.name(&config.node)?,
            strict: hidden.strict,
            in_force: false,
            reported_at: None,
            sentries,
            destinations,
            more: paths.map_or(0, |paths| paths.more),
            moves: paths.map(|paths| paths.moves.clone()).unwrap_or_default(),
        })
    }

    fn sentry(
        &self,
        config: &NodeConfig,
        (id, share): (&NodeId, u8),
        report: Option<&NodeReport>,
        paths: Option<&PathsReport>,
    ) -> Option<SentryPath> {
        // A next key carries nothing yet.
        let keys = config.wireguard.peers.iter().filter(|(_, peer)| peer.node == *id && !peer.allowed_ips.is_empty());
        let tunnel = keys.filter_map(|(key, _)| report?.peers.get(key)).next();
        Some(SentryPath {
            node: id.clone(),
            name: self.name(id)?,
            share,
            carries: paths.map_or(0, |paths| paths.share(id)),
            way: paths.and_then(|paths| paths.sentries.get(id).cloned()),
            last_handshake: tunnel.and_then(|tunnel| tunnel.last_handshake),
            sent_bytes: tunnel.map_or(0, |tunnel| tunnel.sent_bytes),
            received_bytes: tunnel.map_or(0, |tunnel| tunnel.received_bytes),
        })
    }

    fn destinations(&self, carried: &Carried) -> Vec<DestinationPath> {
        let Some(name) = self.name(&carried.sentry) else { return Vec::new() };
        let path = |destination: &IpNet| DestinationPath {
            destination: *destination,
            validators: self.owners.get(&destination.addr()).cloned().unwrap_or_default(),
            sentry: carried.sentry.clone(),
            name: name.clone(),
            since: carried.since,
            cause: carried.cause.clone(),
        };
        carried.destinations.iter().map(path).collect()
    }

    /// A host's name; `None` for one that nobody knows, as a report may have it.
    fn name(&self, id: &NodeId) -> Option<NodeName> {
        self.nodes.get(id).map(|node| node.name.clone())
    }
}

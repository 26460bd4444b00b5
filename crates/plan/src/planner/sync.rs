//! The part of the plan that is about nodes' JSON-RPC: what each sentry serves, of whose node, and to whom.

use picket_model::{Node, NodeRole, Policy, SyncLine, SyncPath, SyncTarget};
use std::collections::BTreeSet;

/// What a host serves, of the validators that it has tunnels to and of itself.
pub(super) fn paths(policy: &Policy, node: &Node, others: &[&Node]) -> BTreeSet<SyncPath> {
    let lines = policy.sync.iter().filter(|line| node.role == NodeRole::Sentry && line.is_at(&node.name));
    lines.filter_map(|line| path(line, others)).collect()
}

/// `None` where the sentry has no tunnel to the validator.
fn path(line: &SyncLine, others: &[&Node]) -> Option<SyncPath> {
    let to = match &line.prep {
        None => SyncTarget::Own,
        Some(prep) => {
            let prep = others.iter().find(|other| &other.name == prep)?;
            SyncTarget::Prep { node: prep.id.clone(), name: prep.name.clone(), overlay: prep.overlay }
        }
    };
    Some(SyncPath {
        port: line.port,
        to,
        to_port: line.to_port(),
        citizens: line.citizens.iter().copied().map(picket_model::network::canonical_network).collect(),
        addresses: line.addresses.clone(),
        websocket: line.websocket.clone(),
        debug: line.debug,
    })
}

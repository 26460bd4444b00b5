//! Which hosts have tunnels, by role: kept by whoever keeps all hosts, so that a change of one host goes through those at the other ends of
//! its tunnels and nobody else. Decides nothing.

use picket_model::{Node, NodeId, NodeRole};
use std::collections::{BTreeMap, BTreeSet};

/// Hosts that have tunnels, by role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meshed(BTreeMap<NodeRole, BTreeSet<NodeId>>);

impl Meshed {
    /// Notes that a host came, or is other than it was.
    pub fn note(&mut self, before: Option<&Node>, after: &Node) {
        if let Some(before) = before.filter(|before| before.is_meshed())
            && let Some(hosts) = self.0.get_mut(&before.role)
        {
            hosts.remove(&before.id);
        }
        if after.is_meshed() {
            self.0.entry(after.role).or_default().insert(after.id.clone());
        }
    }

    /// Those of a role, among all hosts.
    pub(crate) fn of<'a>(&self, role: NodeRole, nodes: &'a BTreeMap<NodeId, Node>) -> Vec<&'a Node> {
        self.0.get(&role).into_iter().flatten().filter_map(|id| nodes.get(id)).collect()
    }
}

//! Which hosts a change touches: what a plan was made from, compared with what there is now. The others are to be what they are by the
//! plan in force, and are not looked at. Where that is not plain, all are.

use crate::{NextKeys, Plan, PlanInput};
use picket_model::{Generation, Node, NodeConfig, NodeId, Purpose, Shield, ShieldOrders, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Hosts whose wanted state may be another than by the plan in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    /// Each of them.
    All,
    /// These and no others.
    Hosts(BTreeSet<NodeId>),
}

/// What a plan was made from, as far as the next one has to be compared with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    generation: Generation,
    policy_version: u64,
    validators_version: u64,
    next_keys: NextKeys,
    shield: ShieldOrders,
    epoch: u64,
    /// Whether a sentry was to be left by some moment.
    is_drained: bool,
    at: Timestamp,
    /// When a line of the policy ends by itself.
    line_ends: Option<Timestamp>,
    /// Hosts with a tunnel on its way to another epoch.
    moving: BTreeSet<NodeId>,
}

impl Made {
    /// Of a plan and what it was made from: just now, or by another controller, or before and found to stand.
    pub fn of(plan: &Plan, input: &PlanInput<'_>) -> Self {
        Self::with(plan, input, plan.nodes.values().filter(|config| is_moving(config, input.epochs.now)))
    }

    /// The same, where only these hosts were looked at since.
    #[must_use]
    pub fn after(&self, plan: &Plan, input: &PlanInput<'_>, touched: &Touched) -> Self {
        let Touched::Hosts(touched) = touched else { return Self::of(plan, input) };
        let looked_at = self.moving.union(touched).filter_map(|id| plan.nodes.get(id));
        Self::with(plan, input, looked_at.filter(|config| is_moving(config, input.epochs.now)))
    }

    fn with<'a>(plan: &Plan, input: &PlanInput<'_>, moving: impl Iterator<Item = &'a Arc<NodeConfig>>) -> Self {
        Self {
            generation: plan.generation,
            policy_version: input.policy_version,
            validators_version: input.validators_version,
            next_keys: input.next_keys.clone(),
            shield: input.shield.clone(),
            epoch: input.epochs.now,
            is_drained: !input.drains.is_empty(),
            at: input.now,
            line_ends: input.policy.next_end(input.now),
            moving: moving.map(|config| config.node.clone()).collect(),
        }
    }

    /// Hosts of which it matters whether they hold what is wanted of them, for a plan of this parent in this epoch; `None` where
    /// it may matter of any.
    pub fn moving(&self, parent: Option<Generation>, epoch: u64) -> Option<&BTreeSet<NodeId>> {
        (parent == Some(self.generation) && epoch == self.epoch).then_some(&self.moving)
    }

    /// What is touched by now, where these hosts, each with what it was when this was made, are other than they were.
    pub fn touched(&self, input: &PlanInput<'_>, changed: &BTreeMap<NodeId, Option<Node>>) -> Touched {
        if !self.is_comparable(input) {
            return Touched::All;
        }
        let shield =
            |orders: &ShieldOrders, node, at| orders.of(node, at).map_or(input.policy.shield, |order| order.shield);
        let ordered = self.shield.hosts.keys().chain(input.shield.hosts.keys());
        let ordered = ordered.filter(|id| shield(&self.shield, id, self.at) != shield(input.shield, id, input.now));
        let mut hosts: BTreeSet<NodeId> = ordered.chain(&self.moving).cloned().collect();
        for (id, before) in changed {
            hosts.insert(id.clone());
            let after = input.nodes.get(id);
            if before.as_ref().map(as_peers_see) != after.map(as_peers_see) {
                for role in [before.as_ref(), after].into_iter().flatten().map(|node| node.role.other()) {
                    let peers = input.nodes.values().filter(|node| node.role == role && node.is_meshed());
                    hosts.extend(peers.map(|node| node.id.clone()));
                }
            }
        }
        Touched::Hosts(hosts)
    }

    /// Whether hosts, orders about their shields and tunnels that are on their way to another epoch are all that may have changed.
    fn is_comparable(&self, input: &PlanInput<'_>) -> bool {
        let for_all = |orders: &ShieldOrders, at| -> Option<Shield> {
            orders.all.as_ref().filter(|order| order.is_active(at)).map(|order| order.shield)
        };
        // A line may put something among what hosts of one role alone have in common.
        let of_one_role = input.policy.allow.iter().any(|line| line.purpose == Purpose::Overlay);
        input.parent.is_some_and(|parent| parent.generation == self.generation)
            && (self.policy_version, self.validators_version) == (input.policy_version, input.validators_version)
            && self.next_keys == *input.next_keys
            && self.epoch == input.epochs.now
            && !self.is_drained
            && input.drains.is_empty()
            && self.at <= input.now
            && self.line_ends.is_none_or(|end| input.now < end)
            && for_all(&self.shield, self.at) == for_all(input.shield, input.now)
            && !of_one_role
    }
}

/// What may be in other hosts' wanted states of a host; nothing of one without tunnels.
fn as_peers_see(node: &Node) -> Option<Node> {
    // A new certificate is nobody else's business; whatever a host gains later is.
    node.is_meshed().then(|| Node { tls_key_sha256: String::new(), machine_id: None, ..node.clone() })
}

fn is_moving(config: &NodeConfig, epoch: u64) -> bool {
    let mut pairings = config.wireguard.peers.values().filter_map(|peer| peer.pairing);
    pairings.any(|pairing| pairing.before.is_some() || pairing.epoch != epoch)
}

#[cfg(test)]
#[path = "touched_tests.rs"]
mod tests;

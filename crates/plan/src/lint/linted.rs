//! Findings by what they are about: after a change only what it touches is checked again. No check of its own but that addresses are
//! one host's alone.

use super::{Roles, Widths, check_host, check_mesh, refused};
use crate::{Finding, Plan, PlanInput, Touched};
use ipnet::IpNet;
use picket_model::{NodeConfig, NodeId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The findings on a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Linted {
    /// Of hosts about which there is something to say.
    hosts: BTreeMap<NodeId, Vec<Finding>>,
    mesh: Vec<Finding>,
    roles: Roles,
}

impl Linted {
    /// Of a plan, looked at as a whole.
    pub fn of(plan: &Plan, input: &PlanInput<'_>) -> Self {
        let mut roles = Roles::new();
        for config in plan.nodes.values() {
            *roles.entry(config.role).or_default() += 1;
        }
        let mut linted = Self { hosts: BTreeMap::new(), mesh: check_mesh(plan, &roles, input), roles };
        linted.check(plan.nodes.values(), plan, input);
        check_unique(plan, |_| true, &mut linted.mesh);
        linted
    }

    /// The same, where these are the findings on its parent and only these hosts may be other than by that.
    #[must_use]
    pub fn after(&self, plan: &Plan, input: &PlanInput<'_>, touched: &Touched) -> Self {
        let (Touched::Hosts(touched), Some(parent)) = (touched, input.parent) else { return Self::of(plan, input) };
        // What is said of a tunnel is said of either end of it, as it was and as it is.
        let ends = |plan: &Plan, id: &NodeId| -> Vec<NodeId> {
            let peers = plan.nodes.get(id).into_iter().flat_map(|config| config.wireguard.peers.values());
            peers.map(|peer| peer.node.clone()).collect()
        };
        let peers = touched.iter().flat_map(|id| [ends(parent, id), ends(plan, id)]).flatten();
        let again: BTreeSet<NodeId> = touched.iter().cloned().chain(peers).collect();
        let mut roles = self.roles.clone();
        for id in touched {
            if let Some(before) = parent.nodes.get(id).and_then(|config| roles.get_mut(&config.role)) {
                *before -= 1;
            }
            if let Some(config) = plan.nodes.get(id) {
                *roles.entry(config.role).or_default() += 1;
            }
        }
        let mut linted = Self { hosts: self.hosts.clone(), mesh: check_mesh(plan, &roles, input), roles };
        for id in &again {
            linted.hosts.remove(id);
        }
        linted.check(again.iter().filter_map(|id| plan.nodes.get(id)), plan, input);
        let addresses = |plan: &Plan, id| plan.nodes.get(id).map(|config| config.wireguard.addresses.clone());
        let addresses = |plan, id| addresses(plan, id).unwrap_or_default();
        let new: BTreeSet<IpNet> =
            touched.iter().flat_map(|id| &addresses(plan, id) - &addresses(parent, id)).collect();
        if !new.is_empty() {
            check_unique(plan, |address| new.contains(address), &mut linted.mesh);
        }
        linted
    }

    fn check<'a>(&mut self, hosts: impl Iterator<Item = &'a Arc<NodeConfig>>, plan: &Plan, input: &PlanInput<'_>) {
        let mut widths = Widths::new();
        for config in hosts {
            let findings = check_host(config, plan, input, &mut widths);
            if !findings.is_empty() {
                self.hosts.insert(config.node.clone(), findings);
            }
        }
    }

    /// All of them, errors first.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.hosts.values().flatten().chain(&self.mesh).cloned().collect();
        findings.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.text.cmp(&b.text)));
        findings.dedup();
        findings
    }
}

/// That these addresses are one host's each.
fn check_unique(plan: &Plan, is_meant: impl Fn(&IpNet) -> bool, findings: &mut Vec<Finding>) {
    let mut owners: BTreeMap<&IpNet, &NodeId> = BTreeMap::new();
    for config in plan.nodes.values() {
        for address in config.wireguard.addresses.iter().filter(|address| is_meant(address)) {
            if let Some(other) = owners.insert(address, &config.node) {
                findings.push(refused(&config.node, format!("{other} and {} would share {address}", config.node)));
            }
        }
    }
}

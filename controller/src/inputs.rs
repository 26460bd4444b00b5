//! What plans are made from, in memory: read anew from the store as far as it changed there. And what the target was made from, so that
//! the next plan looks at those hosts alone that a change touches. Decides nothing.

use crate::store::{StoreError, Transaction};
use picket_model::{Drains, Generation, MeshId, Node, NodeId, Policy, ShieldOrders, Timestamp, ValidatorSet};
use picket_plan::{Epochs, Linted, Made, Meshed, NextKeys, Plan, PlanInput, Touched};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What is known of the store, by one who plans.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    policy: (u64, Policy),
    validators: (u64, ValidatorSet),
    nodes: BTreeMap<NodeId, Node>,
    meshed: Meshed,
    /// How many of them are members.
    active: usize,
    next_keys: NextKeys,
    shield: Arc<ShieldOrders>,
    drains: Drains,
    /// The last change of a host that was read.
    change: i64,
    /// Hosts that changed since the target was made, as they were then.
    changed: BTreeMap<NodeId, Option<Node>>,
    target: Option<Remembered>,
}

/// What the target was made from, and the findings on it.
#[derive(Debug)]
pub(crate) struct Remembered {
    made: Made,
    linted: Linted,
}

impl Inputs {
    /// Brings it up to date.
    pub(crate) async fn refresh(&mut self, tx: &mut Transaction) -> Result<(), StoreError> {
        let there = tx.versions().await?;
        if there.policy != self.policy.0 {
            self.policy = tx.policy().await?.unwrap_or_default();
        }
        if there.validators != self.validators.0 {
            self.validators = tx.merged().await?.map(|merged| (merged.version, merged.set)).unwrap_or_default();
        }
        self.next_keys = if there.has_next_keys { tx.next_keys().await? } else { NextKeys::new() };
        self.drains = if there.has_drains { tx.drains().await? } else { Drains::new() };
        self.shield = there.shield;
        if there.change == self.change {
            return Ok(());
        }
        let (nodes, change) = tx.nodes_changed_after(self.change).await?;
        self.change = change;
        for node in nodes {
            let id = node.id.clone();
            self.active += usize::from(node.is_active());
            self.meshed.note(self.nodes.get(&id), &node);
            let before = self.nodes.insert(id.clone(), node);
            self.active -= usize::from(before.as_ref().is_some_and(Node::is_active));
            self.changed.entry(id).or_insert(before);
        }
        Ok(())
    }

    /// For a plan.
    pub(crate) fn input<'a>(
        &'a self,
        mesh: &'a MeshId,
        parent: Option<&'a Plan>,
        now: Timestamp,
        epochs: Epochs<'a>,
    ) -> PlanInput<'a> {
        PlanInput {
            mesh,
            policy: &self.policy.1,
            policy_version: self.policy.0,
            validators: &self.validators.1,
            validators_version: self.validators.0,
            nodes: &self.nodes,
            meshed: Some(&self.meshed),
            next_keys: &self.next_keys,
            parent,
            shield: &self.shield,
            drains: &self.drains,
            now,
            epochs,
        }
    }

    /// All hosts, revoked ones too.
    pub(crate) const fn nodes(&self) -> &BTreeMap<NodeId, Node> {
        &self.nodes
    }

    /// How many hosts are members, and how many were.
    pub(crate) fn counted(&self) -> (usize, usize) {
        (self.active, self.nodes.len() - self.active)
    }

    /// How many validators there are.
    pub(crate) fn validators(&self) -> usize {
        self.validators.1.len()
    }

    /// Hosts of which it matters whether they hold what is wanted of them.
    pub(crate) fn asked(&self, parent: Option<Generation>, epoch: u64) -> Vec<&NodeId> {
        let moving: Option<&BTreeSet<NodeId>> =
            self.target.as_ref().and_then(|target| target.made.moving(parent, epoch));
        moving.map_or_else(|| self.nodes.keys().collect(), |moving| moving.iter().collect())
    }

    /// Hosts that are to be looked at.
    pub(crate) fn touched(&self, input: &PlanInput<'_>) -> Touched {
        self.target.as_ref().map_or(Touched::All, |target| target.made.touched(input, &self.changed))
    }

    /// What is to be known of a plan once it is the target, or has turned out to be it still.
    pub(crate) fn planned(&self, plan: &Plan, input: &PlanInput<'_>, touched: &Touched) -> Remembered {
        match &self.target {
            Some(target) => Remembered {
                made: target.made.after(plan, input, touched),
                linted: target.linted.after(plan, input, touched),
            },
            None => Remembered { made: Made::of(plan, input), linted: Linted::of(plan, input) },
        }
    }

    /// It became the target, or was found to be it still.
    pub(crate) fn became_target(&mut self, planned: Remembered) {
        self.target = Some(planned);
        self.changed.clear();
    }
}

impl Remembered {
    /// What there is to say of the plan.
    pub(crate) const fn linted(&self) -> &Linted {
        &self.linted
    }
}

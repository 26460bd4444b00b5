//! What must hold after each step, and what has to be remembered for it. Looks at the database with a store of its own, to which
//! nothing happens.

use super::agent::Agent;
use crate::store::{Place, Store, Target, Transaction};
use picket_agent::ledger::Standing;
use picket_model::{
    Digest, Generation, MeshId, Node, NodeConfig, NodeId, Purpose, Reason, Timestamp, TokenId, ValidatorSet,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

/// Most validators that one judgement may take away or move.
pub(super) const MAX_REMOVED: usize = 3;

pub(super) struct Oracle {
    store: Store,
    target: Option<Target>,
    /// Numbers of the plans that were the target, each with the content of each host that it changed.
    contents: BTreeMap<(NodeId, Generation), Digest>,
    /// Hosts that were revoked, and the first plan without them.
    gone: BTreeMap<NodeId, Generation>,
    set: ValidatorSet,
    set_version: u64,
    /// Every address that was ever in the set.
    ever: BTreeSet<IpAddr>,
    policy: u64,
    /// Hosts that were told that they are in.
    joined: BTreeSet<NodeId>,
    /// Hosts of which an operator was told that they are out.
    cut: BTreeSet<NodeId>,
    pub(super) plans: u64,
}

impl Oracle {
    pub(super) async fn new(place: &Place, mesh: MeshId) -> Self {
        Self {
            store: Store::at(place, mesh).await.unwrap(),
            target: None,
            contents: BTreeMap::new(),
            gone: BTreeMap::new(),
            set: ValidatorSet::default(),
            set_version: 0,
            ever: BTreeSet::new(),
            policy: 0,
            joined: BTreeSet::new(),
            cut: BTreeSet::new(),
            plans: 0,
        }
    }

    pub(super) async fn close(&self) {
        self.store.close().await;
    }

    /// Another database stands in the place of the one of before: what is only in that one is not asked for any more.
    pub(super) async fn restored(&mut self, place: &Place, mesh: MeshId) {
        self.store = Store::at(place, mesh).await.unwrap();
        let mut tx = self.store.read().await.unwrap();
        let nodes = tx.nodes().await.unwrap();
        self.target = tx.target().await.unwrap();
        let merged = tx.merged().await.unwrap();
        (self.set_version, self.set) = merged.map(|row| (row.version, row.set)).unwrap_or_default();
        self.policy = tx.policy().await.unwrap().unwrap_or_default().0;
        drop(tx);
        let is_there = |id: &NodeId| nodes.contains_key(id);
        let is_out = |id: &NodeId| nodes.get(id).is_some_and(|node| !node.is_active());
        self.joined.retain(is_there);
        self.cut.retain(is_out);
        self.gone.retain(|id, _| is_out(id));
        self.contents.clear();
    }

    pub(super) async fn nodes(&self) -> Arc<BTreeMap<NodeId, Node>> {
        self.store.read().await.unwrap().nodes().await.unwrap()
    }

    pub(super) fn generation(&self) -> Generation {
        self.target.as_ref().map(|target| target.plan.generation).unwrap_or_default()
    }

    /// A host was told that it is in.
    pub(super) fn was_let_in(&mut self, node: &NodeId) {
        self.joined.insert(node.clone());
    }

    /// An operator was told that a host is out, or the host was that it left: from now on nobody is to have it as a peer by the target.
    pub(super) fn was_cut(&mut self, node: &NodeId) {
        self.cut.insert(node.clone());
    }

    /// What the database holds, after a step.
    pub(super) async fn look(&mut self) {
        let mut tx = self.store.read().await.unwrap();
        let generation = tx.target_generation().await.unwrap();
        assert!(generation >= self.generation(), "the target went back from {} to {generation}", self.generation());
        let nodes = tx.nodes().await.unwrap();
        if generation > self.generation() {
            let next = match &self.target {
                Some(known) => tx.target_after(known).await.unwrap(),
                None => tx.target().await.unwrap(),
            };
            let next = next.unwrap();
            let mut number = generation;
            while number > self.generation() {
                let plan = tx.kept_plan(number).await.unwrap().unwrap_or_else(|| panic!("plan {number} is not there"));
                assert!(plan.plan.parent < number, "plan {number} has parent {}", plan.plan.parent);
                (number, self.plans) = (plan.plan.parent, self.plans + 1);
            }
            assert_eq!(number, self.generation(), "a plan was made from another target");
            self.take(next, &nodes);
        }
        let target = self.target.as_ref();
        for id in &self.cut {
            assert!(nodes.get(id).is_some_and(|node| !node.is_active()), "{id} was cut, and is a member");
            assert!(target.is_none_or(|target| !target.plan.nodes.contains_key(id)), "{id} was cut, and is in a plan");
        }
        let mut overlays = BTreeSet::new();
        for node in nodes.values() {
            assert!(overlays.insert(node.overlay.v4), "two hosts have {}", node.overlay.v4);
        }
        for id in &self.joined {
            assert!(nodes.contains_key(id), "{id} joined, and is lost");
        }
        let policy = tx.policy().await.unwrap().unwrap_or_default().0;
        assert!(policy >= self.policy, "the policy went back from {} to {policy}", self.policy);
        self.policy = policy;
        self.brakes(&mut tx).await;
    }

    fn take(&mut self, next: Target, nodes: &BTreeMap<NodeId, Node>) {
        for (id, config) in &next.plan.nodes {
            let known = self.target.as_ref().and_then(|target| target.plan.nodes.get(id));
            if known.is_some_and(|known| Arc::ptr_eq(known, config)) {
                continue;
            }
            let digest = config.digest();
            let before = self.contents.insert((id.clone(), config.revision), digest.clone());
            assert!(
                before.is_none_or(|before| before == digest),
                "{id}: two contents under revision {}",
                config.revision
            );
            for peer in whom(config) {
                assert!(!self.cut.contains(&peer), "plan {}: {id} has {peer}, which was cut", next.plan.generation);
            }
        }
        for id in self.target.iter().flat_map(|target| target.plan.nodes.keys()) {
            if !next.plan.nodes.contains_key(id) && nodes.get(id).is_none_or(|node| !node.is_active()) {
                self.gone.entry(id.clone()).or_insert(next.plan.generation);
            }
        }
        self.target = Some(next);
    }

    async fn brakes(&mut self, tx: &mut Transaction) {
        let Some(row) = tx.merged().await.unwrap() else { return };
        assert!(row.version >= self.set_version, "the set went back from {} to {}", self.set_version, row.version);
        if row.version == self.set_version {
            assert_eq!(row.set, self.set, "two sets under version {}", row.version);
            return;
        }
        let kept =
            |old: &picket_model::Validator| row.set.0.get(&old.prep).is_some_and(|new| new.endpoint == old.endpoint);
        let lost = self.set.iter().filter(|old| !kept(old)).count();
        assert!(lost <= MAX_REMOVED, "{lost} validators were lost at once");
        self.ever.extend(row.set.iter().flat_map(|validator| validator.addresses.iter().copied()));
        (self.set, self.set_version) = (row.set, row.version);
    }

    /// What a host holds.
    pub(super) fn agent(&self, agent: &Agent) {
        let (Some(config), Standing::Member) = (&agent.ledger.config, agent.ledger.standing) else { return };
        let name = &agent.request.name;
        for purpose in [Purpose::P2p, Purpose::Rpc] {
            for network in config.firewall.allowed(purpose).0.keys() {
                assert!(self.ever.contains(&network.addr()), "{name} lets {network} in, which was never a validator");
            }
        }
        for stranger in ["6.6.6.6", "10.0.0.1", "2a01::1"] {
            let stranger = stranger.parse().unwrap();
            let lets_in = |purpose| config.firewall.allowed(purpose).covering(stranger).next().is_some();
            assert!(!Purpose::ALL.into_iter().any(lets_in), "{name} lets {stranger} in");
        }
        for peer in whom(config) {
            let cut = self.gone.get(&peer);
            assert!(
                cut.is_none_or(|cut| agent.newest < *cut),
                "{name} has accepted plan {}, and has {peer}, which plan {cut:?} cut",
                agent.newest
            );
        }
    }

    /// What an operator was told of a cut.
    pub(super) fn receipt(&self, node: &NodeId, agent: &Agent) {
        let held = agent.ledger.config.as_ref().filter(|_| agent.ledger.standing == Standing::Member);
        let has = held.is_some_and(|config| whom(config).contains(node));
        assert!(!has, "{} is said to have cut {node}, and has it", agent.request.name);
    }

    /// At rest: everybody holds what is planned, and the database is whole.
    pub(super) async fn settled(&mut self, agents: &[Agent], now: Timestamp) {
        let mut tx = self.store.read().await.unwrap();
        let whole = tx.target().await.unwrap().unwrap();
        assert_eq!(Some(&whole), self.target.as_ref(), "the target read at once is another than read step by step");
        let nodes = tx.nodes().await.unwrap();
        for (id, node) in nodes.iter() {
            let (is_planned, plan) = (whole.plan.nodes.contains_key(id), whole.plan.generation);
            assert_eq!(is_planned, node.is_active(), "plan {plan} ({:?}) at {now} has {node:?}", whole.plan.basis);
        }
        for (id, config) in &whole.plan.nodes {
            for peer in whom(config) {
                assert!(nodes[&peer].is_meshed(), "{id} has {peer}, which is out");
            }
        }
        for agent in agents.iter().filter(|agent| agent.is_member()) {
            let id = &agent.member.as_ref().unwrap().identity.node;
            let (Some(node), Some(wanted)) = (nodes.get(id), whole.plan.nodes.get(id)) else { continue };
            let held = agent.ledger.config.as_ref();
            let is_current = held.is_some_and(|held| held.same_content(wanted) && held.revision == wanted.revision);
            assert!(
                !node.is_active() || is_current,
                "{id} has accepted plan {} and lags: {:?}",
                agent.newest,
                agent.refused
            );
        }
        let verdict = tx.verify_log().await.unwrap();
        assert!(verdict.broken.is_none(), "the audit log is broken: {verdict:?}");
        for (id, members) in tx.members_by_token().await.unwrap() {
            self.token(&mut tx, &id, members).await;
        }
    }

    async fn token(&self, tx: &mut Transaction, id: &TokenId, members: u32) {
        let token = tx.token(id).await.unwrap().unwrap();
        assert!(members <= token.used && token.used <= token.uses, "token {id}: {members} of {token:?}");
    }
}

/// Every host that another one has to do with by its state.
fn whom(config: &NodeConfig) -> BTreeSet<NodeId> {
    let grants = config.firewall.allow.values().flat_map(|set| set.0.values().flatten());
    let granted = grants.filter_map(|reason| match reason {
        Reason::Node { node, .. } => Some(node.clone()),
        _ => None,
    });
    let own = |id: &NodeId| *id != config.node;
    config.wireguard.peers.values().map(|peer| peer.node.clone()).chain(granted).filter(own).collect()
}

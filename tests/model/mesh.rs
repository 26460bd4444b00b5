//! A controller and its agents as the values they hold, moved by the same functions the programs call.

use crate::world::{NameServer, Step};
use picket_agent::{
    decide::{Here, judge},
    guard::{Guard, GuardRules},
    identity::Identity,
    ledger::Ledger,
};
use picket_api::ConfigAnswer;
use picket_firewall::{Features, HostFacts, lower};
use picket_lab::sources::Sources;
use picket_model::{
    Brakes, Denied, DnsName, HoldOrder, Lookups, MeshId, NameAnswer, Node, NodeConfig, NodeId, NodeRole, NodeState,
    Observation, Orders, OverlayPrefixes, Policy, PolicyDeny, PrepId, Purpose, Timestamp, Validator, ValidatorSet,
    fixture::node,
};
use picket_plan::{MergeInput, MergeMemory, Merged, Plan, PlanInput, Severity, lint, merge, names_due, overlay, plan};
use proptest::{prop_assert, prop_assert_eq, test_runner::TestCaseError};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

pub(crate) const MAX_REMOVED: usize = 3;
/// Size of the list at the beginning.
const FIRST: u8 = 20;
/// Of those, how many have names.
const NAMED: u8 = 8;
/// How many sources are asked.
pub(crate) const SOURCES: usize = 3;
/// Polls are far apart, so that the brakes' window moves on.
const BETWEEN_POLLS_MS: i64 = 20 * 60 * 1000;

/// Everything.
pub(crate) struct Mesh {
    mesh: MeshId,
    policy: Policy,
    prefixes: OverlayPrefixes,
    sources: Sources,
    polls: i64,
    name_server: NameServer,
    /// Names that came due.
    names: BTreeSet<DnsName>,
    orders: Orders,
    validators: ValidatorSet,
    memory: MergeMemory,
    nodes: BTreeMap<NodeId, Node>,
    plan: Option<Plan>,
    first_plan: Option<Plan>,
    agents: BTreeMap<NodeId, Agent>,
    /// Every address that was ever in the set in force: nobody else may ever get in.
    ever: BTreeSet<IpAddr>,
}

/// An agent: who it is, and what its ledger holds.
struct Agent {
    identity: Identity,
    held: Option<NodeConfig>,
}

impl Mesh {
    pub(crate) fn new() -> Self {
        let policy = Policy {
            admin: vec!["2001:db8:ad::/48".parse().unwrap()],
            brakes: Brakes { max_removed: MAX_REMOVED, min_size: 5, max_size: 100, ..Brakes::default() },
            ..Policy::default()
        };
        let mut mesh = Self {
            mesh: "m-1".parse().unwrap(),
            policy,
            prefixes: OverlayPrefixes { v4: "192.0.2.0/24".parse().unwrap(), v6: overlay::ula_prefix([1; 5]) },
            sources: Sources::default(),
            polls: 0,
            name_server: NameServer::Honest,
            names: BTreeSet::new(),
            orders: Orders::default(),
            validators: ValidatorSet::default(),
            memory: MergeMemory::default(),
            nodes: BTreeMap::new(),
            plan: None,
            first_plan: None,
            agents: BTreeMap::new(),
            ever: BTreeSet::new(),
        };
        (0..FIRST).for_each(|number| mesh.register(number, &format!("5.0.0.{number}:7100")));
        (0..NAMED).for_each(|number| mesh.register(number, &format!("node-{number}.example.com:7100")));
        mesh.sources.begin();
        mesh.poll(true);
        mesh
    }

    pub(crate) fn validators(&self) -> &ValidatorSet {
        &self.validators
    }

    pub(crate) fn peers_of(&self, number: usize) -> usize {
        let held = self.agents.values().nth(number).and_then(|agent| agent.held.as_ref());
        held.map_or(0, |config| config.wireguard.peers.len())
    }

    pub(crate) fn step(&mut self, step: &Step) {
        match *step {
            Step::Register { number, last } => self.register(number, &format!("5.0.1.{last}:7100")),
            Step::Unregister(number) => self.sources.unregister(prep(number)),
            Step::LoseHalf => self.sources.lose_half(),
            Step::LoseAll => self.sources.lose_all(),
            Step::Hostile(number) => self.register(number, "10.0.0.1:7100"),
            Step::RegisterName(number) => self.register(number, &format!("node-{number}.example.com:7100")),
            Step::TurnNames(manner) => self.name_server = manner,
            Step::Deny(number) => self.deny(prep(number)),
            Step::Freeze(frozen) => self.freeze(frozen),
            Step::Poll => self.poll(true),
            Step::Silence => self.poll(false),
            Step::Turn { source, manner } => self.sources.turn(source, manner),
            Step::Join { sentry } => self.join(if sentry { NodeRole::Sentry } else { NodeRole::Prep }),
            Step::Revoke(number) => self.revoke(number),
            Step::Hear(number) => self.hear(number, false),
            Step::HearOld(number) => self.hear(number, true),
            Step::RestartAgent(number) => {
                if let Some(agent) = self.agent(number) {
                    agent.held = through_json(&agent.held);
                }
            }
            Step::RestartController => {
                self.plan = through_json(&self.plan);
                self.validators = through_json(&self.validators);
                self.memory = through_json(&self.memory);
                self.orders = through_json(&self.orders);
                self.policy = through_json(&self.policy);
                self.nodes = through_json(&self.nodes);
                self.replan();
            }
        }
    }

    /// Every agent hears.
    pub(crate) fn settle(&mut self) {
        (0..u8::try_from(self.agents.len()).unwrap()).for_each(|number| self.hear(number, false));
    }

    /// Whatever an agent holds lets in nobody who never was a validator, and guards what must be guarded.
    pub(crate) fn check_agents(&self) -> Result<(), TestCaseError> {
        for config in self.agents.values().filter_map(|agent| agent.held.as_ref()) {
            prop_assert_eq!(config.firewall.guarded.len(), 6);
            for purpose in [Purpose::P2p, Purpose::Rpc] {
                for network in config.firewall.allowed(purpose).0.keys() {
                    prop_assert!(self.ever.contains(&network.addr()), "{network} was never a validator");
                }
            }
            for stranger in ["6.6.6.6", "10.0.0.1", "2a01::1"] {
                let let_in = Purpose::ALL
                    .into_iter()
                    .any(|p| config.firewall.allowed(p).covering(stranger.parse().unwrap()).next().is_some());
                prop_assert!(!let_in, "{stranger} gets in");
            }
        }
        Ok(())
    }

    /// Everybody holds exactly what is planned, the plan agrees with the set, and no revoked host is anybody's peer.
    pub(crate) fn check_settled(&self) -> Result<(), TestCaseError> {
        let plan = self.plan.as_ref().unwrap();
        let facts = HostFacts { overlay_interface: "picket0".parse().unwrap(), features: Features::default() };
        for (id, agent) in self.agents.iter().filter(|(id, _)| self.nodes[*id].is_active()) {
            let held = agent.held.as_ref().unwrap();
            prop_assert!(held.same_content(&plan.nodes[id]), "{id} lags");
            let denied = |v: &&Validator| self.policy.deny.iter().any(|line| line.whom == Denied::Prep(v.prep));
            let wanted: BTreeSet<IpAddr> =
                self.validators.iter().filter(|v| !denied(v)).flat_map(|v| v.addresses.iter().copied()).collect();
            let allowed: BTreeSet<IpAddr> =
                held.firewall.allowed(Purpose::P2p).0.keys().map(|net| net.addr()).collect();
            prop_assert_eq!(&allowed, &wanted);
            for peer in held.wireguard.peers.values() {
                prop_assert!(self.nodes[&peer.node].is_active(), "{id} has a tunnel to a revoked host");
            }
            // What is lowered has at least as many addresses as the policy has: none is lost.
            let elements = lower(&held.firewall, &facts).elements();
            prop_assert!(elements >= wanted.len());
        }
        Ok(())
    }

    fn register(&mut self, number: u8, endpoint: &str) {
        self.sources.register(prep(number), endpoint.parse().unwrap());
    }

    /// Three sources are asked, one of which may not be honest. What two honest ones say decides alone.
    fn poll(&mut self, answered: bool) {
        self.sources.next_block();
        self.polls += 1;
        let dishonest = self.sources.dishonest();
        let seen: Vec<Observation> = (0..SOURCES).filter(|_| answered).filter_map(|n| self.answer(n)).collect();
        let honest: Vec<Observation> =
            (0..SOURCES).filter(|n| answered && *n != dishonest.0).filter_map(|n| self.answer(n)).collect();
        let lookups = self.look_up();
        let merged = self.merged(&seen, &lookups);
        let addresses = |set: &ValidatorSet| -> BTreeMap<PrepId, BTreeSet<IpAddr>> {
            set.iter().map(|validator| (validator.prep, validator.addresses.clone())).collect()
        };
        let by_honest = self.merged(&honest, &lookups);
        assert_eq!(addresses(&merged.set), addresses(&by_honest.set), "{dishonest:?} moved the set");
        assert_eq!(merged.names, by_honest.names, "{dishonest:?} has names looked up");
        self.check_names(&merged.set);
        assert!(self.orders.hold.is_none() || merged.set == self.validators, "a frozen set changed");
        (self.validators, self.memory, self.names) = (merged.set, merged.memory, merged.names);
        self.ever.extend(self.validators.iter().flat_map(|validator| validator.addresses.iter().copied()));
        self.replan();
    }

    /// However names turn, few validators are elsewhere by them, and none is in many places.
    fn check_names(&self, next: &ValidatorSet) {
        let elsewhere = |old: &&Validator| {
            let new = next.0.get(&old.prep).filter(|new| new.endpoint == old.endpoint);
            !old.addresses.is_empty() && new.is_some_and(|new| new.addresses != old.addresses)
        };
        let moved = self.validators.iter().filter(elsewhere).count();
        assert!(moved <= self.policy.names.max_readdressed, "{:?} moved {moved}", self.name_server);
        let most = next.iter().map(|validator| validator.addresses.len()).max().unwrap_or(0);
        assert!(most <= self.policy.max_addresses_per_prep, "{:?}: {most} addresses", self.name_server);
    }

    /// What the name server says of the names that are due.
    fn look_up(&self) -> Lookups {
        let due = names_due(&self.memory, &self.names, self.now());
        let answer = |name: DnsName| {
            let number = name.as_str()["node-".len()..].split('.').next().unwrap().parse::<u8>().unwrap();
            let turn = u8::try_from(self.polls % 250).unwrap();
            let addresses: Vec<Ipv4Addr> = match self.name_server {
                NameServer::Honest => vec![Ipv4Addr::new(5, 0, 2, number)],
                NameServer::Fails => return (name, Err("no answer".to_owned())),
                NameServer::Turns => vec![Ipv4Addr::new(5, 0, 3 + turn, number)],
                NameServer::Floods => (0..16).map(|last| Ipv4Addr::new(5, 1 + number, turn, last)).collect(),
                NameServer::Private => vec![Ipv4Addr::new(10, 0, 0, number)],
            };
            let addresses = addresses.into_iter().map(IpAddr::from).collect();
            (name, Ok(NameAnswer { addresses, surplus: 0, time_to_live: Duration::ZERO }))
        };
        due.into_iter().map(answer).collect()
    }

    fn deny(&mut self, prep: PrepId) {
        let before = self.policy.deny.len();
        self.policy.deny.retain(|line| line.whom != Denied::Prep(prep));
        if self.policy.deny.len() == before {
            self.policy.deny.push(PolicyDeny { whom: Denied::Prep(prep), comment: "rogue".into(), until: None });
        }
        self.replan();
    }

    fn freeze(&mut self, frozen: bool) {
        let (by, at) = ("op-1".parse().unwrap(), self.now());
        self.orders.hold = frozen.then(|| HoldOrder { comment: "incident".into(), by, at, until: None });
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.polls * BETWEEN_POLLS_MS)
    }

    fn merged(&self, seen: &[Observation], lookups: &Lookups) -> Merged {
        merge(&MergeInput {
            previous: &self.validators,
            memory: &self.memory,
            seen,
            sources: SOURCES,
            advertised: &[],
            lookups,
            policy: &self.policy,
            orders: &self.orders,
            now: self.now(),
        })
    }

    /// What the source with this number says.
    fn answer(&self, number: usize) -> Option<Observation> {
        self.sources.answer(number, format!("s-{number}").parse().unwrap(), self.now())
    }

    fn replan(&mut self) {
        let input = PlanInput {
            mesh: &self.mesh,
            policy: &self.policy,
            policy_version: 1,
            validators: &self.validators,
            validators_version: self.polls.unsigned_abs(),
            nodes: &self.nodes,
            meshed: None,
            next_keys: &picket_plan::NextKeys::new(),
            shield: &picket_model::ShieldOrders::default(),
            drains: &picket_model::Drains::new(),
            parent: self.plan.as_ref(),
            now: self.now(),
            epochs: picket_plan::Epochs::default(),
        };
        let next = plan(&input);
        let errors: Vec<_> = lint(&next, &input).into_iter().filter(|f| f.severity == Severity::Error).collect();
        assert_eq!(errors, [], "the planner makes what the lint refuses");
        if let Some(before) = &self.plan {
            assert!(next.generation >= before.generation, "generations go back");
            assert_eq!(next.generation == before.generation, next == *before, "one generation, two plans");
        }
        self.first_plan.get_or_insert_with(|| next.clone());
        self.plan = Some(next);
    }

    fn join(&mut self, role: NodeRole) {
        let number = u8::try_from(self.nodes.len() + 1).unwrap();
        let id: NodeId = format!("n-{number:03}").parse().unwrap();
        let taken: BTreeSet<Ipv4Addr> = self.nodes.values().map(|node| node.overlay.v4).collect();
        let mut all = overlay::addresses(&self.prefixes.v4, Ipv4Addr::UNSPECIFIED);
        let overlay = overlay::given(&self.prefixes, &id, all.find(|address| !taken.contains(address)).unwrap());
        let node = Node { id: id.clone(), overlay, ..node(&format!("{role}-{number}"), role, number) };
        let identity = Identity {
            mesh: self.mesh.clone(),
            node: id.clone(),
            name: node.name.clone(),
            role,
            controllers: Vec::new(),
            ca_fingerprint: "00".repeat(32).parse().unwrap(),
            next_ca: None,
            former_cas: BTreeSet::new(),
            overlay,
            machine_id: None,
        };
        self.nodes.insert(id.clone(), node);
        self.agents.insert(id, Agent { identity, held: None });
        self.replan();
    }

    fn revoke(&mut self, number: u8) {
        if let Some(node) = self.nodes.values_mut().nth(usize::from(number)) {
            node.state = NodeState::Revoked { at: Timestamp::from_millis(0) };
            self.replan();
        }
    }

    /// The agent asks for what is newer than it holds and gets it, or an old plan's state.
    fn hear(&mut self, number: u8, old: bool) {
        let plan = if old { self.first_plan.clone() } else { self.plan.clone() };
        let Some(agent) = self.agent(number) else { return };
        let Some(full) = plan.and_then(|plan| Some(NodeConfig::clone(plan.nodes.get(&agent.identity.node)?))) else {
            return;
        };
        let guard = Guard::new(GuardRules::default(), &agent.identity, picket_agent::vouch::Vouched::default());
        let held = agent.held.as_ref().map(|held| held.revision);
        let revision = full.revision;
        let answer = ConfigAnswer { revision, digest: full.digest(), full };
        let ledger = Ledger { config: agent.held.clone(), ..Ledger::default() };
        let now = Timestamp::from_millis(0);
        match judge(Here { identity: &agent.identity, guard: &guard, ledger: &ledger, sessions: &[], now }, answer) {
            Ok(taken) => agent.held = Some(taken),
            Err(refusal) => assert!(held.is_some_and(|held| revision <= held), "a newer state was refused: {refusal}"),
        }
    }

    fn agent(&mut self, number: u8) -> Option<&mut Agent> {
        let count = self.agents.len().max(1);
        self.agents.values_mut().nth(usize::from(number) % count)
    }
}

fn prep(number: u8) -> PrepId {
    format!("hx{number:040x}").parse().unwrap()
}

/// What is left of a value after a restart: what was written.
fn through_json<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

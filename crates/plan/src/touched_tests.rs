//! Tests of planning by what a change touches: whatever happens, the plan and its findings are those of a look at everything.

use super::*;
use crate::{
    Epochs, Linted, Severity,
    fixture::{node, validators},
    replan,
};
use picket_model::{Drain, Drains, IdentityKey, MeshId, NodeRole, NodeState, Policy, ShieldOrder, WireGuardPublicKey};
use proptest::{collection::vec, prelude::*};

/// Policies that somebody goes to and fro between: one line ends by itself, one is among what hosts of one role have in common.
const POLICIES: [&str; 5] = [
    "{}",
    r#"{"hidden": [{"prep": "n-1", "port": 7100}], "admin": ["192.0.2.0/24"]}"#,
    r#"{"sync": [{"prep": "n-2", "citizens": ["198.51.100.7/32"]}], "shield": "on"}"#,
    r#"{"allow": [{"purpose": "p2p", "network": "198.51.100.0/24", "comment": "a", "until": "1970-01-01T00:00:40Z"}]}"#,
    r#"{"allow": [{"purpose": "overlay", "network": "198.51.100.8/32", "comment": "b"}]}"#,
];

/// A mesh, its controller's plan, and what the controller keeps of it.
struct World {
    policies: Vec<Policy>,
    policy: usize,
    versions: [u64; 2],
    validators: usize,
    nodes: BTreeMap<NodeId, Node>,
    keys: u8,
    next_keys: NextKeys,
    shield: ShieldOrders,
    drains: Drains,
    now: i64,
    epoch: u64,
    confirmed: BTreeSet<NodeId>,
    plan: Option<Plan>,
    kept: Option<(Made, Linted)>,
    changed: BTreeMap<NodeId, Option<Node>>,
}

/// What happens: its kind, and which host or how much.
type Event = (u8, u8);

impl World {
    fn new() -> Self {
        let policies = POLICIES.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        let mut world = Self {
            policies,
            policy: 0,
            versions: [1, 1],
            validators: 3,
            nodes: BTreeMap::new(),
            keys: 0,
            next_keys: NextKeys::new(),
            shield: ShieldOrders::default(),
            drains: Drains::new(),
            now: 0,
            epoch: 1,
            confirmed: BTreeSet::new(),
            plan: None,
            kept: None,
            changed: BTreeMap::new(),
        };
        for number in [1, 2, 21, 22] {
            world.happens((0, number));
        }
        world.plan();
        world
    }

    fn key(&mut self) -> WireGuardPublicKey {
        self.keys += 1;
        WireGuardPublicKey::new([self.keys; 32]).unwrap()
    }

    fn at(&self, seconds: u8) -> Timestamp {
        Timestamp::from_millis((self.now + i64::from(seconds)) * 1000)
    }

    fn change(&mut self, which: u8, change: impl FnOnce(&mut Node)) {
        let count = self.nodes.len();
        if let Some((id, node)) = self.nodes.iter_mut().nth(usize::from(which) % count.max(1)) {
            self.changed.entry(id.clone()).or_insert_with(|| Some(node.clone()));
            change(node);
        }
    }

    /// The id of a host, which may be one that was never there.
    fn id(&self, which: u8) -> NodeId {
        let known = self.nodes.keys().nth(usize::from(which % 9));
        known.cloned().unwrap_or_else(|| "n-250".parse().unwrap())
    }

    fn happens(&mut self, (kind, which): Event) {
        let (id, at, key) = (self.id(which), self.at(which), self.key());
        match kind {
            0 => {
                let role = if which % 40 < 20 { NodeRole::Prep } else { NodeRole::Sentry };
                let number = which.max(1);
                let id: NodeId = format!("n-{number}").parse().unwrap();
                if !self.nodes.contains_key(&id) {
                    let identity_key = (which % 3 > 0).then_some(IdentityKey(key));
                    let new = Node { identity_key, ..node(id.as_str(), role, number) };
                    self.changed.entry(id.clone()).or_insert(None);
                    self.nodes.insert(id, new);
                }
            }
            1 => self.change(which, |node| node.state = NodeState::Revoked { at }),
            2 => self.change(which, |node| node.state = NodeState::Quarantined { since: at }),
            3 => self.change(which, |node| node.state = NodeState::Active),
            4 => self.change(which, |node| node.name = format!("other-{which}").parse().unwrap()),
            5 => self.change(which, |node| node.endpoint = Some(format!("203.0.113.{which}:51820").parse().unwrap())),
            6 => self.change(which, |node| node.wireguard_key = key),
            7 => self.change(which, |node| node.tls_key_sha256 = format!("{which}")),
            8 => {
                let (shield, until) =
                    ([Shield::On, Shield::Off][usize::from(which % 2)], (which % 3 > 0).then_some(at));
                let order = ShieldOrder { shield, by: "o-1".parse().unwrap(), at: self.at(0), until };
                match which % 11 {
                    0 => self.shield.all = Some(order),
                    1 => self.shield.all = None,
                    2 | 3 => drop(self.shield.hosts.remove(&id)),
                    _ => drop(self.shield.hosts.insert(id, order)),
                }
            }
            9 if which % 2 == 0 => self.drains.clear(),
            9 => drop(self.drains.insert(id, Drain { by: "a".to_owned(), at, until: at })),
            10 if which % 2 == 0 => self.next_keys.clear(),
            10 => drop(self.next_keys.insert(id, key)),
            11 => self.epoch += 1,
            12 => {
                self.validators = usize::from(which % 5);
                self.versions[1] += 1;
            }
            13 => {
                self.policy = usize::from(which) % POLICIES.len();
                self.versions[0] += 1;
            }
            14 => self.now += i64::from(which) - 5,
            // All hold what is wanted of them, or one does not.
            15 if which % 2 == 0 => self.confirmed = self.nodes.keys().cloned().collect(),
            15 => drop(self.confirmed.remove(&id)),
            _ => self.change(which, |node| node.overlay.v4 = [192, 0, 2, which % 4].into()),
        }
    }

    /// Plans as a controller does, and looks at everything beside it.
    fn plan(&mut self) -> Touched {
        let (mesh, now): (MeshId, _) = ("m-1".parse().unwrap(), self.at(0));
        let validators = validators(self.validators);
        let generation = self.plan.as_ref().map(|plan| plan.generation);
        let asked = self.kept.as_ref().and_then(|(made, _)| made.moving(generation, self.epoch));
        let some: Option<BTreeSet<NodeId>> = asked.map(|hosts| hosts & &self.confirmed);
        let input = |confirmed| crate::PlanInput {
            mesh: &mesh,
            policy: &self.policies[self.policy],
            policy_version: self.versions[0],
            validators: &validators,
            validators_version: self.versions[1],
            nodes: &self.nodes,
            meshed: None,
            next_keys: &self.next_keys,
            parent: self.plan.as_ref(),
            shield: &self.shield,
            drains: &self.drains,
            now,
            epochs: Epochs { now: self.epoch, confirmed: Some(confirmed) },
        };
        let everything = input(&self.confirmed);
        let input = input(some.as_ref().unwrap_or(&self.confirmed));
        let touched = self.kept.as_ref().map_or(Touched::All, |(made, _)| made.touched(&input, &self.changed));
        let next = replan(&input, &touched);
        assert_eq!(next, replan(&everything, &Touched::All), "{touched:?} of {:?}", self.changed);
        let plan = next.as_ref().or(input.parent).unwrap();
        let linted = match &self.kept {
            Some((_, linted)) => linted.after(plan, &input, &touched),
            None => Linted::of(plan, &input),
        };
        assert_eq!(linted.findings(), Linted::of(plan, &everything).findings());
        let stops = linted.findings().iter().any(|finding| finding.severity == Severity::Error);
        if !stops {
            let made = match &self.kept {
                Some((made, _)) => made.after(plan, &input, &touched),
                None => Made::of(plan, &input),
            };
            assert_eq!(made, Made::of(plan, &everything));
            self.kept = Some((made, linted));
            self.plan = Some(plan.clone());
            self.changed.clear();
        }
        touched
    }
}

proptest! {
    #[test]
    fn what_is_not_touched_is_as_a_look_at_it_would_find_it(steps in vec(vec((0u8..17, 0u8..60), 1..3), 1..25)) {
        let mut world = World::new();
        for events in steps {
            for event in events {
                if world.keys < 250 {
                    world.happens(event);
                }
            }
            world.plan();
        }
    }
}

#[test]
fn a_change_touches_whom_it_is_about_and_who_has_a_tunnel_to_them() {
    let check = |events: &[Event], expect: Option<&[&str]>| {
        let mut world = World::new();
        world.happens((15, 0));
        world.plan();
        events.iter().for_each(|event| world.happens(*event));
        let expect = expect.map(|hosts| hosts.iter().map(|id| id.parse().unwrap()).collect());
        assert_eq!(world.plan(), expect.map_or(Touched::All, Touched::Hosts), "{events:?}");
    };
    check(&[], Some(&[]));
    // A host's own: its certificate, an order about its shield.
    check(&[(7, 0)], Some(&["n-1"]));
    check(&[(8, 9)], Some(&[]));
    check(&[(8, 18)], Some(&["n-1"]));
    // A validator comes, a sentry goes: all at the other ends of their tunnels.
    check(&[(0, 3)], Some(&["n-21", "n-22", "n-3"]));
    check(&[(1, 2)], Some(&["n-1", "n-2", "n-21"]));
    // What is everybody's.
    for event in [(8, 44), (9, 1), (10, 1), (11, 0), (12, 1), (13, 1), (14, 0)] {
        check(&[event], None);
    }
}

//! Several controllers on one database, each with what it remembers of it: whatever happens between what they read and what they
//! commit, each plan is the plan of everything, generations only grow, and none has two contents.

use super::*;
use crate::inputs::{Inputs, Remembered};
use picket_lab::Random;
use picket_model::{Drain, Shield, ShieldOrder};
use picket_plan::{Epochs, Severity, Touched, lint, replan};
use std::collections::BTreeSet;

const CONTROLLERS: usize = 3;
const STEPS: usize = 240;

const POLICIES: [&str; 4] = [
    "{}",
    r#"{"hidden": [{"prep": "n-1", "port": 7100}]}"#,
    r#"{"admin": ["192.0.2.0/24"], "shield": "on"}"#,
    r#"{"allow": [{"purpose": "p2p", "network": "198.51.100.0/24", "comment": "a", "until": "1970-01-01T00:00:40Z"}]}"#,
];

/// What a controller remembers, and a plan that it has made and not committed yet.
#[derive(Default)]
struct Planner {
    inputs: Inputs,
    known: Option<Target>,
    begun: Option<(Option<Plan>, Remembered)>,
}

impl Planner {
    /// Reads and plans, and looks at everything beside it.
    async fn begin(&mut self, store: &Store, world: &mut World) {
        let mut tx = store.read().await.unwrap();
        let stored = tx.target_generation().await.unwrap();
        match &self.known {
            Some(known) if known.plan.generation == stored => {}
            Some(known) => self.known = tx.target_after(known).await.unwrap(),
            None => self.known = tx.target().await.unwrap(),
        }
        self.inputs.refresh(&mut tx).await.unwrap();
        let (mesh, parent) = ("m-1".parse().unwrap(), self.known.as_ref().map(|known| &known.plan));
        let asked = self.inputs.asked(parent.map(|parent| parent.generation), world.epoch);
        let confirmed = asked.into_iter().filter(|id| world.confirmed.contains(*id)).cloned().collect();
        let epochs = Epochs { now: world.epoch, confirmed: Some(&confirmed) };
        let input = self.inputs.input(&mesh, parent, world.now, epochs);
        let touched = self.inputs.touched(&input);
        let next = replan(&input, &touched);

        let (nodes, next_keys, shield) =
            (tx.nodes().await.unwrap(), tx.next_keys().await.unwrap(), tx.shield_orders().await.unwrap());
        let (drains, (version, policy)) = (tx.drains().await.unwrap(), tx.policy().await.unwrap().unwrap_or_default());
        let everything = PlanInput {
            policy: &policy,
            policy_version: version,
            nodes: &nodes,
            meshed: None,
            next_keys: &next_keys,
            shield: &shield,
            drains: &drains,
            epochs: Epochs { now: world.epoch, confirmed: Some(&world.confirmed) },
            ..input
        };
        assert_eq!(next, replan(&everything, &Touched::All), "{touched:?}");
        world.seen.partial += usize::from(next.is_some() && touched != Touched::All);
        let plan = next.as_ref().or(parent).unwrap();
        let planned = self.inputs.planned(plan, &input, &touched);
        assert_eq!(planned.linted().findings(), lint(plan, &everything));
        self.begun = Some((next, planned));
    }

    /// Commits what was planned, unless another was first. One that dies, or hears nothing of the database, has committed it
    /// all the same.
    async fn commit(&mut self, store: &Store, world: &mut World, hears: bool) {
        let Some((next, planned)) = self.begun.take() else { return };
        if planned.linted().findings().iter().any(|finding| finding.severity == Severity::Error) {
            return;
        }
        let Some(next) = next else { return self.inputs.became_target(planned) };
        if commit(store, &next).await {
            assert_eq!(next.parent, world.last, "a plan came in between and is lost");
            assert!(next.generation > world.last);
            world.last = next.generation;
            if hears {
                self.inputs.became_target(planned);
                self.known = Some(Target { plan: next, planned_at: NOW });
            }
            world.seen.committed += 1;
        } else {
            world.seen.lost += 1;
        }
    }
}

/// How often something happened that a walk is for.
#[derive(Debug, Default)]
struct Seen {
    /// A plan of a few hosts.
    partial: usize,
    committed: usize,
    /// A plan that came too late.
    lost: usize,
}

/// What is no controller's.
struct World {
    now: Timestamp,
    epoch: u64,
    confirmed: BTreeSet<NodeId>,
    hosts: u8,
    keys: u8,
    policies: u64,
    last: Generation,
    seen: Seen,
}

impl World {
    fn id(&self, random: &mut Random) -> NodeId {
        format!("n-{}", random.below(usize::from(self.hosts)) + 1).parse().unwrap()
    }

    async fn changes(&mut self, store: &Store, random: &mut Random) {
        let mut tx = store.write().await.unwrap();
        let id = self.id(random);
        let host = tx.node(&id).await.unwrap().unwrap();
        self.keys += 1;
        let key = WireGuardPublicKey::new([self.keys; 32]).unwrap();
        match random.below(12) {
            0 | 1 if self.hosts < 40 => {
                self.hosts += 1;
                let role = [NodeRole::Prep, NodeRole::Sentry][random.below(2)];
                let new = Node { wireguard_key: key, ..node(&format!("n-{}", self.hosts), role, self.hosts) };
                tx.insert_node(&new, &token()).await.unwrap();
            }
            2 => drop(tx.revoke_node(&id, self.now).await.unwrap()),
            3 => drop(tx.quarantine_node(&id, Some(self.now)).await.unwrap()),
            4 => drop(tx.quarantine_node(&id, None).await.unwrap()),
            5 => tx.rename_node(&Node { endpoint: None, ..host }).await.unwrap(),
            6 => tx.change_key(&id, [&host.wireguard_key, &key], self.now).await.unwrap(),
            7 => tx.put_next_key(&id, (random.below(2) == 0).then_some(&key), self.now).await.unwrap(),
            8 => {
                let mut orders = picket_model::ShieldOrders::clone(&*tx.shield_orders().await.unwrap());
                let until = Timestamp::from_millis(self.now.as_millis() + 20_000);
                let order =
                    ShieldOrder { shield: Shield::On, by: "o-1".parse().unwrap(), at: self.now, until: Some(until) };
                orders.hosts.insert(id, order);
                tx.put_shield_orders(&orders).await.unwrap();
            }
            // While there is one, every plan looks at everything.
            9 if random.below(3) == 0 => {
                let drain = Drain { by: "o-1".to_owned(), at: self.now, until: self.now };
                tx.put_drain(&id, &drain).await.unwrap();
            }
            9 | 10 => {
                for drained in tx.drains().await.unwrap().keys() {
                    tx.end_drain(drained).await.unwrap();
                }
            }
            _ => {
                self.policies += 1;
                let policy = serde_json::from_str(POLICIES[random.below(POLICIES.len())]).unwrap();
                tx.insert_policy(self.policies, &policy, self.now).await.unwrap();
            }
        }
        tx.commit().await.unwrap();
    }
}

/// One walk; the same for the same seed.
async fn walk(store: &Store, seed: u64) -> Seen {
    let mut random = Random::new(seed);
    let mut controllers: [Planner; CONTROLLERS] = Default::default();
    let mut world = World {
        now: NOW,
        epoch: 1,
        confirmed: BTreeSet::new(),
        hosts: 4,
        keys: 100,
        policies: 0,
        last: Generation(0),
        seen: Seen::default(),
    };
    let roles = [NodeRole::Prep, NodeRole::Prep, NodeRole::Sentry, NodeRole::Sentry];
    let first: Vec<Node> = (1..).zip(roles).map(|(number, role)| node(&format!("n-{number}"), role, number)).collect();
    enter(store, &first).await;
    for step in 0..STEPS {
        let who = random.below(CONTROLLERS);
        match random.below(12) {
            0..=3 => world.changes(store, &mut random).await,
            4 | 5 => controllers[who].begin(store, &mut world).await,
            6..=8 => {
                if controllers[who].begun.is_none() {
                    controllers[who].begin(store, &mut world).await;
                }
                controllers[who].commit(store, &mut world, true).await;
            }
            // It dies, before the commit or between that and its answer; or the database's answer is lost.
            9 => {
                if random.below(2) == 0 {
                    controllers[who].commit(store, &mut world, false).await;
                }
                if random.below(2) == 0 {
                    controllers[who] = Planner::default();
                }
            }
            10 => {
                world.now = Timestamp::from_millis(
                    world.now.as_millis() + 1000 * i64::try_from(random.below(30)).unwrap() - 5000,
                );
            }
            _ => match random.below(3) {
                0 => world.epoch += 1,
                1 => world.confirmed = (1..=world.hosts).map(|number| format!("n-{number}").parse().unwrap()).collect(),
                _ => drop(world.confirmed.pop_first()),
            },
        }
        println!("seed {seed}, step {step}: generation {}", world.last);
    }
    // Left alone, all come to the same.
    for _ in 0..4 {
        for controller in &mut controllers {
            controller.begin(store, &mut world).await;
            controller.commit(store, &mut world, true).await;
        }
    }
    let settled = world.last;
    for controller in &mut controllers {
        controller.begin(store, &mut world).await;
        assert!(controller.begun.as_ref().is_some_and(|(next, _)| next.is_none()) || settled == Generation(0));
        assert_eq!(controller.known.as_ref().map(|known| known.plan.generation), Some(settled));
    }
    world.seen
}

#[tokio::test]
async fn controllers_that_remember_plan_as_if_they_looked_at_everything() {
    for seed in [4, 5, 6] {
        on_both(async |store, _own| {
            let seen = walk(&store, seed).await;
            // A walk in which nothing happens shows nothing.
            assert!(seen.partial >= 5 && seen.committed >= 20 && seen.lost >= 2, "{seen:?}");
        })
        .await;
    }
}

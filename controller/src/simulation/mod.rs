//! The whole mesh in one process: several controllers on one real database, hosts with their agents' decisions, a chain with liars,
//! and everything that can come between. What happens follows from a seed, and a failure says which. `cargo xtask
//! simulate` walks for long.

mod agent;
mod operations;
mod oracle;
mod regressions;
pub(crate) mod rim;
mod site;
mod steps;
mod world;

use picket_model::NodeRole;
use std::{env, panic::AssertUnwindSafe, time::Instant};
use world::World;

/// Steps after which the mesh comes to rest once.
const REST: u64 = 400;
/// Steps of one of many walks.
const LONG_WALK: u64 = 2_000;
/// Seeds and steps that are walked with every run of the tests.
const ALWAYS: [(u64, u64); 3] = [(1, 400), (2, 400), (3, 400)];

/// Walks so far from a seed.
fn walk(seed: u64, steps: u64) -> World {
    // One thread, so that nothing happens but what is drawn.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut last = (0, "");
    let walked = std::panic::catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let mut world = World::new(seed).await;
            for role in [NodeRole::Prep, NodeRole::Prep, NodeRole::Sentry, NodeRole::Sentry] {
                world.new_host(role);
            }
            for site in 1..world::SITES {
                world.start(site).await;
            }
            for number in 1..=steps {
                last.0 = number;
                last.1 = world.step().await;
                if env::var_os("PICKET_SIMULATE_SAY").is_some() {
                    println!("{seed} {number} {} {} at {}", last.1, world.oracle.generation(), world.now);
                }
                if number.is_multiple_of(REST) {
                    world.settle().await;
                }
            }
            world.settle().await;
            world
        })
    }));
    walked.unwrap_or_else(|cause| {
        let (number, what) = last;
        println!("seed {seed}, after step {number} ({what}): cargo xtask simulate --seed {seed} --steps {steps}");
        std::panic::resume_unwind(cause)
    })
}

/// A few walks, always the same. `cargo xtask simulate` says how far and from where else.
#[test]
fn whatever_comes_between_the_mesh_keeps_its_word() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(steps) = number("PICKET_SIMULATE_STEPS") {
        return long(steps, number("PICKET_SIMULATE_SEED"));
    }
    for (seed, steps) in ALWAYS {
        let world = walk(seed, steps);
        println!("seed {seed}: {} plans, {:?}", world.oracle.plans, world.mishaps);
        let died = world.mishaps.get("died").copied().unwrap_or_default();
        assert!(world.oracle.plans > 20 && died > 0, "seed {seed} goes nowhere");
    }
}

/// One walk from a seed; without one, walk after walk.
fn long(steps: u64, seed: Option<u64>) {
    if let Some(seed) = seed {
        walk(seed, steps);
        return;
    }
    let began = Instant::now();
    let (mut walked, mut plans) = (0, 0);
    for seed in u64::from_be_bytes(picket_pki::random().unwrap()) >> 16.. {
        if walked >= steps {
            break;
        }
        let length = LONG_WALK.min(steps - walked);
        plans += walk(seed, length).oracle.plans;
        walked += length;
        println!("{walked} steps, {plans} plans, {} s, last seed {seed}", began.elapsed().as_secs());
    }
}

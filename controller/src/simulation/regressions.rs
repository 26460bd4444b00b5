//! Faults that walks found, each by the few steps that show it.

use super::{
    operations::{cut, follow, plan},
    world::World,
};
use picket_model::NodeRole;

/// A mesh in which nothing comes between, with all controllers at work and so many sentries.
async fn calm(sentries: usize) -> World {
    let mut world = World::new(1).await;
    world.is_calm = true;
    for site in 1..super::world::SITES {
        world.start(site).await;
    }
    for _ in 0..sentries {
        let agent = world.new_host(NodeRole::Sentry);
        world.agents[agent].at = 0;
        world.join(agent).await;
    }
    world
}

/// Others learned of revokes by the moment that was written down, which is by the clock of whoever did it.
#[tokio::test]
async fn a_host_that_is_revoked_by_a_controller_whose_clock_is_behind_is_out_at_the_others() {
    let mut world = calm(2).await;
    let node = world.agents[0].member.clone().unwrap().identity.node;
    let other = world.sites[1].running.clone().unwrap();
    world.run(1, follow(1, other.clone(), Vec::new())).await;
    world.sites[0].skew_millis = -60_000;
    world.run(0, cut(world.sites[0].running.clone().unwrap(), node.clone())).await;
    world.run(1, follow(1, other.clone(), vec![node])).await;
    world.run(1, plan(other)).await;
    world.check().await;
}

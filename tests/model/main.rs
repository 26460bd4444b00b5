//! The whole mesh in one process: every decision of controller and agents, none of their IO, under random histories.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod mesh;
mod world;

use mesh::{MAX_REMOVED, Mesh};
use proptest::prelude::*;
use world::Step;

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nobody_gets_in_who_should_not(steps in prop::collection::vec(world::step(), 1..60)) {
        let mut mesh = Mesh::new();
        for step in &steps {
            let before = mesh.validators().clone();
            mesh.step(step);
            // Brakes: one answer never removes or moves more than the policy lets it.
            let kept = |prep, old: &picket_model::Validator| {
                mesh.validators().0.get(prep).is_some_and(|new| new.endpoint == old.endpoint)
            };
            let lost = before.0.iter().filter(|(prep, old)| !kept(*prep, old)).count();
            prop_assert!(lost <= MAX_REMOVED, "{step:?} lost {lost}");
            mesh.check_agents()?;
        }
        mesh.settle();
        mesh.check_settled()?;
    }
}

#[test]
fn a_story_by_hand_ends_as_it_should() {
    let mut mesh = Mesh::new();
    for step in [Step::Join { sentry: false }, Step::Join { sentry: true }, Step::Join { sentry: true }, Step::Poll] {
        mesh.step(&step);
    }
    mesh.settle();
    assert_eq!(mesh.peers_of(0), 2);
    mesh.step(&Step::Revoke(1));
    assert_eq!(mesh.peers_of(0), 2, "the agent has not heard yet");
    mesh.settle();
    assert_eq!(mesh.peers_of(0), 1);
    let before = mesh.validators().clone();
    mesh.step(&Step::LoseHalf);
    mesh.step(&Step::Poll);
    assert_eq!(mesh.validators(), &before, "the brake holds");
    mesh.check_settled().unwrap();
}

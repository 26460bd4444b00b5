//! What the documentation tells operators to write is what the program reads.

use picket_controller::Config;
use std::path::Path;

#[test]
fn the_configuration_in_the_manual_is_one() {
    let manual = include_str!("../../../docs/operations.md");
    let example = manual.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = Config::parse(example, Path::new("controller.toml")).unwrap();
    let policy = config.policy.unwrap();
    assert_eq!((policy.allow.len(), policy.deny.len()), (1, 1));
    assert!(policy.deny[0].until.is_some());
}

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

#[test]
fn the_rules_of_enrolment_in_the_manual_are_some() {
    let manual = include_str!("../../../docs/operations.md");
    let example =
        manual.split("```toml\n").find(|text| text.starts_with("[attest]")).unwrap().split("```").next().unwrap();
    let config = Config::parse(example, Path::new("controller.toml")).unwrap();
    assert_eq!((config.enroll.len(), config.attest.issuers.len()), (3, 1));
    assert!(config.attest.aws_short_keys);
}

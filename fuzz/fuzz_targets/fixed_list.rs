//! Any bytes as a list written by hand.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picket_chain::fixed::{Checksum, ListError, parse};
use picket_fuzz::{NOW, check_observation};

fuzz_target!(|body: &[u8]| {
    let source = "own".parse().expect("an id");
    let seen = parse(&source, None, body, NOW);
    assert_eq!(parse(&source, Some(Checksum::of(body)), body, NOW), seen);
    let other = parse(&source, Some(Checksum::of(b"another")), body, NOW);
    assert!(body == b"another" || matches!(other, Err(ListError::Checksum { .. })), "{other:?}");
    if let Ok(seen) = seen {
        check_observation(&seen);
        assert!(seen.entries.len() + seen.refused.len() > 0);
    }
});

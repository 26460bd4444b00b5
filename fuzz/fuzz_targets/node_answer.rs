//! Any bytes as what a goloop on the same host says of its chain and its peers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picket_chain::node::{answer::MOST_ENDPOINTS, parse};
use picket_fuzz::{NOW, check_advertised};

fuzz_target!(|body: &[u8]| {
    let (node, channel) = ("prep-1".parse().expect("an id"), "icon_dex".parse().expect("a channel"));
    let read = parse(&node, &channel, body, NOW);
    assert_eq!(parse(&node, &channel, body, NOW), read);
    let Ok(inspected) = read else { return };
    let Some(advertised) = inspected.advertised else { return };
    assert_eq!(inspected.health.state, "started");
    assert!(advertised.endpoints.values().all(|endpoints| (1..=MOST_ENDPOINTS).contains(&endpoints.len())));
    check_advertised(&advertised);
});

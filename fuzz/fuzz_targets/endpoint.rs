//! Any text as a `p2pEndpoint`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picket_fuzz::check_endpoint;
use picket_model::{Host, P2pEndpoint, network};

fuzz_target!(|text: &str| {
    let Ok(endpoint) = text.parse::<P2pEndpoint>() else { return };
    check_endpoint(&endpoint);
    if let Host::Address(address) = endpoint.host {
        let is_special = network::special_range(address.into()).is_some();
        assert_eq!(endpoint.check_public(&[]).is_err(), is_special);
    }
});

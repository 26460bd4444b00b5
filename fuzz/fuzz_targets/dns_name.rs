//! Any text as the name of a host.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picket_fuzz::check_name;
use picket_model::DnsName;

fuzz_target!(|text: &str| {
    if let Ok(name) = text.parse::<DnsName>() {
        assert_eq!(name.as_str(), text.to_ascii_lowercase());
        check_name(&name);
    }
});

//! Any bytes as an endpoint's answer, and any JSON as the list within a good one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picket_chain::icon::{Expected, parse, request};
use picket_fuzz::{NOW, check_observation};
use serde_json::{Value, json};

const MAINNET: Expected = Expected { nid: 1, height: None };

fuzz_target!(|data: &[u8]| {
    check(data, None);
    if let Ok(list) = serde_json::from_slice::<Value>(data) {
        let entries = list.get("preps").and_then(Value::as_array).map(Vec::len);
        check(batch(&list).to_string().as_bytes(), entries);
    }
});

/// `entries` is how many the list has, where that is known.
fn check(body: &[u8], entries: Option<usize>) {
    let source = "icon.example".parse().expect("an id");
    let read = parse(&source, MAINNET, body, NOW);
    assert_eq!(parse(&source, MAINNET, body, NOW), read);
    let Ok(seen) = read else { return };
    check_observation(&seen);
    assert!(entries.is_none_or(|entries| seen.entries.len() + seen.refused.len() == entries));
    for refused in &seen.refused {
        assert!(!refused.reason.contains(char::is_control), "{refused:?}");
    }
    let elsewhere = Expected { height: Some(seen.height.wrapping_add(1)), ..MAINNET };
    assert!(parse(&source, elsewhere, body, NOW).is_err());
    assert!(parse(&source, Expected { nid: 2, ..MAINNET }, body, NOW).is_err());
}

fn batch(list: &Value) -> Value {
    let member = |id: u64, result: &Value| json!({"jsonrpc": "2.0", "result": result, "id": id});
    let block = json!({"height": 16, "time_stamp": 1_714_820_999_601_591_u64});
    json!([
        member(request::NETWORK_INFO, &json!({"nid": "0x1"})),
        member(request::PREPS, list),
        member(request::LAST_BLOCK, &block),
    ])
}

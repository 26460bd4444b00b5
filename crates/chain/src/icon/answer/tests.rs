//! Tests of the parser: real answers, hostile ones, and anything at all.

use super::*;
use proptest::prelude::*;
use serde_json::json;

const MAINNET_2021: &str = include_str!("../../../../../tests/fixtures/icon/mainnet-2021-02.json");
const MAINNET_2020: &str = include_str!("../../../../../tests/fixtures/icon/mainnet-2020-10.json");
const MAINNET_2020_PENALTY: &str = include_str!("../../../../../tests/fixtures/icon/mainnet-2020-10-penalty.json");
const GOLOOP: &str = include_str!("../../../../../tests/fixtures/icon/goloop-1.4.4.json");
const HOSTILE: &str = include_str!("../../../../../tests/fixtures/icon/hostile.json");

const MAINNET: Expected = Expected { nid: 1, height: None };
const OWNER: &str = "hx0b047c751658f7ce1b2595da34d57a0e7dad357d";
const NODE: &str = "hx9c63f73d3c564a54d0eed84f90718b1ebed16f09";

#[test]
fn mainnets_lists_are_taken_whole() {
    let check = |fixture: &str, height: u64| {
        let seen = observe(fixture);
        assert_eq!((seen.entries.len(), seen.refused.len(), seen.height), (100, 0, height));
        assert_eq!(seen.entries.values().filter(|entry| entry.grade == Grade::Main).count(), 22);
    };
    check(MAINNET_2021, 30_642_672);
    check(MAINNET_2020, 25_206_035);
    check(MAINNET_2020_PENALTY, 25_219_236);
}

#[test]
fn a_list_of_goloop_is_taken_but_for_what_nobody_should_dial() {
    let seen = observe(GOLOOP);
    assert_eq!((seen.entries.len(), seen.refused.len(), seen.height), (117, 5, 115));
}

#[test]
fn an_entry_keeps_what_the_chain_says() {
    let seen = observe(MAINNET_2021);
    let foundation = &seen.entries[&OWNER.parse().unwrap()];
    assert_eq!(foundation.endpoint.to_string(), "210.180.69.101:7100");
    assert_eq!(foundation.node_address.to_string(), NODE);
    assert_eq!((foundation.jail_flags, foundation.power), (None, None));

    let penalised: Vec<_> =
        observe(MAINNET_2020_PENALTY).entries.into_values().filter(|entry| entry.penalty != 0).collect();
    assert_eq!(penalised.len(), 1);
    assert_eq!((penalised[0].grade, penalised[0].penalty), (Grade::Candidate, 3));

    let validator = &observe(GOLOOP).entries[&"hxc9618bead192abbefdecf149b33e817fa05c1ed4".parse().unwrap()];
    assert_eq!((validator.jail_flags, validator.power), (Some(0), Some(0x0039_e713_9a8c_08fa_0600_0000)));
}

#[test]
fn hostile_endpoints_are_refused_one_by_one() {
    let seen = observe(HOSTILE);
    let taken: Vec<String> = seen.entries.values().map(|entry| entry.endpoint.to_string()).collect();
    // Well formed; whether an address is one of the public internet is judged by policy.
    let expected = [
        "pubnode.icxaustralia.com:7100",
        "127.0.0.1:7100",
        "0.0.0.0:7100",
        "255.255.255.255:1",
        "10.0.0.1:7100",
        "1.2.3.4:7100",
        "5.6.7.8:65535",
        "ab.cd:7100",
        "under_score.example.com:7100",
        "upper.example.com:7100",
        "xn--bcher-kva.example:7100",
        &format!("{}.com:7100", "a".repeat(63)),
        &format!("{}com:7100", "ab.".repeat(80)),
    ];
    assert_eq!(taken, expected);
    let refused: Vec<&str> = seen.refused.iter().map(|refused| refused.reason.as_str()).collect();
    let expected = [
        r#"p2pEndpoint: "localhost" is not a host name"#,
        r#"p2pEndpoint: "999.999.999.999:7100" looks like an IPv4 address and is not one in canonical form"#,
        r#"p2pEndpoint: "300.10.10.10:7100" looks like an IPv4 address and is not one in canonical form"#,
        r#"p2pEndpoint: "bücher.example:7100" has a character other than printable ASCII"#,
        r#"p2pEndpoint: "host.example.com:7100\n" has a character other than printable ASCII"#,
        r#"p2pEndpoint: "012.034.056.078:7100" looks like an IPv4 address and is not one in canonical form"#,
        r#"p2pEndpoint: "123.45.67:7100" looks like an IPv4 address and is not one in canonical form"#,
        "p2pEndpoint: \"\u{661}\u{662}.\u{663}\u{664}.example.com:7100\" has a character other than printable ASCII",
        "p2pEndpoint: \"\u{212a}elvin.example.com:7100\" has a character other than printable ASCII",
        &format!("p2pEndpoint: host name of 337 characters, longer than 253: {:?}…", "ab.".repeat(20)),
        r#"p2pEndpoint: "5.6.7.8:0" has no port from 1 to 65535"#,
    ];
    assert_eq!(refused, expected);
}

#[test]
fn a_bad_entry_does_not_spoil_the_others() {
    let check = |field: &str, value: Option<Value>, expect: &str| {
        let mut bad = entry(2);
        match value {
            Some(value) => bad[field] = value,
            None => drop(bad.as_object_mut().unwrap().remove(field)),
        }
        let seen = parsed(&answer(&[entry(1), bad, entry(3)])).unwrap();
        assert_eq!(seen.entries.len(), 2, "{field}");
        let reasons: Vec<&str> = seen.refused.iter().map(|refused| refused.reason.as_str()).collect();
        assert_eq!(reasons, [expect], "{field}");
    };
    let address = "is not an ICON address: `hx` followed by 40 lower-case hexadecimal digits";
    check("address", Some(json!("hx12")), &format!(r#"address: "hx12" {address}"#));
    check("address", None, "no address");
    check("nodeAddress", Some(json!("hx12")), &format!(r#"nodeAddress: "hx12" {address}"#));
    check("nodeAddress", Some(json!(null)), r#"nodeAddress is "null", not a text"#);
    check("p2pEndpoint", None, "no p2pEndpoint");
    check("p2pEndpoint", Some(json!(["a:1"])), r#"p2pEndpoint is "[\"a:1\"]", not a text"#);
    check("grade", None, "no grade");
    check("grade", Some(json!("0x4")), "grade 0x4 is unknown");
    check("grade", Some(json!(0)), r#"grade is "0", not a number this field can have"#);
    check("status", Some(json!("0x1")), "status is 0x1, not active");
    check("penalty", Some(json!("0x100")), r#"penalty is "0x100", not a number this field can have"#);
    for bad in ["-0x1", "0x", "", "1", "0X1", "0xA", "0x+1", "0x1\n", "0x01", &format!("0x1{}", "0".repeat(32))] {
        check("penalty", Some(json!(bad)), &format!("penalty is {bad:?}, not a number this field can have"));
        check("status", Some(json!(bad)), &format!("status is {bad:?}, not a number this field can have"));
    }
}

#[test]
fn what_is_for_people_costs_nobody_the_entry() {
    let read = |field: &str, value: Value| {
        let mut odd = entry(1);
        odd[field] = value;
        let seen = parsed(&answer(&[odd])).unwrap();
        assert!(seen.refused.is_empty(), "{seen:?}");
        seen.entries.into_values().next().unwrap()
    };
    let beyond_128_bits = format!("0x1{}", "0".repeat(32));
    for bad in [json!("-0x1"), json!(beyond_128_bits), json!("1"), json!(1), json!(null), json!({})] {
        assert_eq!(read("power", bad.clone()).power, None, "{bad}");
        assert_eq!(read("jailFlags", bad.clone()).jail_flags, None, "{bad}");
        assert_eq!(read("delegated", bad.clone()).endpoint.to_string(), "192.0.2.1:7100", "{bad}");
    }
    // Mainnet's supply is some 10^27 loop, 90 bits; other networks may have more.
    assert_eq!(read("power", json!("0x1000000000000000000000000")).power, Some(1 << 96));
    for no_text in [json!(7), json!(null), json!(["a"])] {
        assert_eq!(read("name", no_text).name, "");
    }
    assert_eq!(read("name", json!("ICON\u{1b}[2J\n네트워크")).name, "ICON\u{1b}[2J\n네트워크");
    assert_eq!(read("name", json!("é".repeat(10_000))).name, "é".repeat(64));
}

#[test]
fn entries_of_icon_1_0_are_taken() {
    // iconservice 1.8.10: a P-Rep that never made a block has -0x1, and neither power nor lastHeight is there.
    let mut old = entry(1);
    for (field, value) in [
        ("stake", "0x0"),
        ("unvalidatedSequenceBlocks", "0x0"),
        ("lastGenerateBlockHeight", "-0x1"),
        ("irep", "0xa968163f0a57b400000"),
        ("blockHeight", "0x1"),
        ("txIndex", "0x0"),
        ("status", "0x0"),
        ("penalty", "0x0"),
        ("delegated", "0x33b2e3c9fd0803ce8000000"),
    ] {
        old[field] = json!(value);
    }
    let seen = parsed(&answer(&[old])).unwrap();
    assert_eq!((seen.entries.len(), seen.refused.len()), (1, 0));
}

#[test]
fn an_entry_is_named_by_its_address_or_its_place() {
    let mut unreadable = entry(2);
    unreadable["address"] = json!("x".repeat(10_000));
    let mut readable = entry(3);
    readable["p2pEndpoint"] = json!("\u{7}".repeat(10_000));
    let seen = parsed(&answer(&[entry(1), unreadable, readable, json!(7)])).unwrap();
    let named: Vec<&str> = seen.refused.iter().map(|refused| refused.entry.as_str()).collect();
    assert_eq!(named, ["entry 2", "hx0000000000000000000000000000000000000003", "entry 4"]);
    for refused in seen.refused {
        assert!(refused.reason.len() < 500, "{refused:?}");
        assert!(!refused.reason.contains(char::is_control), "{refused:?}");
    }
}

#[test]
fn a_prep_named_twice_is_refused_in_every_copy() {
    let mut other = entry(2);
    other["p2pEndpoint"] = json!("192.0.2.99:7100");
    let seen = parsed(&answer(&[entry(2), entry(1), other])).unwrap();
    assert_eq!(seen.entries.len(), 1);
    assert_eq!(seen.refused.len(), 2);
    assert_eq!(seen.refused[0].reason, "the list names this P-Rep more than once");
}

#[test]
fn what_a_real_list_may_leave_out_or_add_is_no_matter() {
    let mut more = entry(1);
    more["name"] = json!("drop; accept");
    more["power"] = json!("0xffffffffffffffffffffffffffffffff");
    more["jailFlags"] = json!("0x5");
    let seen = parsed(&answer(&[more, entry(2)])).unwrap();
    let [more, less] = seen.entries.values().collect::<Vec<_>>()[..] else { panic!("{seen:?}") };
    assert_eq!((more.power, more.jail_flags), (Some(u128::MAX), Some(5)));
    assert_eq!((less.power, less.jail_flags, less.penalty), (None, None, 0));
    assert_eq!(less.node_address.to_string(), less.prep.to_string());
}

#[test]
fn answers_that_are_no_list_are_named() {
    let not_json = |start: &str| {
        check(
            start.as_bytes(),
            &format!("the answer is not JSON, it begins with {start:?}; is the URL that of a JSON-RPC endpoint?"),
        );
    };
    not_json("");
    not_json("<!DOCTYPE html>\n<html>");
    not_json("[[");
    check(b"\"hello\"", r#"the answer is not a batch of JSON-RPC answers, it begins with "\"hello\"""#);
    check(b"{}", r#"the answer is not a batch of JSON-RPC answers, it begins with "{}""#);
    check(b"[]", "the batch has no answer to icx_getNetworkInfo");
    check(
        br#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"InvalidRequest","data":"too many request"},"id":null}"#,
        r#"the endpoint answers with JSON-RPC error -32600: "InvalidRequest: too many request""#,
    );
}

#[test]
fn another_chain_is_not_believed() {
    let list = json!({"blockHeight": "0x10", "preps": [entry(1)]});
    let check = |info: Value, expect: &str| check(batch(&info, &list).to_string().as_bytes(), expect);
    check(json!({"nid": "0x53"}), "the endpoint is on chain 0x53, not on 0x1");
    let no_chain_id = AnswerError::NoChainId.to_string();
    check(json!({"nid": 1}), &no_chain_id);
    check(json!({}), &no_chain_id);
}

#[test]
fn an_icon_1_0_service_is_told_from_a_goloop_node() {
    let unknown = json!({"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": 1});
    let list = json!({"jsonrpc": "2.0", "result": {"blockHeight": "0x10", "preps": [entry(1)]}, "id": 2});
    assert_eq!(parsed(&json!([unknown, list])), Err(AnswerError::NoChainId));
}

#[test]
fn lists_that_cannot_be_used_are_named() {
    let info = json!({"result": {"nid": "0x1"}, "id": 1});
    let with = |second: Value, expect: &str| check(json!([info, second]).to_string().as_bytes(), expect);
    let list = |list: Value, expect: &str| with(json!({"result": list, "id": 2}), expect);

    check(json!([info]).to_string().as_bytes(), "the batch has no answer to icx_call getPReps");
    with(json!({"id": 2}), "the batch has no answer to icx_call getPReps");
    with(
        json!({"error": {"code": -31004, "message": "x".repeat(9000)}, "id": 2}),
        &format!("the endpoint answers with JSON-RPC error -31004: {:?}", "x".repeat(120)),
    );
    list(json!({"blockHeight": "0x10"}), "the answer has no list `preps`");
    list(json!({"blockHeight": "0x10", "preps": {}}), "the answer has no list `preps`");
    list(json!({"blockHeight": "0x10", "preps": []}), "the list `preps` is empty");
    let many = vec![entry(1); 5001];
    list(json!({"blockHeight": "0x10", "preps": many}), "the list has 5001 entries, more than 5000");
    list(json!({"preps": [entry(1)]}), r#"the answer has no valid blockHeight, found "nothing""#);
    for height in [json!(16), json!("16"), json!("0x010"), json!("-0x1"), json!("0x8000000000000000")] {
        let found = height.as_str().map_or_else(|| height.to_string(), str::to_owned);
        list(
            json!({"blockHeight": height, "preps": [entry(1)]}),
            &format!("the answer has no valid blockHeight, found {found:?}"),
        );
    }
}

#[test]
fn a_list_as_long_as_goloop_could_send_is_read_and_one_of_ten_thousand_is_not() {
    let entries = |count: u32| -> Vec<Value> {
        (0..count)
            .map(|n| json!({"address": format!("hx{n:040x}"), "p2pEndpoint": "192.0.2.1:7100", "grade": "0x2"}))
            .collect()
    };
    assert_eq!(parsed(&answer(&entries(5000))).unwrap().entries.len(), 5000);
    assert_eq!(parsed(&answer(&entries(10_000))), Err(AnswerError::TooMany { found: 10_000 }));
}

#[test]
fn a_list_of_another_block_than_asked_for_is_not_taken() {
    let ask = |height| {
        let body = answer(&[entry(1)]).to_string();
        parse(&source(), Expected { nid: 1, height }, body.as_bytes(), Timestamp::default()).map(|seen| seen.height)
    };
    assert_eq!((ask(None), ask(Some(16))), (Ok(16), Ok(16)));
    assert_eq!(ask(Some(15)), Err(AnswerError::OtherHeight { asked: 15, found: 16 }));
    let text = ask(Some(17)).unwrap_err().to_string();
    assert_eq!(text, "the answer is of height 16, though 17 was asked for: the endpoint reads no past blocks");
}

#[test]
fn the_last_block_tells_the_endpoints_clock() {
    let with_block = |block: Value| {
        let mut answer = answer(&[entry(1)]);
        answer[2] = block;
        parsed(&answer).map(|seen| seen.block_time).map_err(|error| error.to_string())
    };
    let with_time = |time: Value| with_block(json!({"result": {"height": 17, "time_stamp": time}, "id": 3}));
    assert_eq!(with_time(json!(1_714_820_999_601_591_u64)), Ok(Some(Timestamp::from_millis(1_714_820_999_601))));
    for (time, found) in [
        (json!("0x6179ee088ddb7"), "0x6179ee088ddb7"),
        (json!(-1), "-1"),
        (json!(1.5e15), "1500000000000000.0"),
        (json!(null), "null"),
    ] {
        let expect = format!("the last block has no valid time_stamp in microseconds, found {found:?}");
        assert_eq!(with_time(time), Err(expect));
    }
    let nothing = "the last block has no valid time_stamp in microseconds, found \"nothing\"";
    assert_eq!(with_block(json!({"result": {}, "id": 3})), Err(nothing.to_owned()));
    assert_eq!(with_block(json!({"id": 3})), Err("the batch has no answer to icx_getLastBlock".to_owned()));
    let refused = json!({"error": {"code": -31004, "message": "NotFound"}, "id": 3});
    assert_eq!(with_block(refused), Err(r#"the endpoint answers with JSON-RPC error -31004: "NotFound""#.to_owned()));
}

#[test]
fn members_are_told_apart_by_id() {
    let mut turned = answer(&[entry(1)]);
    turned.as_array_mut().unwrap().reverse();
    assert_eq!(parsed(&turned), parsed(&answer(&[entry(1)])));
}

proptest! {
    #[test]
    fn any_bytes_give_an_observation_or_an_error(body in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = parse(&source(), MAINNET, &body, Timestamp::default());
    }

    #[test]
    fn a_damaged_answer_gives_an_observation_or_an_error(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        length in any::<prop::sample::Index>(),
    ) {
        let mut body = answer(&[entry(1), entry(2), entry(3)]).to_string().into_bytes();
        for (place, byte) in damage {
            let place = place.index(body.len());
            body[place] = byte;
        }
        let _ = parse(&source(), MAINNET, &body, Timestamp::default());
        let _ = parse(&source(), MAINNET, &body[..length.index(body.len())], Timestamp::default());
    }

    #[test]
    fn every_entry_is_taken_or_refused_with_a_printable_reason(entries in prop::collection::vec(any_entry(), 1..20)) {
        let seen = parsed(&answer(&entries)).unwrap();
        prop_assert_eq!(seen.entries.len() + seen.refused.len(), entries.len());
        for refused in &seen.refused {
            prop_assert!(refused.reason.len() < 2000 && !refused.reason.contains(char::is_control), "{:?}", refused);
        }
    }

    #[test]
    fn the_order_of_entries_does_not_matter(entries in prop::collection::vec(any_entry(), 1..20)) {
        let mut turned = entries.clone();
        turned.reverse();
        prop_assert_eq!(parsed(&answer(&entries)).unwrap().entries, parsed(&answer(&turned)).unwrap().entries);
    }
}

/// Entries near to good ones, with any text or value in one field; every now and then two of one P-Rep.
fn any_entry() -> impl Strategy<Value = Value> {
    let fields = vec!["address", "nodeAddress", "p2pEndpoint", "grade", "status", "penalty", "jailFlags", "power"];
    let value = prop_oneof![
        any::<String>().prop_map(Value::from),
        "(0x)?[0-9a-fA-F]{0,40}".prop_map(Value::from),
        "[a-z0-9.]{0,300}:[0-9]{0,6}".prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(Value::Null),
        Just(json!([1, {"a": "b"}])),
    ];
    (0..30_u8, prop::sample::select(fields), prop::option::of(value)).prop_map(|(number, field, value)| {
        let mut entry = entry(number);
        if let Some(value) = value {
            entry[field] = value;
        }
        entry
    })
}

fn check(body: &[u8], expect: &str) {
    assert_eq!(parse(&source(), MAINNET, body, Timestamp::default()).unwrap_err().to_string(), expect);
}

fn observe(fixture: &str) -> Observation {
    let list: Value = serde_json::from_str(fixture).unwrap();
    parsed(&batch(&json!({"nid": "0x1"}), &list["result"])).unwrap()
}

fn parsed(answer: &Value) -> Result<Observation, AnswerError> {
    parse(&source(), MAINNET, answer.to_string().as_bytes(), Timestamp::default())
}

fn source() -> SourceId {
    "icon.example".parse().unwrap()
}

fn batch(info: &Value, list: &Value) -> Value {
    let block = json!({"height": 16, "time_stamp": 1_714_820_999_601_591_u64});
    let member = |id: u64, result: &Value| json!({"jsonrpc": "2.0", "result": result, "id": id});
    json!([member(1, info), member(2, list), member(3, &block)])
}

fn answer(preps: &[Value]) -> Value {
    batch(&json!({"nid": "0x1"}), &json!({"blockHeight": "0x10", "preps": preps}))
}

fn entry(number: u8) -> Value {
    json!({"address": format!("hx{number:040x}"), "p2pEndpoint": format!("192.0.2.{number}:7100"), "grade": "0x0"})
}

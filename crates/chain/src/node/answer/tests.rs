//! The recorded answer of a real node, and answers no real node gives.

use super::*;
use proptest::prelude::*;
use serde_json::json;

const RECORDED: &str = include_str!("../../../../../tests/fixtures/icon/admin-chain-1.4.4.json");
const NODE: &str = "hxa61cc3247a694a952aeaf8c6b95ef775b8340559";

fn recorded() -> Value {
    serde_json::from_str(RECORDED).unwrap()
}

fn read(answer: &Value) -> Result<Inspected, AnswerError> {
    read_bytes(answer.to_string().as_bytes())
}

fn read_bytes(body: &[u8]) -> Result<Inspected, AnswerError> {
    parse(&"n-1".parse().unwrap(), &"icon_dex".parse().unwrap(), body, Timestamp::from_millis(7))
}

/// The recorded answer with these roots and nobody else.
fn with_roots(roots: &Value) -> Value {
    let mut answer = recorded();
    answer["module"]["network"]["p2p"] = json!({"roots": roots});
    answer
}

fn hx(number: usize) -> String {
    format!("hx{number:040x}")
}

#[test]
fn a_real_node_names_all_four_validators() {
    let Inspected { health, advertised, .. } = read(&recorded()).unwrap();
    assert_eq!((health.state.as_str(), health.height, health.error), ("started", Some(153), None));
    let advertised = advertised.unwrap();
    assert_eq!((advertised.node.as_str(), advertised.channel.as_str(), advertised.height), ("n-1", "icon_dex", 153));
    assert_eq!((advertised.seen_at, advertised.refused.len()), (Timestamp::from_millis(7), 0));
    let found: Vec<String> = advertised.endpoints.values().flatten().map(ToString::to_string).collect();
    assert_eq!(found, ["127.0.0.13:7100", "127.0.0.12:7100", "127.0.0.11:7100", "127.0.0.14:7100"]);
    let known = &advertised.endpoints[&NODE.parse().unwrap()];
    assert_eq!(known.iter().map(ToString::to_string).collect::<Vec<_>>(), ["127.0.0.12:7100"]);
}

#[test]
fn a_chain_that_is_not_started_advertises_nothing() {
    for state in ["stopped", "import_icon 14464527 running", "pruning 3/9 state", "Started", ""] {
        let mut answer = recorded();
        answer["state"] = state.into();
        answer["lastError"] = "NoSpace\u{1b}[31m".into();
        let Inspected { health, advertised, .. } = read(&answer).unwrap();
        assert_eq!((health.state.as_str(), advertised), (state, None));
        assert!(!health.is_good());
        assert_eq!(health.error.as_deref(), Some("NoSpace\u{1b}[31m"));
        // Without a network there is nothing to read, and nothing wrong.
        answer["module"] = Value::Null;
        assert_eq!(read(&answer).unwrap().advertised, None);
    }
}

#[test]
fn a_node_that_knows_nobody_is_silent() {
    assert_eq!(read(&with_roots(&json!({}))).unwrap().advertised, None);
    let unsigned = read(&with_roots(&json!({"192.0.2.1:7100": "", "192.0.2.2:7100": ""}))).unwrap();
    assert_eq!(unsigned.advertised, None, "nobody has signed for these");
}

#[test]
fn hostile_entries_are_refused_with_their_reason() {
    let entries = json!({
        "192.0.2.1:7100": NODE,
        "012.034.056.078:7100": hx(1),
        "999.999.999.999:7100": hx(2),
        "192.0.2.2": hx(3),
        "192.0.2.2:0": hx(4),
        "[2001:db8::1]:7100": hx(5),
        "drop;accept:7100": hx(6),
        "host.example.com:7100\n": hx(7),
        "192.0.2.8:7100": "hxZZ",
        "192.0.2.9:7100": 9,
    });
    let advertised = read(&with_roots(&entries)).unwrap().advertised.unwrap();
    assert_eq!(advertised.endpoints.len(), 1);
    let reasons: Vec<String> =
        advertised.refused.iter().map(|refused| format!("{:?}: {}", refused.entry, refused.reason)).collect();
    let check = |entry: &str, reason: &str| {
        let found = reasons.iter().find(|line| line.starts_with(&format!("{entry:?}:")));
        assert!(found.is_some_and(|line| line.contains(reason)), "{entry:?}: {reasons:#?}");
    };
    check("012.034.056.078:7100", "canonical");
    check("999.999.999.999:7100", "canonical");
    check("192.0.2.2", "host:port");
    check("192.0.2.2:0", "port");
    check("[2001:db8::1]:7100", "host:port");
    check("drop;accept:7100", "host name");
    check("host.example.com:7100\n", "printable ASCII");
    check("192.0.2.8:7100", "ICON address");
    check("192.0.2.9:7100", "not a text");
    assert_eq!(reasons.len(), 9);
}

#[test]
fn a_node_has_four_addresses_at_most_and_linked_ones_come_first() {
    let roots: Map<String, Value> = (1..=9).map(|last| (format!("192.0.2.{last}:7100"), NODE.into())).collect();
    let mut answer = with_roots(&roots.into());
    answer["module"]["network"]["p2p"]["friends"] = json!([{"addr": "192.0.2.250:7100", "id": NODE, "in": true}]);
    let advertised = read(&answer).unwrap().advertised.unwrap();
    let known = &advertised.endpoints[&NODE.parse().unwrap()];
    assert_eq!((known.len(), advertised.refused.len()), (MOST_ENDPOINTS, 6));
    assert!(known.contains(&"192.0.2.250:7100".parse().unwrap()));
    assert!(advertised.refused[0].reason.contains("more than 4 addresses"), "{:?}", advertised.refused[0]);
}

#[test]
fn a_flood_is_cut_short_and_counted_and_seeds_push_out_no_root() {
    let flood = |network: u8| -> Map<String, Value> {
        (0..10_000).map(|n| (format!("10.{network}.{}.{}:7100", n / 250, n % 250), hx(n + 1).into())).collect()
    };
    let advertised = read(&with_roots(&flood(1).into())).unwrap().advertised.unwrap();
    assert_eq!(advertised.endpoints.len(), MOST_ENTRIES);
    assert_eq!(advertised.refused.last().unwrap().entry, "9000 more entries");

    let mut answer = with_roots(&json!({"192.0.2.1:7100": NODE}));
    answer["module"]["network"]["p2p"]["seeds"] = flood(2).into();
    let advertised = read(&answer).unwrap().advertised.unwrap();
    assert!(advertised.endpoints.contains_key(&NODE.parse().unwrap()));

    let garbage: Map<String, Value> = (0..10_000).map(|n| (format!("x{n}"), hx(n).into())).collect();
    answer["module"]["network"]["p2p"]["seeds"] = garbage.into();
    let refused = read(&answer).unwrap().advertised.unwrap().refused;
    assert_eq!(refused.len(), MOST_REFUSED + 2, "what is reported stays small");
}

#[test]
fn an_answer_that_is_none_is_named() {
    let check = |body: &str, expect: &str| {
        let error = read_bytes(body.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expect), "{body}: {error}");
    };
    check("<!DOCTYPE html><html>", "not JSON");
    check("", "not JSON");
    check("[]", "no valid channel");
    check(r#"{"channel": 1}"#, "no valid channel");
    check(r#"{"channel": "other"}"#, r#"about channel "other", not icon_dex"#);
    check(r#"{"channel": "icon_dex", "state": "started"}"#, "no valid lastError");
    let started = |height: &str, module: &str| {
        format!(
            r#"{{"channel": "icon_dex", "state": "started", "lastError": "", "height": {height}, "module": {module}}}"#
        )
    };
    check(&started("-1", "{}"), "no valid height");
    check(&started("\"0x1\"", "{}"), "no valid height");
    check(&started("1", "null"), "module.network.p2p");
    check(&started("1", r#"{"network": {"p2p": {}}}"#), "roots");
    check(&started("1", r#"{"network": {"p2p": {"roots": []}}}"#), "roots");
    check(&started("1", r#"{"network": {"p2p": {"roots": {}, "friends": {}}}}"#), "friends");
    check(&started("1", r#"{"network": {"p2p": {"roots": {}, "seeds": 1}}}"#), "seeds");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read_bytes(&body);
    }

    #[test]
    fn any_texts_as_entries_keep_to_the_limits(
        entries in proptest::collection::btree_map(".{0,40}", ".{0,50}", 0..40),
        good in 0..30_usize,
    ) {
        let mut roots: Map<String, Value> = entries.into_iter().map(|(address, id)| (address, id.into())).collect();
        roots.extend((0..good).map(|n| (format!("192.0.2.{n}:7100"), hx(n / 6).into())));
        let Some(advertised) = read(&with_roots(&roots.into())).unwrap().advertised else { return Ok(()) };
        for known in advertised.endpoints.values() {
            prop_assert!((1..=MOST_ENDPOINTS).contains(&known.len()));
        }
        for refused in &advertised.refused {
            prop_assert!(refused.entry.chars().count() <= crate::quote::LONGEST_QUOTE);
        }
    }
}

/// Found by fuzzing: the entry of an empty address had no name.
#[test]
fn an_entry_without_an_address_is_named_by_its_place() {
    let mut answer = with_roots(&json!({"": hx(1), "192.0.2.1:7100": NODE}));
    answer["module"]["network"]["p2p"]["friends"] = json!([{"id": hx(2)}]);
    let refused = read(&answer).unwrap().advertised.unwrap().refused;
    let named: Vec<&str> = refused.iter().map(|refused| refused.entry.as_str()).collect();
    assert_eq!(named, ["entry 1", "entry 2"]);
}

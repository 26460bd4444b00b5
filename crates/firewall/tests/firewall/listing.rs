//! nft's listings read back: those of other versions than the one that runs here, and what is no listing at all.

use crate::policies::port;
use picket_firewall::{Counter, Elements, Match, Observed, Ruleset, Set, observe::observe};
use picket_model::Protocol;

fn read(items: &str) -> Observed {
    let listing = format!(
        r#"{{"nftables": [{{"metainfo": {{"version": "1.0.6", "json_schema_version": 1}}}},
            {{"table": {{"family": "inet", "name": "picket", "handle": 2}}}}, {items}]}}"#
    );
    observe(listing.as_bytes()).unwrap()
}

fn set(rest: &str) -> Option<Set> {
    let item = format!(r#"{{"set": {{"family": "inet", "name": "s", "table": "picket", "handle": 5, {rest}}}}}"#);
    let Ruleset { mut sets, foreign, .. } = read(&item).ruleset.unwrap();
    assert_eq!(sets.is_empty(), foreign == [r#"set name "s" handle 5"#], "{foreign:?}");
    sets.remove("s")
}

fn rule(expressions: &str) -> Option<String> {
    let item = format!(r#"{{"rule": {{"chain": "c", "handle": 7, "expr": [{expressions}]}}}}"#);
    let Ruleset { mut chains, foreign, .. } = read(&item).ruleset.unwrap();
    assert_eq!(chains.is_empty(), foreign == [r#"rule chain "c" handle 7"#], "{foreign:?}");
    chains.remove("c").map(|chain| chain.rules[0].to_string())
}

#[test]
fn sets_are_read_in_the_words_of_every_version() {
    let hosts = Set::Hosts4(Elements::from(["192.0.2.1".parse().unwrap()]));
    let net = Set::Nets6(Elements::from(["2001:db8::/32".parse().unwrap(), "2001:db9::1/128".parse().unwrap()]));
    let ports = Set::Ports(Elements::from([port(Protocol::Tcp, 7100), port(Protocol::Udp, 9)]));
    let check = |rest: &str, expect: Option<&Set>| assert_eq!(set(rest).as_ref(), expect, "{rest}");

    check(r#""type": "ipv4_addr", "elem": ["192.0.2.1"]"#, Some(&hosts));
    check(r#""type": "ipv4_addr", "elem": [{"elem": {"val": "192.0.2.1", "comment": "prep hx00"}}]"#, Some(&hosts));
    check(
        r#""type": {"typeof": {"payload": {"protocol": "ip", "field": "saddr"}}}, "elem": ["192.0.2.1"]"#,
        Some(&hosts),
    );
    let commented = r#"{"elem": {"val": {"prefix": {"addr": "2001:db8::", "len": 32}}, "comment": "who"}}"#;
    check(&format!(r#""type": "ipv6_addr", "flags": ["interval"], "elem": [{commented}, "2001:db9::1"]"#), Some(&net));
    let elements = r#""elem": [{"prefix": {"addr": "2001:db8::", "len": 32}}, "2001:db9::1"]"#;
    check(&format!(r#""type": "ipv6_addr", "flags": ["interval"], {elements}"#), Some(&net));
    check(&format!(r#""type": "ipv6_addr", "flags": "interval", {elements}"#), Some(&net));
    let kind = r#""type": ["inet_proto", "inet_service"]"#;
    check(&format!(r#"{kind}, "elem": [{{"concat": ["tcp", 7100]}}, {{"concat": ["udp", 9]}}]"#), Some(&ports));
    check(&format!(r#"{kind}, "elem": [{{"concat": [6, 7100]}}, {{"concat": [17, 9]}}]"#), Some(&ports));
    let kind = r#""type": {"typeof": {"concat": [{"meta": {"key": "l4proto"}}, {"payload": {"protocol": "th", "field": "dport"}}]}}"#;
    check(&format!(r#"{kind}, "elem": [{{"concat": ["tcp", 7100]}}, {{"concat": ["udp", 9]}}]"#), Some(&ports));
}

#[test]
fn sets_of_another_kind_are_foreign() {
    let check = |rest: &str| assert_eq!(set(rest), None, "{rest}");
    check(r#""type": "ipv4_addr", "elem": ["example.com"]"#);
    check(r#""type": "ipv4_addr", "elem": ["2001:db8::1"]"#);
    check(r#""type": "ipv4_addr", "elem": [{"elem": {"val": "192.0.2.1", "timeout": 60}}]"#);
    check(r#""type": "ipv4_addr", "elem": [{"prefix": {"addr": "192.0.2.0", "len": 24}}]"#);
    check(r#""type": "ipv4_addr", "flags": ["interval"], "elem": [{"prefix": {"addr": "192.0.2.0", "len": 33}}]"#);
    check(r#""type": "ipv4_addr", "flags": ["interval"], "elem": [{"range": ["192.0.2.1", "192.0.2.9"]}]"#);
    check(r#""type": "ipv4_addr", "flags": ["interval", "timeout"]"#);
    check(r#""type": "ipv4_addr", "flags": ["dynamic"]"#);
    check(r#""type": "ipv4_addr", "timeout": 60"#);
    check(r#""type": "ipv4_addr", "size": 4, "flags": ["interval"]"#);
    check(r#""type": "ipv4_addr", "size": 4, "flags": ["dynamic"], "timeout": 60"#);
    check(r#""type": ["inet_proto", "inet_service"], "size": 4, "flags": ["dynamic"]"#);
    check(r#""type": "ipv4_addr", "flags": ["interval"], "auto-merge": true"#);
    check(r#""type": "ether_addr""#);
    check(r#""type": ["inet_proto", "inet_service"], "elem": [{"concat": ["tcp", 0]}]"#);
    check(r#""type": ["inet_proto", "inet_service"], "elem": [{"concat": ["tcp", 65536]}]"#);
    check(r#""type": ["inet_proto", "inet_service"], "elem": [{"concat": [132, 7100]}]"#);
    check(r#""type": {"typeof": {"payload": {"protocol": "ip", "field": "daddr"}}}"#);
}

#[test]
fn rules_are_ours_only_if_understood_to_the_last_word() {
    let check = |expressions: &str, expect: Option<&str>| assert_eq!(rule(expressions).as_deref(), expect);
    let source = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@s"}}"#;
    check(
        &format!(r#"{source}, {{"counter": "n"}}, {{"accept": null}}"#),
        Some("ip saddr @s counter name \"n\" accept"),
    );
    check(r#"{"goto": {"target": "d"}}"#, Some("goto d"));
    check(r#"{"drop": null}"#, Some("drop"));
    check(&source.replace("==", "!="), None);
    check(&format!("{source}, {{\"return\": null}}"), None);
    check(&format!("{source}, {{\"counter\": {{\"packets\": 1, \"bytes\": 2}}}}, {{\"accept\": null}}"), None);
    check(r#"{"accept": null}, {"drop": null}"#, None);
    check(r#"{"counter": "n"}"#, None);
    check(&format!(r#"{{"counter": "n"}}, {source}, {{"accept": null}}"#), None);
    check(r#"{"match": {"op": "==", "left": {"meta": {"key": "iif"}}, "right": "eth0"}}, {"accept": null}"#, None);
    check("", None);
}

#[test]
fn the_way_of_a_packet_is_read_in_the_words_of_every_version() {
    let fib = |result: &str, flags: &str, right: &str| {
        rule(&format!(
            r#"{{"match": {{"op": "==", "left": {{"fib": {{"result": "{result}", "flags": {flags}}}}}, "right": {right}}}}}, {{"accept": null}}"#
        ))
    };
    let back = Some("fib daddr . iif oif exists accept".to_owned());
    assert_eq!(fib("oif", r#"["daddr", "iif"]"#, "true"), back);
    assert_eq!(fib("check", r#"["daddr", "iif"]"#, "true"), back);
    for daddr in [r#""daddr""#, r#"["daddr"]"#] {
        assert_eq!(fib("oifname", daddr, r#""picket0""#), Some("fib daddr oifname \"picket0\" accept".to_owned()));
        assert_eq!(fib("oif", daddr, "true"), None, "any way out at all");
    }
    assert_eq!(fib("oif", r#"["daddr", "iif"]"#, "false"), None);
    assert_eq!(fib("oif", r#"["saddr", "iif"]"#, "true"), None);
    assert_eq!(fib("oifname", r#"["saddr"]"#, r#""picket0""#), None);
}

#[test]
fn meters_are_read_in_the_words_of_every_version_whatever_is_in_them() {
    let check = |rest: &str, expect: &str| {
        let item = format!(r#"{{"set": {{"name": "m", "handle": 5, {rest}}}}}"#);
        let ruleset = read(&item).ruleset.unwrap();
        let found = ruleset.meters.get("m").map(|m| (m.family, m.size, m.timeout));
        assert_eq!(format!("{found:?} {:?}", ruleset.foreign), expect, "{rest}");
    };
    check(r#""type": "ipv4_addr", "size": 9, "flags": ["timeout"], "timeout": 10"#, "Some((V4, 9, Some(10))) []");
    check(
        r#""type": {"typeof": {"payload": {"protocol": "ip6", "field": "saddr"}}}, "size": 9, "flags": "dynamic", "elem": [
            {"elem": {"val": "2001:db8::", "ct count": {"val": 3}}}]"#,
        "Some((V6, 9, None)) []",
    );
    check(r#""type": "ipv4_addr", "size": 9"#, "Some((V4, 9, None)) []");
    check(r#""type": "ipv4_addr", "size": 9, "flags": ["constant"]"#, r#"None ["set name \"m\" handle 5"]"#);
}

#[test]
fn limits_of_a_rule_are_read_whole() {
    let meter = |stmt: &str| {
        let asked = r#"{"set": {"op": "update", "elem": {"payload": {"protocol": "ip", "field": "saddr"}}, "set": "@m", "stmt": [S]}}"#;
        rule(&format!("{}, {{\"accept\": null}}", asked.replace('S', stmt)))
    };
    let within = r#"{"limit": {"rate": 20, "burst": 40, "per": "second"}}"#;
    assert_eq!(meter(within).unwrap(), "update @m { ip saddr limit rate 20/second burst 40 packets } accept");
    assert!(meter(&within.replace("}}", r#", "inv": true}}"#)).unwrap().contains("limit rate over 20/second"));
    let syn = |mask: &str| {
        let flags = r#"{"match": {"op": "==", "left": {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, MASK]}, "right": "syn"}}"#;
        rule(&format!("{}, {{\"accept\": null}}", flags.replace("MASK", mask)))
    };
    for mask in [r#"["syn", "ack"]"#, r#"{"|": ["syn", "ack"]}"#, r#"["ack", "syn"]"#] {
        assert_eq!(syn(mask).unwrap(), "tcp flags & (syn | ack) == syn accept");
    }
    for mask in [r#"["syn"]"#, r#"["syn", "ack", "rst"]"#, r#"["syn", "fin"]"#, "7", r#""192.0.2.1""#] {
        assert_eq!(syn(mask), None, "{mask}");
    }
    // Another unit, bytes, nothing, or more than one thing: not understood, so not ours.
    for stmt in [
        within.replace("second", "minute"),
        within.replace("40", r#"40, "rate_unit": "mbytes""#),
        String::new(),
        format!("{within}, {within}"),
        r#"{"ct count": {"val": 3}}"#.to_owned(),
    ] {
        assert_eq!(meter(&stmt), None, "{stmt}");
    }
}

#[test]
fn the_interface_of_a_rule_is_read_as_a_name() {
    let matched = r#"{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "wg0"}}, {"accept": null}"#;
    assert_eq!(rule(matched).unwrap(), format!("{} accept", Match::Interface("wg0".parse().unwrap())));
    assert_eq!(rule(&matched.replace("wg0", "wg\\\"0")), None);
}

#[test]
fn counters_hold_more_than_four_gigabytes() {
    let observed = read(r#"{"counter": {"name": "n", "packets": 3, "bytes": 5368709120}}"#);
    assert_eq!(observed.counters["n"], Counter { packets: 3, bytes: 5_368_709_120 });
}

#[test]
fn a_table_that_is_not_in_force_is_foreign() {
    let listing = r#"{"nftables": [{"table": {"family": "inet", "name": "picket", "flags": "dormant", "handle": 2}}]}"#;
    assert_eq!(observe(listing.as_bytes()).unwrap().ruleset.unwrap().foreign, [r#"table name "picket" handle 2"#]);
}

#[test]
fn an_item_of_no_known_kind_is_named_and_not_believed() {
    assert_eq!(
        read(r#"{"flowtable\n": {"name": "\u0007"}}"#).ruleset.unwrap().foreign,
        [r#"flowtable\n name "\u0007""#]
    );
    assert_eq!(read("7").ruleset.unwrap().foreign, ["an item without a name"]);
}

#[test]
fn what_is_no_listing_is_an_error() {
    for text in ["", "<html>", "{}", r#"{"nftables": 1}"#, r#"{"nftables": ["#] {
        let error = observe(text.as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("read the listing of table inet picket"), "{error}");
    }
}

#[test]
fn time_limits_are_read_where_protocols_have_no_names() {
    let limit = |protocol: &str| {
        let item = format!(
            r#"{{"ct timeout": {{"family": "inet", "name": "half_open4", "table": "picket", "handle": 2,
                "protocol": {protocol}, "l3proto": "ip", "policy": {{"syn_sent": 3, "syn_recv": 3}}}}}}"#
        );
        read(&item).ruleset.unwrap().half_open.contains_key("half_open4")
    };
    assert!(limit("\"tcp\"") && limit("6"));
    assert!(!limit("\"udp\"") && !limit("17"));
}

//! What sentries forward, and what a hidden validator's host lets out: as rules, in the kernel, and read back.

use crate::{
    namespace::Namespace,
    policies::{lowered, prep},
};
use picket_firewall::{Change, Firewall, Nft, Ruleset};
use picket_model::{FirewallPolicy, Forward, Hidden, OverlayAddresses};
use std::{collections::BTreeSet, num::NonZeroU16};

fn port(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

fn forward(name: &str, number: u8, at: u16, addresses: &[&str]) -> Forward {
    Forward {
        prep: name.parse().unwrap(),
        name: name.parse().unwrap(),
        port: port(at),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        to: OverlayAddresses {
            v4: format!("10.77.0.{number}").parse().unwrap(),
            v6: format!("fd00::{number}").parse().unwrap(),
        },
        to_port: port(7100),
        calls: [7100, 8300].map(port).into(),
        is_closed: false,
    }
}

fn sentry() -> FirewallPolicy {
    let forwards = [forward("prep-1", 2, 7100, &[]), forward("prep-2", 3, 7101, &["192.0.2.9", "2001:db8::9"])];
    FirewallPolicy { forwards: forwards.into(), ..prep() }
}

fn hidden(strict: bool) -> FirewallPolicy {
    let silent = BTreeSet::from(["10.77.0.8".parse().unwrap()]);
    let hidden = Hidden { calls: [7100, 9000].map(port).into(), strict, silent, ..Hidden::default() };
    FirewallPolicy { hidden: Some(Box::new(hidden)), ..prep() }
}

/// Rules of one chain, as text.
fn rules(ruleset: &Ruleset, chain: &str) -> Vec<String> {
    ruleset.chains[chain].rules.iter().map(ToString::to_string).collect()
}

#[test]
fn a_sentry_translates_what_comes_from_outside_and_lets_nothing_else_through_its_tunnels() {
    let ruleset = lowered(&sentry());
    assert_eq!(
        rules(&ruleset, "nat_in"),
        [
            r#"iifname != "picket0" fib daddr type local tcp dport 7100 dnat ip to 10.77.0.2:7100"#,
            r#"iifname != "picket0" fib daddr type local tcp dport 7100 dnat ip6 to [fd00::2]:7100"#,
            r#"ip daddr 192.0.2.9 tcp dport 7101 dnat ip to 10.77.0.3:7100"#,
            r#"ip6 daddr 2001:db8::9 tcp dport 7101 dnat ip6 to [fd00::3]:7100"#,
        ]
    );
    let pass = rules(&ruleset, "pass");
    assert_eq!(pass.first().unwrap(), r#"iifname != "picket0" oifname != "picket0" accept"#);
    assert_eq!(pass.last().unwrap(), r#"counter name "refused_forward" drop"#);
    assert!(
        pass.contains(
            &r#"iifname "picket0" oifname != "picket0" ip saddr 10.77.0.2 meta l4proto . th dport @calls ct direction original accept"#
                .to_owned()
        ),
        "{pass:?}"
    );
}

#[test]
fn a_sentry_that_was_to_be_left_takes_no_call_and_lets_calls_out() {
    let closed = |forward: Forward| Forward { is_closed: true, ..forward };
    let forwards = [closed(forward("prep-1", 2, 7100, &[])), forward("prep-2", 3, 7101, &[])];
    let ruleset = lowered(&FirewallPolicy { forwards: forwards.into(), ..prep() });
    let about = |chain, own: &str| -> Vec<String> {
        rules(&ruleset, chain).into_iter().filter(|rule| rule.contains(own)).collect()
    };
    assert_eq!((about("nat_in", "10.77.0.2").len(), about("nat_in", "10.77.0.3").len()), (0, 1));
    assert_eq!((about("nat_out", "10.77.0.2").len(), about("nat_out", "10.77.0.3").len()), (1, 1));
    let out = |own: &str| {
        format!(
            r#"iifname "picket0" oifname != "picket0" ip saddr {own} meta l4proto . th dport @calls ct direction original accept"#
        )
    };
    assert_eq!(about("pass", "10.77.0.2"), [out("10.77.0.2")]);
    assert_eq!(about("pass", "10.77.0.3").len(), 2);
    assert_eq!(rules(&ruleset, "pass").last().unwrap(), r#"counter name "refused_forward" drop"#);
}

#[test]
fn a_strict_host_lets_no_call_out_but_through_a_tunnel() {
    let ruleset = lowered(&hidden(true));
    let away = rules(&ruleset, "away");
    let outside = r#"oifname != "picket0" oifname != "lo" meta l4proto . th dport @calls"#;
    for whom in
        ["ip daddr @near_hosts4", "ip6 daddr @near_hosts6", "ip daddr != @private_nets4", "ip6 daddr != @private_nets6"]
    {
        assert!(away.contains(&format!(r#"{outside} {whom} counter name "refused_direct" drop"#)), "{away:?}");
    }
    let lax = lowered(&hidden(false));
    assert!(!lax.chains.contains_key("away") && lax.chains.contains_key("reset_own"));
    assert!(!lowered(&prep()).sets.contains_key("calls"));
    assert_eq!(lax.elements(), lowered(&prep()).elements(), "a silent sentry is not let in");
}

#[test]
fn what_forwards_and_hides_is_read_back_as_it_was_written() {
    let namespace = Namespace::new();
    namespace.enter(async || {
        let mut firewall = Firewall::new(Nft::locate().unwrap());
        for policy in [sentry(), hidden(true), hidden(false), prep()] {
            let wanted = lowered(&policy);
            firewall.reconcile(&wanted).await.unwrap();
            assert_eq!(firewall.observe().await.unwrap().ruleset.as_ref(), Some(&wanted));
            assert_eq!(firewall.reconcile(&wanted).await.unwrap().changes, []);
        }
        // That a sentry falls silent is an element, and no new table.
        firewall.reconcile(&lowered(&hidden(true))).await.unwrap();
        let mut policy = hidden(true);
        policy.hidden.as_mut().unwrap().silent.insert("10.77.0.9".parse().unwrap());
        let changes = firewall.reconcile(&lowered(&policy)).await.unwrap().changes;
        assert!(
            matches!(changes.as_slice(), [Change::AddElements { set, .. }] if set == "silent_hosts4"),
            "{changes:?}"
        );
    });
}

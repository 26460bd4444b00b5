//! The real nft and the real kernel, in a namespace.

use crate::{
    namespace::{self, Namespace},
    policies::{allow, facts, lowered, policy, prep},
};
use picket_firewall::{
    Applied, Change, Features, Firewall, FirewallError, HostFacts, Match, Nft, NftError, ReplaceReason, Rule, Ruleset,
    Verdict, lower,
};
use picket_model::{Limits, Purpose};
use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::TestRunner,
};

fn reconcile(namespace: &Namespace, wanted: &Ruleset) -> Result<Applied, FirewallError> {
    namespace.enter(async || Firewall::new(Nft::locate().unwrap()).reconcile(wanted).await)
}

fn observe(namespace: &Namespace) -> Option<Ruleset> {
    namespace.enter(async || Firewall::new(Nft::locate().unwrap()).observe().await.unwrap().ruleset)
}

#[test]
fn what_is_applied_is_what_is_read_back() {
    let namespace = Namespace::new();
    let wanted = lowered(&prep());
    assert_eq!(observe(&namespace), None);
    let applied = reconcile(&namespace, &wanted).unwrap();
    assert_eq!(applied.changes, [Change::ReplaceTable(ReplaceReason::Missing)]);
    assert_eq!(applied.elements, wanted.elements());
    assert_eq!(applied.counters.keys().collect::<Vec<_>>(), wanted.counters.iter().collect::<Vec<_>>());
    assert_eq!(observe(&namespace), Some(wanted));
}

#[test]
fn every_element_says_who_it_is_whichever_way_it_came() {
    let namespace = Namespace::new();
    let mut policy = prep();
    namespace.enter(async || {
        let mut firewall = Firewall::new(Nft::locate().unwrap());
        firewall.reconcile(&lowered(&policy)).await.unwrap();
        let more = ["203.0.113.11", "203.0.113.14", "198.51.100.128/25", "255.255.255.0/24", "2001:db8:1::/64"];
        policy.allow.insert(Purpose::P2p, allow(more));
        let wanted = lowered(&policy);
        firewall.reconcile(&wanted).await.unwrap();
        assert_eq!(firewall.observe().await.unwrap().ruleset, Some(wanted));
    });
    for (set, element) in [
        ("p2p_hosts4", "203.0.113.11"),
        ("p2p_hosts4", "203.0.113.14"),
        ("p2p_nets4", "198.51.100.128/25"),
        ("p2p_nets4", "255.255.255.0/24"),
        ("p2p_nets6", "2001:db8:1::/64"),
        ("admin_nets4", "192.0.2.0/27"),
    ] {
        let listing = namespace.nft(&["list", "set", "inet", "picket", set]);
        assert!(listing.contains(&format!("{element} comment \"policy test\"")), "{listing}");
    }
}

/// What somebody wrote beside an element of ours lets nobody in and keeps nobody out.
#[test]
fn another_comment_is_no_difference() {
    let namespace = Namespace::new();
    let wanted = lowered(&prep());
    reconcile(&namespace, &wanted).unwrap();
    namespace.load("delete element inet picket p2p_hosts4 { 203.0.113.11 }");
    namespace.load("add element inet picket p2p_hosts4 { 203.0.113.11 comment \"mine\" }");
    assert_eq!(reconcile(&namespace, &wanted).unwrap().changes, []);
}

#[test]
fn the_second_time_nothing_is_written() {
    let namespace = Namespace::new();
    let wanted = lowered(&prep());
    let mut watch = namespace.watch();
    reconcile(&namespace, &wanted).unwrap();
    assert!(watch.changes().iter().any(|line| line.contains("inet picket")), "the watcher sees writes");
    assert_eq!(reconcile(&namespace, &wanted).unwrap().changes, []);
    assert_eq!(watch.changes(), Vec::<String>::new());
}

#[test]
fn a_change_of_elements_leaves_rules_and_counters_where_they_are() {
    let namespace = Namespace::new();
    let mut policy = prep();
    reconcile(&namespace, &lowered(&policy)).unwrap();
    let rules = handles(&namespace);
    policy.allow.insert(Purpose::P2p, allow(["203.0.113.14", "2001:db8:1::/64", "198.51.100.0/24"]));
    policy.guarded.pop_last();
    let wanted = lowered(&policy);
    let applied = reconcile(&namespace, &wanted).unwrap();
    assert!(applied.changes.len() > 3, "{:?}", applied.changes);
    assert_eq!(handles(&namespace), rules);
    assert_eq!(observe(&namespace), Some(wanted));
}

fn handles(namespace: &Namespace) -> Vec<String> {
    let listing = namespace.nft(&["-a", "list", "table", "inet", "picket"]);
    let handles: Vec<String> = listing.lines().filter(|line| line.contains("# handle")).map(str::to_owned).collect();
    assert!(handles.len() > 20, "{listing}");
    handles
}

#[test]
fn one_list_after_the_other_is_applied() {
    let namespace = Namespace::new();
    let mut runner = TestRunner::deterministic();
    reconcile(&namespace, &lowered(&prep())).unwrap();
    for step in 0..60 {
        let wanted = lowered(&policy().new_tree(&mut runner).unwrap().current());
        let applied = reconcile(&namespace, &wanted).unwrap_or_else(|error| panic!("step {step}: {error}\n{wanted}"));
        let whole = applied.changes.iter().find(|change| matches!(change, Change::ReplaceTable(_)));
        assert_eq!(whole, None, "step {step}");
        assert_eq!(observe(&namespace).as_ref(), Some(&wanted), "step {step}");
    }
}

#[test]
fn tables_of_others_stay_as_they_are() {
    let namespace = Namespace::new();
    namespace.load(
        "table inet theirs {
            set hosts { typeof ip saddr; flags interval; auto-merge; elements = { 203.0.113.0/24, 192.0.2.7 } }
            map doors { type inet_service : verdict; elements = { 22 : accept, 7100 : drop } }
            chain input { type filter hook input priority 0; policy drop; ip saddr @hosts tcp dport vmap @doors; }
        }
        table ip picket { chain input { type filter hook input priority 5; tcp dport 7100 counter accept; }; }",
    );
    let theirs =
        || namespace.nft(&["list", "table", "inet", "theirs"]) + &namespace.nft(&["list", "table", "ip", "picket"]);
    let before = theirs();
    let mut policy = prep();
    reconcile(&namespace, &lowered(&policy)).unwrap();
    policy.allow.clear();
    reconcile(&namespace, &lowered(&policy)).unwrap();
    namespace.nft(&["delete", "table", "inet", "picket"]);
    reconcile(&namespace, &lowered(&policy)).unwrap();
    namespace.enter(async || Firewall::new(Nft::locate().unwrap()).remove().await.unwrap());
    assert_eq!(theirs(), before);
}

#[test]
fn removing_takes_our_table_away_and_may_be_repeated() {
    let namespace = Namespace::new();
    reconcile(&namespace, &lowered(&prep())).unwrap();
    for _ in 0..2 {
        namespace.enter(async || Firewall::new(Nft::locate().unwrap()).remove().await.unwrap());
        assert_eq!(observe(&namespace), None);
    }
}

#[test]
fn whatever_others_do_to_our_table_is_repaired() {
    let wanted = lowered(&prep());
    let check = |damage: &str, expect: &str| {
        let namespace = Namespace::new();
        reconcile(&namespace, &wanted).unwrap();
        namespace.load(damage);
        let applied = reconcile(&namespace, &wanted).unwrap();
        let first = applied.changes[0].to_string();
        assert!(first.contains(expect), "{damage}: {first}");
        assert_eq!(observe(&namespace).as_ref(), Some(&wanted), "{damage}");
    };
    check("flush ruleset", "it is missing");
    check("delete table inet picket", "it is missing");
    check("flush table inet picket", "chains or rules differ");
    check("flush chain inet picket gate_p2p", "chains or rules differ");
    check("insert rule inet picket raw_in accept", "chains or rules differ");
    check("insert rule inet picket gate_p2p ip saddr @rpc_hosts4 accept", "chains or rules differ");
    check("insert rule inet picket gate_p2p ip saddr 203.0.113.0/24 accept", "not ours in it: rule chain \"gate_p2p\"");
    check("insert rule inet picket gate_p2p ip saddr != @p2p_hosts4 accept", "not ours in it: rule");
    check("insert rule inet picket gate_p2p counter accept", "not ours in it: rule");
    check("insert rule inet picket gate_p2p limit rate 1/second accept", "chains or rules differ");
    check("insert rule inet picket gate_p2p limit rate 1/minute accept", "not ours in it: rule");
    check("insert rule inet picket gate_p2p jump gate_rpc", "chains or rules differ");
    check("flush chain inet picket track_in", "chains or rules differ");
    check(
        "insert rule inet picket new_hosts_p2p update @syn_hosts_p2p4 { ip saddr limit rate 9/second } accept",
        "chains",
    );
    check("insert rule inet picket new_hosts_p2p update @syn_hosts_p2p4 { ip saddr timeout 1h } accept", "not ours");
    check("insert rule inet picket new_hosts_p2p tcp flags & (syn | fin) == syn accept", "not ours in it: rule");
    check("insert rule inet picket gate_p2p log prefix \"mine\" group 71", "chains or rules differ");
    check("insert rule inet picket gate_p2p log prefix \"mine\"", "not ours in it: rule");
    check("add set inet picket more { typeof ip saddr; size 4; flags dynamic; }", "other meters");
    check("add ct timeout inet picket more { protocol tcp; policy = { close : 9 }; }", "not ours in it: ct timeout");
    check(
        "add chain inet picket early { type filter hook prerouting priority -400; }",
        "not ours in it: chain name \"early\"",
    );
    check("add chain inet picket raw_in { policy drop; }", "not ours in it: chain name \"raw_in\"");
    check("add chain inet picket more", "chains or rules differ");
    check("add counter inet picket more", "other counters");
    check("add set inet picket more { typeof ip saddr; }", "other sets");
    check("add set inet picket more { typeof ip saddr; timeout 1h; }", "other sets");
    check("add map inet picket more { type inet_service : verdict; }", "not ours in it: map name \"more\"");
    check("add quota inet picket more { 5 mbytes }", "not ours in it: quota name \"more\"");
    check("add table inet picket { flags dormant; }", "not ours in it: table name \"picket\"");
    check("add element inet picket p2p_hosts4 { 203.0.113.99 }", "delete from p2p_hosts4: 203.0.113.99");
    check("delete element inet picket p2p_hosts4 { 203.0.113.11 }", "add to p2p_hosts4: 203.0.113.11");
    check("flush set inet picket p2p_ports", "add to p2p_ports: tcp . 7100, udp . 7100");
    check("add element inet picket p2p_ports { sctp . 7100 }", "not ours in it: set name \"p2p_ports\"");
    check("add element inet picket p2p_ports { tcp . 0 }", "not ours in it: set name \"p2p_ports\"");
    check("add element inet picket p2p_nets4 { 203.0.113.1-203.0.113.6 }", "not ours in it: set name \"p2p_nets4\"");
    check("add element inet picket p2p_nets4 { 203.0.113.200 }", "delete from p2p_nets4: 203.0.113.200/32");
    check("add element inet picket p2p_hosts4 { 203.0.113.99 comment \"me\" }", "delete from p2p_hosts4: 203.0.113.99");
}

/// What the kernel has noted in its meters is no difference, and no reason to write.
#[test]
fn a_meter_in_use_is_the_same_meter() {
    let namespace = Namespace::new();
    let wanted = lowered(&prep());
    reconcile(&namespace, &wanted).unwrap();
    namespace.load("add element inet picket syn_hosts_p2p4 { 203.0.113.11 limit rate 20/second burst 40 packets }");
    assert_eq!(reconcile(&namespace, &wanted).unwrap().changes, []);
    assert!(namespace.nft(&["list", "set", "inet", "picket", "syn_hosts_p2p4"]).contains("203.0.113.11"));
}

/// The texts that ask the kernel are good nft, and leave nothing behind.
#[test]
fn this_kernel_has_all_features_and_asking_changes_nothing() {
    let namespace = Namespace::new();
    let all = Features::default();
    let found = namespace.enter(async || Firewall::new(Nft::locate().unwrap()).probe(all).await.unwrap());
    assert_eq!(found, all);
    assert_eq!(namespace.nft(&["list", "ruleset"]), "");
}

#[test]
fn every_choice_of_features_and_limits_loads_and_reads_back() {
    let mut policy = prep();
    policy.public.insert(9000.try_into().unwrap());
    let choices = [false, true].map(|meters| [false, true].map(|connections| (meters, connections)));
    for (number, (meters, connections)) in choices.into_iter().flatten().enumerate() {
        let namespace = Namespace::new();
        let log_group = meters.then_some(9);
        let features = Features { meters, connections, half_open: connections, timeouts: meters, log_group };
        let host = HostFacts { features, ..facts() };
        let mut limits = Limits::default();
        [limits.p2p_connections, limits.public.connections] = [[0, 64], [32, 0], [0, 0], [32, 64]][number];
        for limits in [limits, limits.tightened()] {
            policy.limits = Some(limits);
            let wanted = lower(&policy, &host);
            reconcile(&namespace, &wanted).unwrap_or_else(|error| panic!("{error}\n{wanted}"));
            assert_eq!(observe(&namespace), Some(wanted));
        }
    }
}

#[test]
fn a_writer_who_comes_between_costs_a_replacement_and_nothing_more() {
    let namespace = Namespace::new();
    let mut policy = prep();
    reconcile(&namespace, &lowered(&policy)).unwrap();
    policy.allow.insert(Purpose::P2p, allow(["203.0.113.14"]));
    let wanted = lowered(&policy);
    // After each of our three looks it changes what we are about to delete, and after the last one it is gone.
    let faster = "/usr/sbin/nft $* || exit; [ $2 = list ] || exit 0; echo >>$0.log
                  case $(wc -l <$0.log) in 1|3) verb=delete;; 2) verb=add;; *) exit 0;; esac
                  exec /usr/sbin/nft $verb element inet picket p2p_hosts4 { 203.0.113.11 }";
    let applied = reconcile_by(&namespace, &wanted, faster).unwrap();
    assert_eq!(applied.changes, [Change::ReplaceTable(ReplaceReason::ElementsRefused)]);
    assert_eq!(observe(&namespace), Some(wanted));
}

#[test]
fn success_is_what_the_kernel_says_and_not_what_nft_says() {
    let namespace = Namespace::new();
    // It reads all it is given, as nft does: one that ends before would be caught by the broken pipe.
    let liar = "[ $1 = -f ] && exec /bin/cat >/dev/null; exec /usr/sbin/nft $*";
    let error = reconcile_by(&namespace, &lowered(&prep()), liar).unwrap_err();
    assert!(matches!(&error, FirewallError::Different(left) if left.len() == 1), "{error}");
}

#[test]
fn a_refused_table_leaves_the_old_one_in_force() {
    let namespace = Namespace::new();
    let old = lowered(&prep());
    reconcile(&namespace, &old).unwrap();
    let mut wanted = old.clone();
    wanted.chains.get_mut("raw_in").unwrap().rules.push(Rule {
        matches: vec![Match::Port("no_such_set".into())],
        counter: None,
        verdict: Verdict::Drop,
    });
    let error = reconcile(&namespace, &wanted).unwrap_err();
    let FirewallError::Change(NftError::Refused { stderr, .. }) = &error else { panic!("{error:?}") };
    assert!(stderr.contains("no_such_set"), "{stderr}");
    assert_eq!(observe(&namespace), Some(old));
}

/// Reconciles through a shell script in the place of nft.
fn reconcile_by(namespace: &Namespace, wanted: &Ruleset, script: &str) -> Result<Applied, FirewallError> {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("nft");
    namespace::write_program(&program, &format!("#!/bin/sh\n{script}\n"));
    namespace.enter(async || Firewall::new(Nft::at(program)).reconcile(wanted).await)
}

#[test]
fn where_there_is_no_table_ports_are_closed_first_and_thousands_then_come_at_one_moment() {
    let namespace = Namespace::new();
    let mut policy = prep();
    let v4 = (0..5000).map(|n| format!("198.18.{}.{}", n / 250, n % 250));
    let v6 = (0..5000).map(|n| format!("2001:db8:5::{n:x}"));
    policy.allow.insert(Purpose::P2p, allow(v4.chain(v6)));
    let wanted = lowered(&policy);
    let mut watch = namespace.watch();
    let applied = reconcile(&namespace, &wanted).unwrap();
    assert!(applied.elements > 10_000);
    assert_eq!(applied.changes, [Change::ReplaceTable(ReplaceReason::Missing)]);
    let lines = watch.changes();
    assert_eq!(generations(&lines), 2);
    let closed = lines.iter().take_while(|line| !line.starts_with("# new generation"));
    let closed: Vec<_> = closed.map(String::as_str).collect();
    assert!(closed.iter().any(|line| line.contains("refused_p2p\" drop")), "{closed:?}");
    assert!(closed.iter().any(|line| line.contains("admin_nets4 { 192.0.2.0/27")), "{closed:?}");
    assert!(!closed.iter().any(|line| line.contains("198.18.")));
    assert_eq!(observe(&namespace), Some(wanted));

    policy.allow.insert(Purpose::P2p, allow(["203.0.113.1"]));
    let applied = reconcile(&namespace, &lowered(&policy)).unwrap();
    assert!(matches!(applied.changes[0], Change::DeleteElements { .. }), "{}", applied.changes[0]);
    assert_eq!(generations(&watch.changes()), 1);
}

#[test]
fn a_table_that_is_there_is_replaced_at_one_moment_with_all_its_addresses() {
    let namespace = Namespace::new();
    let mut policy = prep();
    policy.allow.insert(Purpose::P2p, allow((0..3000).map(|n| format!("198.18.{}.{}", n / 250, n % 250))));
    let wanted = lowered(&policy);
    namespace.enter(async || {
        let mut firewall = Firewall::new(Nft::locate().unwrap());
        firewall.reconcile(&wanted).await.unwrap();
        let before = firewall.compared().unwrap();
        namespace.load("insert rule inet picket raw_in counter drop");
        let applied = firewall.reconcile(&wanted).await.unwrap();
        assert!(
            matches!(applied.changes[..], [Change::ReplaceTable(ReplaceReason::Foreign(_))]),
            "{:?}",
            applied.changes
        );
        assert_eq!(firewall.compared(), Some(before + 2), "one commit of theirs and one of ours");
    });
}

fn generations(lines: &[String]) -> usize {
    lines.iter().filter(|line| line.starts_with("# new generation")).count()
}

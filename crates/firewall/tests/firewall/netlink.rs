//! Elements on our own socket, and who is told to have changed what, against the real kernel and the real nft.

use crate::{
    namespace::{Namespace, write_program},
    policies::{allow, lowered, prep},
};
use picket_firewall::{
    Change, Counter, Firewall, FirewallError, Nft,
    netlink::{Monitor, events::Commit, monitor::Heard},
    render::replacement,
};
use picket_model::{FirewallPolicy, Purpose};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// An nft that writes down each time it is run.
fn counted_nft(folder: &Path) -> (Nft, impl Fn() -> Vec<String>) {
    let (program, log) = (folder.join("nft"), folder.join("log"));
    write_program(&program, &format!("#!/bin/sh\necho \"$*\" >>{}\nexec /usr/sbin/nft \"$@\"\n", log.display()));
    (Nft::at(program), move || fs::read_to_string(&log).unwrap_or_default().lines().map(str::to_owned).collect())
}

fn with_p2p(hosts: impl IntoIterator<Item = impl ToString>) -> FirewallPolicy {
    let mut policy = prep();
    let hosts = hosts.into_iter().map(|host| host.to_string()).chain(["198.51.100.128/25".to_owned()]);
    policy.allow.insert(Purpose::P2p, allow(hosts));
    policy
}

#[test]
fn addresses_come_and_go_without_a_program() {
    let (namespace, folder) = (Namespace::new(), tempfile::tempdir().unwrap());
    let (nft, runs) = counted_nft(folder.path());
    namespace.enter(async || {
        let mut firewall = Firewall::new(nft);
        firewall.reconcile(&lowered(&prep())).await.unwrap();
        let before = runs().len();
        // One by one, by the hundred, ports, both families; few are asked back singly, many as a set.
        let many = (0..1800).map(|n| format!("198.18.{}.{}", n / 250, n % 250));
        let nets = |list: &[&str]| list.iter().map(|net| (*net).to_owned()).collect::<Vec<_>>();
        let lists: [Vec<String>; 11] = [
            vec!["203.0.113.11".into(), "203.0.113.14".into()],
            many.clone().chain(many.clone().map(|host| format!("2001:db8::{}", host.replace('.', ":")))).collect(),
            many.skip(1).collect(),
            vec!["2001:db8:1::14".into()],
            vec![],
            // Neighbours on both sides, the first address and the last of all, one in the place of several, and back.
            nets(&[
                "198.51.100.64/26",
                "10.0.0.0/8",
                "198.51.101.0/26",
                "255.255.255.0/24",
                "ff00::/8",
                "2001:db8::/32",
            ]),
            nets(&["198.51.100.0/25", "0.0.0.0/8", "203.0.113.14", "::/16", "2001:db8:4::/48"]),
            nets(&["0.0.0.0/0", "::/0"]),
            nets(&["198.51.100.0/24", "128.0.0.0/2", "224.0.0.0/3", "8000::/1"]),
            nets(&["198.51.100.32/27", "203.0.113.16/28", "203.0.113.0/28", "fe00::/7"]),
            vec![],
        ];
        for list in &lists {
            let mut policy = with_p2p(list);
            if list.len() == 1 {
                policy.guarded.pop_last();
            }
            let wanted = lowered(&policy);
            let applied = firewall.reconcile(&wanted).await.unwrap();
            assert!(!applied.changes.is_empty() && applied.elements == wanted.elements(), "{:?}", applied.changes);
            assert!(firewall.reconcile(&wanted).await.unwrap().changes.is_empty());
            // What nft reads is the judge.
            assert_eq!(Firewall::new(Nft::locate().unwrap()).observe().await.unwrap().ruleset, Some(wanted));
        }
        // Nothing was written by a program. Where an answer on the socket was lost, on a machine that has much to do, one reads.
        let run = runs().split_off(before);
        assert!(run.len() <= 1 && run.iter().all(|run| run.contains(" list ")), "{run:?}");
    });
}

#[test]
fn one_transaction_holds_a_hundred_messages() {
    let namespace = Namespace::new();
    let many = (0..60_000).map(|n| format!("10.{}.{}.{}", n / 62_500, n / 250 % 250, n % 250));
    let wanted = lowered(&with_p2p(many));
    let mut watch = namespace.watch();
    namespace.enter(async || {
        let mut firewall = Firewall::new(Nft::locate().unwrap());
        firewall.reconcile(&lowered(&with_p2p(["203.0.113.11"]))).await.unwrap();
        let applied = firewall.reconcile(&wanted).await.unwrap();
        assert!(matches!(applied.changes[..], [Change::DeleteElements { .. }, Change::AddElements { .. }]));
    });
    let generations = watch.changes().iter().filter(|line| line.starts_with("# new generation")).count();
    assert_eq!(generations, 2);
    namespace.enter(async || {
        let found = Firewall::new(Nft::locate().unwrap()).observe().await.unwrap();
        assert!(found.ruleset == Some(wanted), "what was written is what nft reads");
    });
}

#[test]
fn what_others_did_since_we_looked_is_seen_before_anything_is_changed() {
    let namespace = Namespace::new();
    let (first, second) = (lowered(&with_p2p(["203.0.113.11"])), lowered(&with_p2p(["203.0.113.12"])));
    let check = |damage: &str, expect: &str| {
        let steps = namespace.enter(async || {
            let mut firewall = Firewall::new(Nft::locate().unwrap());
            firewall.reconcile(&first).await.unwrap();
            namespace.load(damage);
            let applied = firewall.reconcile(&second).await.unwrap();
            assert_eq!(Firewall::new(Nft::locate().unwrap()).observe().await.unwrap().ruleset.as_ref(), Some(&second));
            applied.changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        });
        assert_eq!(steps, expect, "{damage}");
    };
    let change = "delete from p2p_hosts4: 203.0.113.11; add to p2p_hosts4: 203.0.113.12";
    check("add table inet theirs", change);
    check("delete element inet picket p2p_hosts4 { 203.0.113.11 }", "add to p2p_hosts4: 203.0.113.12");
    check("add element inet picket p2p_hosts4 { 203.0.113.12 }", "delete from p2p_hosts4: 203.0.113.11");
    check(
        "add element inet picket p2p_hosts4 { 203.0.113.99 }",
        "delete from p2p_hosts4: 203.0.113.11, 203.0.113.99; add to p2p_hosts4: 203.0.113.12",
    );
    check("flush ruleset", "replace table inet picket: it is missing");
    check("insert rule inet picket raw_in accept", "replace table inet picket: its chains or rules differ");
}

#[test]
fn counters_go_on_where_a_replaced_table_ended() {
    let namespace = Namespace::new();
    let wanted = lowered(&prep());
    let counted = BTreeMap::from([
        ("refused_p2p".to_owned(), Counter { packets: 7, bytes: 5_368_709_120 }),
        ("not_ours".to_owned(), Counter { packets: 1, bytes: 1 }),
    ]);
    namespace.load(&replacement(&wanted, &counted));
    namespace.load("insert rule inet picket raw_in counter accept");
    namespace.enter(async || {
        let mut firewall = Firewall::new(Nft::locate().unwrap());
        let applied = firewall.reconcile(&wanted).await.unwrap();
        assert!(matches!(applied.changes[..], [Change::ReplaceTable(_)]));
        assert_eq!(applied.counters["refused_p2p"], counted["refused_p2p"]);
        assert_eq!(applied.counters["allowed_p2p"], Counter::default());
    });
}

/// Waits for the next commit in which our table was touched.
async fn touching(monitor: &mut Monitor) -> Commit {
    let next = async {
        loop {
            match monitor.next().await.unwrap() {
                Heard::Commit(commit) if commit.touched.is_some() => return commit,
                Heard::Commit(_) => {}
                Heard::Unknown => panic!("nothing was to be lost"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, next).await.unwrap()
}

#[test]
fn who_touched_our_table_is_heard_and_our_own_commits_are_known() {
    let namespace = Namespace::new();
    namespace.enter(async || {
        let mut monitor = Monitor::open().unwrap();
        let mut firewall = Firewall::new(Nft::locate().unwrap());
        for hosts in [["203.0.113.11"], ["203.0.113.12"]] {
            firewall.reconcile(&lowered(&with_p2p(hosts))).await.unwrap();
            let commit = touching(&mut monitor).await;
            assert!(firewall.is_own(commit.generation), "{commit:?}");
            assert!(!commit.is_reason_to_look(firewall.compared()), "{commit:?}");
        }
        namespace.load("add table inet theirs; add chain inet theirs picket; add table ip picket");
        namespace.load("add element inet picket p2p_hosts4 { 203.0.113.99 }");
        let commit = touching(&mut monitor).await;
        assert_eq!(commit.touched.as_ref().unwrap().to_string(), "element added to p2p_hosts4");
        assert_eq!(commit.author.program, "nft");
        assert!(!firewall.is_own(commit.generation) && commit.is_reason_to_look(firewall.compared()));
        firewall.reconcile(&lowered(&with_p2p(["203.0.113.12"]))).await.unwrap();
        assert!(!commit.is_reason_to_look(firewall.compared()), "it was dealt with");
    });
}

#[test]
fn what_is_written_in_a_pause_is_not_heard_and_what_others_do_in_it_is_known_by_its_generation() {
    let namespace = Namespace::new();
    namespace.enter(async || {
        let mut monitor = Monitor::open().unwrap();
        let mut firewall = Firewall::new(Nft::locate().unwrap());
        monitor.pause().unwrap();
        firewall.reconcile(&lowered(&with_p2p(["203.0.113.11"]))).await.unwrap();
        assert!(firewall.is_current());
        namespace.load("add table inet theirs");
        monitor.resume().unwrap();
        assert!(!firewall.is_current());
        namespace.load("add element inet picket p2p_hosts4 { 203.0.113.99 }");
        let Heard::Commit(commit) = monitor.next().await.unwrap() else { panic!("nothing was to be lost") };
        assert_eq!(commit.touched.unwrap().to_string(), "element added to p2p_hosts4");
    });
}

#[test]
fn who_writes_right_after_us_is_not_taken_for_us() {
    let (namespace, folder) = (Namespace::new(), tempfile::tempdir().unwrap());
    let program = folder.path().join("nft");
    let followed = "#!/bin/sh\n/usr/sbin/nft \"$@\" || exit\n[ \"$1\" != -f ] || \
                    exec /usr/sbin/nft add element inet picket p2p_hosts4 '{ 203.0.113.99 }'\n";
    write_program(&program, followed);
    namespace.enter(async || {
        let mut monitor = Monitor::open().unwrap();
        let mut firewall = Firewall::new(Nft::at(program));
        firewall.reconcile(&lowered(&with_p2p(["203.0.113.11"]))).await.unwrap_err();
        let (ours, theirs) = (touching(&mut monitor).await, touching(&mut monitor).await);
        assert!(firewall.is_own(ours.generation), "{ours:?}");
        assert!(!firewall.is_own(theirs.generation), "{theirs:?}");
    });
}

#[test]
fn a_revoked_address_goes_out_of_a_table_that_cannot_be_listed() {
    let (namespace, folder) = (Namespace::new(), tempfile::tempdir().unwrap());
    let (program, broken) = (folder.path().join("nft"), folder.path().join("broken"));
    let script = format!("#!/bin/sh\n[ ! -e {} ] || exit 1\nexec /usr/sbin/nft \"$@\"\n", broken.display());
    write_program(&program, &script);
    namespace.enter(async || {
        let mut firewall = Firewall::new(Nft::at(program));
        firewall.reconcile(&lowered(&with_p2p(["203.0.113.11", "203.0.113.12"]))).await.unwrap();
        fs::write(&broken, "").unwrap();
        firewall.look_afresh(Instant::now());
        let wanted = lowered(&with_p2p(["203.0.113.11"]));
        for _ in 0..2 {
            let error = firewall.reconcile(&wanted).await.unwrap_err();
            assert!(matches!(error, FirewallError::List(_)), "{error:?}");
            assert_eq!(Firewall::new(Nft::locate().unwrap()).observe().await.unwrap().ruleset.as_ref(), Some(&wanted));
        }
        assert!(firewall.counters().await.unwrap().contains_key("refused_p2p"), "these do not need nft");
    });
}

/// A kernel that lacks something of the wanted table refuses it each time; who was revoked does not stay in because of that.
#[test]
fn a_revoked_address_goes_out_of_a_table_that_cannot_be_replaced() {
    let (namespace, folder) = (Namespace::new(), tempfile::tempdir().unwrap());
    let (program, refusing) = (folder.path().join("nft"), folder.path().join("refusing"));
    let script = format!(
        "#!/bin/sh
if [ \"$1\" = -f ] && [ -e {} ]; then echo 'Operation not supported' >&2; exit 1; fi\n\
         exec /usr/sbin/nft \"$@\"\n",
        refusing.display()
    );
    write_program(&program, &script);
    namespace.enter(async || {
        let mut firewall = Firewall::new(Nft::at(program));
        let first = lowered(&with_p2p(["203.0.113.11", "203.0.113.12", "192.0.2.0/24"]));
        firewall.reconcile(&first).await.unwrap();
        fs::write(&refusing, "").unwrap();
        let mut wanted = lowered(&with_p2p(["203.0.113.11", "203.0.113.13", "192.0.2.64/26"]));
        wanted.chains.get_mut("gate_p2p").unwrap().rules.pop();
        // What is left: the revoked alone are out, nobody new is in, and the rules are as they were.
        let expected = lowered(&with_p2p(["203.0.113.11", "192.0.2.64/26"]));
        for _ in 0..2 {
            let error = firewall.reconcile(&wanted).await.unwrap_err();
            assert!(matches!(error, FirewallError::Change(_)), "{error:?}");
            assert_eq!(
                Firewall::new(Nft::locate().unwrap()).observe().await.unwrap().ruleset.as_ref(),
                Some(&expected)
            );
        }
        fs::remove_file(&refusing).unwrap();
        firewall.reconcile(&wanted).await.unwrap();
        assert_eq!(firewall.observe().await.unwrap().ruleset, Some(wanted));
    });
}

/// Between the look and the write somebody makes a table of our name: it is replaced like any other.
#[test]
fn a_table_that_somebody_makes_first_is_no_obstacle() {
    let (namespace, folder) = (Namespace::new(), tempfile::tempdir().unwrap());
    let (program, made) = (folder.path().join("nft"), folder.path().join("made"));
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = -f ] && [ ! -e {made} ]; then /usr/sbin/nft add table inet picket; touch {made}; fi\n\
         exec /usr/sbin/nft \"$@\"\n",
        made = made.display()
    );
    write_program(&program, &script);
    namespace.enter(async || {
        let wanted = lowered(&with_p2p(["203.0.113.11"]));
        let mut firewall = Firewall::new(Nft::at(program));
        firewall.reconcile(&wanted).await.unwrap();
        assert!(made.exists());
        assert_eq!(firewall.observe().await.unwrap().ruleset, Some(wanted));
    });
}

#[test]
fn more_than_there_is_room_for_is_heard_as_a_loss() {
    let namespace = Namespace::new();
    namespace.enter(async || {
        let mut monitor = Monitor::open().unwrap();
        let many = |a| (0..60_000).map(move |n| format!("{a}.{}.{}.{}", n / 62_500, n / 250 % 250, n % 250));
        let mut firewall = Firewall::new(Nft::locate().unwrap());
        for a in 10..14 {
            firewall.reconcile(&lowered(&with_p2p(many(a)))).await.unwrap();
        }
        let lost = async { while monitor.next().await.unwrap() != Heard::Unknown {} };
        tokio::time::timeout(PATIENCE, lost).await.unwrap();
    });
}

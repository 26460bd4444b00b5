//! A table that takes long to read, as one whose meters somebody fills: who comes and who goes does not wait for it.

use crate::{
    namespace::{Namespace, write_program},
    policies::{allow, lowered, prep},
};
use picket_firewall::{Change, Firewall, Nft, Ruleset};
use picket_model::{FirewallPolicy, Purpose, limits::SHORTEST_GRANT};
use std::{
    fs,
    num::NonZeroU32,
    path::Path,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// An nft that notes each listing, with what the set of single addresses has just then, and takes its time where it is told to.
fn noting_nft(folder: &Path) -> (Nft, impl Fn() -> Vec<String>) {
    let (program, log, slow) = (folder.join("nft"), folder.join("log"), folder.join("slow"));
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = -j ]; then\n\
         /usr/sbin/nft list set inet picket p2p_hosts4 2>&1 | tr -d '\\n\\t' >>{log}; echo >>{log}\n\
         [ -e {slow} ] && sleep 1.1\nfi\nexec /usr/sbin/nft \"$@\"\n",
        log = log.display(),
        slow = slow.display()
    );
    write_program(&program, &script);
    (Nft::at(program), move || fs::read_to_string(&log).unwrap_or_default().lines().map(str::to_owned).collect())
}

fn with(hosts: &[&str]) -> Ruleset {
    let mut policy = prep();
    policy.allow.insert(Purpose::P2p, allow(hosts.iter().map(ToString::to_string)));
    lowered(&policy)
}

async fn kernel() -> Option<Ruleset> {
    Firewall::new(Nft::locate().unwrap()).observe().await.unwrap().ruleset
}

#[test]
fn full_meters_keep_no_change_waiting() {
    let (namespace, folder) = (Namespace::new(), tempfile::tempdir().unwrap());
    let (nft, listings) = noting_nft(folder.path());
    namespace.enter(async || {
        let mut firewall = Firewall::new(nft);
        firewall.reconcile(&with(&["203.0.113.11"])).await.unwrap();
        let calm = listings().len();
        firewall.look_afresh(Instant::now());
        firewall.reconcile(&with(&["203.0.113.11"])).await.unwrap();
        assert_eq!(listings().len(), calm + 1, "a table that is read fast is read each time");
        fs::write(folder.path().join("slow"), "").unwrap();
        firewall.look_afresh(Instant::now());
        firewall.reconcile(&with(&["203.0.113.11"])).await.unwrap();
        let once = listings().len();
        for hosts in [&["203.0.113.11"][..], &["203.0.113.11", "203.0.113.12"], &["203.0.113.12"]] {
            firewall.look_afresh(Instant::now());
            let wanted = with(hosts);
            let applied = firewall.reconcile(&wanted).await.unwrap();
            assert_eq!(applied.elements, wanted.elements());
            assert_eq!(kernel().await, Some(wanted));
        }
        assert_eq!(listings().len(), once, "nothing has changed but by ourselves, and that was read back by its key");
        // Somebody else's change is looked at, however long that takes.
        namespace.load("flush set inet picket p2p_hosts4\n");
        firewall.look_afresh(Instant::now());
        let wanted = with(&["203.0.113.12"]);
        firewall.reconcile(&wanted).await.unwrap();
        assert_eq!(kernel().await, Some(wanted));
    });
}

#[test]
fn who_comes_or_goes_does_not_wait_until_the_table_is_read() {
    let (namespace, folder) = (Namespace::new(), tempfile::tempdir().unwrap());
    let (nft, listings) = noting_nft(folder.path());
    namespace.enter(async || {
        let mut firewall = Firewall::new(nft);
        fs::write(folder.path().join("slow"), "").unwrap();
        firewall.reconcile(&with(&["203.0.113.11", "203.0.113.12"])).await.unwrap();
        let before = listings().len();
        // Somebody writes a table of their own: ours has to be read.
        namespace.load("add table inet another\n");
        let wanted = with(&["203.0.113.12", "203.0.113.13"]);
        let applied = firewall.reconcile(&wanted).await.unwrap();
        let listings = listings();
        assert!(listings.len() > before, "it was read");
        let first = &listings[before];
        assert!(first.contains("203.0.113.13") && !first.contains("203.0.113.11"), "before the reading: {first}");
        assert!(
            applied.changes.iter().all(|change| !matches!(change, Change::ReplaceTable(_))),
            "{:?}",
            applied.changes
        );
        assert_eq!((applied.changes.len(), kernel().await), (2, Some(wanted)));

        // Where our table is not as it was known, what was done first is no word about it: it is put right.
        namespace.load("delete table inet picket\n");
        let wanted = with(&["203.0.113.14"]);
        let applied = firewall.reconcile(&wanted).await.unwrap();
        assert!(
            applied.changes.iter().any(|change| matches!(change, Change::ReplaceTable(_))),
            "{:?}",
            applied.changes
        );
        assert_eq!(kernel().await, Some(wanted));
        namespace.load("flush chain inet picket gate_p2p\n");
        let wanted = with(&["203.0.113.15"]);
        firewall.reconcile(&wanted).await.unwrap();
        assert_eq!(kernel().await, Some(wanted));
    });
}

/// A later moment, when a generation was believed long enough.
fn later() -> Instant {
    Instant::now() + Duration::from_mins(15)
}

#[test]
fn grants_in_a_table_that_is_slow_to_read_are_renewed() {
    let (namespace, folder) = (Namespace::new(), tempfile::tempdir().unwrap());
    let (nft, listings) = noting_nft(folder.path());
    fs::write(folder.path().join("slow"), "").unwrap();
    let mut policy = FirewallPolicy { grants_last_seconds: NonZeroU32::new(SHORTEST_GRANT), ..prep() };
    policy.allow.insert(Purpose::P2p, allow(["203.0.113.11"]));
    let wanted = lowered(&policy);
    namespace.enter(async || {
        let mut firewall = Firewall::new(nft);
        firewall.reconcile(&wanted).await.unwrap();
        // Half its time is over in some seconds: after this look.
        let soon = SHORTEST_GRANT / 2 + 10;
        namespace.load(&format!(
            "delete element inet picket p2p_hosts4 {{ 203.0.113.11 }}; \
             add element inet picket p2p_hosts4 {{ 203.0.113.11 timeout {SHORTEST_GRANT}s expires {soon}s }}\n"
        ));
        assert_eq!(firewall.reconcile(&wanted).await.unwrap().renewed, 0);
        let once = listings().len();
        firewall.look_afresh(Instant::now());
        assert_eq!(firewall.reconcile(&wanted).await.unwrap().renewed, 0);
        assert_eq!(listings().len(), once, "its generation is believed");
        let started = Instant::now();
        loop {
            firewall.look_afresh(later());
            let applied = firewall.reconcile(&wanted).await.unwrap();
            assert_eq!(applied.changes, [], "what is renewed is no repair");
            if applied.renewed > 0 {
                break assert_eq!(applied.renewed, 1);
            }
            assert!(started.elapsed() < PATIENCE, "it was not renewed");
        }
        let listing = namespace.nft(&["list", "set", "inet", "picket", "p2p_hosts4"]);
        // The kernel counts in ticks: within one of them nothing has passed yet.
        let is_anew = ["expires 23h59m", "expires 1d"].iter().any(|left| listing.contains(left));
        assert!(is_anew, "{listing}");
    });
}

#[test]
fn a_slow_moment_does_not_last_for_ever() {
    let (namespace, folder) = (Namespace::new(), tempfile::tempdir().unwrap());
    let (nft, listings) = noting_nft(folder.path());
    let (slow, wanted) = (folder.path().join("slow"), with(&["203.0.113.11"]));
    fs::write(&slow, "").unwrap();
    namespace.enter(async || {
        let mut firewall = Firewall::new(nft);
        firewall.reconcile(&wanted).await.unwrap();
        fs::remove_file(&slow).unwrap();
        let mut before = listings().len();
        firewall.look_afresh(Instant::now());
        firewall.reconcile(&wanted).await.unwrap();
        assert_eq!(listings().len(), before, "the generation is believed");
        // A change does not wait for the reading that is due; the look after it makes that good.
        firewall.look_afresh(later());
        let wanted = with(&["203.0.113.12"]);
        firewall.reconcile(&wanted).await.unwrap();
        assert_eq!(listings().len(), before, "read back by its key");
        for moment in [later(), Instant::now(), Instant::now()] {
            firewall.look_afresh(moment);
            firewall.reconcile(&wanted).await.unwrap();
            before += 1;
            assert_eq!(listings().len(), before, "it is read in full each time, as it is fast again");
        }
    });
}

#[test]
fn a_table_that_cannot_be_read_now_is_believed_to_be_what_its_generation_says() {
    let (namespace, folder) = (Namespace::new(), tempfile::tempdir().unwrap());
    let (program, slow, broken) = (folder.path().join("nft"), folder.path().join("slow"), folder.path().join("broken"));
    let script = format!(
        "#!/bin/sh\n[ -e {} ] && sleep 1.1\n[ -e {} ] && exit 1\nexec /usr/sbin/nft \"$@\"\n",
        slow.display(),
        broken.display()
    );
    write_program(&program, &script);
    fs::write(&slow, "").unwrap();
    let wanted = with(&["203.0.113.11"]);
    namespace.enter(async || {
        let mut firewall = Firewall::new(Nft::at(program));
        firewall.reconcile(&wanted).await.unwrap();
        fs::write(&broken, "").unwrap();
        firewall.look_afresh(later());
        assert_eq!(firewall.reconcile(&wanted).await.unwrap().elements, wanted.elements());
        // Not where somebody changed something.
        namespace.load("add table inet another\n");
        firewall.reconcile(&wanted).await.unwrap_err();
    });
}

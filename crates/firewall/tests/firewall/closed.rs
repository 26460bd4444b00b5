//! Closing without nft: what the kernel has then, in nft's own words, and how the whole table takes its place.

use crate::{
    namespace::Namespace,
    policies::{allow, lowered, port, prep},
};
use picket_firewall::{Firewall, Nft, baseline, netlink::close};
use picket_model::{FirewallPolicy, Protocol, Purpose};

fn policy() -> FirewallPolicy {
    let guarded = [port(Protocol::Tcp, 7100), port(Protocol::Udp, 9000)].map(|port| (port, Purpose::Admin));
    let admins = ["198.51.100.248/29", "192.0.2.1/32", "2001:db8:ad::/48"];
    baseline(&guarded.into(), &allow(admins.map(str::to_owned)))
}

#[test]
fn guarded_ports_are_closed_without_nft_and_what_was_there_stays() {
    let namespace = Namespace::new();
    namespace.load("table inet theirs { chain raw_in { type filter hook prerouting priority raw; }; }");
    namespace.enter(async || assert!(close(&policy()).unwrap()));
    let listed = namespace.nft(&["list", "table", "inet", "picket"]);
    let rules: Vec<&str> = listed.lines().map(str::trim).filter(|line| line.contains(' ')).collect();
    assert_eq!(
        rules,
        [
            "table inet picket {",
            "chain raw_in {",
            "type filter hook prerouting priority raw; policy accept;",
            "iif \"lo\" accept",
            "ip saddr 192.0.2.1 accept",
            "ip saddr 198.51.100.248/29 accept",
            "ip6 saddr 2001:db8:ad::/48 accept",
            "tcp dport 7100 drop",
            "udp dport 9000 drop",
        ]
    );
    // A table of ours is left as it is, whatever is in it.
    namespace.enter(async || assert!(!close(&baseline(&[].into(), &allow([""; 0]))).unwrap()));
    assert_eq!(namespace.nft(&["list", "table", "inet", "picket"]), listed);
    assert!(namespace.nft(&["list", "tables"]).contains("theirs"));
}

#[test]
fn the_whole_table_takes_its_place_when_nft_is_back() {
    let namespace = Namespace::new();
    namespace.enter(async || {
        assert!(close(&policy()).unwrap());
        let mut firewall = Firewall::new(Nft::locate().unwrap());
        let applied = firewall.reconcile(&lowered(&prep())).await.unwrap();
        assert_eq!(applied.changes.len(), 1);
        assert!(!close(&policy()).unwrap());
        assert_eq!(firewall.reconcile(&lowered(&prep())).await.unwrap().changes, []);
    });
}

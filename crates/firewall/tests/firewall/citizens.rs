//! Ports at which a node's JSON-RPC is served: who gets as far as them, as rules and in the kernel.

use crate::{
    namespace::Namespace,
    policies::{OVERLAY, check, lowered, prep},
};
use picket_firewall::{Firewall, Nft};
use picket_model::{FirewallPolicy, SyncPath, SyncTarget};
use std::{collections::BTreeSet, num::NonZeroU16};

fn serving(number: u16, citizens: &[&str]) -> FirewallPolicy {
    let port = NonZeroU16::new(number).unwrap();
    let path = SyncPath {
        port,
        to: SyncTarget::Own,
        to_port: port,
        citizens: citizens.iter().map(|text| text.parse().unwrap()).collect(),
        addresses: BTreeSet::new(),
        websocket: BTreeSet::new(),
        debug: false,
    };
    FirewallPolicy { syncs: [path].into(), ..prep() }
}

#[test]
fn citizens_reach_that_port_and_no_other_and_validators_are_strangers_there() {
    let sentry = serving(9000, &["198.18.5.0/24", "2001:db8:c::/48"]);
    check(&sentry, "eth0", "198.18.5.9", 9000, Some("allowed_sync"));
    check(&sentry, "eth0", "2001:db8:c::9", 9000, Some("allowed_sync"));
    check(&sentry, "eth0", "198.18.5.9", 9080, Some("refused_rpc"));
    check(&sentry, "eth0", "198.18.5.9", 7100, Some("refused_p2p"));
    check(&sentry, "eth0", "203.0.113.11", 9000, Some("refused_sync"));
    check(&sentry, "eth0", "203.0.113.11", 9080, Some("allowed_rpc"));
    check(&sentry, "eth0", "203.0.113.99", 9000, Some("refused_sync"));
    check(&sentry, "eth0", "10.77.0.2", 9000, Some("refused_sync"));
    check(&sentry, OVERLAY, "10.77.0.2", 9000, Some("allowed_overlay"));
    check(&sentry, "eth0", "192.0.2.5", 9000, Some("allowed_admin"));
}

#[test]
fn a_port_that_is_not_guarded_for_rpc_is_not_opened_to_citizens() {
    let forged = serving(7100, &["198.18.5.0/24"]);
    check(&forged, "eth0", "198.18.5.9", 7100, Some("refused_p2p"));
    check(&forged, "eth0", "203.0.113.11", 7100, Some("allowed_p2p"));
}

#[test]
fn a_port_that_is_public_elsewhere_is_not_where_it_is_served() {
    let mut sentry = serving(9000, &[]);
    sentry.public = [9000, 9080].map(|number| NonZeroU16::new(number).unwrap()).into();
    check(&sentry, "eth0", "203.0.113.99", 9000, Some("refused_sync"));
    check(&sentry, "eth0", "203.0.113.99", 9080, Some("allowed_public"));
}

#[test]
fn what_serves_is_read_back_as_it_was_written() {
    let namespace = Namespace::new();
    namespace.enter(async || {
        let mut firewall = Firewall::new(Nft::locate().unwrap());
        for policy in [serving(9000, &["198.18.5.0/24"]), serving(9000, &["198.18.6.1/32"]), prep()] {
            let wanted = lowered(&policy);
            firewall.reconcile(&wanted).await.unwrap();
            assert_eq!(firewall.observe().await.unwrap().ruleset.as_ref(), Some(&wanted));
            assert_eq!(firewall.reconcile(&wanted).await.unwrap().changes, []);
        }
    });
}

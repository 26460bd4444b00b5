//! What hosts say of their defences that somebody should look at. Values in, findings out.

use picket_model::{Defences, FirewallPolicy, Node};
use picket_plan::{Finding, FindingKind};

/// What is wrong with a host's defences, by its own word and by what is wanted of it.
pub(super) fn findings(node: &Node, wanted: &FirewallPolicy, said: &Defences) -> Vec<Finding> {
    let warning = |kind, text: String| Finding::warning(kind, &node.name, format!("host {} {text}", node.name));
    let mut found = Vec::new();
    let stopped = said.stopped_per_second.unwrap_or_default();
    let by_itself = wanted.shield == picket_model::Shield::Auto && said.is_tight;
    if by_itself {
        let text =
            format!("is attacked and tightened its limits at {}: it stops {stopped} packets a second", said.since);
        found.push(warning(FindingKind::HostAttacked, text));
    } else if said.is_attacked() {
        let how = if said.is_tight { "limits are tight" } else { "`picket shield on` tightens its limits" };
        found.push(warning(FindingKind::HostAttacked, format!("stops {stopped} packets a second: {how}")));
    }
    if said.syn_cookies == Some(false) && wanted.public_ports().next().is_some() {
        let text =
            "has public ports and no SYN cookies: one flood fills their queues; set net.ipv4.tcp_syncookies=1 there";
        found.push(warning(FindingKind::SynCookiesOff, text.to_owned()));
    }
    if let Some(tracking) = said.tracking.filter(|tracking| tracking.is_nearly_full()) {
        let text = format!(
            "has its connection tracking {} % full ({} of {}): a full one drops everybody's first packets; raise \
             net.netfilter.nf_conntrack_max there, or see who opens so many",
            tracking.percent(),
            tracking.connections,
            tracking.most
        );
        found.push(warning(FindingKind::TrackingFull, text));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{GuardedPort, NodeRole, Protocol, Purpose, Shield, Timestamp, Tracking, fixture::node};
    use std::num::NonZeroU16;

    fn calm() -> Defences {
        Defences {
            is_tight: false,
            since: Timestamp::from_millis(0),
            stopped_per_second: Some(3),
            attack_per_second: 1000,
            syn_cookies: Some(true),
            tracking: Some(Tracking { connections: 79, most: 100 }),
        }
    }

    fn check(shield: Shield, is_public: bool, said: &Defences, expect: &[(FindingKind, &str)]) {
        let port = NonZeroU16::new(9000).unwrap();
        let guarded = GuardedPort { protocol: Protocol::Tcp, port };
        let wanted = FirewallPolicy {
            guarded: [(guarded, Purpose::Rpc)].into(),
            public: is_public.then_some(port).into_iter().collect(),
            shield,
            ..FirewallPolicy::default()
        };
        let found = findings(&node("sentry-1", NodeRole::Sentry, 1), &wanted, said);
        assert_eq!(found.len(), expect.len(), "{found:?}");
        for (finding, (kind, part)) in found.iter().zip(expect) {
            assert_eq!((finding.kind, finding.subject.as_str()), (*kind, "sentry-1"));
            assert!(finding.text.contains(part), "{finding:?}");
        }
    }

    #[test]
    fn a_calm_host_is_no_finding_nor_one_that_was_ordered_to_be_tight() {
        let tight = Defences { is_tight: true, ..calm() };
        check(Shield::Auto, true, &calm(), &[]);
        check(Shield::On, true, &tight, &[]);
        check(Shield::Off, false, &Defences { syn_cookies: Some(false), ..calm() }, &[]);
        check(
            Shield::Off,
            true,
            &Defences { syn_cookies: None, tracking: None, stopped_per_second: None, ..calm() },
            &[],
        );
    }

    #[test]
    fn an_attack_is_told_of_with_what_is_done_about_it() {
        use FindingKind::HostAttacked;
        let attacked = || Defences { stopped_per_second: Some(1000), ..calm() };
        let tight = || Defences { is_tight: true, ..attacked() };
        let by_itself = "tightened its limits at 1970-01-01T00:00:00Z: it stops 1000";
        check(Shield::Auto, false, &tight(), &[(HostAttacked, by_itself)]);
        let after = Defences { stopped_per_second: Some(0), ..tight() };
        check(Shield::Auto, false, &after, &[(HostAttacked, "it stops 0 packets")]);
        check(Shield::On, false, &tight(), &[(HostAttacked, "limits are tight")]);
        check(Shield::Off, false, &attacked(), &[(HostAttacked, "`picket shield on`")]);
    }

    #[test]
    fn public_ports_want_cookies_and_tracking_wants_room() {
        check(
            Shield::Off,
            true,
            &Defences { syn_cookies: Some(false), tracking: Some(Tracking { connections: 80, most: 100 }), ..calm() },
            &[
                (FindingKind::SynCookiesOff, "set net.ipv4.tcp_syncookies=1"),
                (FindingKind::TrackingFull, "80 % full (80 of 100)"),
            ],
        );
    }
}

//! What to do about each kind of finding, in one line, and which page has more. One table: the status page and `picket status` show it.

use crate::FindingKind;

/// What a person is told beside a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What to do.
    pub todo: &'static str,
    /// The page of `docs/runbooks`, without its ending.
    pub runbook: &'static str,
    /// Whether the first word of the subject is a host, by name or id.
    pub is_about_host: bool,
}

impl FindingKind {
    /// What to do about it.
    pub const fn advice(self) -> Advice {
        match self {
            Self::SourceFailing => of(
                "see from the controller's host whether the endpoint answers; mend it, or name another one in controller.toml",
                "PicketSourceFailing",
            ),
            Self::SourceClock => of(
                "compare both clocks with NTP; mend the one that is wrong, or leave out a source whose chain stands still",
                "PicketSourceDissents",
            ),
            Self::SourceWentBack => {
                of("ask its operator; leave a source out that serves another chain", "PicketSourceDissents")
            }
            Self::SourceAway => {
                of("one that lags needs time; leave it out where it stays away", "PicketSourceDissents")
            }
            Self::SourceDissents => {
                of("compare it with a node of your own; leave a source out that lies", "PicketSourceDissents")
            }
            Self::NoQuorum => of(
                "mend or replace sources until enough of them answer alike; the last good set stays meanwhile",
                "PicketNoQuorum",
            ),
            Self::ListHeld => of(
                "the rules stay meanwhile; let it through if a node of your own or a tracker says the same, mend the source if not",
                "PicketListHeld",
            ),
            Self::HeldByOperator => {
                of("ask who froze the set and why; `picket validators release` ends it", "PicketListHeld")
            }
            Self::EntryDisputed => {
                of("look the P-Rep up in a tracker; leave a source out that lies", "PicketSourceDissents")
            }
            Self::EntryMoving => of(
                "nothing, as a rule: the last place stays until it rests; ask its operator if it is a friend's",
                "PicketAlarm",
            ),
            Self::NameUnresolved => of(
                "ask the resolver from the controller's host; the last addresses stay until they are too old",
                "PicketAlarm",
            ),
            Self::NameOverfull => of(
                "ask the P-Rep's operator to name fewer addresses; those beyond the limit are not let in",
                "PicketAlarm",
            ),
            Self::NameReaddressed => {
                of("see whether your resolver is honest before you raise the limit of the policy", "PicketAlarm")
            }
            Self::PlanRefused => of("change the policy as the text says; the last plan stays in force", "PicketAlarm"),
            Self::PlanAdvice => of("change the policy when there is time; nothing is broken", "PicketAlarm"),
            Self::HostLagging => on_host(
                "see whether the host is up and reaches the controller; `picket doctor` there says what hinders it",
                "PicketHostNotInForce",
            ),
            Self::PeerUnproven => on_host(
                "see whether that peer is yours; then have it prove its identity anew, or change the host's guard.toml",
                "PicketAlarm",
            ),
            Self::FirewallDisturbed => on_host(
                "find who changed it, as a reload of nftables; if nobody did, quarantine the host",
                "PicketFirewallDisturbed",
            ),
            Self::ChangeTakenBack => on_host(
                "change the policy so that the host reaches its controller; the next plan is tried anew",
                "PicketChangeTakenBack",
            ),
            Self::LeaseHeld => {
                on_host("see whether the host is gone; `picket revoke NAME` removes it", "PicketHostSilent")
            }
            Self::HostCloned => on_host(
                "find out who copied the machine; `picket nodes clear NAME` once the copy is gone",
                "PicketAlarm",
            ),
            Self::RevokedReturned => on_host(
                "stop the agent of a machine that you forgot; else somebody has its key, and the revoke holds",
                "PicketRevokedReturned",
            ),
            Self::SentriesGone => of(
                "bring sentries up, and see what the cloud ended them for; validators that hide strictly call nobody meanwhile",
                "PicketAlarm",
            ),
            Self::WebhookFailing => of(
                "mend the receiver, or its URL in controller.toml; what is not delivered is in `picket events`",
                "PicketAlarm",
            ),
            Self::HostAttacked => on_host(
                "`picket shield on --for 1h`; where the line is full, send the provider `picket attack export`",
                "PicketHostAttacked",
            ),
            Self::SynCookiesOff => on_host("set net.ipv4.tcp_syncookies=1 on that host", "PicketHostAttacked"),
            Self::TrackingFull => on_host(
                "raise net.netfilter.nf_conntrack_max on that host; under attack `picket shield on`",
                "PicketTrackingFull",
            ),
            Self::DnsFailing => {
                of("mend the credentials or the record at the provider, as the text says", "PicketAlarm")
            }
            Self::DnsHeld => {
                of("bring a sentry up that may carry the name; what stands in the DNS stays", "PicketAlarm")
            }
            Self::SyncNotServed => on_host("look at the node and at the agent's log on that host", "PicketAlarm"),
            Self::PathNarrow => {
                on_host("ask the providers of both ends about the size of packets between them", "PicketTunnelLossy")
            }
            Self::NodeNotWell => on_host(
                "look at the node's log, disk and memory on that host; restart it, and never start a second one with its key",
                "PicketNodeNotWell",
            ),
            Self::NodeBehind => {
                on_host("wait if it catches up; else look at its peers, clock and disk", "PicketNodeBehind")
            }
        }
    }
}

const fn of(todo: &'static str, runbook: &'static str) -> Advice {
    Advice { todo, runbook, is_about_host: false }
}

const fn on_host(todo: &'static str, runbook: &'static str) -> Advice {
    Advice { todo, runbook, is_about_host: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn each_kind_has_something_to_do_and_a_page_that_is_there() {
        let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/runbooks");
        for kind in FindingKind::ALL {
            let Advice { todo, runbook, .. } = kind.advice();
            assert!((10..=140).contains(&todo.chars().count()) && !todo.ends_with('.'), "{kind:?}: {todo}");
            assert!(pages.join(format!("{runbook}.md")).is_file(), "{kind:?}: {runbook}");
        }
    }
}

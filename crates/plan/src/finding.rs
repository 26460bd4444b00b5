//! What a decision has to tell the operator besides its result.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Look at it in the morning.
    Warning,
    /// The plan must not become the target.
    Error,
}

/// What kind of thing it is: stable, for alerts and the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// A source gave no list.
    SourceFailing,
    /// A source's chain stands still, or a clock is wrong.
    SourceClock,
    /// A source's chain went back.
    SourceWentBack,
    /// A source is at another height than the others.
    SourceAway,
    /// A source says something else than those that agree.
    SourceDissents,
    /// Too few sources answered.
    NoQuorum,
    /// A brake holds the list back.
    ListHeld,
    /// A person froze the validator set.
    HeldByOperator,
    /// Sources disagree about a P-Rep.
    EntryDisputed,
    /// A P-Rep moves more often than is followed.
    EntryMoving,
    /// A name does not resolve, or to nothing usable.
    NameUnresolved,
    /// A name gives more addresses than are taken.
    NameOverfull,
    /// Names give other addresses for more P-Reps than the policy allows.
    NameReaddressed,
    /// The plan must not become the target.
    PlanRefused,
    /// The plan may become the target and lacks something.
    PlanAdvice,
    /// A host is not in force.
    HostLagging,
    /// A host's own guard does not let a peer in.
    PeerUnproven,
    /// Another program changed a host's firewall.
    FirewallDisturbed,
    /// A host could not be reached after a change, and took it back.
    ChangeTakenBack,
    /// A brake keeps a host whose lease is over.
    LeaseHeld,
    /// A copy of a host came to join.
    HostCloned,
    /// A revoked host came back.
    RevokedReturned,
    /// A cloud took the last sentry.
    SentriesGone,
    /// Events cannot be delivered.
    WebhookFailing,
    /// A host stops more than peers bring by themselves.
    HostAttacked,
    /// A host with public ports has no SYN cookies.
    SynCookiesOff,
    /// A host's connection tracking has little room left.
    TrackingFull,
    /// A name cannot be written, or must not be.
    DnsFailing,
    /// A name stays as it is because no sentry is well.
    DnsHeld,
    /// A sentry does not serve a node's JSON-RPC as it should.
    SyncNotServed,
    /// A tunnel carries less than it should.
    PathNarrow,
    /// The node beside a host's agent is not at work, or does not say.
    NodeNotWell,
    /// The node beside a host's agent is behind the sources.
    NodeBehind,
}

impl FindingKind {
    /// Every kind, in order.
    pub const ALL: [Self; 33] = [
        Self::SourceFailing,
        Self::SourceClock,
        Self::SourceWentBack,
        Self::SourceAway,
        Self::SourceDissents,
        Self::NoQuorum,
        Self::ListHeld,
        Self::HeldByOperator,
        Self::EntryDisputed,
        Self::EntryMoving,
        Self::NameUnresolved,
        Self::NameOverfull,
        Self::NameReaddressed,
        Self::PlanRefused,
        Self::PlanAdvice,
        Self::HostLagging,
        Self::PeerUnproven,
        Self::FirewallDisturbed,
        Self::ChangeTakenBack,
        Self::LeaseHeld,
        Self::HostCloned,
        Self::RevokedReturned,
        Self::SentriesGone,
        Self::WebhookFailing,
        Self::HostAttacked,
        Self::SynCookiesOff,
        Self::TrackingFull,
        Self::DnsFailing,
        Self::DnsHeld,
        Self::SyncNotServed,
        Self::PathNarrow,
        Self::NodeNotWell,
        Self::NodeBehind,
    ];

    /// As in labels of metrics and actions of the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SourceFailing => "source-failing",
            Self::SourceClock => "source-clock",
            Self::SourceWentBack => "source-went-back",
            Self::SourceAway => "source-away",
            Self::SourceDissents => "source-dissents",
            Self::NoQuorum => "no-quorum",
            Self::ListHeld => "list-held",
            Self::HeldByOperator => "held-by-operator",
            Self::EntryDisputed => "entry-disputed",
            Self::EntryMoving => "entry-moving",
            Self::NameUnresolved => "name-unresolved",
            Self::NameOverfull => "name-overfull",
            Self::NameReaddressed => "name-readdressed",
            Self::PlanRefused => "plan-refused",
            Self::PlanAdvice => "plan-advice",
            Self::HostLagging => "host-lagging",
            Self::PeerUnproven => "peer-unproven",
            Self::FirewallDisturbed => "firewall-disturbed",
            Self::ChangeTakenBack => "change-taken-back",
            Self::LeaseHeld => "lease-held",
            Self::HostCloned => "host-cloned",
            Self::RevokedReturned => "revoked-returned",
            Self::SentriesGone => "sentries-gone",
            Self::WebhookFailing => "webhook-failing",
            Self::HostAttacked => "host-attacked",
            Self::SynCookiesOff => "syn-cookies-off",
            Self::TrackingFull => "tracking-full",
            Self::DnsFailing => "dns-failing",
            Self::DnsHeld => "dns-held",
            Self::SyncNotServed => "sync-not-served",
            Self::PathNarrow => "path-narrow",
            Self::NodeNotWell => "node-not-well",
            Self::NodeBehind => "node-behind",
        }
    }
}

/// One thing to know. The same thing at another time has the same kind and subject, whatever its text says by then.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of thing it is.
    pub kind: FindingKind,
    /// On what: a source, a P-Rep, a name, a host; empty for the whole.
    pub subject: String,
    /// What it is, on what, and what to do.
    pub text: String,
}

impl Finding {
    /// A finding that stops the commit.
    pub fn error(kind: FindingKind, subject: &(impl ToString + ?Sized), text: impl Into<String>) -> Self {
        Self { severity: Severity::Error, kind, subject: subject.to_string(), text: text.into() }
    }

    /// A finding that does not.
    pub fn warning(kind: FindingKind, subject: &(impl ToString + ?Sized), text: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, kind, subject: subject.to_string(), text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}: {}", self.text)
    }
}

//! What was seen of a host: plain values. Who looks is `look`, what they mean is `judge`.

use picket_chain::node::System;
use picket_model::{ChainHealth, FirewallPolicy, GuardedPort, NodeReport, NodeRole, Protocol, Timestamp};
use picket_pki::Fingerprint;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

/// A fact, or what kept us from seeing it.
pub(crate) type Seen<T> = Result<T, String>;

/// What a host is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    /// A validator's host
    Prep,
    /// A sentry
    Sentry,
    /// The controller
    Controller,
    /// None of them: where an operator sits
    Operator,
}

impl Part {
    /// Whether an agent runs there.
    pub(crate) fn has_agent(self) -> bool {
        matches!(self, Self::Prep | Self::Sentry)
    }

    pub(crate) fn of(role: NodeRole) -> Self {
        match role {
            NodeRole::Sentry => Self::Sentry,
            NodeRole::Prep => Self::Prep,
        }
    }

    /// The program that does it.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Prep => "picket-prep-agent",
            Self::Sentry => "picket-sentry-agent",
            Self::Controller => "picket-controller",
            Self::Operator => "picket",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Prep => "a validator's host",
            Self::Sentry => "a sentry",
            Self::Controller => "the controller's host",
            Self::Operator => "an operator's machine",
        }
    }
}

/// Everything.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) part: Part,
    pub(crate) kernel: Kernel,
    /// Version of the nft program, as it says it.
    pub(crate) nft: Seen<String>,
    pub(crate) firewalls: Firewalls,
    /// Whether the kernel's clock is kept by somebody.
    pub(crate) clock_is_kept: Seen<bool>,
    pub(crate) name_servers: Seen<Vec<IpAddr>>,
    /// Names that this host needs, and where they lead.
    pub(crate) names: BTreeMap<String, Seen<Vec<IpAddr>>>,
    pub(crate) controllers: Vec<Controller>,
    /// The agent of this host; `Ok(None)` where no program of one is here.
    pub(crate) agent: Seen<Option<Agent>>,
    /// Sockets that wait for somebody.
    pub(crate) listeners: Seen<BTreeSet<Listener>>,
    /// Addresses of this host, loopback and the mesh's left out.
    pub(crate) own: BTreeSet<IpAddr>,
    /// Largest packet towards an address as the kernel knows it, in bytes.
    pub(crate) widths: BTreeMap<IpAddr, Seen<u32>>,
    /// `None` where there is none to ask.
    pub(crate) goloop: Option<Node>,
}

/// What a kernel can do.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) nf_tables: Seen<Module>,
    pub(crate) conntrack: Seen<Module>,
    pub(crate) wireguard: Seen<Module>,
    /// Whether `/dev/net/tun` can be opened.
    pub(crate) tun: Seen<()>,
}

/// A part of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Module {
    /// At work.
    Present,
    /// There, and loaded when it is needed.
    Loadable,
    /// Not built for this kernel.
    Missing,
}

/// What else decides about packets here.
#[derive(Clone, Debug)]
pub(crate) struct Firewalls {
    /// Chains of others' tables that packets for this host pass.
    pub(crate) chains: Seen<Vec<Chain>>,
    /// Whether our table is in the kernel.
    pub(crate) ours: Seen<bool>,
    /// Tables of the old iptables, which nft does not list.
    pub(crate) legacy: Seen<Vec<String>>,
    pub(crate) services: Services,
}

/// Services that write rules, by their files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Services {
    /// `ENABLED` of `/etc/ufw/ufw.conf`.
    pub(crate) ufw: bool,
    /// Whether firewalld is at work.
    pub(crate) firewalld: bool,
    /// Debian's `nftables.service`.
    pub(crate) flusher: Flusher,
    /// Whether `picket-lockdown.service` starts at boot; `None` without systemd.
    pub(crate) lockdown: Option<bool>,
}

/// A chain on an input hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Family and table, as nft takes them.
    pub(crate) table: String,
    pub(crate) chain: String,
    /// Whether what no rule takes is dropped.
    pub(crate) drops: bool,
    /// Ports that some rule of the table seems to let in.
    pub(crate) accepts: BTreeSet<u16>,
}

/// A service that flushes the whole ruleset when it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flusher {
    pub(crate) enabled: bool,
    /// Whether its file says `flush ruleset`.
    pub(crate) flushes: bool,
    /// Whether ours goes with it.
    pub(crate) has_our_file: bool,
}

/// A controller, asked as a host or as an operator.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    pub(crate) url: String,
    /// Whether the CA was held against a fingerprint.
    pub(crate) pinned: bool,
    pub(crate) answer: Seen<Answer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its clock less ours, in milliseconds; `None` where it did not say.
    pub(crate) ahead_ms: Option<i64>,
}

/// A socket that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listener {
    pub(crate) protocol: Protocol,
    pub(crate) address: SocketAddr,
}

/// What `picket-*-agent status --json` says.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Status {
    /// As docs/security.md lists them.
    pub(crate) state: String,
    pub(crate) identity: Option<Identity>,
    pub(crate) guard_refuses: Option<String>,
    pub(crate) agent: Option<LastWord>,
    pub(crate) agent_seconds_ago: Option<u64>,
}

/// Who the host is.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) role: NodeRole,
    pub(crate) controllers: Vec<String>,
    pub(crate) ca_fingerprint: Fingerprint,
}

/// What the agent read back last.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LastWord {
    pub(crate) at: Timestamp,
    pub(crate) report: NodeReport,
}

/// The agent and the rules it wants.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) status: Seen<Status>,
    /// What it would guard; an error where the host was opened by hand.
    pub(crate) policy: Seen<FirewallPolicy>,
}

impl Agent {
    /// Whether a port is guarded by rules that were read back.
    pub(crate) fn guards(&self, port: GuardedPort) -> bool {
        let reported = self.status.as_ref().ok().and_then(|status| status.agent.as_ref());
        let in_force = reported.is_some_and(|word| word.report.firewall.is_in_force());
        in_force && self.policy.as_ref().is_ok_and(|policy| policy.guarded.contains_key(&port))
    }

    /// Whether the mesh hides this validator.
    pub(crate) fn is_hidden(&self) -> bool {
        self.policy.as_ref().is_ok_and(|policy| policy.hidden.is_some())
    }
}

/// The goloop of this host.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Where it was asked.
    pub(crate) place: String,
    pub(crate) chain: Seen<ChainHealth>,
    pub(crate) system: Seen<System>,
}

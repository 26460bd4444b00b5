//! The value that nft's table is: sets, meters, counters and chains; `rule` has what stands in a chain. Prints itself in nft
//! syntax. Knows neither policies nor how to reach the kernel.

use crate::{Elements, HalfOpen, Meter, Provenance, Rule};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use picket_model::GuardedPort;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The one table that is ours, as family and name.
pub const TABLE: &str = "inet picket";

/// How the sets of private ranges are called; they let nobody in.
pub(crate) const PRIVATE: &str = "private";

/// How the set of sentries that do not answer is called; it lets nobody in.
pub(crate) const SILENT: &str = "silent";

/// How the sets of validators in private ranges are called, whom a hidden host must not call directly; they let nobody in.
pub(crate) const NEAR: &str = "near";

/// Everything in our table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Named counters.
    pub counters: BTreeSet<String>,
    /// Named sets.
    pub sets: BTreeMap<String, Set>,
    /// Sets whose elements end by themselves, each so many seconds after it was written.
    pub timeouts: BTreeMap<String, u32>,
    /// Meters by name.
    pub meters: BTreeMap<String, Meter>,
    /// Time limits of half-open connections, by name.
    pub half_open: BTreeMap<String, HalfOpen>,
    /// Chains by name.
    pub chains: BTreeMap<String, Chain>,
    /// What was found in the table and is not of a kind we write; empty in a wanted ruleset.
    pub foreign: Vec<String>,
    /// Why the elements are wanted, which is written beside each and is no part of a comparison.
    pub provenance: Provenance,
}

/// A set with its elements. The kind of key is the kind of element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Set {
    /// Protocol and destination port, plain hash.
    Ports(Elements<GuardedPort>),
    /// IPv4 source addresses, plain hash: a change costs the same however large the set is.
    Hosts4(Elements<Ipv4Addr>),
    /// IPv6 source addresses, plain hash.
    Hosts6(Elements<Ipv6Addr>),
    /// IPv4 source prefixes, intervals: small, and never overlapping, which nft refuses.
    Nets4(Elements<Ipv4Net>),
    /// IPv6 source prefixes, intervals.
    Nets6(Elements<Ipv6Net>),
}

/// A chain: rules in order, after the last of which the packet goes back (or, in a base chain, on its way).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where a base chain is hooked in; `None` for a chain that is only gone to.
    pub hook: Option<Hook>,
    /// Rules in order.
    pub rules: Vec<Rule>,
}

/// Where a base chain sees packets. Policy accept everywhere: what no rule decides is none of our business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `type filter hook prerouting priority raw`: every arriving packet, before connection tracking and anybody's DNAT.
    PreroutingRaw,
    /// `type filter hook prerouting priority mangle`: every arriving packet, after connection tracking has looked at it and
    /// before anybody's DNAT.
    PreroutingMangle,
    /// `type nat hook prerouting priority dstnat`: the first packet of a connection, before it is known where it goes.
    Translation,
    /// `type nat hook postrouting priority srcnat`: the first packet of a connection, when it is known how it leaves.
    Masquerading,
    /// `type filter hook forward priority filter`: every packet that passes through.
    Forward,
    /// `type filter hook output priority filter`: every packet of the host's own.
    Output,
    /// `type filter hook postrouting priority filter`: every packet that leaves, the host's own and what passes through.
    Postrouting,
}

impl Hook {
    /// All hooks.
    pub(crate) const ALL: [Self; 7] = [
        Self::PreroutingRaw,
        Self::PreroutingMangle,
        Self::Translation,
        Self::Masquerading,
        Self::Forward,
        Self::Output,
        Self::Postrouting,
    ];

    /// Kind of chain, hook, and priority as nft calls it and as a number (`linux/netfilter_ipv4.h`, `NF_IP_PRI_*`).
    pub(crate) const fn place(self) -> (&'static str, &'static str, &'static str, i64) {
        match self {
            Self::PreroutingRaw => ("filter", "prerouting", "raw", -300),
            Self::PreroutingMangle => ("filter", "prerouting", "mangle", -150),
            Self::Translation => ("nat", "prerouting", "dstnat", -100),
            Self::Masquerading => ("nat", "postrouting", "srcnat", 100),
            Self::Forward => ("filter", "forward", "filter", 0),
            Self::Output => ("filter", "output", "filter", 0),
            Self::Postrouting => ("filter", "postrouting", "filter", 0),
        }
    }
}

impl Ruleset {
    /// Number of addresses and prefixes in all allow sets.
    pub fn elements(&self) -> usize {
        self.sets.iter().filter(|(name, set)| lets_in(name, set)).map(|(_, set)| set.len()).sum()
    }
}

/// Whether who is in a set is let in: there are sets of ports, and of addresses that are told from others.
pub(crate) fn lets_in(name: &str, set: &Set) -> bool {
    !matches!(set, Set::Ports(_)) && ![PRIVATE, SILENT, NEAR].iter().any(|start| name.starts_with(start))
}

impl Set {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Ports(ports) => ports.len(),
            Self::Hosts4(hosts) => hosts.len(),
            Self::Hosts6(hosts) => hosts.len(),
            Self::Nets4(nets) => nets.len(),
            Self::Nets6(nets) => nets.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements in nft syntax, in order.
    pub fn elements(&self) -> Vec<String> {
        match self {
            Self::Ports(ports) => ports.iter().map(|p| format!("{} . {}", p.protocol, p.port)).collect(),
            Self::Hosts4(hosts) => hosts.iter().map(Ipv4Addr::to_string).collect(),
            Self::Hosts6(hosts) => hosts.iter().map(Ipv6Addr::to_string).collect(),
            Self::Nets4(nets) => nets.iter().map(Ipv4Net::to_string).collect(),
            Self::Nets6(nets) => nets.iter().map(Ipv6Net::to_string).collect(),
        }
    }

    /// What the elements let in, in the same order; none where they are ports.
    pub(crate) fn networks(&self) -> Vec<IpNet> {
        match self {
            Self::Ports(_) => Vec::new(),
            Self::Hosts4(hosts) => hosts.iter().map(|host| IpAddr::from(*host).into()).collect(),
            Self::Hosts6(hosts) => hosts.iter().map(|host| IpAddr::from(*host).into()).collect(),
            Self::Nets4(nets) => nets.iter().copied().map(IpNet::V4).collect(),
            Self::Nets6(nets) => nets.iter().copied().map(IpNet::V6).collect(),
        }
    }

    /// `typeof` and not `type`: a `type` set written by nft 1.1.2 or newer makes older nft programs crash.
    fn key(&self) -> &'static str {
        match self {
            Self::Ports(_) => "meta l4proto . th dport",
            Self::Hosts4(_) | Self::Nets4(_) => "ip saddr",
            Self::Hosts6(_) | Self::Nets6(_) => "ip6 saddr",
        }
    }

    fn is_interval(&self) -> bool {
        matches!(self, Self::Nets4(_) | Self::Nets6(_))
    }
}

impl fmt::Display for Ruleset {
    /// A table block in nft syntax, everything in order of name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {TABLE} {{")?;
        for item in &self.foreign {
            writeln!(f, "\t# not ours: {item}")?;
        }
        for counter in &self.counters {
            writeln!(f, "\tcounter {counter} {{ }}")?;
        }
        for (name, set) in &self.sets {
            set.write(f, name, self)?;
        }
        for (name, meter) in &self.meters {
            writeln!(f, "\n\tset {name} {{\n{meter}\t}}")?;
        }
        for (name, half_open) in &self.half_open {
            writeln!(f, "\n\tct timeout {name} {{\n{half_open}\t}}")?;
        }
        for (name, chain) in &self.chains {
            writeln!(f, "\n\tchain {name} {{\n{chain}\t}}")?;
        }
        writeln!(f, "}}")
    }
}

impl Set {
    /// The set's block in nft syntax.
    fn write(&self, f: &mut fmt::Formatter<'_>, name: &str, of: &Ruleset) -> fmt::Result {
        writeln!(f, "\n\tset {name} {{\n\t\ttypeof {}", self.key())?;
        match (self.is_interval(), of.timeouts.get(name)) {
            (false, None) => {}
            (true, None) => writeln!(f, "\t\tflags interval")?,
            (false, Some(seconds)) => writeln!(f, "\t\tflags timeout\n\t\ttimeout {seconds}s")?,
            (true, Some(seconds)) => writeln!(f, "\t\tflags interval,timeout\n\t\ttimeout {seconds}s")?,
        }
        if !self.is_empty() {
            let elements = of.provenance.commented(name, self);
            writeln!(f, "\t\telements = {{\n\t\t\t{}\n\t\t}}", elements.join(",\n\t\t\t"))?;
        }
        writeln!(f, "\t}}")
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(hook) = &self.hook {
            writeln!(f, "\t\t{hook}")?;
        }
        self.rules.iter().try_for_each(|rule| writeln!(f, "\t\t{rule}"))
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, hook, priority, _) = self.place();
        write!(f, "type {kind} hook {hook} priority {priority}; policy accept;")
    }
}

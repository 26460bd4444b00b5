//! What no controller may order: the rules of a file on the host, and whether a wanted state keeps to them.
//! Reads one file; the judgement itself is a function of values.

use crate::{
    guard_hidden::{HiddenViolation, admit_hidden},
    guard_sizes::{Sizes, is_within, size},
    guard_sync::{SyncViolation, admit_sync},
    identity::Identity,
    vouch::Vouched,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use picket_attest::Rule;
use picket_model::{
    AllowSet, FirewallPolicy, GuardedPort, Hidden, NodeConfig, NodeName, NodeRole, OverlayAddresses, Protocol, Purpose,
    Reason, WireGuardConfig, WireGuardPublicKey,
    limits::{GUARDABLE, MOST_ADDITIONS_PER_HOUR, MOST_ALLOW_ENTRIES, MOST_PEERS, WIDEST_NETWORK, WIDEST_TOTAL},
};
use picket_proofs::Attest;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, ErrorKind},
    num::NonZeroU16,
    ops::RangeInclusive,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Where the guard's file is looked for.
pub const GUARD_FILE: &str = "/etc/picket/guard.toml";

/// Whose the file must be: an agent that runs as another user must not be able to change it.
const ROOT: u32 = 0;
/// From IPv6's smallest MTU (RFC 8200 section 5) to what jumbo frames carry.
const SANE_MTU: RangeInclusive<u16> = 1280..=9000;
/// Length of the overlay prefixes a host takes for granted around its own addresses.
const OWN_OVERLAY: Widths = Widths { v4: 16, v6: 48 };

/// The guard's file. Every field has a strict default.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardRules {
    /// Ports that stay guarded, TCP and UDP, whatever the controller says.
    pub guarded: BTreeSet<NonZeroU16>,
    /// Ports that are never closed to strangers: the operator's way in.
    pub never_guard: BTreeSet<NonZeroU16>,
    /// Guarded ports that a controller may open to everybody, within limits; none by default.
    pub may_open: BTreeSet<NonZeroU16>,
    /// Ports at which a controller may have a sentry serve nodes' JSON-RPC, and at which it may ask those nodes; none by default.
    pub may_proxy: BTreeSet<NonZeroU16>,
    /// Ports that may be guarded at all, beside `guarded`.
    pub guardable: BTreeSet<NonZeroU16>,
    /// Networks that always reach every guarded port.
    pub admin: BTreeSet<IpNet>,
    /// Where peers' addresses inside the mesh may lie; empty means the /16 and /48 around the host's own.
    pub overlay: BTreeSet<IpNet>,
    /// Widest network that may be let in, as prefix lengths.
    pub widest_network: Widths,
    /// Widest that all networks let in for one purpose may be together, as prefix lengths.
    pub widest_total: Widths,
    /// Most entries in all allow sets together.
    pub max_allow_entries: usize,
    /// Most tunnels.
    pub max_peers: usize,
    /// Most entries that may be let in within an hour, after the first wanted state.
    pub max_additions_per_hour: usize,
    /// Of the sentries that a validator has tunnels to, so many stay through any one change; 0 lets all of them go.
    pub keep_sentries: usize,
    /// Within so many seconds the controller must be reached after a change, or it is taken back; 0 takes nothing back.
    pub confirm_seconds: u16,
    /// Whose proofs of identity are believed on this host, as in the controller's file.
    pub attest: Attest,
    /// Which of them are let in as peers. With any, a peer of the role they name must have a proof that fits one.
    pub enroll: Vec<Rule>,
    /// WireGuard keys of peers that need none.
    pub without_proof: BTreeSet<WireGuardPublicKey>,
}

/// A prefix length for each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Widths {
    /// Of IPv4 networks.
    pub v4: u8,
    /// Of IPv6 networks.
    pub v6: u8,
}

impl Default for GuardRules {
    fn default() -> Self {
        let ports = |list: &[u16]| list.iter().filter_map(|port| NonZeroU16::new(*port)).collect();
        Self {
            guarded: ports(&[7100, 9000, 9080]),
            never_guard: ports(&[22]),
            may_open: BTreeSet::new(),
            may_proxy: BTreeSet::new(),
            guardable: ports(&GUARDABLE),
            admin: BTreeSet::new(),
            overlay: BTreeSet::new(),
            widest_network: Widths { v4: WIDEST_NETWORK.0, v6: WIDEST_NETWORK.1 },
            widest_total: Widths { v4: WIDEST_TOTAL.0, v6: WIDEST_TOTAL.1 },
            max_allow_entries: MOST_ALLOW_ENTRIES,
            max_peers: MOST_PEERS,
            max_additions_per_hour: MOST_ADDITIONS_PER_HOUR,
            keep_sentries: 0,
            confirm_seconds: 30,
            attest: Attest::default(),
            enroll: Vec::new(),
            without_proof: BTreeSet::new(),
        }
    }
}

/// The guard's file cannot be used.
#[derive(Debug, Error)]
pub enum GuardFileError {
    /// It cannot be read.
    #[error("read the guard's rules {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is not what such a file is.
    #[error("the guard's rules {}:{line}:{column}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// What it says of proofs can never fit.
    #[error("the guard's rules {}: {message}", path.display())]
    Proofs {
        /// The file.
        path: PathBuf,
        /// What to write.
        message: String,
    },
    /// Somebody else could have written it.
    #[error("the guard's rules {} may be changed by others than their owner: run `chmod go-w` on them", .0.display())]
    Writable(PathBuf),
    /// Whoever the agent runs as could have written it, or another user.
    #[error("the guard's rules {} belong to user {uid}: they bind only where that user cannot change them; run `chown root` on them", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// It says both.
    #[error("the guard's rules {}: port {port} is in `guarded` and in `never_guard`; take it out of one", path.display())]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// The port.
        port: NonZeroU16,
    },
}

impl GuardRules {
    /// The rules at `path`, which must be there; without one those at [`GUARD_FILE`], or the defaults where there are none.
    pub fn load(path: Option<&Path>) -> Result<Self, GuardFileError> {
        Self::load_of(path, ROOT)
    }

    /// As [`Self::load`], of a file that belongs to `owner`.
    fn load_of(path: Option<&Path>, owner: u32) -> Result<Self, GuardFileError> {
        let file = path.unwrap_or(Path::new(GUARD_FILE));
        let text = match std::fs::read_to_string(file) {
            Err(error) if error.kind() == ErrorKind::NotFound && path.is_none() => return Ok(Self::default()),
            text => text.map_err(|source| GuardFileError::Read { path: file.into(), source })?,
        };
        let found = std::fs::metadata(file).map_err(|source| GuardFileError::Read { path: file.into(), source })?;
        if found.mode() & 0o022 != 0 {
            return Err(GuardFileError::Writable(file.into()));
        }
        if found.uid() != owner {
            return Err(GuardFileError::Owner { path: file.into(), uid: found.uid() });
        }
        let rules: Self = toml::from_str(&text).map_err(|error| parse_error(file, &text, &error))?;
        rules.check_proofs().map_err(|message| GuardFileError::Proofs { path: file.into(), message })?;
        match rules.guarded.intersection(&rules.never_guard).next() {
            Some(port) => Err(GuardFileError::Contradiction { path: file.into(), port: *port }),
            None => Ok(rules),
        }
    }

    fn check_proofs(&self) -> Result<(), String> {
        self.attest.check(&self.enroll)?;
        if let Some(rule) = self.enroll.iter().find(|rule| rule.pool.is_some()) {
            return Err(format!(
                "[[enroll]]: rule {} has pool, which only the controller gives: leave it out here",
                rule.name
            ));
        }
        match self.enroll.iter().find(|rule| rule.launch_age_seconds.is_some()) {
            Some(rule) => Err(format!(
                "[[enroll]]: rule {} has launch_age_seconds, which only the controller asks for: a peer may be long up before \
                 this host looks at its proof",
                rule.name
            )),
            None => Ok(()),
        }
    }

    /// The guarded ports, each with both protocols.
    pub fn guarded_ports(&self) -> impl Iterator<Item = GuardedPort> {
        let protocols = [Protocol::Tcp, Protocol::Udp];
        self.guarded.iter().flat_map(move |port| protocols.map(|protocol| GuardedPort { protocol, port: *port }))
    }

    /// A policy to which the guard's own admin networks are added.
    pub fn with_admin(&self, policy: &FirewallPolicy) -> FirewallPolicy {
        let mut policy = policy.clone();
        let admin = policy.allow.entry(Purpose::Admin).or_default();
        self.add_admin(admin);
        policy
    }

    /// Everything closed to all but the admin networks: the guard's ports, and those of the last wanted state if any,
    /// as far as the rules allow them still.
    pub fn closed(&self, last: Option<&FirewallPolicy>) -> FirewallPolicy {
        let mut guarded: BTreeMap<_, _> = self.guarded_ports().map(|port| (port, Purpose::Admin)).collect();
        guarded.extend(last.iter().flat_map(|last| last.guarded.clone()));
        guarded.retain(|port, _| !self.never_guard.contains(&port.port));
        let mut admin = last.map(|last| last.allowed(Purpose::Admin).clone()).unwrap_or_default();
        admin.retain(|network| is_within(self.widest_network, size(*network)));
        self.add_admin(&mut admin);
        // A host that hides goes on hiding, or it would be seen as soon as anything is wrong.
        let strict = last.and_then(|last| last.hidden.as_deref()).filter(|hidden| hidden.strict);
        let hidden =
            strict.map(|hidden| Box::new(Hidden { strict: true, calls: hidden.calls.clone(), ..Hidden::default() }));
        FirewallPolicy { hidden, ..picket_firewall::baseline(&guarded, &admin) }
    }

    fn add_admin(&self, admin: &mut AllowSet) {
        for network in &self.admin {
            admin.insert(*network, Reason::Policy { line: "guard admin".to_owned() });
        }
    }
}

fn parse_error(path: &Path, text: &str, error: &toml::de::Error) -> GuardFileError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let (line, column) = (before.split('\n').count(), before.chars().rev().take_while(|c| *c != '\n').count() + 1);
    GuardFileError::Parse { path: path.into(), line, column, message: error.message().replace('\n', ": ") }
}

/// The guard of one enrolled host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The rules.
    pub rules: GuardRules,
    /// The part the host enrolled for.
    pub role: NodeRole,
    /// The addresses it was given then.
    pub own: OverlayAddresses,
    /// Peers whose proofs have been looked at here.
    pub vouched: Vouched,
    /// Ports on which the host's own controllers are called: they stay as they are, whatever is steered or dropped.
    pub controllers: BTreeSet<NonZeroU16>,
}

impl Guard {
    /// The guard of the host that `identity` speaks of.
    pub fn new(rules: GuardRules, identity: &Identity, vouched: Vouched) -> Self {
        Self { rules, role: identity.role, own: identity.overlay, vouched, controllers: identity.controller_ports() }
    }
}

/// A rule that a wanted state breaks.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GuardViolation {
    /// Another part.
    #[error("it is for a {wanted}, this host enrolled as a {enrolled}")]
    Role {
        /// What is wanted.
        wanted: NodeRole,
        /// What the host is.
        enrolled: NodeRole,
    },
    /// Would open a port.
    #[error("it leaves {0} unguarded, which `guarded` in guard.toml names")]
    Unguarded(GuardedPort),
    /// Would open a port to everybody.
    #[error("it opens port {0} to everybody, which `may_open` in guard.toml does not name")]
    Opens(NonZeroU16),
    /// Would lock the operator out.
    #[error("it guards {0}, which `never_guard` in guard.toml names")]
    NeverGuard(GuardedPort),
    /// Would close a port that is none of Picket's business.
    #[error("it guards {0}, which neither `guarded` nor `guardable` in guard.toml names")]
    NotGuardable(GuardedPort),
    /// Would let in too many at a time.
    #[error(
        "it lets {added} more in, {within} were let in within the hour, `max_additions_per_hour` in guard.toml is {limit}"
    )]
    TooManyAdditions {
        /// How many it adds.
        added: usize,
        /// How many were added within the last hour.
        within: usize,
        /// How many may be.
        limit: usize,
    },
    /// Would leave a validator alone.
    #[error("it keeps {kept} of the {had} sentries this host has tunnels to, `keep_sentries` in guard.toml is {limit}")]
    SentriesGone {
        /// How many stay.
        kept: usize,
        /// How many there were.
        had: usize,
        /// How many must stay.
        limit: usize,
    },
    /// Would cut the tunnels.
    #[error("it guards {0}, on which the tunnels arrive")]
    GuardsTunnel(GuardedPort),
    /// Lets too many in at once.
    #[error("it lets {network} in for {purpose}: wider than `widest_network` in guard.toml")]
    TooWide {
        /// For what.
        purpose: Purpose,
        /// Whom.
        network: IpNet,
    },
    /// Lets too many in altogether.
    #[error("the networks it lets in for {0} are together wider than `widest_total` in guard.toml")]
    TooWideTogether(Purpose),
    /// A flood of entries.
    #[error("it has {entries} entries in its allow sets, `max_allow_entries` in guard.toml is {limit}")]
    TooManyEntries {
        /// How many.
        entries: usize,
        /// How many may be.
        limit: usize,
    },
    /// A flood of tunnels.
    #[error("it has {peers} peers, `max_peers` in guard.toml is {limit}")]
    TooManyPeers {
        /// How many.
        peers: usize,
        /// How many may be.
        limit: usize,
    },
    /// Other addresses than at enrolment.
    #[error("it gives this host other overlay addresses than at enrolment ({}, {})", .0.v4, .0.v6)]
    OwnAddresses(OverlayAddresses),
    /// A mesh host whose address is not the mesh's.
    #[error("it lets {0} in as a mesh host, outside the overlay (`overlay` in guard.toml)")]
    OutsideOverlay(IpNet),
    /// Would route more than one mesh host into a tunnel.
    #[error("peer {peer} has allowed IPs {network}: not one address inside the overlay (`overlay` in guard.toml)")]
    PeerAddress {
        /// The peer.
        peer: NodeName,
        /// The network.
        network: IpNet,
    },
    /// Would route somebody else's address into a tunnel.
    #[error("peer {peer} has allowed IPs {network}, which are this host's or another peer's")]
    PeerAddressTaken {
        /// The peer.
        peer: NodeName,
        /// The network.
        network: IpNet,
    },
    /// About forwarding, or hiding.
    #[error(transparent)]
    Hidden(#[from] HiddenViolation),
    /// About nodes' JSON-RPC.
    #[error(transparent)]
    Sync(#[from] SyncViolation),
    /// Would break every connection.
    #[error("an MTU of {0} bytes is not within 1280 to 9000")]
    Mtu(u16),
}

/// Whether a wanted state keeps to the guard's rules; the first rule it breaks where it does not.
pub fn admit(guard: &Guard, wanted: &NodeConfig) -> Result<(), GuardViolation> {
    if wanted.role != guard.role {
        return Err(GuardViolation::Role { wanted: wanted.role, enrolled: guard.role });
    }
    admit_ports(&guard.rules, wanted)?;
    admit_networks(guard, &wanted.firewall)?;
    admit_tunnels(guard, &wanted.wireguard)?;
    admit_hidden(guard, wanted)?;
    Ok(admit_sync(guard, wanted)?)
}

fn admit_ports(rules: &GuardRules, wanted: &NodeConfig) -> Result<(), GuardViolation> {
    let guarded = &wanted.firewall.guarded;
    if let Some(open) = rules.guarded_ports().find(|port| !guarded.contains_key(port)) {
        return Err(GuardViolation::Unguarded(open));
    }
    if let Some(port) = guarded.keys().find(|port| rules.never_guard.contains(&port.port)) {
        return Err(GuardViolation::NeverGuard(*port));
    }
    if let Some(port) = wanted.firewall.public.difference(&rules.may_open).next() {
        return Err(GuardViolation::Opens(*port));
    }
    let arrives =
        |port: &&GuardedPort| port.protocol == Protocol::Udp && port.port.get() == wanted.wireguard.listen_port;
    if let Some(port) = guarded.keys().find(arrives) {
        return Err(GuardViolation::GuardsTunnel(*port));
    }
    Ok(())
}

fn admit_networks(guard: &Guard, firewall: &FirewallPolicy) -> Result<(), GuardViolation> {
    let rules = &guard.rules;
    let citizens: usize = firewall.syncs.iter().map(|path| path.citizens.len()).sum();
    let entries = firewall.allow.values().map(|set| set.0.len()).sum::<usize>() + citizens;
    if entries > rules.max_allow_entries {
        return Err(GuardViolation::TooManyEntries { entries, limit: rules.max_allow_entries });
    }
    for (purpose, set) in &firewall.allow {
        let networks = || set.0.keys().copied();
        if let Some(network) = networks().find(|network| !is_within(rules.widest_network, size(*network))) {
            return Err(GuardViolation::TooWide { purpose: *purpose, network });
        }
        let together = networks().map(size).fold(Sizes::default(), Sizes::plus);
        if !is_within(rules.widest_total, together) {
            return Err(GuardViolation::TooWideTogether(*purpose));
        }
    }
    let members = firewall.allowed(Purpose::Overlay).0.keys();
    match members.copied().find(|network| !guard.is_overlay(network)) {
        Some(network) => Err(GuardViolation::OutsideOverlay(network)),
        None => Ok(()),
    }
}

fn admit_tunnels(guard: &Guard, wireguard: &WireGuardConfig) -> Result<(), GuardViolation> {
    let own = BTreeSet::from(guard.own.networks());
    if wireguard.addresses != own {
        return Err(GuardViolation::OwnAddresses(guard.own));
    }
    if !SANE_MTU.contains(&wireguard.mtu) {
        return Err(GuardViolation::Mtu(wireguard.mtu));
    }
    // A host that changes its key has two for a while, and is one peer; with more than two it counts for what it has.
    let mut keys: BTreeMap<_, usize> = BTreeMap::new();
    for peer in wireguard.peers.values() {
        *keys.entry(&peer.node).or_default() += 1;
    }
    let peers = keys.into_values().map(|keys| if keys == 2 { 1 } else { keys }).sum();
    let limit = guard.rules.max_peers;
    if peers > limit {
        return Err(GuardViolation::TooManyPeers { peers, limit });
    }
    let mut taken = own;
    for peer in wireguard.peers.values() {
        for network in &peer.allowed_ips {
            if network.prefix_len() != network.max_prefix_len() || !guard.is_overlay(network) {
                return Err(GuardViolation::PeerAddress { peer: peer.name.clone(), network: *network });
            }
            if !taken.insert(*network) {
                return Err(GuardViolation::PeerAddressTaken { peer: peer.name.clone(), network: *network });
            }
        }
    }
    Ok(())
}

impl Guard {
    fn is_overlay(&self, network: &IpNet) -> bool {
        if !self.rules.overlay.is_empty() {
            return self.rules.overlay.iter().any(|overlay| overlay.contains(network));
        }
        let own = [
            Ipv4Net::new(self.own.v4, OWN_OVERLAY.v4).map(IpNet::V4),
            Ipv6Net::new(self.own.v6, OWN_OVERLAY.v6).map(IpNet::V6),
        ];
        own.into_iter().flatten().any(|overlay| overlay.contains(network))
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
pub(crate) mod tests;

//! The guard's rules about serving nodes' JSON-RPC: only at ports that the host's own file names, only from nodes inside the mesh
//! or on this host, and for networks no wider than the file lets in.

use crate::{
    guard::Guard,
    guard_sizes::{Sizes, is_within, size},
};
use ipnet::IpNet;
use picket_model::{FirewallPolicy, GuardedPort, NodeConfig, NodeRole, Protocol, Purpose, SyncPath, SyncTarget};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
};
use thiserror::Error;

/// A rule about nodes' JSON-RPC that a wanted state breaks.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SyncViolation {
    /// A validator's host would serve.
    #[error("it serves a node's JSON-RPC, which only sentries do")]
    Role,
    /// Nobody on this host said so.
    #[error("it serves or asks a node's JSON-RPC at port {0}, which `may_proxy` in guard.toml does not name")]
    Port(NonZeroU16),
    /// Anybody could reach it.
    #[error("it serves a node's JSON-RPC at port {0}, which is not guarded for RPC or which `never_guard` names")]
    Unguarded(NonZeroU16),
    /// Two at one port.
    #[error("it serves two nodes' JSON-RPC at port {0}")]
    Twice(NonZeroU16),
    /// Would be a way to somebody else.
    #[error("it serves the JSON-RPC of {0}, which no tunnel of this host leads to")]
    Outside(SocketAddr),
    /// Would ask itself, or lead past the callers of another door: this host itself is one of every door's.
    #[error("it serves port {0} from port {1} of its own, which it serves itself")]
    Itself(NonZeroU16, NonZeroU16),
    /// Would let too many in.
    #[error("it serves a node's JSON-RPC to {0}: wider than `widest_network` in guard.toml")]
    TooWide(IpNet),
    /// The same, of all.
    #[error("the networks it serves nodes' JSON-RPC to are together wider than `widest_total` in guard.toml")]
    TooWideTogether,
}

/// Whether what is served keeps to the rules.
pub(crate) fn admit_sync(guard: &Guard, wanted: &NodeConfig) -> Result<(), SyncViolation> {
    let FirewallPolicy { syncs, .. } = &wanted.firewall;
    if !syncs.is_empty() && guard.role != NodeRole::Sentry {
        return Err(SyncViolation::Role);
    }
    let mut ports = BTreeSet::new();
    for path in syncs {
        admit_path(guard, wanted, path)?;
        if !ports.insert(path.port) {
            return Err(SyncViolation::Twice(path.port));
        }
    }
    let citizens = || syncs.iter().flat_map(|path| path.citizens.iter().copied());
    if let Some(network) = citizens().find(|network| !is_within(guard.rules.widest_network, size(*network))) {
        return Err(SyncViolation::TooWide(network));
    }
    let together = citizens().map(size).fold(Sizes::default(), Sizes::plus);
    if is_within(guard.rules.widest_total, together) { Ok(()) } else { Err(SyncViolation::TooWideTogether) }
}

fn admit_path(guard: &Guard, wanted: &NodeConfig, path: &SyncPath) -> Result<(), SyncViolation> {
    let rules = &guard.rules;
    if let Some(port) = [path.port, path.to_port].into_iter().find(|port| !rules.may_proxy.contains(port)) {
        return Err(SyncViolation::Port(port));
    }
    let guarded = GuardedPort { protocol: Protocol::Tcp, port: path.port };
    if wanted.firewall.guarded.get(&guarded) != Some(&Purpose::Rpc) || rules.never_guard.contains(&path.port) {
        return Err(SyncViolation::Unguarded(path.port));
    }
    match &path.to {
        SyncTarget::Own if wanted.firewall.syncs.iter().any(|door| door.port == path.to_port) => {
            Err(SyncViolation::Itself(path.port, path.to_port))
        }
        SyncTarget::Own => Ok(()),
        SyncTarget::Prep { overlay, .. } => {
            // What a tunnel leads to was held against the overlay before.
            let peers = wanted.wireguard.peers.values();
            let reached: BTreeSet<IpAddr> =
                peers.flat_map(|peer| &peer.allowed_ips).map(|network| network.addr()).collect();
            let own = [IpAddr::from(overlay.v4), IpAddr::from(overlay.v6)];
            match own.into_iter().find(|address| !reached.contains(address)) {
                Some(address) => Err(SyncViolation::Outside(SocketAddr::new(address, path.to_port.get()))),
                None => Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::{
        admit,
        tests::{guard, number as port, peer, sentry as bare},
    };
    use picket_model::OverlayAddresses;

    /// A sentry that serves its one peer's node, and its guard.
    fn sentry(change: impl FnOnce(&mut SyncPath)) -> (Guard, NodeConfig) {
        let (mut guard, mut wanted) = bare();
        guard.rules.may_proxy = [port(9000), port(7100)].into();
        let rpc = GuardedPort { protocol: Protocol::Tcp, port: port(9000) };
        wanted.firewall.guarded.insert(rpc, Purpose::Rpc);
        let overlay = peer();
        let mut path = SyncPath {
            port: port(9000),
            to: SyncTarget::Prep { node: "n-2".parse().unwrap(), name: "prep-1".parse().unwrap(), overlay },
            to_port: port(9000),
            citizens: ["198.51.100.0/24".parse().unwrap()].into(),
            addresses: BTreeSet::new(),
            websocket: BTreeSet::new(),
            debug: false,
        };
        change(&mut path);
        wanted.firewall.syncs.insert(path);
        (guard, wanted)
    }

    fn check((guard, wanted): (Guard, NodeConfig), part: &str) {
        let said = admit(&guard, &wanted).map_or_else(|error| error.to_string(), |()| "ok".to_owned());
        assert!(said.contains(part), "{part}: {said}");
    }

    fn to(v4: &str, v6: &str) -> SyncTarget {
        let overlay = OverlayAddresses { v4: v4.parse().unwrap(), v6: v6.parse().unwrap() };
        SyncTarget::Prep { node: "n-2".parse().unwrap(), name: "prep-1".parse().unwrap(), overlay }
    }

    #[test]
    fn a_sentry_serves_what_its_own_file_names_from_inside_the_mesh_alone() {
        check(sentry(|_| ()), "ok");
        check(sentry(|path| path.port = port(9080)), "at port 9080, which `may_proxy`");
        check(sentry(|path| path.to_port = port(6379)), "at port 6379, which `may_proxy`");
        check(sentry(|path| path.port = port(7100)), "at port 7100, which is not guarded for RPC");
        check(sentry(|path| path.to = to("203.0.113.9", "fd00:1:2::3")), "203.0.113.9:9000, which no tunnel");
        check(sentry(|path| path.to = to("10.77.0.3", "2001:db8::9")), "[2001:db8::9]:9000, which no tunnel");
        check(sentry(|path| path.to = SyncTarget::Own), "port 9000 from port 9000 of its own");
        check(sentry(|path| path.citizens = ["0.0.0.0/0".parse().unwrap()].into()), "0.0.0.0/0: wider");
        let halves = (0..5).map(|n| format!("{}.0.0.0/8", 20 + n).parse().unwrap()).collect();
        check(sentry(|path| path.citizens = halves), "together wider");
        let (mut unnamed, wanted) = sentry(|_| ());
        unnamed.rules.may_proxy.clear();
        check((unnamed, wanted), "`may_proxy` in guard.toml does not name");
        let (_, wanted) = sentry(|_| ());
        check((guard(), NodeConfig { role: NodeRole::Prep, ..wanted }), "which only sentries do");
    }

    #[test]
    fn no_door_leads_into_another_past_its_callers() {
        let (guard, mut wanted) = sentry(|_| ());
        let rpc = GuardedPort { protocol: Protocol::Tcp, port: port(7100) };
        wanted.firewall.guarded.insert(rpc, Purpose::Rpc);
        let first = wanted.firewall.syncs.first().unwrap().clone();
        let other = SyncPath { port: port(7100), to: SyncTarget::Own, citizens: BTreeSet::new(), ..first };
        wanted.firewall.syncs.insert(other);
        check((guard, wanted), "port 7100 from port 9000 of its own, which it serves itself");
    }

    #[test]
    fn one_port_serves_one_node() {
        let (guard, mut wanted) = sentry(|_| ());
        let mut other = wanted.firewall.syncs.first().unwrap().clone();
        other.debug = true;
        wanted.firewall.syncs.insert(other);
        check((guard, wanted), "two nodes' JSON-RPC at port 9000");
    }
}

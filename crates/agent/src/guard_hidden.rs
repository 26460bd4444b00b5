//! The guard's rules about forwarding and hiding: no controller takes the operator's way in, sends a sentry's packets anywhere
//! but to the mesh, or has a host drop calls that are not a node's.

use crate::guard::Guard;
use picket_model::{FirewallPolicy, Forward, GuardedPort, NodeConfig, NodeRole, Protocol, Purpose};
use std::{collections::BTreeSet, net::IpAddr, num::NonZeroU16};
use thiserror::Error;

/// Below lie the ports of everything else that a host calls: names, time, packages.
const LOWEST_CALL: u16 = 1024;

/// A rule about forwarding or hiding that a wanted state breaks.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HiddenViolation {
    /// A validator's host forwards, or a sentry hides.
    #[error("it has what is another role's: sentries forward, and validators' hosts hide")]
    Role,
    /// Would take somebody's port away.
    #[error("it forwards port {0}, which is not guarded for P2P or which `never_guard` in guard.toml names")]
    Port(NonZeroU16),
    /// Would forward to somebody else.
    #[error("it forwards port {port} to {to}, which no tunnel of this host leads to")]
    Outside {
        /// The port.
        port: NonZeroU16,
        /// Where to.
        to: IpAddr,
    },
    /// Would have a host's other calls dropped or rerouted.
    #[error(
        "it sends calls to port {0} through sentries: none below {LOWEST_CALL} is, nor one in `never_guard` in guard.toml"
    )]
    Call(NonZeroU16),
    /// Would reset connections to any address.
    #[error("it says which sentries do not answer, which only the host itself finds out")]
    Silent,
}

/// Whether what is forwarded and hidden keeps to the rules.
pub(crate) fn admit_hidden(guard: &Guard, wanted: &NodeConfig) -> Result<(), HiddenViolation> {
    let FirewallPolicy { forwards, hidden, .. } = &wanted.firewall;
    if !forwards.is_empty() && guard.role != NodeRole::Sentry || hidden.is_some() && guard.role != NodeRole::Prep {
        return Err(HiddenViolation::Role);
    }
    forwards.iter().try_for_each(|forward| admit_forward(guard, wanted, forward))?;
    let Some(hidden) = hidden else { return Ok(()) };
    if !hidden.silent.is_empty() {
        return Err(HiddenViolation::Silent);
    }
    admit_calls(guard, &hidden.calls)
}

fn admit_forward(guard: &Guard, wanted: &NodeConfig, forward: &Forward) -> Result<(), HiddenViolation> {
    let Forward { port, to, calls, .. } = forward;
    let guarded = GuardedPort { protocol: Protocol::Tcp, port: *port };
    let is_p2p = wanted.firewall.guarded.get(&guarded) == Some(&Purpose::P2p);
    if !is_p2p || guard.rules.never_guard.contains(port) {
        return Err(HiddenViolation::Port(*port));
    }
    // What a tunnel leads to was held against the overlay before.
    let reached: BTreeSet<_> = wanted.wireguard.peers.values().flat_map(|peer| &peer.allowed_ips).collect();
    match to.networks().into_iter().find(|network| !reached.contains(network)) {
        Some(network) => Err(HiddenViolation::Outside { port: *port, to: network.addr() }),
        None => admit_calls(guard, calls),
    }
}

fn admit_calls(guard: &Guard, calls: &BTreeSet<NonZeroU16>) -> Result<(), HiddenViolation> {
    let is_not = |port: &&NonZeroU16| port.get() < LOWEST_CALL || guard.rules.never_guard.contains(*port);
    calls.iter().find(is_not).map_or(Ok(()), |port| Err(HiddenViolation::Call(*port)))
}

/// The policy of a host whose own controllers listen on these ports: its calls to them are neither steered nor dropped, whatever
/// a validator registers.
pub(crate) fn sparing(mut policy: FirewallPolicy, controllers: &BTreeSet<NonZeroU16>) -> FirewallPolicy {
    if let Some(hidden) = &mut policy.hidden {
        hidden.calls.retain(|port| !controllers.contains(port));
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::{
        admit,
        tests::{config, guard, number as port, peer, sentry as bare},
    };
    use picket_model::Hidden;

    /// A sentry that forwards to its one peer, and its guard.
    fn sentry(change: impl FnOnce(&mut Forward)) -> (Guard, NodeConfig) {
        let (guard, mut wanted) = bare();
        let mut forward = Forward {
            prep: "n-2".parse().unwrap(),
            name: "prep-1".parse().unwrap(),
            port: port(7100),
            addresses: BTreeSet::new(),
            to: peer(),
            to_port: port(7100),
            calls: [port(7100)].into(),
            is_closed: false,
        };
        change(&mut forward);
        wanted.firewall.forwards.insert(forward);
        (guard, wanted)
    }

    fn hidden(change: impl FnOnce(&mut Hidden)) -> NodeConfig {
        let mut hidden = Hidden { calls: [port(7100)].into(), strict: true, ..Hidden::default() };
        change(&mut hidden);
        let mut wanted = config();
        wanted.firewall.hidden = Some(Box::new(hidden));
        wanted
    }

    #[test]
    fn what_a_controller_wants_of_forwarding_keeps_to_the_mesh_and_off_the_operators_way_in() {
        let check = |(guard, wanted): (Guard, NodeConfig), part: &str| {
            let said = admit(&guard, &wanted).map_or_else(|error| error.to_string(), |()| "ok".to_owned());
            assert!(said.contains(part), "{part}: {said}");
        };
        check(sentry(|_| ()), "ok");
        check(sentry(|forward| forward.port = port(22)), "forwards port 22");
        check(sentry(|forward| forward.port = port(7101)), "forwards port 7101");
        check(sentry(|forward| forward.to.v4 = "203.0.113.9".parse().unwrap()), "to 203.0.113.9, which no tunnel");
        check(sentry(|forward| forward.to.v6 = "fd00:1:2::9".parse().unwrap()), "to fd00:1:2::9, which no tunnel");
        check(sentry(|forward| forward.calls.extend([port(443)])), "calls to port 443");
        let (_, wanted) = sentry(|_| ());
        check((guard(), NodeConfig { role: NodeRole::Prep, ..wanted }), "another role's");
    }

    #[test]
    fn what_a_controller_wants_of_hiding_is_a_nodes_calls_alone() {
        let check = |wanted: NodeConfig, part: &str| {
            let said = admit(&guard(), &wanted).map_or_else(|error| error.to_string(), |()| "ok".to_owned());
            assert!(said.contains(part), "{part}: {said}");
        };
        check(hidden(|_| ()), "ok");
        check(hidden(|hidden| hidden.calls.extend([port(53)])), "calls to port 53");
        check(hidden(|hidden| hidden.silent.extend([std::net::Ipv4Addr::LOCALHOST])), "which only the host itself");
        let sentry = Guard { role: NodeRole::Sentry, ..guard() };
        let wanted = NodeConfig { role: NodeRole::Sentry, ..hidden(|_| ()) };
        assert!(admit(&sentry, &wanted).is_err());
    }

    #[test]
    fn the_way_to_the_controller_is_no_nodes_call_whatever_a_validator_registers() {
        let wanted = hidden(|hidden| hidden.calls.extend([port(7400), port(8300)]));
        let spared = sparing(wanted.firewall, &[port(7400)].into());
        assert_eq!(spared.hidden.unwrap().calls, [port(7100), port(8300)].into());
    }
}

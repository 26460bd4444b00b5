//! Sockets that wait on this host: what should wait and does not, and what waits for everybody without being guarded.

use super::firewalls::{AGENTS, P2P, WIREGUARD};
use crate::doctor::{
    Finding,
    facts::{Facts, Listener, Part},
};
use picket_model::{GuardedPort, Protocol};
use std::{collections::BTreeSet, num::NonZeroU16};

/// Ports of goloop: P2P, and JSON-RPC as icon2-docker and goloop itself have it.
const GOLOOP: [u16; 3] = [P2P, 9000, 9080];
/// Health and metrics of a controller, without authentication.
const HEALTH: u16 = 7445;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "ports";
    let listeners = match &facts.listeners {
        Ok(listeners) => listeners,
        Err(why) => return vec![Finding::not_known(CHECK, format!("sockets of this host: {why}"))],
    };
    match facts.part {
        Part::Operator => Vec::new(),
        Part::Controller => controller(listeners),
        Part::Sentry => [sentry(facts, listeners), open(facts, listeners), vec![reached(facts)]].concat(),
        Part::Prep => [prep(listeners), open(facts, listeners), vec![reached(facts)]].concat(),
    }
}

fn waits(listeners: &BTreeSet<Listener>, protocol: Protocol, port: u16) -> impl Iterator<Item = &Listener> {
    listeners.iter().filter(move |listener| listener.protocol == protocol && listener.address.port() == port)
}

fn is_for_others(listener: &Listener) -> bool {
    !listener.address.ip().to_canonical().is_loopback()
}

fn controller(listeners: &BTreeSet<Listener>) -> Vec<Finding> {
    const CHECK: &str = "ports";
    let agents = if waits(listeners, Protocol::Tcp, AGENTS).any(is_for_others) {
        Finding::ok(CHECK, format!("TCP {AGENTS} waits for hosts"))
    } else {
        Finding::warn(
            CHECK,
            format!("nothing waits at TCP {AGENTS} for hosts"),
            "hosts ask there, unless `listen.agents` says otherwise",
            "systemctl status picket-controller",
        )
    };
    let health = waits(listeners, Protocol::Tcp, HEALTH).any(is_for_others).then(|| {
        Finding::warn(
            CHECK,
            format!("TCP {HEALTH} waits for others than this host"),
            "health and metrics have no authentication",
            "set listen.health = \"127.0.0.1:7445\" in /etc/picket/controller.toml; systemctl restart picket-controller",
        )
    });
    std::iter::once(agents).chain(health).collect()
}

fn sentry(facts: &Facts, listeners: &BTreeSet<Listener>) -> Vec<Finding> {
    const CHECK: &str = "ports";
    let status = facts.agent.as_ref().ok().and_then(|agent| agent.as_ref()?.status.as_ref().ok());
    if status.is_none_or(|status| status.identity.is_none()) {
        return Vec::new();
    }
    let has_tunnels =
        status.and_then(|status| status.agent.as_ref()).is_some_and(|word| word.report.wireguard.is_in_force());
    match waits(listeners, Protocol::Udp, WIREGUARD).next() {
        Some(_) => vec![Finding::ok(CHECK, format!("UDP {WIREGUARD} waits for validators"))],
        // Another port may be the sentry's.
        None if has_tunnels => Vec::new(),
        None => vec![Finding::bad(
            CHECK,
            format!("nothing waits at UDP {WIREGUARD}"),
            "validators dial a sentry there",
            "systemctl restart picket-sentry-agent",
        )],
    }
}

fn prep(listeners: &BTreeSet<Listener>) -> Vec<Finding> {
    const CHECK: &str = "ports";
    match waits(listeners, Protocol::Tcp, P2P).next() {
        Some(_) => vec![Finding::ok(CHECK, format!("TCP {P2P} waits for validators"))],
        None => vec![Finding::warn(
            CHECK,
            format!("nothing waits at TCP {P2P}"),
            "validators link to this one's node there",
            "docker ps    # or however the node runs: is it up, and is GOLOOP_P2P_LISTEN :7100?",
        )],
    }
}

/// Ports of the node that everybody reaches.
fn open(facts: &Facts, listeners: &BTreeSet<Listener>) -> Vec<Finding> {
    const CHECK: &str = "open-ports";
    let agent = facts.agent.as_ref().ok().and_then(Option::as_ref);
    // What the agent wants is not known without it, and then nothing can be said.
    if agent.is_some_and(|agent| agent.status.is_err()) || facts.agent.is_err() {
        return Vec::new();
    }
    let guards = |port: u16| {
        let port = NonZeroU16::new(port).map(|port| GuardedPort { protocol: Protocol::Tcp, port });
        port.zip(agent).is_some_and(|(port, agent)| agent.guards(port))
    };
    let at = GOLOOP.into_iter().filter(|port| waits(listeners, Protocol::Tcp, *port).any(is_for_others));
    let each = at.map(|port| match guards(port) {
        true => Finding::ok(CHECK, format!("TCP {port} waits for others and is guarded")),
        false => Finding::bad(
            CHECK,
            format!("TCP {port} waits for others, and no rule in force guards it"),
            "everybody who can send here can talk to it",
            format!(
                "{} status    # it says why; `picket-*-agent enroll` where this host is not enrolled",
                facts.part.program()
            ),
        ),
    });
    each.collect()
}

/// From here only what arrives tells that something does.
fn reached(facts: &Facts) -> Finding {
    const CHECK: &str = "reachable";
    let status = facts.agent.as_ref().ok().and_then(|agent| agent.as_ref()?.status.as_ref().ok());
    let word = status.and_then(|status| status.agent.as_ref());
    let hears = word.is_some_and(|word| word.report.peers.values().any(|peer| peer.last_handshake.is_some()));
    if facts.part == Part::Sentry && hears {
        return Finding::ok(CHECK, "validators reach this sentry's tunnels");
    }
    let name = status.and_then(|status| status.identity.as_ref()).map_or("NODE", |identity| identity.name.as_str());
    Finding::not_known(CHECK, "what others reach here can be seen from elsewhere only")
        .or(format!("picket audit {name}    # on a machine outside the mesh"))
}

//! The goloop of this host: its chain, the address it tells everybody, and who may read its `/admin`.

use crate::doctor::{
    Finding,
    facts::{Facts, Node, Part},
};
use picket_chain::node::System;
use picket_model::{GuardedPort, Protocol, network::special_range};
use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
};

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let Some(node) = &facts.goloop else {
        return match facts.part {
            Part::Prep => vec![
                Finding::not_known("goloop", "no goloop answers at 127.0.0.1:9000 or 127.0.0.1:9080")
                    .or("picket doctor --goloop /path/of/cli.sock"),
            ],
            _ => Vec::new(),
        };
    };
    let mut findings = vec![chain(node)];
    match &node.system {
        Ok(system) => {
            findings.push(advertised(facts, system));
            findings.extend(admin(facts, system));
        }
        Err(why) => findings.push(Finding::not_known("goloop-advertises", why.clone())),
    }
    findings
}

fn chain(node: &Node) -> Finding {
    const CHECK: &str = "goloop";
    let place = &node.place;
    match &node.chain {
        Ok(health) if health.is_good() => Finding::ok(CHECK, format!("the chain at {place} is {health}")),
        Ok(health) => Finding::bad(
            CHECK,
            format!("the chain at {place} is {health}"),
            "a validator that does not follow the chain signs no blocks",
            "goloop chain ls    # in the node's container; then its log",
        ),
        Err(why) => Finding::bad(
            CHECK,
            why.clone(),
            "a validator without its chain signs no blocks",
            "goloop chain ls    # in the node's container: is icon_dex there?",
        ),
    }
}

fn advertised(facts: &Facts, system: &System) -> Finding {
    const CHECK: &str = "goloop-advertises";
    const WHY: &str = "goloop tells every peer, and the chain, where it is reached";
    let Some(p2p) = system.p2p.as_deref() else {
        return Finding::not_known(CHECK, "the node does not say which address it advertises");
    };
    let hidden = facts.agent.as_ref().ok().and_then(Option::as_ref).is_some_and(|agent| agent.is_hidden());
    let address = p2p.parse::<SocketAddr>().ok().map(|address| address.ip().to_canonical());
    match address {
        Some(address) if address.is_loopback() || address.is_unspecified() => Finding::bad(
            CHECK,
            format!("the node advertises {p2p}, at which nobody can reach it"),
            WHY,
            "set GOLOOP_P2P to the public address or name and port 7100, and restart the node",
        ),
        Some(address) if hidden && facts.own.contains(&address) => Finding::bad(
            CHECK,
            format!("this validator is hidden, and its node advertises {p2p}, this host's own address"),
            "everybody is told the address that the mesh hides",
            "picket advertise    # says which name or address it shall be; set GOLOOP_P2P to it, and restart the node",
        ),
        Some(address) if is_private(address) => Finding::warn(
            CHECK,
            format!("the node advertises {p2p}, which is not an address of the internet"),
            WHY,
            "set GOLOOP_P2P to the public address or name and port 7100, and restart the node",
        ),
        _ => Finding::ok(CHECK, format!("the node advertises {p2p}")),
    }
}

/// What has no business on a real chain; addresses of documentation are left out, since nobody has them by mistake.
fn is_private(address: IpAddr) -> bool {
    special_range(address).is_some_and(|range| !range.starts_with("documentation"))
}

fn admin(facts: &Facts, system: &System) -> Option<Finding> {
    const CHECK: &str = "goloop-admin";
    let port = system.rpc_port()?;
    let at = GuardedPort { protocol: Protocol::Tcp, port: NonZeroU16::new(port)? };
    let listeners = facts.listeners.as_ref().ok()?;
    let is_open = listeners.iter().any(|listener| {
        listener.protocol == Protocol::Tcp
            && listener.address.port() == port
            && !listener.address.ip().to_canonical().is_loopback()
    });
    if !is_open {
        return Some(Finding::ok(CHECK, format!("/admin at port {port} is for this host alone")));
    }
    match &facts.agent {
        Ok(Some(agent)) if agent.guards(at) => {
            Some(Finding::ok(CHECK, format!("/admin at port {port} is guarded, as the rest of that port")))
        }
        Ok(Some(agent)) if agent.status.is_err() => Some(
            Finding::not_known(CHECK, format!("whether port {port}, which has /admin, is guarded"))
                .or("sudo picket doctor"),
        ),
        Err(why) => {
            Some(Finding::not_known(CHECK, format!("whether port {port}, which has /admin, is guarded: {why}")))
        }
        Ok(_) => Some(Finding::bad(
            CHECK,
            format!("/admin at port {port} answers everybody, without authentication"),
            "it names the node's peers, addresses and settings",
            format!(
                "set GOLOOP_RPC_ADDR=127.0.0.1:{port} (docker: -p 127.0.0.1:{port}:{port}), restart the node; or enrol this host"
            ),
        )),
    }
}

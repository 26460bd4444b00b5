//! What must not become the target of lines about nodes' JSON-RPC, and what an operator should know about them.

use super::{advice, refused};
use crate::{Finding, Plan, PlanInput};
use ipnet::IpNet;
use picket_model::{NodeRole, Policy, SyncLine, limits::WIDEST_NETWORK};

/// Networks wider than this are seldom one operator's.
const WIDEST_OWN: (u8, u8) = (16, 32);

/// Findings on the lines, and on what follows from them.
pub(super) fn check(plan: &Plan, input: &PlanInput<'_>, findings: &mut Vec<Finding>) {
    let lines = &input.policy.sync;
    for (index, line) in lines.iter().enumerate() {
        check_ports(line, input.policy, findings);
        check_citizens(line, findings);
        check_ends(line, plan, input, findings);
        for other in lines.iter().skip(index + 1) {
            let sentries = input.nodes.values().filter(|node| node.role == NodeRole::Sentry && node.is_active());
            let both = sentries.filter(|node| line.is_at(&node.name) && other.is_at(&node.name)).count();
            let alike = line.sentries == other.sentries;
            if line.port == other.port && (both > 0 || alike) {
                let text = format!(
                    "sentries would serve port {} for {} and for {}: give one another port",
                    line.port,
                    line.name(),
                    other.name()
                );
                findings.push(refused(line.name(), text));
            }
            // The sentry itself is a caller of every door.
            let into = |line: &SyncLine, door: &SyncLine| line.prep.is_none() && line.to_port() == door.port;
            if (into(line, other) || into(other, line)) && (both > 0 || alike) {
                let text = format!(
                    "sentries would lead from port {} to port {} of their own, one door into the other past its citizens: set \
                     to_port to the node's own port",
                    line.port, other.port
                );
                findings.push(refused(line.name(), text));
            }
        }
    }
}

fn check_ports(line: &SyncLine, policy: &Policy, findings: &mut Vec<Finding>) {
    let (name, port, to_port) = (line.name(), line.port, line.to_port());
    let mut refuse = |text: String| findings.push(refused(name, text));
    // A port of both is guarded for P2P, and forwarded there.
    if !policy.ports.rpc.contains(&port) || policy.ports.p2p.contains(&port) {
        refuse(format!(
            "sentries would serve port {port} for {name}, which is not among policy.ports.rpc: add it there"
        ));
    }
    if policy.ports.p2p.contains(&to_port) {
        refuse(format!("sentries would lead to port {to_port} of {name}, which is no RPC port"));
    }
    if policy.hidden.iter().any(|hidden| hidden.port == port) {
        refuse(format!("sentries would serve port {port} for {name}, and policy.hidden forwards it: take one back"));
    }
    if line.prep.is_none() && port == to_port {
        refuse(format!("a sentry would call itself at port {port}: set to_port to its own node's port"));
    }
    if policy.public.sentry.contains(&port) {
        refuse(format!(
            "policy.public.sentry opens port {port} to everybody, which is served to {name}'s own: take one back"
        ));
    }
}

fn check_citizens(line: &SyncLine, findings: &mut Vec<Finding>) {
    let name = line.name();
    for network in &line.citizens {
        let of = |(v4, v6): (u8, u8)| if matches!(network, IpNet::V4(_)) { v4 } else { v6 };
        if network.prefix_len() < of(WIDEST_NETWORK) {
            let text = format!("citizens of {name} would be {network}, wider than /{}", of(WIDEST_NETWORK));
            findings.push(refused(name, text));
        } else if network.prefix_len() < of(WIDEST_OWN) {
            findings.push(advice(name, format!("citizens of {name} are {network}: is all of it yours?")));
        }
    }
}

fn check_ends(line: &SyncLine, plan: &Plan, input: &PlanInput<'_>, findings: &mut Vec<Finding>) {
    let name = line.name();
    if let Some(prep) = &line.prep {
        let Some(node) = input.nodes.values().find(|node| &node.name == prep && node.is_active()) else {
            findings.push(advice(name, format!("policy.sync names {prep}, and no host has that name")));
            return;
        };
        if node.role != NodeRole::Prep {
            findings.push(refused(name, format!("policy.sync names {prep}, which is a {}", node.role)));
            return;
        }
    }
    let is_served = |config: &picket_model::NodeConfig| {
        config.firewall.syncs.iter().any(|path| path.port == line.port && path.to_port == line.to_port())
    };
    if !plan.nodes.values().any(|config| is_served(config)) {
        findings.push(advice(name, format!("no sentry serves port {} for {name}", line.port)));
    }
}

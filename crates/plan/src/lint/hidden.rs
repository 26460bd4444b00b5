//! What must not become the target of lines about hidden validators, and what an operator should know about them.

use super::{advice, refused};
use crate::{Finding, Plan, PlanInput};
use picket_model::{GuardedPort, HiddenPrep, NodeRole, Protocol, Purpose};

/// Findings on the lines about hidden validators and on what follows from them.
pub(super) fn check(plan: &Plan, input: &PlanInput<'_>, findings: &mut Vec<Finding>) {
    let lines = &input.policy.hidden;
    for (index, line) in lines.iter().enumerate() {
        check_line(line, plan, input, findings);
        for other in lines.iter().skip(index + 1) {
            if line.prep == other.prep {
                findings.push(refused(&line.prep, format!("policy.hidden names {} twice", line.prep)));
            } else if line.collides_with(other) {
                let text = format!(
                    "sentries would forward port {} to {} and to {}: give one another port, or each its own addresses",
                    line.port, line.prep, other.prep
                );
                findings.push(refused(&line.prep, text));
            }
        }
    }
}

fn check_line(line: &HiddenPrep, plan: &Plan, input: &PlanInput<'_>, findings: &mut Vec<Finding>) {
    let HiddenPrep { prep, port, .. } = line;
    // What is forwarded is guarded at the sentry, or strangers would reach the validator through it.
    for config in
        plan.nodes.values().filter(|config| config.firewall.forwards.iter().any(|forward| &forward.name == prep))
    {
        let guarded = GuardedPort { protocol: Protocol::Tcp, port: *port };
        if config.firewall.guarded.get(&guarded) != Some(&Purpose::P2p) {
            let text =
                format!("{} would forward port {port} to {prep} unguarded: add it to policy.ports.p2p", config.node);
            findings.push(refused(prep, text));
        }
    }
    let Some(node) = input.nodes.values().find(|node| &node.name == prep && node.is_active()) else {
        findings.push(advice(prep, format!("policy.hidden names {prep}, and no host has that name")));
        return;
    };
    if node.role != NodeRole::Prep {
        findings.push(refused(prep, format!("policy.hidden names {prep}, which is a {}", node.role)));
    }
    let config = plan.nodes.get(&node.id);
    if line.strict && config.is_some_and(|config| config.firewall.public_ports().next().is_some()) {
        let text =
            format!("{prep} hides, and policy.public.prep opens its ports to everybody: take one of the two back");
        findings.push(refused(prep, text));
    }
    let hidden = config.and_then(|config| config.firewall.hidden.as_ref());
    if let Some(hidden) = hidden
        && hidden.sentries.is_empty()
    {
        let what = if hidden.strict { "reaches no validator" } else { "is not hidden" };
        findings.push(advice(prep, format!("{prep} has no sentry that forwards for it, and {what}")));
    }
}

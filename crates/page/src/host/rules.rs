//! A host's rules as text: what is wanted of its firewall, beside what the host counted by it. The rules as its kernel has them are
//! on the host; the controller has never seen them.

use crate::{
    HostState,
    answers::validators,
    text::{count, counted, foreign, number},
};
use maud::{Markup, html};
use picket_model::{AllowSet, FirewallPolicy, Purpose};
use std::collections::BTreeMap;

/// Entries of one allow set that are spelt out.
const SPELT_OUT: usize = 300;

/// Rules, counters, and who is let in.
pub(super) fn rules(host: &HostState) -> Markup {
    if host.view.node.issued {
        return html! { section { h2 { "Rules" } p { "It runs no agent, so there is no firewall of ours." } } };
    }
    let Some(config) = &host.config else {
        return html! { section { h2 { "Rules" } p { "It is in no plan, so nothing is wanted of its firewall." } } };
    };
    let policy = &config.firewall;
    let packets = host.view.report.as_ref().map(|report| &report.kernel.packets).filter(|packets| !packets.is_empty());
    html! {
        section {
            h2 { "Rules" }
            p { "What is wanted of its firewall. The rules as its kernel has them: " code { "nft list table inet picket" } " on the host." }
            pre.rules tabindex="0" role="region" aria-label="Rules as text" { @for line in text(policy) { (line) "\n" } }
            h3 { "Packets that it counted" }
            @match packets { Some(packets) => (counters(packets)), None => { p { "The host has not reported any." } } }
        }
        section {
            h2 { "Who is let in, and why" }
            @for (purpose, set) in &policy.allow { @if !set.0.is_empty() { (allowed(*purpose, set)) } }
        }
    }
}

/// The policy in the words of a firewall.
fn text(policy: &FirewallPolicy) -> Vec<String> {
    let mut lines = Vec::new();
    for (port, purpose) in &policy.guarded {
        lines.push(format!("guard {port}  # {purpose}"));
        let set = policy.let_in(*purpose);
        if !set.0.is_empty() {
            lines.push(format!(
                "    accept {} ({})",
                count(set.0.len(), "network"),
                count(validators(&set), "validator")
            ));
        }
        let admin = policy.allowed(Purpose::Admin).0.len();
        if admin > 0 {
            lines.push(format!("    accept {}", count(admin, "admin network")));
        }
        let overlay = policy.allowed(Purpose::Overlay).0.len();
        if overlay > 0 {
            lines.push(format!("    accept {} inside the tunnel", counted(overlay, "address", "addresses")));
        }
        lines.push(if policy.public_ports().any(|public| public == *port) {
            "    accept everybody else within limits".to_owned()
        } else {
            "    drop everybody else, before connection tracking".to_owned()
        });
    }
    for forward in &policy.forwards {
        lines.push(format!("forward tcp/{} to {} tcp/{}", forward.port, forward.name, forward.to_port));
    }
    if let Some(hidden) = &policy.hidden {
        let ports: Vec<String> = hidden.calls.iter().map(ToString::to_string).collect();
        let strict = if hidden.strict { ", or not at all" } else { "" };
        let sentries = hidden.sentries.len();
        lines.push(format!("call tcp {} through one of {sentries} sentries{strict}", ports.join(", ")));
    }
    if lines.is_empty() {
        lines.push("nothing is guarded".to_owned());
    }
    lines
}

fn counters(packets: &BTreeMap<String, u64>) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Counters" { table {
            caption { "Since its table was last replaced" }
            thead { tr { th scope="col" { "Decision" } th scope="col" { "Packets" } } }
            tbody { @for (name, value) in packets { tr {
                th scope="row" { (foreign(&name.replace('_', " "))) }
                td.number { (number(*value)) }
            } } }
        } }
    }
}

fn allowed(purpose: Purpose, set: &AllowSet) -> Markup {
    html! {
        details id={ "allowed-" (purpose) } {
            summary { (purpose) ": " (counted(set.0.len(), "entry", "entries")) }
            div.scroll tabindex="0" role="region" aria-label={ "Let in for " (purpose) } { table {
                caption { "Let in for " (purpose) }
                thead { tr { th scope="col" { "Network" } th scope="col" { "Because" } } }
                tbody { @for (network, reasons) in set.0.iter().take(SPELT_OUT) { tr {
                    th scope="row" { (network) }
                    td { @for reason in reasons { div { (foreign(&reason.to_string())) } } }
                } } }
            } }
            @if set.0.len() > SPELT_OUT { p { "and " (set.0.len() - SPELT_OUT) " more" } }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::fixture::prep;

    #[test]
    fn rules_say_who_is_let_in_and_that_nobody_else_is() {
        let host = prep("prep-1", false);
        let text = super::text(&host.config.unwrap().firewall).join("\n");
        assert_eq!(
            text,
            "guard tcp/7100  # p2p\n    accept 1 network (1 validator)\n    accept 1 admin network\n    drop everybody else, before \
             connection tracking"
        );
    }
}

//! A host's rules as text: what is wanted of its firewall, beside what the host counted by it. The rules as its kernel has them are
//! on the host; the controller has never seen them.

use crate::{
    HostState,
    answers::validators,
    text::{count, counted, foreign, number},
};
use maud::{Markup, html};
use picket_model::{AllowSet, FirewallPolicy, GuardedPort, Purpose};
use std::collections::{BTreeMap, BTreeSet};

/// Entries of one allow set that are spelt out.
const SPELT_OUT: usize = 300;

/// Packets by decision, as hosts name them.
type Packets = BTreeMap<String, u64>;

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
            p { "What is wanted of its firewall, with the packets that it counted, for all ports of a purpose together. The rules as its kernel has them: " code { "nft list table inet picket" } " on the host." }
            pre.rules tabindex="0" role="region" aria-label="Rules as text" { @for line in text(policy, packets.unwrap_or(&Packets::new())) { (line) "\n" } }
            h3 { "Packets that it counted" }
            @match packets { Some(packets) => (counters(packets)), None => { p { "The host has not reported any." } } }
        }
        section {
            h2 { "Who is let in, and why" }
            @for (purpose, set) in &policy.allow { @if !set.0.is_empty() { (allowed(*purpose, set)) } }
        }
    }
}

/// The policy in the words of a firewall. A host counts for all ports of a purpose together, so those stand together.
fn text(policy: &FirewallPolicy, packets: &Packets) -> Vec<String> {
    let public: BTreeSet<GuardedPort> = policy.public_ports().collect();
    let mut groups: BTreeMap<(Purpose, bool), Vec<String>> = BTreeMap::new();
    for (port, purpose) in &policy.guarded {
        groups.entry((*purpose, public.contains(port))).or_default().push(port.to_string());
    }
    let mut lines = Vec::new();
    for ((purpose, is_public), ports) in groups {
        lines.push(format!("guard {}  # {purpose}", ports.join(", ")));
        let set = policy.let_in(purpose);
        if !set.0.is_empty() {
            let who = format!("accept {} ({})", count(set.0.len(), "network"), count(validators(&set), "validator"));
            let counted = [("let in", format!("allowed_{purpose}")), ("over limits", format!("limited_*_{purpose}"))];
            lines.push(rule(&who, packets, &counted));
        }
        let admin = policy.allowed(Purpose::Admin).0.len();
        if admin > 0 {
            let who = format!("accept {}", count(admin, "admin network"));
            lines.push(rule(&who, packets, &[("let in, at all ports", "allowed_admin".to_owned())]));
        }
        let overlay = policy.allowed(Purpose::Overlay).0.len();
        if overlay > 0 {
            let who = format!("accept {} inside the tunnel", counted(overlay, "address", "addresses"));
            lines.push(rule(&who, packets, &[("let in, at all ports", "allowed_overlay".to_owned())]));
        }
        lines.push(if is_public {
            let [let_in, limited] = ["allowed_public", "limited_*_public"].map(str::to_owned);
            rule("accept everybody else within limits", packets, &[("let in", let_in), ("over limits", limited)])
        } else {
            let refused = [("refused", format!("refused_{purpose}"))];
            rule("drop everybody else, before connection tracking", packets, &refused)
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

/// One rule, and what was counted by it: each a word and the counter's name, in which `*` stands for anything.
fn rule(what: &str, packets: &Packets, counted: &[(&str, String)]) -> String {
    let of = |name: &str| -> Option<u64> {
        let (start, end) = name.split_once('*').unwrap_or((name, ""));
        let is_it =
            |found: &str| if end.is_empty() { found == name } else { found.starts_with(start) && found.ends_with(end) };
        let mut found = packets.iter().filter(|(name, _)| is_it(name)).map(|(_, value)| *value).peekable();
        found.peek()?;
        Some(found.fold(0, u64::saturating_add))
    };
    let known = counted.iter().filter_map(|(word, name)| Some(format!("{} {word}", number(of(name)?))));
    let known: Vec<String> = known.collect();
    if known.is_empty() { format!("    {what}") } else { format!("    {what}  # packets: {}", known.join(", ")) }
}

fn counters(packets: &Packets) -> Markup {
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
    use super::*;
    use crate::fixture::prep;
    use picket_model::Protocol;

    fn check(change: impl FnOnce(&mut FirewallPolicy), packets: &[(&str, u64)], expect: &[&str]) {
        let mut config = std::sync::Arc::unwrap_or_clone(prep("prep-1", false).config.unwrap());
        change(&mut config.firewall);
        let packets = packets.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        assert_eq!(text(&config.firewall, &packets), expect);
    }

    #[test]
    fn rules_say_who_is_let_in_and_that_nobody_else_is() {
        let dropped = "    drop everybody else, before connection tracking";
        let rules =
            ["guard tcp/7100  # p2p", "    accept 1 network (1 validator)", "    accept 1 admin network", dropped];
        check(|_| (), &[], &rules);
    }

    #[test]
    fn what_was_counted_stands_behind_its_rule_and_a_purpose_has_its_ports_together() {
        let port = |port: u16| GuardedPort { protocol: Protocol::Tcp, port: port.try_into().unwrap() };
        let packets = [
            ("allowed_admin", 3),
            ("allowed_p2p", 7),
            ("allowed_public", 5),
            ("limited_new_p2p", 1),
            ("limited_open_p2p", 1),
            ("refused_p2p", 1234),
        ];
        check(
            |policy| {
                policy.guarded.insert(port(7101), Purpose::P2p);
                policy.guarded.insert(port(7102), Purpose::P2p);
                policy.public.insert(7102.try_into().unwrap());
            },
            &packets,
            &[
                "guard tcp/7100, tcp/7101  # p2p",
                "    accept 1 network (1 validator)  # packets: 7 let in, 2 over limits",
                "    accept 1 admin network  # packets: 3 let in, at all ports",
                "    drop everybody else, before connection tracking  # packets: 1\u{202f}234 refused",
                "guard tcp/7102  # p2p",
                "    accept 1 network (1 validator)  # packets: 7 let in, 2 over limits",
                "    accept 1 admin network  # packets: 3 let in, at all ports",
                "    accept everybody else within limits  # packets: 5 let in",
            ],
        );
    }
}

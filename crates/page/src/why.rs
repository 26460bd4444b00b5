//! Can this address reach that port of that host, and why: a form and its answer, host by host with every reason.

use crate::{
    Frame, Mark, WhyForm,
    frame::mark,
    text::{count, foreign, plain},
};
use maud::{Markup, html};
use picket_model::{Denied, Explanation, HostVerdict, NodeName, PortVerdict, Purpose};

/// The page; `hosts` are those that may be chosen.
pub fn why(frame: &Frame, form: &WhyForm, hosts: &[NodeName]) -> Markup {
    let content = html! {
        h1 { "Who may reach what" }
        p { "Ask about one address: which guarded ports it reaches on which host, and why. The answer is of the wanted state; whether a "
            "host has it in force is on the " a href="/hosts" { "hosts" } "' page." }
        form.inline method="get" action="/why" {
            div { label for="address" { "From address" }
                input id="address" name="address" required maxlength="64" autocomplete="off" spellcheck="false"
                    placeholder="203.0.113.7" value=(form.address); }
            div { label for="host" { "to host" }
                select id="host" name="host" {
                    option value="" { "every host" }
                    @for host in hosts { option value=(host) selected[host.as_str() == form.host] { (host) } }
                } }
            div { label for="port" { "at port" }
                input id="port" name="port" maxlength="5" inputmode="numeric" pattern="[0-9]*" autocomplete="off"
                    placeholder="all guarded" value=(form.port); }
            button type="submit" { "Ask" }
        }
        @match &form.answer {
            None => {},
            Some(Err(problem)) => { p.error role="alert" { (plain(problem)) } },
            Some(Ok(explanation)) => (answered(explanation, &form.host)),
        }
    };
    frame.still("Who may reach what", &content)
}

fn answered(explanation: &Explanation, host: &str) -> Markup {
    let hosts: Vec<&HostVerdict> =
        explanation.hosts.iter().filter(|verdict| host.is_empty() || verdict.name.as_str() == host).collect();
    html! {
        section id="answer" {
            h2 { (explanation.address) }
            p.summary role="status" {
                (headline(&hosts)) " By generation " (explanation.generation) "."
            }
            @if !hosts.is_empty() {
                div.scroll tabindex="0" role="region" aria-label="Verdicts" { table {
                    caption { "Verdict of every port" }
                    thead { tr { th scope="col" { "Host" } th scope="col" { "Port" } th scope="col" { "For" } th scope="col" { "Verdict" }
                        th scope="col" { "Because" } } }
                    tbody { @for verdict in hosts { (rows(verdict)) } }
                } }
            }
            @if !explanation.denied.is_empty() {
                h3 { "Kept out by the policy" }
                ul { @for line in &explanation.denied { li {
                    @match line.whom { Denied::Network(network) => (network), Denied::Prep(prep) => (prep) } ": " (foreign(&line.comment))
                } } }
            }
            @if !explanation.refused.is_empty() {
                h3 { "Entries of the list that were refused" }
                ul { @for refused in &explanation.refused { li { (foreign(&refused.entry)) ": " (foreign(&refused.reason)) } } }
            }
        }
    }
}

/// What it comes to. About what nobody guards, Picket has nothing to say.
fn headline(hosts: &[&HostVerdict]) -> Markup {
    let guarded = hosts.iter().filter(|host| !host.ports.is_empty()).count();
    let reached = hosts.iter().filter(|host| host.ports.iter().any(is_let_in)).count();
    let free = hosts.len() - guarded;
    html! {
        @if hosts.is_empty() { "There is no such host." }
        @else if guarded == 0 {
            strong { "Not guarded" } ": Picket does not decide about it on any of " (count(free, "host"))
            "; whatever else filters there does."
        }
        @else if reached == 0 { strong { "No." } " Nothing lets it in to a guarded port on any of " (count(guarded, "host")) "." }
        @else { strong { "Yes" } ", to guarded ports on " (reached) " of " (count(guarded, "host")) "." }
        @if guarded > 0 && free > 0 { " On " (count(free, "host")) " it is not guarded, and Picket does not decide." }
    }
}

/// From outside or in the tunnel.
fn is_let_in(verdict: &PortVerdict) -> bool {
    verdict.is_allowed()
}

fn rows(host: &HostVerdict) -> Markup {
    html! {
        @if host.ports.is_empty() {
            tr { th scope="row" { (host.name) } td { "–" } td { "–" } td { "not guarded" }
                td { (if host.issued { "it runs no agent" } else { "Picket leaves it alone" }) } }
        }
        @for verdict in &host.ports { tr {
            th scope="row" { (host.name) }
            td { (verdict.port) }
            td { (verdict.purpose) }
            td { (word(verdict)) }
            td {
                @if verdict.public { div { "the port is public, within limits" } }
                @for grant in &verdict.grants { div { (grant.network) " (" (grant.purpose) "): " (foreign(&grant.reason.to_string())) } }
                @if !verdict.is_allowed() { "nothing lets it in" }
            }
        } }
    }
}

fn word(verdict: &PortVerdict) -> Markup {
    let only_inside = !verdict.public && verdict.grants.iter().all(|grant| grant.purpose == Purpose::Overlay);
    html! {
        @if !verdict.is_allowed() { span.verdict.refused { "✕ refused" } }
        @else if only_inside { span.verdict.allowed { "✓ let in, inside the tunnel" } }
        @else if verdict.grants.is_empty() { (mark(Mark::Notice)) " let in within limits" }
        @else { span.verdict.allowed { "✓ let in" } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Section, fixture::frame};
    use picket_model::{Generation, Grant, GuardedPort, NodeRole, Protocol, Reason};

    fn host(name: &str, ports: &[bool]) -> HostVerdict {
        let port = |is_let_in: &bool| {
            let (network, reason) = ("198.51.100.0/24".parse().unwrap(), Reason::Policy { line: "admin".to_owned() });
            PortVerdict {
                port: GuardedPort { protocol: Protocol::Tcp, port: 7100.try_into().unwrap() },
                purpose: Purpose::P2p,
                grants: is_let_in.then_some(Grant { purpose: Purpose::Admin, network, reason }).into_iter().collect(),
                public: false,
            }
        };
        let (node, name) = (name.parse().unwrap(), name.parse().unwrap());
        HostVerdict { node, name, role: NodeRole::Prep, issued: false, ports: ports.iter().map(port).collect() }
    }

    fn check(hosts: Vec<HostVerdict>, expect: &str) {
        let address = "198.51.100.7".parse().unwrap();
        let answer = Explanation { address, hosts, refused: Vec::new(), denied: Vec::new(), generation: Generation(3) };
        let form = WhyForm { answer: Some(Ok(answer)), ..WhyForm::default() };
        let page = why(&frame(Section::Why), &form, &[]).into_string();
        let headline = page.split_once("role=\"status\">").unwrap().1.split("</p>").next().unwrap().to_owned();
        assert_eq!(headline.replace("<strong>", "").replace("</strong>", ""), format!("{expect} By generation 3."));
    }

    #[test]
    fn a_headline_says_no_only_where_somebody_guards() {
        check(vec![], "There is no such host.");
        check(vec![host("a", &[false, true])], "Yes, to guarded ports on 1 of 1 host.");
        check(
            vec![host("a", &[false]), host("b", &[false])],
            "No. Nothing lets it in to a guarded port on any of 2 hosts.",
        );
        check(
            vec![host("a", &[]), host("b", &[])],
            "Not guarded: Picket does not decide about it on any of 2 hosts; whatever else filters there does.",
        );
        check(
            vec![host("a", &[]), host("b", &[false])],
            "No. Nothing lets it in to a guarded port on any of 1 host. On 1 host it is not guarded, and Picket does not decide.",
        );
    }
}

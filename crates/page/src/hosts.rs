//! All hosts: wanted and in force, and why not.

use crate::{
    Frame, HostState, Mark, Tunnel, TunnelState,
    frame::mark,
    text::{count, moment, plain},
};
use maud::{Markup, html};
use picket_model::{NodeRole, NodeState, Timestamp};

/// Members in the table; they are counted whole.
const MOST_MEMBERS: usize = 1000;
/// Revoked hosts in theirs: where machines come and go by themselves, they are many.
const MOST_REVOKED: usize = 100;

/// The page.
pub fn hosts(
    frame: &Frame,
    members: &[HostState],
    revoked: &[HostState],
    tunnels: &[Tunnel],
    now: Timestamp,
) -> Markup {
    let shown: Vec<&HostState> = members.iter().take(MOST_MEMBERS).collect();
    let mut gone: Vec<&HostState> = revoked.iter().collect();
    gone.sort_by_key(|host| std::cmp::Reverse(revoked_at(host)));
    gone.truncate(MOST_REVOKED);
    let latest = members.iter().filter_map(|host| host.view.wanted).max();
    let reporting = members.iter().filter(|host| host.view.node.reports()).count();
    let in_force = members.iter().filter(|host| host.view.in_force).count();
    let content = html! {
        div {
            h1 { "Hosts" }
            // With the generation: a change that every host took before anybody looked is a change all the same.
            p data-say {
                "What is wanted" @if let Some(latest) = latest { ", last changed by generation " (latest) "," } " is in force on "
                (in_force) " of " (count(reporting, "member"))
                @if reporting < members.len() { "; " (members.len() - reporting) " more " (if members.len() - reporting == 1 { "runs" } else { "run" }) " no agent" } "."
            }
            (table("Members of the mesh", &shown, tunnels, now))
            @if members.is_empty() {
                p { "No host has joined. " code { "picket token create" } " makes a token by which one can." }
            }
            @if shown.len() < members.len() {
                p { "These are the first " (shown.len()) " by name; " code { "picket nodes" } " has all " (members.len()) "." }
            }
        }
        @if !gone.is_empty() {
            section {
                h2 { "Revoked" }
                p { "Cut for good. Their keys and addresses are not given out again." }
                @if gone.len() < revoked.len() {
                    p { "These are the last " (gone.len()) "; " code { "picket nodes" } " has all " (revoked.len()) "." }
                }
                (table("Revoked hosts", &gone, tunnels, now))
            }
        }
    };
    frame.live("Hosts", &content)
}

fn revoked_at(host: &HostState) -> Option<Timestamp> {
    match host.view.node.state {
        NodeState::Revoked { at } => Some(at),
        NodeState::Active | NodeState::Quarantined { .. } => None,
    }
}

fn table(caption: &str, hosts: &[&HostState], tunnels: &[Tunnel], now: Timestamp) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(caption) { table {
            caption { (caption) }
            thead { tr { th scope="col" { "Host" } th scope="col" { "Part" } th scope="col" { "Pool" } th scope="col" { "State" }
                th scope="col" { "Wanted" } th scope="col" { "In force" } th scope="col" { "Tunnels up" }
                th scope="col" { "Last report" } } }
            tbody { @for host in hosts { tr {
                th scope="row" { a href={ "/hosts/" (known_as(host)) } { (host.name()) } }
                td { (part(host.view.node.role)) }
                td { @match &host.view.node.pool { Some(pool) => (pool), None => "–" } }
                td { (standing(host, now)) }
                td.number { (host.view.wanted.map_or_else(|| "–".to_owned(), |wanted| wanted.to_string())) }
                td.number { (host.view.report.as_ref().map_or_else(|| "–".to_owned(), |report| report.applied.to_string())) }
                td.number { (tunnels_up(host, tunnels)) }
                td { @match host.view.reported_at { Some(at) => (moment(at, now)), None => "never" } }
            } } }
        } }
    }
}

/// What leads to it: its name, or its id where another host may have the name by now.
fn known_as(host: &HostState) -> &str {
    if host.view.node.is_active() { host.name() } else { host.view.node.id.as_str() }
}

/// A role as people say it.
pub(crate) fn part(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Prep => "validator's host",
        NodeRole::Sentry => "sentry",
    }
}

/// How a host stands: member, in force, or why not.
pub(crate) fn standing(host: &HostState, now: Timestamp) -> Markup {
    let (sign, text) = match (&host.view.node.state, &host.lag, &host.cut) {
        (NodeState::Revoked { at }, _, Some(cut)) if !cut.missing.is_empty() => {
            let all = cut.confirmed.len() + cut.missing.len();
            let text = format!("revoked {}; in force on {} of {all}", crate::text::ago(*at, now), cut.confirmed.len());
            (Mark::Bad, text)
        }
        (NodeState::Revoked { at }, ..) => (Mark::Unknown, format!("revoked {}", crate::text::ago(*at, now))),
        (NodeState::Quarantined { since }, ..) => {
            (Mark::Notice, format!("in quarantine, {}", crate::text::ago(*since, now)))
        }
        _ if host.view.node.issued => (Mark::Unknown, "runs no agent, so nobody reports".to_owned()),
        (NodeState::Active, Some(lag), _) => (Mark::Bad, plain(lag)),
        (NodeState::Active, None, _) => (Mark::Good, "in force".to_owned()),
    };
    html! {
        @if sign == Mark::Unknown { (text) } @else { (mark(sign)) " " (text) }
    }
}

fn tunnels_up(host: &HostState, tunnels: &[Tunnel]) -> String {
    let name = &host.view.node.name;
    let own: Vec<&Tunnel> = tunnels.iter().filter(|tunnel| tunnel.prep == *name || tunnel.sentry == *name).collect();
    let up = own.iter().filter(|tunnel| tunnel.state == TunnelState::Up).count();
    if own.is_empty() { "–".to_owned() } else { format!("{up} of {}", own.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Section,
        fixture::{NOW, frame, prep},
    };

    #[test]
    fn what_does_not_fit_is_counted_and_said() {
        let members: Vec<HostState> = (0..1001).map(|number| prep(&format!("i-{number:04}"), false)).collect();
        let gone: Vec<HostState> = (0..101)
            .map(|number| {
                let mut host = prep(&format!("gone-{number:04}"), false);
                host.view.node.state = NodeState::Revoked { at: Timestamp::from_millis(number) };
                host
            })
            .collect();
        let page = hosts(&frame(Section::Hosts), &members, &gone, &[], NOW).into_string();
        for said in ["on 1001 of 1001 members", "has all 1001.", "has all 101.", ">i-0999<", ">gone-0100<"] {
            assert!(page.contains(said), "{said}");
        }
        assert!(!page.contains(">i-1000<") && !page.contains(">gone-0000<"));
    }
}

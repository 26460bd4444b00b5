//! All hosts: wanted and in force, and why not.

use crate::{
    Frame, HostState, Mark, Tunnel, TunnelState,
    frame::mark,
    text::{count, moment, plain},
};
use maud::{Markup, html};
use picket_model::{NodeRole, NodeState, Timestamp};

/// The page; `more` says that there are hosts beyond those.
pub fn hosts(frame: &Frame, hosts: &[HostState], tunnels: &[Tunnel], more: bool, now: Timestamp) -> Markup {
    let members: Vec<&HostState> = hosts.iter().filter(|host| host.view.node.is_active()).collect();
    let gone: Vec<&HostState> = hosts.iter().filter(|host| !host.view.node.is_active()).collect();
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
            (table("Members of the mesh", &members, tunnels, now))
            @if members.is_empty() {
                p { "No host has joined. " code { "picket token create" } " makes a token by which one can." }
            }
            @if more { p { "These are the first thousand by name; " code { "picket nodes" } " has all." } }
        }
        @if !gone.is_empty() {
            section {
                h2 { "Revoked" }
                p { "Cut for good. Their keys and addresses are not given out again." }
                (table("Revoked hosts", &gone, tunnels, now))
            }
        }
    };
    frame.live("Hosts", &content)
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

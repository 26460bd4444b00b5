//! One host: how it stands, its tunnels, its rules with what they counted, and what an admin may do to it.

mod rules;

use crate::{
    CutForm, CutKind, CutState, Frame, HostState, Line, Mark, Tunnel,
    advice::{found, items},
    frame::mark,
    hosts::{part, standing},
    map::{millis, permille, state},
    text::{bytes, count, foreign, full, moment, names, number},
};
use maud::{Markup, html};
use picket_api::operator::FindingView;
use picket_model::{NodeName, NodeReport, NodeState, Timestamp};

/// The page; `findings` are the alarms about this host.
pub fn host(frame: &Frame, host: &HostState, tunnels: &[Tunnel], findings: &[FindingView], now: Timestamp) -> Markup {
    let (view, name) = (&host.view, host.name());
    let report = view.report.as_ref();
    let content = html! {
        div {
            h1 { (name) }
            p.summary data-say { (standing(host, now)) }
            @if let Some(cut) = &host.cut { (cut_state(cut)) }
            @if !findings.is_empty() {
                ul.findings aria-label="What is wrong" { (items(&here(findings))) }
            }
            dl.facts-list {
                (entry("Part", &html! { (part(view.node.role)) }))
                @if let Some(pool) = &view.node.pool { (entry("Pool", &html! { (pool) })) }
                (entry("Wanted", &html! { "revision " (view.wanted.map_or_else(|| "–".to_owned(), |wanted| wanted.to_string())) }))
                (entry("In force", &html! { @match report {
                    Some(report) => { "revision " (report.applied) },
                    None => "nothing was reported yet",
                } }))
                (entry("Last report", &html! { @match view.reported_at { Some(at) => (moment(at, now)), None => "never" } }))
                (entry("Connection", &html! { (if view.connected { "waits for news" } else { "is not connected now" }) }))
                (entry("Inside the mesh", &html! { (view.node.overlay.v4) ", " (view.node.overlay.v6) }))
                @if let Some(endpoint) = view.node.endpoint { (entry("Dialled at", &html! { (endpoint) })) }
                (entry("Member since", &html! { (full(view.node.enrolled_at)) }))
                @if let Some(report) = report { (reported(report, now)) }
            }
        }
        @if frame.viewer.is_admin() && view.node.is_active() { (actions(frame, host)) }
        section { h2 { "Tunnels" } (tunnel_table(host, tunnels, now)) }
        (rules::rules(host))
    };
    frame.live(name, &content)
}

/// What is wrong with the host whose page this is: nothing leads here.
fn here(findings: &[FindingView]) -> Vec<Line> {
    found(findings).into_iter().map(|line| Line { path: None, ..line }).collect()
}

fn entry(what: &str, value: &Markup) -> Markup {
    html! { div { dt { (what) } dd { (value) } } }
}

fn reported(report: &NodeReport, now: Timestamp) -> Markup {
    html! {
        (entry("Agent", &html! { "version " (foreign(&report.agent_version)) ", WireGuard: " (foreign(&report.engine)) }))
        @if let Some(state) = &report.state { (entry("Firewall's state", &foreign(state))) }
        @if let Some(chain) = &report.chain { (entry("Node beside it", &foreign(&chain.to_string()))) }
        @if let Some(refused) = &report.refused { (entry("Refused", &foreign(refused))) }
        @if let Some(back) = &report.taken_back {
            (entry("Taken back", &html! { "revision " (back.revision) ", " (moment(back.at, now)) ": " (foreign(&back.reason)) }))
        }
        @if let Some(repairs) = &report.firewall_repairs { (entry("Repaired", &foreign(&repairs.to_string()))) }
        @if let Some(defences) = &report.defences {
            (entry("Under attack", &html! {
                (if defences.is_attacked() { "yes" } else { "no" }) ": "
                @match defences.stopped_per_second { Some(stopped) => { (number(stopped)) " packets stopped a second" }, None => "not counted yet" }
                ", limits " (if defences.is_tight { "tight" } else { "as ever" })
            }))
        }
    }
}

fn cut_state(cut: &CutState) -> Markup {
    let all = cut.confirmed.len() + cut.missing.len();
    let text = |names_of: &[NodeName]| names(&names_of.iter().map(NodeName::as_str).collect::<Vec<_>>(), 20);
    html! {
        div.cut {
            p {
                @if cut.missing.is_empty() { (mark(Mark::Good)) } @else { (mark(Mark::Notice)) }
                " The cut is in force on " strong { (cut.confirmed.len()) " of " (all) } " hosts that had to do with it (generation "
                (cut.generation) ")."
            }
            progress max=(all.max(1)) value=(if all == 0 { 1 } else { cut.confirmed.len() }) aria-label="Hosts that confirmed the cut" {}
            @if !cut.confirmed.is_empty() { p { "Read back by " (text(&cut.confirmed)) "." } }
            @if !cut.missing.is_empty() { p { "Not yet by " (text(&cut.missing)) "." } }
        }
    }
}

fn actions(frame: &Frame, host: &HostState) -> Markup {
    let name = host.name();
    html! {
        section.actions aria-label="What may be done" {
            @if matches!(host.view.node.state, NodeState::Quarantined { .. }) {
                form method="post" action={ "/hosts/" (name) "/readmit" } {
                    (frame.viewer.proof())
                    button type="submit" { "Readmit" }
                }
            } @else {
                a.button href={ "/hosts/" (name) "/quarantine" } { "Quarantine…" }
            }
            a.button.danger href={ "/hosts/" (name) "/revoke" } { "Revoke…" }
        }
    }
}

/// The question before a host is cut.
pub fn cut_form(frame: &Frame, form: &CutForm) -> Markup {
    let (name, kind) = (&form.name, form.kind);
    let peers: Vec<&str> = form.peers.iter().map(NodeName::as_str).collect();
    let (title, what) = match kind {
        CutKind::Revoke => {
            ("Revoke", "It is cut from the mesh for good: it would have to be enrolled anew, as another host.")
        }
        CutKind::Quarantine => (
            "Quarantine",
            "Its tunnels and grants end until somebody readmits it. It goes on reporting, and its own ports stay closed.",
        ),
    };
    let content = html! {
        h1 { (title) " " (name) "?" }
        p { (what) }
        p {
            @if peers.is_empty() { "No host has a tunnel to it." }
            @else { (count(peers.len(), "host")) " will read the cut back: " (names(&peers, 20)) "." }
        }
        form.stack method="post" action={ "/hosts/" (name) "/" (kind.as_str()) } {
            (frame.viewer.proof())
            label for="reason" { "Reason, for the audit log " span.hint { "(may be left out)" } }
            input id="reason" name="reason" maxlength="200" autocomplete="off";
            div.row {
                button.danger[kind == CutKind::Revoke] type="submit" { (title) }
                a.button href={ "/hosts/" (name) } { "Leave it" }
            }
        }
    };
    frame.still(&format!("{title} {name}"), &content)
}

fn tunnel_table(host: &HostState, tunnels: &[Tunnel], now: Timestamp) -> Markup {
    let name = &host.view.node.name;
    let own: Vec<&Tunnel> = tunnels.iter().filter(|tunnel| tunnel.prep == *name || tunnel.sentry == *name).collect();
    html! {
        @if host.view.node.issued { p { "It runs no agent, so nobody reports of them." } }
        @else if own.is_empty() { p { "It has none." } } @else {
            div.scroll tabindex="0" role="region" aria-label="Tunnels" { table {
                caption { "As the validator's host at one end last reported them" }
                thead { tr { th scope="col" { "Other end" } th scope="col" { "State" } th scope="col" { "Last handshake" }
                    th scope="col" { "Lost" } th scope="col" { "Round trip" } th scope="col" { "Validator to sentry / back" } } }
                tbody { @for tunnel in own { @let other = if tunnel.prep == *name { &tunnel.sentry } else { &tunnel.prep }; tr {
                    th scope="row" { a href={ "/hosts/" (other) } { (other) } }
                    td { (state(tunnel.state)) }
                    td { @match tunnel.handshake { Some(at) => (moment(at, now)), None => "never" } }
                    td.number { (tunnel.lost_permille.map_or_else(|| "not probed".to_owned(), permille)) }
                    td.number { (tunnel.round_trip_us.map_or_else(|| "not probed".to_owned(), millis)) }
                    td.number { (bytes(tunnel.bytes.0)) " / " (bytes(tunnel.bytes.1)) }
                } } }
            } }
        }
    }
}

//! The mesh as a picture, validators' hosts on the left, sentries by pool on the right, and the same as a table. How a tunnel stands
//! shows by colour, by how its line is broken, and in words.

use crate::{
    Frame, HostState, Tunnel, TunnelState,
    text::{bytes, count, moment},
};
use maud::{Markup, html};
use picket_model::{NodeName, NodeRole, Timestamp};
use std::collections::BTreeMap;

/// The picture's width, in units of its own.
const WIDTH: usize = 900;
/// From one host to the next.
const ROW: usize = 46;
/// A host's box.
const BOX: (usize, usize) = (230, 32);
/// Characters of a name that fit in.
const FITS: usize = 26;

/// A host's place in the picture.
struct Place<'a> {
    host: &'a HostState,
    x: usize,
    y: usize,
}

/// The page.
pub fn map(frame: &Frame, hosts: &[HostState], tunnels: &[Tunnel], now: Timestamp) -> Markup {
    let up = tunnels.iter().filter(|tunnel| tunnel.state == TunnelState::Up).count();
    let content = html! {
        div {
            h1 { "Map" }
            p data-say { (up) " of " (count(tunnels.len(), "tunnel")) " " (if up == 1 { "is" } else { "are" }) " up." }
        }
        div { (picture(hosts, tunnels)) (legend()) }
        section {
            h2 { "Tunnels" }
            div.scroll tabindex="0" role="region" aria-label="Tunnels" { table {
                caption { "As the validators' hosts last reported them" }
                thead { tr { th scope="col" { "Validator's host" } th scope="col" { "Sentry" } th scope="col" { "Pool" }
                    th scope="col" { "State" } th scope="col" { "Last handshake" } th scope="col" { "Lost" }
                    th scope="col" { "Round trip" } th scope="col" { "Sent / received" } } }
                tbody { @for tunnel in tunnels { tr {
                    th scope="row" { a href={ "/hosts/" (tunnel.prep) } { (tunnel.prep) } }
                    td { a href={ "/hosts/" (tunnel.sentry) } { (tunnel.sentry) } }
                    td { @match &tunnel.pool { Some(pool) => (pool), None => "–" } }
                    td { (state(tunnel.state)) }
                    td { @match tunnel.handshake { Some(at) => (moment(at, now)), None => "never" } }
                    td.number { (tunnel.lost_permille.map_or_else(|| "not probed".to_owned(), permille)) }
                    td.number { (tunnel.round_trip_us.map_or_else(|| "not probed".to_owned(), millis)) }
                    td.number { (bytes(tunnel.bytes.0)) " / " (bytes(tunnel.bytes.1)) }
                } } }
            } }
            @if tunnels.is_empty() { p { "No tunnel is wanted yet: there has to be a validator's host and a sentry." } }
        }
    };
    frame.live("Map", &content)
}

/// How a tunnel stands, in words and with a sign of its line.
pub(crate) fn state(state: TunnelState) -> Markup {
    html! { span class={ "state " (state.class()) } { (state.as_str()) } }
}

pub(crate) fn permille(lost: u16) -> String {
    format!("{}.{} %", lost / 10, lost % 10)
}

pub(crate) fn millis(us: u32) -> String {
    format!("{}.{} ms", us / 1000, (us % 1000) / 100)
}

fn picture(hosts: &[HostState], tunnels: &[Tunnel]) -> Markup {
    let members = || hosts.iter().filter(|host| host.view.node.is_active());
    let preps: Vec<&HostState> = members().filter(|host| host.view.node.role == NodeRole::Prep).collect();
    let mut pools: BTreeMap<Option<String>, Vec<&HostState>> = BTreeMap::new();
    for sentry in members().filter(|host| host.view.node.role == NodeRole::Sentry) {
        pools.entry(sentry.view.node.pool.as_ref().map(ToString::to_string)).or_default().push(sentry);
    }
    let rows = pools.values().map(|sentries| sentries.len() + 1).sum::<usize>().max(preps.len() + 1);
    let height = rows * ROW + 20;
    let mut places: BTreeMap<&NodeName, Place<'_>> = BTreeMap::new();
    // Validators stand in the middle of what they dial.
    let free = rows.saturating_sub(preps.len() + 1) * ROW / 2;
    for (row, host) in preps.iter().enumerate() {
        places.insert(&host.view.node.name, Place { host, x: 20, y: 20 + free + (row + 1) * ROW });
    }
    let (mut headings, mut row) = (Vec::new(), 0);
    for (pool, sentries) in &pools {
        headings.push((
            pool.clone().map_or_else(|| "sentries in no pool".to_owned(), |pool| format!("pool {pool}")),
            20 + row * ROW + 30,
        ));
        for sentry in sentries {
            row += 1;
            places.insert(&sentry.view.node.name, Place { host: sentry, x: WIDTH - 20 - BOX.0, y: 20 + row * ROW });
        }
        row += 1;
    }
    let lines =
        tunnels.iter().filter_map(|tunnel| Some((tunnel, places.get(&tunnel.prep)?, places.get(&tunnel.sentry)?)));
    html! {
        div.scroll tabindex="0" role="region" aria-label="Picture of the mesh" {
            svg.map viewBox={ "0 0 " (WIDTH) " " (height) } role="img" aria-labelledby="map-title map-more" {
                title id="map-title" { "Map of the mesh" }
                desc id="map-more" { (count(preps.len(), "validator's host")) ", " (count(places.len() - preps.len(), "sentry host"))
                    ", " (count(tunnels.len(), "tunnel")) "; the table below says the same." }
                text.heading x="20" y=(20 + free + 30) { "validators' hosts" }
                @for (text, y) in &headings { text.heading x=(WIDTH - 20 - BOX.0) y=(y) { (short(text, FITS + 6)) } }
                @for (tunnel, prep, sentry) in lines { (line(tunnel, prep, sentry)) }
                @for place in places.values() { (node(place)) }
            }
        }
    }
}

fn line(tunnel: &Tunnel, prep: &Place<'_>, sentry: &Place<'_>) -> Markup {
    let (from, to) = (prep.x + BOX.0, sentry.x);
    let (y1, y2, middle) = (prep.y + BOX.1 / 2, sentry.y + BOX.1 / 2, from.midpoint(to));
    html! {
        path class={ "tunnel " (tunnel.state.class()) } d={ "M" (from) " " (y1) " C" (middle) " " (y1) " " (middle) " " (y2) " " (to) " " (y2) } {
            title { (tunnel.prep) " to " (tunnel.sentry) ": " (tunnel.state.as_str()) }
        }
    }
}

fn node(place: &Place<'_>) -> Markup {
    let (host, (width, height)) = (place.host, BOX);
    let (class, word) = match &host.lag {
        _ if host.view.node.issued => ("issued", "runs no agent"),
        None => ("good", "in force"),
        Some(_) => ("lagging", "not in force"),
    };
    html! {
        g class={ "node " (class) } {
            title { (host.name()) ", " (host.view.node.role) ": " (word) }
            rect x=(place.x) y=(place.y) width=(width) height=(height) rx="6" {}
            text x=(place.x + 12) y=(place.y + height / 2 + 5) { (short(host.name(), FITS)) }
            @if class == "lagging" { text.sign x=(place.x + width - 18) y=(place.y + height / 2 + 5) { "!" } }
        }
    }
}

fn short(text: &str, most: usize) -> String {
    let mut short: String = text.chars().take(most).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

fn legend() -> Markup {
    html! {
        ul.legend aria-label="Lines of the map" {
            @for state in TunnelState::ALL { li {
                svg viewBox="0 0 40 8" aria-hidden="true" { path class={ "tunnel " (state.class()) } d="M0 4 L40 4" {} }
                " " (state.as_str())
            } }
        }
    }
}

//! What hosts refuse and whom: what each stops and by which limit, the sources by address and by network, and the list to take along.

use crate::{
    Frame, Mark,
    frame::mark,
    text::{count, moment, names, number},
};
use maud::{Markup, html};
use picket_api::attack::{AttackHost, AttackView, LEAST_SAMPLES};
use picket_model::{AttackSource, BlocklistBy, Timestamp, network::Shown};

/// Sources of each kind on the page.
const MOST: usize = 25;
/// Hosts that are named beside a source.
const MOST_NAMED: usize = 3;

/// The page.
pub fn attack(frame: &Frame, view: &AttackView) -> Markup {
    let attacked: Vec<&str> =
        view.hosts.iter().filter(|host| is_attacked(host)).map(|host| host.name.as_str()).collect();
    let content = html! {
        div {
            h1 { "Attack" }
            p data-say {
                @if attacked.is_empty() { "No host is attacked: none stops more than strangers bring anyway." }
                @else { (mark(Mark::Bad)) " " (names(&attacked, 5)) @if attacked.len() == 1 { " is" } @else { " are" }
                    " attacked: see " code { "picket shield" } "." }
            }
            (hosts(&view.hosts, view.now))
        }
        section {
            h2 { "Who is refused" }
            @if view.addresses.is_empty() {
                p { "No source was refused more than once in the last ten minutes, as far as hosts have said." }
            } @else {
                p { "From samples of the last ten minutes. Source addresses can be forged; rates are what hosts stop now, by each "
                    "source's share of the samples." }
                (sources("Addresses", &view.addresses, view.now))
                (sources("Networks", &view.networks, view.now))
            }
        }
        section {
            h2 { "Blocklist" }
            p { "Sources with " (LEAST_SAMPLES) " samples or more, for a firewall elsewhere. Never in it: members, validators, admin networks "
                "and what the policy names; the list says who was left out, and why." }
            ul {
                @for by in [BlocklistBy::Address, BlocklistBy::Prefix] { li { "by " (by) ": "
                    @for (place, kind) in ["txt", "nft", "json"].into_iter().enumerate() {
                        @if place > 0 { ", " }
                        a href={ "/attack/blocklist." (kind) "?by=" (by) } download { (kind) }
                    }
                } }
            }
        }
    };
    frame.live("Attack", &content)
}

fn is_attacked(host: &AttackHost) -> bool {
    host.defences.as_ref().is_some_and(picket_model::Defences::is_attacked)
}

fn hosts(hosts: &[AttackHost], now: Timestamp) -> Markup {
    let caption = "What hosts stop";
    html! {
        div.scroll tabindex="0" role="region" aria-label=(caption) { table {
            caption { (caption) }
            thead { tr { th scope="col" { "Host" } th scope="col" { "Stopped in a second" } th scope="col" { "Limits" }
                th scope="col" { "Stopped by" } th scope="col" { "Last report" } } }
            tbody { @for host in hosts { tr {
                th scope="row" { a href={ "/hosts/" (host.name) } { (host.name) } }
                td.number {
                    @match host.defences.as_ref().and_then(|said| said.stopped_per_second) {
                        Some(stopped) => { (number(stopped)) @if is_attacked(host) { " " (mark(Mark::Bad)) } },
                        None => "not counted yet",
                    }
                }
                td { @match &host.defences { Some(said) if said.is_tight => "tight", Some(_) => "relaxed", None => "–" } }
                td {
                    @if host.acting.is_empty() { "–" }
                    @for (place, (what, rate)) in host.acting.iter().enumerate() {
                        @if place > 0 { ", " }
                        code { (crate::text::plain(what)) } " " (number(*rate)) "/s"
                    }
                }
                td { @match host.reported_at { Some(at) => (moment(at, now)), None => "never" } }
            } } }
        } }
    }
}

fn sources(caption: &str, sources: &[AttackSource], now: Timestamp) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(caption) { table {
            caption { (caption) }
            thead { tr { th scope="col" { "Source" } th scope="col" { "Samples" } th scope="col" { "About, in a second" }
                th scope="col" { "Ports" } th scope="col" { "Hosts" } th scope="col" { "Last" } } }
            tbody { @for source in sources.iter().take(MOST) { tr {
                th scope="row" { (Shown(source.source)) }
                td.number { (number(source.samples)) }
                td.number { (number(source.per_second)) }
                td { (some(&source.ports)) }
                td { (some(&source.hosts)) }
                td { (moment(source.last, now)) }
            } } }
        } }
        @if sources.len() > MOST { p { (count(sources.len() - MOST, "source")) " more: " code { "picket attack --json" } } }
    }
}

fn some<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = all.into_iter().map(|one| one.to_string()).collect();
    if all.is_empty() { "–".to_owned() } else { names(&all, MOST_NAMED) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Section, fixture};
    use picket_model::{Defences, GuardedPort, Protocol};

    fn view(stopped: u64, sources: Vec<AttackSource>) -> String {
        let defences = Defences {
            is_tight: false,
            since: fixture::NOW,
            stopped_per_second: Some(stopped),
            attack_per_second: 1000,
            syn_cookies: None,
            tracking: None,
        };
        let host = AttackHost {
            node: "n-1".parse().unwrap(),
            name: "sentry-1".parse().unwrap(),
            defences: Some(defences),
            reported_at: Some(fixture::NOW),
            samples: Some((3, 600)),
            acting: [("refused_<b>".to_owned(), 48_000)].into(),
        };
        let view = AttackView { now: fixture::NOW, hosts: vec![host], addresses: sources.clone(), networks: sources };
        attack(&fixture::frame(Section::Attack), &view).into_string()
    }

    #[test]
    fn it_says_who_knocks_where_and_what_stops_them() {
        let port = GuardedPort { protocol: Protocol::Tcp, port: 7100.try_into().unwrap() };
        let source = AttackSource {
            source: "9.9.9.9/32".parse().unwrap(),
            samples: 1700,
            per_second: 45_000,
            last: fixture::NOW,
            ports: [port].into(),
            hosts: ["sentry-1".parse().unwrap()].into(),
        };
        let page = view(48_000, vec![source; 30]);
        for expect in [
            "sentry-1 is attacked",
            "<code>refused_&lt;b&gt;</code> 48\u{202f}000/s",
            "<th scope=\"row\">9.9.9.9</th>",
            "45\u{202f}000",
            "tcp/7100",
            "5 sources more",
            "href=\"/attack/blocklist.nft?by=prefix\" download",
        ] {
            assert!(page.contains(expect), "{expect}: {page}");
        }
    }

    #[test]
    fn where_nobody_knocks_it_says_so() {
        let page = view(999, Vec::new());
        assert!(page.contains("No host is attacked") && page.contains("No source was refused"), "{page}");
    }
}

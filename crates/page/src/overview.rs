//! The first view: four answers, and what stands behind them.

use crate::{
    Frame, Overview, TunnelState, answers,
    events::line,
    frame::answer,
    text::{count, moment, number},
};
use maud::{Markup, html};

/// Events shown.
const EVENTS: usize = 8;

/// The page.
pub fn overview(frame: &Frame, of: &Overview) -> Markup {
    let (status, now) = (&of.status, of.status.now);
    let [wrong, hidden, reach, changed] = answers(of);
    let up = of.tunnels.iter().filter(|tunnel| tunnel.state == TunnelState::Up).count();
    let content = html! {
        div {
            h1 { "Overview" }
            div.answers {
                (answer(&wrong, true, Some(html! { p.more {
                    @if of.held.is_some() { a href="/validators" { "A change of the list is held back" } " · " }
                    a href="/hosts" { "All hosts" }
                } })))
                (answer(&hidden, false, None))
                (answer(&reach, false, Some(html! { p.more { a href="/why" { "Ask about one address" } } })))
                (answer(&changed, false, Some(html! { p.more { a href="/events" { "All events" } } })))
            }
        }
        div.facts {
            (fact("hosts in force", &format!("{} of {}", status.in_force, status.nodes), "/hosts"))
            (fact("tunnels up", &format!("{up} of {}", of.tunnels.len()), "/map"))
            (fact("validators", &status.validators.to_string(), "/validators"))
            (fact("generation", &status.generation.to_string(), "/events"))
        }
        section {
            h2 { "Where the list comes from" }
            div.scroll tabindex="0" role="region" aria-label="Sources" { table {
                caption { (count(status.sources.len(), "source")) " of the validator list" }
                thead { tr { th scope="col" { "Source" } th scope="col" { "Height" } th scope="col" { "Last answer" }
                    th scope="col" { "Entries" } th scope="col" { "State" } } }
                tbody { @for source in &status.sources { tr {
                    th scope="row" { (source.id) }
                    td.number { (source.height.map_or_else(|| "–".to_owned(), number)) }
                    td { @match source.seen_at { Some(at) => (moment(at, now)), None => "never" } }
                    td.number { (source.entries) @if source.refused > 0 { " (" (source.refused) " refused)" } }
                    td { @match &source.error {
                        Some(error) => { (crate::frame::mark(crate::Mark::Notice)) " " (crate::text::foreign(error)) },
                        None => (crate::frame::mark(crate::Mark::Good)),
                    } }
                } } }
            } }
        }
        section {
            h2 { "The last events" }
            ol.timeline { @for event in of.events.iter().rev().take(EVENTS) { (line(event, now)) } }
        }
    };
    frame.live("Overview", &content)
}

fn fact(what: &str, value: &str, path: &str) -> Markup {
    html! { a.fact href=(path) { span.value { (value) } span.what { (what) } } }
}

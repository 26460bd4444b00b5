//! What happened, newest first, with what each plan changed.

use crate::{
    Frame,
    answers::said,
    text::{foreign, foreign_whole, full, moment, plain},
};
use maud::{Markup, html};
use picket_api::operator::EventView;
use picket_model::Timestamp;

/// A line that is longer is folded.
const SHORT: usize = 200;

/// The page: some lines of the audit log, newest last as the store gives them; `older` leads to those before.
pub fn events(frame: &Frame, events: &[EventView], older: Option<i64>, now: Timestamp) -> Markup {
    let content = html! {
        h1 { "Events" }
        p { "Every change of the mesh: who, what, when, and what each plan changed on the hosts. "
            "The log is only added to, and each line is chained to the one before: "
            code { "picket events --verify" } " looks at it." }
        div {
            @if events.is_empty() { p { "Nothing happened yet." } }
            ol.timeline { @for event in events.iter().rev() { (line(event, now)) } }
        }
        @if let Some(before) = older {
            p { a href={ "/events?before=" (before) } { "Older events" } }
        }
    };
    frame.live("Events", &content)
}

/// One line; what a plan changed is below it, folded.
pub(crate) fn line(event: &EventView, now: Timestamp) -> Markup {
    let lines: Vec<&str> = event.detail.lines().filter(|line| !line.is_empty()).collect();
    html! {
        li id={ "event-" (event.id) } {
            div.head {
                strong { (said(&event.action)) }
                @if !event.subject.is_empty() { " " span.subject { (foreign(&event.subject)) } }
                span.when { (moment(event.at, now)) }
            }
            div.by {
                (full(event.at)) " · by " (foreign(&event.actor))
                @if let Some(address) = event.address { " from " (address) }
                @if let Some(reason) = &event.reason { " · " q { (plain(reason)) } }
            }
            @match lines.as_slice() {
                [] => {},
                [one] if one.chars().count() <= SHORT => { p.detail { (change(one)) } },
                [one] => { details id={ "detail-" (event.id) } { summary { "In full" } p.detail { (foreign_whole(one)) } } },
                many => { details id={ "detail-" (event.id) } {
                    summary { (many.len()) " changes" }
                    ul.diff { @for line in many { li class=(sign(line)) { (change(line)) } } }
                } },
            }
        }
    }
}

fn change(line: &str) -> Markup {
    foreign(line)
}

/// Whether a line of a difference comes or goes. The line itself begins with the sign, so that no colour is needed.
fn sign(line: &str) -> &'static str {
    match line.chars().next() {
        Some('+') => "came",
        Some('-') => "went",
        _ => "other",
    }
}

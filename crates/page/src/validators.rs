//! The validator set, each with where it comes from; what was refused, what is held back, and an admin's word about it.

use crate::{
    Frame, Mark,
    frame::mark,
    text::{count, counted, foreign, full, moment, names, number, plain},
};
use maud::{Markup, html};
use picket_api::validators::{HeldChange, HeldView, ValidatorsView};
use picket_model::{Denied, P2pEndpoint, Timestamp, Validator};

/// The page.
pub fn validators(frame: &Frame, view: &ValidatorsView, now: Timestamp) -> Markup {
    let is_admin = frame.viewer.is_admin();
    let content = html! {
        div {
            h1 { "Validators" }
            p data-say {
                (count(view.validators.len(), "validator")) " in the set, version " (view.version)
                @if let Some(height) = view.height { ", as of height " (number(height)) }
                @if view.held.is_some() { ". A change of the list is held back" } "."
            }
        }
        @if let Some(held) = &view.held { (held_back(frame, held)) }
        @match &view.orders.hold {
            Some(order) => section.notice-box {
                h2 { "Frozen by a person" }
                p { (mark(Mark::Notice)) " " q { (plain(&order.comment)) } " by " (order.by) ", " (moment(order.at, now))
                    @match order.until { Some(until) => { "; until " (full(until)) }, None => "; until somebody releases it" } "." }
                @if is_admin {
                    form method="post" action="/validators/release" {
                        (frame.viewer.proof())
                        button type="submit" { "Release the set" }
                    }
                }
            },
            None => @if is_admin { (freeze(frame)) },
        }
        section {
            h2 { "In the set" }
            (set(&view.validators, now))
        }
        section {
            h2 { "Refused entries" }
            @if view.refused.is_empty() { p { "None: every entry of every source was taken." } } @else {
                div.scroll tabindex="0" role="region" aria-label="Refused entries" { table {
                    caption { (counted(view.refused.len(), "entry", "entries")) " of the list that nobody may come in by" }
                    thead { tr { th scope="col" { "Entry" } th scope="col" { "Source" } th scope="col" { "Why" } } }
                    tbody { @for refused in &view.refused { tr {
                        th scope="row" { (foreign(&refused.refused.entry)) }
                        td { (refused.source) }
                        td { (foreign(&refused.refused.reason)) }
                    } } }
                } }
            }
        }
        @if !view.denied.is_empty() {
            section {
                h2 { "Kept out by the policy" }
                ul { @for line in &view.denied { li {
                    @match line.whom { Denied::Network(network) => (network), Denied::Prep(prep) => (prep) }
                    ": " (foreign(&line.comment))
                } } }
            }
        }
    };
    frame.live("Validators", &content)
}

fn held_back(frame: &Frame, held: &HeldView) -> Markup {
    html! {
        section.notice-box {
            h2 { "Held back" }
            p { (mark(Mark::Notice)) " " (plain(&held.reason)) }
            p { (would(&held.changes)) }
            p.hint { "The last good set stays in force until the list is believable again, or somebody lets this change through." }
            @match (&held.digest, frame.viewer.is_admin()) {
                (Some(_), true) => { a.button href="/validators/approve" { "Decide…" } },
                (Some(_), false) => { p.hint { "An admin may let it through." } },
                (None, _) => { p.hint { "There is nothing in it that could be let through." } },
            }
            (held_changes(&held.changes))
        }
    }
}

/// The question before a held change is let through. It stays as it is while somebody reads it: what is let through is what is
/// shown, or nothing.
pub fn approve_form(frame: &Frame, held: &HeldView, digest: &str) -> Markup {
    let content = html! {
        h1 { "Let this change through?" }
        p { (plain(&held.reason)) }
        p.summary { (would(&held.changes)) }
        (held_changes(&held.changes))
        p { "If it is real, as after an election or an outage of many. If the sources lie, leave it: the set that is in force stays." }
        form.stack method="post" action="/validators/approve" {
            (frame.viewer.proof())
            input type="hidden" name="digest" value=(digest);
            p.hint { "Change " code { (digest) } ". Should the list say something else by now, nothing happens, and you are told." }
            div.row {
                button.danger type="submit" { "Let exactly this change through" }
                a.button href="/validators" { "Leave it held" }
            }
        }
    };
    frame.still("Let a change through", &content)
}

/// `40 validators would leave, 1 would move and 2 would come.`
fn would(changes: &[HeldChange]) -> String {
    let number = |verb| changes.iter().filter(|change| change.verb() == verb).count();
    let kinds = ["leave", "move", "come"].map(|verb| (verb, number(verb)));
    let kinds: Vec<String> = kinds
        .into_iter()
        .filter(|(_, number)| *number > 0)
        .map(|(verb, number)| format!("{} would {verb}", count(number, "validator")))
        .collect();
    if kinds.is_empty() { "Nobody would leave, move or come.".to_owned() } else { format!("{}.", names(&kinds, 3)) }
}

fn held_changes(changes: &[HeldChange]) -> Markup {
    let at = |endpoint: &Option<P2pEndpoint>| {
        html! {
            @match endpoint { Some(endpoint) => (foreign(&endpoint.to_string())), None => "–" }
        }
    };
    html! {
        @if !changes.is_empty() {
            div.scroll.tall tabindex="0" role="region" aria-label="What would change" { table {
                caption { "All that would change" }
                thead { tr { th scope="col" { "Would" } th scope="col" { "Name" } th scope="col" { "P-Rep" } th scope="col" { "From" }
                    th scope="col" { "To" } } }
                tbody { @for change in changes { tr {
                    td { (change.verb()) }
                    th scope="row" { (foreign(if change.name.is_empty() { "(no name)" } else { &change.name })) }
                    td { code.id { (change.prep) } }
                    td { (at(&change.before)) }
                    td { (at(&change.after)) @if change.before.is_some() && change.before == change.after { " (it advertises other addresses)" } }
                } } }
            } }
        }
    }
}

fn freeze(frame: &Frame) -> Markup {
    html! {
        details id="freeze" {
            summary { "Freeze the set" }
            form.stack method="post" action="/validators/hold" {
                (frame.viewer.proof())
                p { "Nothing of the list changes the set until it is released." }
                label for="comment" { "Why" }
                input id="comment" name="comment" required maxlength="200" autocomplete="off";
                label for="hours" { "For so many hours " span.hint { "(until it is released where left out)" } }
                input id="hours" name="hours" type="number" min="1" max="8760" inputmode="numeric";
                button type="submit" { "Freeze" }
            }
        }
    }
}

fn set(validators: &[Validator], now: Timestamp) -> Markup {
    html! {
        @if validators.is_empty() { p { "No list has been seen yet: nobody is let in as a validator." } } @else {
            div.scroll.tall tabindex="0" role="region" aria-label="Validators" { table {
                caption { "Who may reach P2P and RPC ports, from where, and who says so" }
                thead { tr { th scope="col" { "Name" } th scope="col" { "P-Rep" } th scope="col" { "Grade" } th scope="col" { "Endpoint" }
                    th scope="col" { "Let in from" } th scope="col" { "Named by" } th scope="col" { "Since height" } } }
                tbody { @for validator in validators { (row(validator, now)) } }
            } }
        }
    }
}

fn row(validator: &Validator, now: Timestamp) -> Markup {
    let Validator { prep, name, grade, endpoint, addresses, provenance, absent_since, .. } = validator;
    html! {
        tr {
            th scope="row" { (foreign(if name.is_empty() { "(no name)" } else { name })) }
            td { code.id { (prep) } }
            td {
                (grade)
                @if let Some(since) = absent_since { " " (mark(Mark::Notice)) " missing from the list, " (moment(*since, now)) }
            }
            td { (foreign(&endpoint.to_string())) }
            td { @for address in addresses { div { (address) } } @if addresses.is_empty() { "nowhere yet" } }
            td { @for source in &provenance.sources { div.keep { (source) } }
                @for (address, hosts) in &provenance.advertised {
                    div.hint { (address) " advertised to " (count(hosts.len(), "host")) " of ours" }
                } }
            td.number { (number(provenance.since_height)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Section, fixture::frame};

    fn change(number: u8, before: Option<&str>, after: Option<&str>) -> HeldChange {
        let at = |text: Option<&str>| text.map(|text| text.parse().unwrap());
        let prep = format!("hx{number:040x}").parse().unwrap();
        HeldChange { prep, name: "<b>Station".to_owned(), before: at(before), after: at(after) }
    }

    #[test]
    fn all_of_a_held_change_is_on_the_page_where_it_is_decided() {
        let (one, two) = (Some("192.0.2.1:7100"), Some("node.example:7100"));
        let mut changes: Vec<HeldChange> = (0..40).map(|number| change(number, one, None)).collect();
        changes.extend([change(40, one, two), change(41, one, one), change(42, None, two)]);
        let digest = "0123456789abcdef0123456789abcdef";
        let held = HeldView { reason: "too many".to_owned(), changes, ..HeldView::default() };
        let page = approve_form(&frame(Section::Validators), &held, digest).into_string();
        assert!(
            page.contains("40 validators would leave, 2 validators would move and 1 validator would come."),
            "{page}"
        );
        for held in &held.changes {
            assert!(page.contains(&held.prep.to_string()), "{held:?} is not shown");
        }
        assert!(page.contains(&format!("value=\"{digest}\"")) && page.contains("node.example:7100"));
        assert!(page.contains("it advertises other addresses") && !page.contains("<b>"));
        assert!(!page.contains("data-live"), "it changes under the finger");
    }
}

//! The validator set, each with where it comes from; what was refused, what is held back, and an admin's word about it.

use crate::{
    Frame, Mark,
    frame::mark,
    text::{count, counted, foreign, full, moment, number, plain},
};
use maud::{Markup, html};
use picket_api::validators::{HeldView, ValidatorsView};
use picket_model::{Denied, Timestamp, Validator};

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
            p { (mark(Mark::Notice)) " " (plain(&held.text)) }
            p.hint { "The last good set stays in force until the list is believable again, or somebody lets this change through." }
            @match (&held.digest, frame.viewer.is_admin()) {
                (Some(digest), true) => form method="post" action="/validators/approve" {
                    (frame.viewer.proof())
                    input type="hidden" name="digest" value=(digest);
                    button.danger type="submit" { "Let exactly this change through" }
                    span.hint { " change " code { (digest.chars().take(16).collect::<String>()) } "…" }
                },
                (Some(_), false) => { p.hint { "An admin may let it through." } },
                (None, _) => { p.hint { "There is nothing in it that could be let through." } },
            }
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

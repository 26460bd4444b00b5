//! What a delegator or a colleague may see without logging in: counts, states, times, and names of P-Reps from the chain, as far as
//! the operator chose. There is no field for an address, a host's name or an operator, and a name that has an address in it is
//! left out.

use crate::{
    Answer, Mark, Overview, TunnelState, answers,
    answers::said,
    assets,
    frame::{document, mark},
    text::{count, foreign, full, has_address, moment},
};
use maud::{Markup, html};
use picket_model::{Grade, NodeRole, Timestamp, Validator};
use serde::Deserialize;
use std::collections::BTreeSet;

/// Changes that are told of.
const CHANGES: usize = 10;
/// What the public may know to have happened; the rest is the operators' own.
const TOLD: [&str; 5] = ["plan.committed", "validators.changed", "node.enrolled", "node.revoked", "policy.changed"];

/// What the operator may show to everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PublicField {
    /// Whether anything is wrong, in a sentence without particulars.
    State,
    /// How many hosts there are, and on how many what is wanted is in force.
    Hosts,
    /// How many tunnels there are and how many are up.
    Tunnels,
    /// Names and grades of the validators that are let in.
    Validators,
    /// What kinds of things changed, and when.
    Changes,
}

/// All that is shown; what was not chosen is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicView {
    title: String,
    now: Timestamp,
    state: Option<(Mark, String)>,
    hosts: Option<Vec<(&'static str, usize, usize)>>,
    tunnels: Option<(usize, usize)>,
    validators: Option<Vec<(String, Grade)>>,
    changes: Option<Vec<(String, Timestamp)>>,
}

impl PublicView {
    /// What of an overview and a set everybody may see.
    pub fn of(title: &str, show: &BTreeSet<PublicField>, of: &Overview, set: &[Validator]) -> Self {
        let chosen = |field| show.contains(&field);
        Self {
            title: title.to_owned(),
            now: of.status.now,
            state: chosen(PublicField::State).then(|| state(of)),
            hosts: chosen(PublicField::Hosts).then(|| {
                let role =
                    |role| of.hosts.iter().filter(move |host| host.view.node.role == role && host.view.node.reports());
                let row = |what, of| (what, role(of).filter(|host| host.view.in_force).count(), role(of).count());
                vec![row("validators' hosts", NodeRole::Prep), row("sentries", NodeRole::Sentry)]
            }),
            tunnels: chosen(PublicField::Tunnels).then(|| {
                (of.tunnels.iter().filter(|tunnel| tunnel.state == TunnelState::Up).count(), of.tunnels.len())
            }),
            validators: chosen(PublicField::Validators)
                .then(|| set.iter().map(|one| (name(&one.name), one.grade)).collect()),
            changes: chosen(PublicField::Changes).then(|| {
                let told = of.events.iter().rev().filter(|event| TOLD.contains(&event.action.as_str()));
                told.take(CHANGES).map(|event| (said(&event.action), event.at)).collect()
            }),
        }
    }
}

fn name(name: &str) -> String {
    match name {
        "" => "(no name)".to_owned(),
        name if has_address(name) => "(name left out)".to_owned(),
        name => name.to_owned(),
    }
}

/// Without particulars: an alarm's text may name hosts and addresses.
fn state(of: &Overview) -> (Mark, String) {
    let [Answer { mark, more, .. }, ..] = answers(of);
    let text = match mark {
        Mark::Good => "All is well: what is wanted is in force on every host.".to_owned(),
        _ => format!("The operators have {} to look at.", count(more.len(), "thing")),
    };
    (mark, text)
}

/// The page.
pub fn public(view: &PublicView) -> Markup {
    let PublicView { title, now, state, hosts, tunnels, validators, changes } = view;
    let inner = html! {
        header.top { span.brand { (assets::mark()) span { (title) } } }
        main id="main" {
            h1 { (title) }
            @if let Some((sign, text)) = state { p.summary { (mark(*sign)) " " (text) } }
            @if hosts.is_some() || tunnels.is_some() {
                div.facts {
                    @for (what, in_force, all) in hosts.iter().flatten() {
                        div.fact { span.value { (in_force) " of " (all) } span.what { (what) " in force" } }
                    }
                    @if let Some((up, all)) = tunnels { div.fact { span.value { (up) " of " (all) } span.what { "tunnels up" } } }
                }
            }
            @if let Some(validators) = validators {
                section {
                    h2 { "Validators that are let in" }
                    div.scroll.tall tabindex="0" role="region" aria-label="Validators" { table {
                        caption { (count(validators.len(), "validator")) ", by the names that they registered" }
                        thead { tr { th scope="col" { "Name" } th scope="col" { "Grade" } } }
                        tbody { @for (name, grade) in validators { tr { th scope="row" { (foreign(name)) } td { (grade) } } } }
                    } }
                }
            }
            @if let Some(changes) = changes {
                section {
                    h2 { "Last changes" }
                    @if changes.is_empty() { p { "None." } }
                    ul { @for (what, at) in changes { li { (what) ", " (moment(*at, *now)) } } }
                }
            }
        }
        footer { p { "as of " (full(*now)) } }
    };
    document(title, false, &inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{event, finding, issued, overview, validator};
    use picket_api::operator::FindingView;

    fn all() -> BTreeSet<PublicField> {
        use PublicField::{Changes, Hosts, State, Tunnels, Validators};
        BTreeSet::from([State, Hosts, Tunnels, Validators, Changes])
    }

    #[test]
    fn no_address_host_or_operator_is_in_any_byte_of_it() {
        let mut of = overview();
        let text = "host prep-1 at 203.0.113.11 lags".to_owned();
        of.status.findings = vec![FindingView { text, ..finding("host-lagging", Some("prep-1")) }];
        of.events = vec![event(1, "node.enrolled", 5)];
        let set = [validator("At 203.0.113.77"), validator("<b>Station</b>")];
        let page = public(&PublicView::of("Our mesh", &all(), &of, &set)).into_string();
        for secret in ["203.0.113", "198.51.100", "192.0.2", "fd00:", "prep-1", "op-1", "hx", "<b>", "m-1"] {
            assert!(!page.contains(secret), "{secret} in {page}");
        }
        for shown in
            ["Our mesh", "(name left out)", "&lt;b&gt;Station", "1 thing to look at", "a host joined", "1 of 1"]
        {
            assert!(page.contains(shown), "{shown} not in {page}");
        }
    }

    #[test]
    fn a_machine_without_an_agent_is_not_waited_for() {
        let mut of = overview();
        of.hosts.push(issued("laptop"));
        let page = public(&PublicView::of("t", &all(), &of, &[])).into_string();
        assert!(page.contains("1 of 1") && !page.contains("1 of 2"), "{page}");
    }

    #[test]
    fn what_was_not_chosen_is_not_shown() {
        let page = public(&PublicView::of("t", &BTreeSet::new(), &overview(), &[validator("Station")])).into_string();
        assert!(!page.contains("Station") && !page.contains("1 of 1") && !page.contains("All is well"), "{page}");
    }
}

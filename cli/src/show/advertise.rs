//! `picket advertise`: what to set, what was looked at, and what to do.

use crate::{advertise::remedies, table::Page};
use picket_api::dns::AdvertiseView;
use picket_model::{AdvertisedFact, Advertising, Verdict};

/// The screen.
pub(crate) fn page(view: &AdvertiseView) -> String {
    let mut page = Page::default();
    if view.validators.is_empty() {
        page.line("no validator is hidden: policy.hidden has no line");
    }
    for (index, validator) in view.validators.iter().enumerate() {
        if index > 0 {
            page.blank();
        }
        one(&mut page, validator);
    }
    page.finish()
}

fn one(page: &mut Page, validator: &Advertising) {
    let id = validator.prep_id.as_ref().map_or_else(|| "not known".to_owned(), ToString::to_string);
    let set = validator.set.as_deref();
    page.rows(&[
        ["validator".to_owned(), validator.prep.to_string()],
        ["P-Rep".to_owned(), id],
        ["GOLOOP_P2P".to_owned(), set.unwrap_or("not said").to_owned()],
        ["p2pEndpoint".to_owned(), set.unwrap_or("not said").to_owned()],
    ]);
    page.blank();
    page.table(["", "looked at", "found"], validator.facts.iter().map(row));
    let open: Vec<_> = remedies(validator).collect();
    if !open.is_empty() {
        page.blank();
    }
    for (fact, remedy) in open {
        page.line(format_args!("{} {}: {remedy}", sign(fact.verdict), fact.about));
    }
}

fn row(fact: &AdvertisedFact) -> [String; 3] {
    [sign(fact.verdict).to_owned(), fact.about.clone(), fact.found.clone()]
}

const fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "ok",
        Verdict::Unknown => "?",
        Verdict::Wrong => "!",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_set_stands_first_and_what_to_do_last() {
        let fact = |about: &str, found: &str, verdict, remedy: Option<&str>| AdvertisedFact {
            about: about.to_owned(),
            found: found.to_owned(),
            verdict,
            remedy: remedy.map(str::to_owned),
        };
        let view = AdvertiseView {
            validators: vec![Advertising {
                prep: "prep-1".parse().unwrap(),
                prep_id: None,
                set: Some("p2p.example.org:7100".to_owned()),
                facts: vec![
                    fact("sentry sentry-1", "forwards port 7100", Verdict::Good, None),
                    fact("name", "x\u{1b}[2J", Verdict::Wrong, Some("write it")),
                    fact("way to 192.0.2.1:7100", "no answer", Verdict::Unknown, Some("look from there")),
                ],
                at: ["192.0.2.1:7100".parse().unwrap()].into(),
            }],
        };
        let text = page(&view);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "validator    prep-1",
                "P-Rep        not known",
                "GOLOOP_P2P   p2p.example.org:7100",
                "p2pEndpoint  p2p.example.org:7100",
                "",
                "    LOOKED AT              FOUND",
                "ok  sentry sentry-1        forwards port 7100",
                "!   name                   x\\u{1b}[2J",
                "?   way to 192.0.2.1:7100  no answer",
                "",
                "! name: write it",
                "? way to 192.0.2.1:7100: look from there",
            ]
        );
        assert!(page(&AdvertiseView { validators: Vec::new() }).contains("no validator is hidden"));
    }
}

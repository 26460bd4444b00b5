//! `picket dns`: what stands at each name, what shall, and how each sentry stands to it.

use crate::{table::Page, time::ago};
use picket_api::dns::{DnsView, NameView};
use std::{collections::BTreeSet, net::IpAddr};

/// Whether every name is as it shall be.
pub(crate) fn is_well(view: &DnsView) -> bool {
    view.names.iter().all(|name| name.error.is_none() && name.held.is_none() && name.found == name.wanted)
}

/// The screen. Ages are by the controller's clock.
pub(crate) fn page(view: &DnsView) -> String {
    let mut page = Page::default();
    if view.names.is_empty() {
        page.line("no name follows the sentries: the configuration has no [[dns]]");
    }
    for (index, name) in view.names.iter().enumerate() {
        if index > 0 {
            page.blank();
        }
        one(&mut page, name, view);
    }
    page.finish()
}

fn one(page: &mut Page, name: &NameView, view: &DnsView) {
    let preps: Vec<&str> = name.preps.iter().map(|prep| prep.as_str()).collect();
    let wanted = if name.wanted.is_empty() { "as it is".to_owned() } else { shown(&name.wanted) };
    page.rows(&[
        ["name".to_owned(), format!("{}, {} s, {}", name.name, name.ttl, name.provider)],
        ["for".to_owned(), if preps.is_empty() { "nobody".to_owned() } else { preps.join(", ") }],
        ["stands".to_owned(), format!("{}, read {}", shown(&name.found), ago(name.read_at, view.now))],
        ["shall be".to_owned(), wanted],
        ["changed".to_owned(), ago(name.changed_at, view.now)],
    ]);
    for why in [&name.held, &name.error].into_iter().flatten() {
        page.line(format_args!("! {why}"));
    }
    if !name.sentries.is_empty() {
        page.blank();
        let rows = name.sentries.iter().map(|sentry| {
            let out = sentry.out.clone().unwrap_or_else(|| "in".to_owned());
            [sentry.name.to_string(), shown(&sentry.addresses), out]
        });
        page.table(["sentry", "addresses", "in the name"], rows);
    }
}

fn shown(addresses: &BTreeSet<IpAddr>) -> String {
    if addresses.is_empty() {
        return "nothing".to_owned();
    }
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_api::dns::NameSentry;
    use picket_model::Timestamp;

    #[test]
    fn a_name_is_shown_with_each_sentry_and_why_it_is_out() {
        let addresses =
            |list: &[&str]| list.iter().map(|address| address.parse().unwrap()).collect::<BTreeSet<IpAddr>>();
        let sentry = |number: u8, out: Option<&str>| NameSentry {
            name: format!("sentry-{number}").parse().unwrap(),
            addresses: addresses(&[&format!("192.0.2.{number}")]),
            out: out.map(str::to_owned),
        };
        let mut view = DnsView {
            now: Timestamp::from_millis(60_000),
            names: vec![NameView {
                name: "p2p.example.org".to_owned(),
                provider: "rfc2136".to_owned(),
                ttl: 30,
                preps: ["prep-1".parse().unwrap()].into(),
                found: addresses(&["192.0.2.2"]),
                read_at: Some(Timestamp::from_millis(57_000)),
                wanted: addresses(&["192.0.2.2"]),
                sentries: vec![sentry(1, Some("answers prep-1 no more")), sentry(2, None)],
                ..NameView::default()
            }],
        };
        assert!(is_well(&view));
        let text = page(&view);
        assert!(text.contains("p2p.example.org, 30 s, rfc2136") && text.contains("192.0.2.2, read 3 s ago"), "{text}");
        assert!(text.contains("sentry-1  192.0.2.1  answers prep-1 no more\nsentry-2  192.0.2.2  in\n"), "{text}");
        view.names[0].error = Some("ask 192.0.2.53: no answer".to_owned());
        assert!(!is_well(&view) && page(&view).contains("! ask 192.0.2.53"));
    }
}

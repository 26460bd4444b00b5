//! `picket ca`: the mesh's CA, and how far its rotation is.

use crate::{
    table::{Page, count},
    time::ago,
};
use picket_api::ca::{CaView, RotationPhase, RotationView};
use picket_model::{NodeName, Timestamp};

/// Most hosts that are named.
const NAMED: usize = 20;

/// The one-screen truth about the CA.
pub(crate) fn page(view: &CaView, now: Timestamp) -> String {
    let mut page = Page::default();
    page.line(format_args!("CA {}, until {}", view.fingerprint, view.not_after));
    let Some(rotation) = &view.rotation else {
        page.line("no rotation is under way");
        return page.finish();
    };
    let RotationView { next, phase, started_at, switched_at, hosts, without_trust, without_certificate, old_tokens } =
        rotation;
    page.line(format_args!("next {next}, begun {}", ago(Some(*started_at), now)));
    page.line(match phase {
        RotationPhase::Announced => "announced: the old one signs until every host trusts the next".to_owned(),
        RotationPhase::Issuing => {
            let since = ago(*switched_at, now);
            format!("issuing, begun {since}: the next one signs, both are accepted, hosts renew")
        }
    });
    let of = |lacking: &[NodeName]| format!("{} of {}", hosts.saturating_sub(lacking.len()), count(*hosts, "host"));
    page.line(format_args!("{} trust the next CA{}", of(without_trust), names(without_trust)));
    page.line(format_args!("{} show a certificate of it{}", of(without_certificate), names(without_certificate)));
    if *old_tokens > 0 {
        page.line(format_args!(
            "{} made for the old CA, useless after the finish; so are --ca-fingerprint in user data and operators' files",
            count(*old_tokens, "join token")
        ));
    }
    page.line(match phase {
        RotationPhase::Announced => {
            "next: nothing, it goes on by itself; `picket ca rotate --switch --force` gives hosts up"
        }
        RotationPhase::Issuing if without_trust.is_empty() && without_certificate.is_empty() => {
            "next: `picket ca rotate --finish`"
        }
        RotationPhase::Issuing => "next: wait, or revoke hosts that are gone; then `picket ca rotate --finish`",
    });
    page.finish()
}

fn names(lacking: &[NodeName]) -> String {
    if lacking.is_empty() {
        return String::new();
    }
    let named = lacking.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let more = if lacking.len() > NAMED { ", ..." } else { "" };
    format!("; not {named}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_pki::Fingerprint;

    fn view(rotation: Option<RotationView>) -> CaView {
        let fingerprint = Fingerprint::of(b"old");
        CaView { fingerprint, not_after: Timestamp::from_millis(0), issues: fingerprint, rotation }
    }

    fn rotation(phase: RotationPhase, without: &[&str]) -> RotationView {
        let names: Vec<NodeName> = without.iter().map(|name| name.parse().unwrap()).collect();
        RotationView {
            next: Fingerprint::of(b"next"),
            phase,
            started_at: Timestamp::from_millis(0),
            switched_at: None,
            hosts: 3,
            without_trust: names.clone(),
            without_certificate: names,
            old_tokens: 0,
        }
    }

    #[test]
    fn who_is_missing_and_what_comes_next_is_said() {
        let check = |rotation, expect: &[&str]| {
            let page = page(&view(rotation), Timestamp::from_millis(60_000));
            for part in expect {
                assert!(page.contains(part), "{part:?} in {page}");
            }
        };
        check(None, &["no rotation is under way"]);
        check(
            Some(rotation(RotationPhase::Announced, &["prep-1", "sentry-2"])),
            &["1 of 3 hosts trust the next CA; not prep-1, sentry-2", "goes on by itself"],
        );
        check(Some(rotation(RotationPhase::Issuing, &["prep-1"])), &["2 of 3 hosts show", "next: wait"]);
        check(Some(rotation(RotationPhase::Issuing, &[])), &["3 of 3 hosts show", "next: `picket ca rotate --finish`"]);
    }
}

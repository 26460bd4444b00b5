//! `picket identities`: who was vouched for, as which host they came in, and what became of an order about one.

use crate::table::Page;
use picket_api::identities::{IdentityHost, IdentityView};

/// One line an identity.
pub(crate) fn page(views: &[IdentityView]) -> String {
    let mut page = Page::default();
    if views.is_empty() {
        page.line("no host has come in by a proof of identity");
        return page.finish();
    }
    let rows = views.iter().map(|view| {
        let since = view.bound_at.or(view.forbidden_at).map_or_else(String::new, |at| at.to_string());
        [view.identity.clone(), host(view.host.as_ref()), since, notes(view)]
    });
    page.table(["identity", "host", "since", ""], rows);
    page.finish()
}

/// What was forgotten.
pub(crate) fn forgotten(view: &IdentityView) -> String {
    let mut page = Page::default();
    page.line(format_args!("{} is forgotten: it may join anew, with other keys", view.identity));
    still_a_member(&mut page, view);
    page.finish()
}

/// What is forbidden.
pub(crate) fn forbidden(view: &IdentityView) -> String {
    let mut page = Page::default();
    page.line(format_args!("{} may never join", view.identity));
    still_a_member(&mut page, view);
    page.finish()
}

fn still_a_member(page: &mut Page, view: &IdentityView) {
    if let Some(host) = view.host.as_ref().filter(|host| host.member) {
        page.line(format_args!(
            "! host {} came in with it and is still a member; to cut it: picket revoke {}",
            host.name, host.node
        ));
    }
}

fn host(host: Option<&IdentityHost>) -> String {
    match host {
        None => "none".to_owned(),
        Some(host) if host.member => host.name.to_string(),
        Some(host) => format!("{} (revoked)", host.name),
    }
}

fn notes(view: &IdentityView) -> String {
    let forbidden = view.forbidden_at.map(|_| "forbidden".to_owned());
    let last = view.refused_at.map_or_else(String::new, |at| format!(", last at {at}"));
    let times = if view.refused == 1 { "once".to_owned() } else { format!("{} times", view.refused) };
    let refused = (view.refused > 0).then(|| format!("! refused {times}{last}"));
    forbidden.into_iter().chain(refused).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::Timestamp;

    fn view(identity: &str, member: Option<bool>) -> IdentityView {
        let host = |member| IdentityHost { node: "n-1".parse().unwrap(), name: "sentry-1".parse().unwrap(), member };
        IdentityView {
            identity: identity.to_owned(),
            host: member.map(host),
            bound_at: member.map(|_| Timestamp::from_millis(1_700_000_000_000)),
            forbidden_at: None,
            refused: 0,
            refused_at: None,
        }
    }

    #[test]
    fn each_identity_has_its_host_and_what_was_refused() {
        let at = |seconds: i64| Some(Timestamp::from_millis(1_700_000_000_000 + seconds * 1000));
        let copied =
            IdentityView { refused: 3, refused_at: at(60), ..view("aws/123456789012/i-0abcdef01", Some(true)) };
        let banned = IdentityView {
            forbidden_at: at(0),
            refused: 1,
            refused_at: at(9),
            ..view("oidc/https://i.example#a\u{1b}", None)
        };
        insta::assert_snapshot!(page(&[copied, view("gcp/p/17", Some(false)), banned]), @r"
        IDENTITY                        HOST                SINCE
        aws/123456789012/i-0abcdef01    sentry-1            2023-11-14T22:13:20Z  ! refused 3 times, last at 2023-11-14T22:14:20Z
        gcp/p/17                        sentry-1 (revoked)  2023-11-14T22:13:20Z
        oidc/https://i.example#a\u{1b}  none                2023-11-14T22:13:20Z  forbidden, ! refused once, last at 2023-11-14T22:13:29Z
        ");
        assert_eq!(page(&[]), "no host has come in by a proof of identity\n");
    }

    #[test]
    fn an_order_says_what_it_does_not_do() {
        insta::assert_snapshot!(forgotten(&view("gcp/p/17", Some(true))), @r"
        gcp/p/17 is forgotten: it may join anew, with other keys
        ! host sentry-1 came in with it and is still a member; to cut it: picket revoke n-1
        ");
        assert_eq!(forbidden(&view("gcp/p/17", Some(false))), "gcp/p/17 may never join\n");
    }
}

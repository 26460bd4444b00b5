//! The form by which an operator comes in, and the page that sends on who came in by an issuer's word.

use crate::{
    assets,
    frame::{document, leading_on},
};
use maud::{Markup, html};
use picket_pki::OperatorRole;

/// The form; `csrf` is what it has to bring along, `to` the page that it leads to, `issuer` by whose word one may come in instead and
/// the way to that one, `error` why the last try did not work.
pub fn login(csrf: &str, to: &str, issuer: Option<(&str, &str)>, error: Option<&str>) -> Markup {
    let inner = html! {
        main.narrow id="main" {
            h1 { (assets::mark()) " Picket" }
            @if let Some(error) = error {
                p.error id="error" role="alert" { (error) }
            }
            @if let Some((name, way)) = issuer {
                p { a.button href=(way) { "Log in with " (name) } }
            }
            p { @if issuer.is_some() { "Or log in" } @else { "Log in" }
                " with an operator's token. It is the line " code { "token" } " of " code { "operator.toml" }
                ", or what " code { "picket operator create" } " gave you." }
            form.stack method="post" action="/login" {
                input type="hidden" name="csrf" value=(csrf);
                input type="hidden" name="to" value=(to);
                label for="token" { "Operator's token" }
                input id="token" name="token" type="password" autocomplete="current-password" required
                    autofocus[issuer.is_none()] spellcheck="false" aria-describedby=[error.map(|_| "error")];
                button type="submit" { "Log in" }
            }
        }
    };
    document("Log in", false, &inner)
}

/// Somebody came in: sends them on to a page, as one of ours.
pub fn entered(name: &str, role: OperatorRole, to: &str) -> Markup {
    let inner = html! {
        main.narrow id="main" {
            h1 { (assets::mark()) " Picket" }
            p { "You are logged in as " (crate::text::plain(name)) ", " (role) "." }
            p { a href=(to) { "Go on" } }
        }
    };
    leading_on("Logged in", to, &inner)
}

/// Somebody came by a link from elsewhere, without their session: sends them on to where it leads, as a page of ours.
pub fn led_on(to: &str) -> Markup {
    let inner = html! {
        main.narrow id="main" {
            h1 { (assets::mark()) " Picket" }
            p { a href=(to) { "Go on" } }
        }
    };
    leading_on("One moment", to, &inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_offered_where_there_is_one_and_the_token_always() {
        let (with, without) = (
            login("x", "/map", Some(("id.example.com", "/login/oidc?to=/map")), None).0,
            login("x", "/", None, Some("no <b>")).0,
        );
        assert!(with.contains("href=\"/login/oidc?to=/map\"") && with.contains("Log in with id.example.com"), "{with}");
        assert!(!without.contains("/login/oidc") && without.contains("no &lt;b&gt;"), "{without}");
        assert!([with, without].iter().all(|form| form.contains("name=\"token\"") && form.contains("value=\"x\"")));
    }

    #[test]
    fn who_came_in_is_led_on_and_called_by_a_harmless_name() {
        let page = entered("<i>\u{202e}eve", OperatorRole::Viewer, "/map").0;
        assert!(page.contains("content=\"0; url=/map\"") && page.contains("&lt;i&gt;\\u{202e}eve, viewer"), "{page}");
    }
}

//! The form by which an operator comes in, and the page that sends on who came in by an issuer's word.

use crate::{
    assets,
    frame::{document, leading_on},
};
use maud::{Markup, html};
use picket_pki::OperatorRole;

/// The form; `error` is why the last try did not work, `csrf` what the form has to bring along, `issuer` by whose word one may come
/// in instead.
pub fn login(csrf: &str, issuer: Option<&str>, error: Option<&str>) -> Markup {
    let inner = html! {
        main.narrow id="main" {
            h1 { (assets::mark()) " Picket" }
            @if let Some(error) = error {
                p.error id="error" role="alert" { (error) }
            }
            @if let Some(issuer) = issuer {
                p { a.button href="/login/oidc" { "Log in with " (issuer) } }
            }
            p { @if issuer.is_some() { "Or log in" } @else { "Log in" }
                " with an operator's token. It is the line " code { "token" } " of " code { "operator.toml" }
                ", or what " code { "picket operator create" } " gave you." }
            form.stack method="post" action="/login" {
                input type="hidden" name="csrf" value=(csrf);
                label for="token" { "Operator's token" }
                input id="token" name="token" type="password" autocomplete="current-password" required
                    autofocus[issuer.is_none()] spellcheck="false" aria-describedby=[error.map(|_| "error")];
                button type="submit" { "Log in" }
            }
        }
    };
    document("Log in", false, &inner)
}

/// Somebody came in: sends them on to the overview by itself, as a page of ours.
pub fn entered(name: &str, role: OperatorRole) -> Markup {
    let inner = html! {
        main.narrow id="main" {
            h1 { (assets::mark()) " Picket" }
            p { "You are logged in as " (crate::text::plain(name)) ", " (role) "." }
            p { a href="/" { "Go on to the overview" } }
        }
    };
    leading_on("Logged in", "/", &inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_offered_where_there_is_one_and_the_token_always() {
        let (with, without) = (login("x", Some("id.example.com"), None).0, login("x", None, Some("no <b>")).0);
        assert!(with.contains("href=\"/login/oidc\"") && with.contains("Log in with id.example.com"), "{with}");
        assert!(!without.contains("/login/oidc") && without.contains("no &lt;b&gt;"), "{without}");
        assert!([with, without].iter().all(|form| form.contains("name=\"token\"") && form.contains("value=\"x\"")));
    }

    #[test]
    fn who_came_in_is_led_on_and_called_by_a_harmless_name() {
        let page = entered("<i>\u{202e}eve", OperatorRole::Viewer).0;
        assert!(page.contains("content=\"0; url=/\"") && page.contains("&lt;i&gt;\\u{202e}eve, viewer"), "{page}");
    }
}

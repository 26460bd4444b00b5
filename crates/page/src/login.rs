//! The form by which an operator comes in.

use crate::{assets, frame::document};
use maud::{Markup, html};

/// The form; `error` is why the last try did not work, `csrf` what the form has to bring along.
pub fn login(csrf: &str, error: Option<&str>) -> Markup {
    let inner = html! {
        main.narrow id="main" {
            h1 { (assets::mark()) " Picket" }
            p { "Log in with an operator's token. It is the line " code { "token" } " of " code { "operator.toml" }
                ", or what " code { "picket operator create" } " gave you." }
            @if let Some(error) = error {
                p.error id="error" role="alert" { (error) }
            }
            form.stack method="post" action="/login" {
                input type="hidden" name="csrf" value=(csrf);
                label for="token" { "Operator's token" }
                input id="token" name="token" type="password" autocomplete="current-password" required autofocus
                    spellcheck="false" aria-describedby=[error.map(|_| "error")];
                button type="submit" { "Log in" }
            }
        }
    };
    document("Log in", false, &inner)
}

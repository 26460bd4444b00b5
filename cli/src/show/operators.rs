//! `picket operator`: who may ask, and the file by which somebody new does.

use crate::{table::Page, time::ago, time::rough};
use picket_api::operators::{OperatorCreated, OperatorView};
use picket_model::Timestamp;
use reqwest::Url;

/// The context file of a new operator, as `picket-controller add-operator` prints it.
pub(crate) fn context(created: &OperatorCreated, url: &Url) -> String {
    let (url, role) = (url.as_str().trim_end_matches('/'), created.operator.role);
    format!(
        "# For `picket`: whoever can read this file is a mesh operator, role {role}.\n\
         url = \"{url}\"\nca_fingerprint = \"{}\"\ntoken = \"{}\"\n",
        created.ca_fingerprint, created.token
    )
}

/// The operators as a table.
pub(crate) fn list(operators: &[OperatorView], now: Timestamp) -> String {
    let mut page = Page::default();
    let row = |operator: &OperatorView| {
        let state = match (operator.revoked_at, operator.expires_at) {
            (Some(at), _) => format!("revoked {}", ago(Some(at), now)),
            (None, Some(end)) if end <= now => format!("expired {}", ago(Some(end), now)),
            (None, Some(end)) => format!("{} left", rough(end.since(now))),
            (None, None) => "good".to_owned(),
        };
        let made_by = operator.made_by.as_ref().map_or_else(|| "controller".to_owned(), ToString::to_string);
        let (id, role) = (operator.id.to_string(), operator.role.to_string());
        [id, role, made_by, ago(Some(operator.created_at), now), state, operator.comment.clone()]
    };
    page.table(["id", "role", "made by", "made", "state", "comment"], operators.iter().map(row));
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_pki::{Fingerprint, OperatorRole};

    fn operator(id: &str) -> OperatorView {
        OperatorView {
            id: id.parse().unwrap(),
            role: OperatorRole::Enroller,
            created_at: Timestamp::from_millis(0),
            expires_at: None,
            revoked_at: None,
            made_by: Some("op-0".parse().unwrap()),
            comment: "ci".to_owned(),
        }
    }

    #[test]
    fn the_list_says_how_each_stands() {
        let at = |seconds: i64| Some(Timestamp::from_millis(seconds * 1000));
        let operators = [
            operator("op-1"),
            OperatorView { expires_at: at(3600), made_by: None, ..operator("op-2") },
            OperatorView { expires_at: at(30), ..operator("op-3") },
            OperatorView { expires_at: at(3600), revoked_at: at(50), ..operator("op-4") },
        ];
        let text = list(&operators, Timestamp::from_millis(60_000));
        let states: Vec<&str> =
            text.lines().skip(1).map(|line| line.split("  ").filter(|s| !s.is_empty()).nth(4).unwrap()).collect();
        assert_eq!(
            states.iter().map(|state| state.trim()).collect::<Vec<_>>(),
            ["good", "59 min left", "expired 30 s ago", "revoked 10 s ago"]
        );
    }

    #[test]
    fn the_context_is_one_that_picket_reads() {
        let created = OperatorCreated {
            operator: operator("op-1"),
            token: "picket-op1.op-1.secret".to_owned(),
            ca_fingerprint: Fingerprint::of(b"ca"),
        };
        assert!(!format!("{created:?}").contains("secret"));
        let text = context(&created, &"https://192.0.2.1:7444".parse().unwrap());
        let file: toml::Table = text.parse().unwrap();
        assert_eq!(file["url"].as_str(), Some("https://192.0.2.1:7444"));
        assert_eq!(file["token"].as_str(), Some("picket-op1.op-1.secret"));
        assert_eq!(file["ca_fingerprint"].as_str().map(str::len), Some(64));
    }
}

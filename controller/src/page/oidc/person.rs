//! What an issuer's claims say of somebody: who they are, and by which rule they come in. Values only.

use super::config::{AllowLines, OidcLines};
use crate::store::PERSON;
use picket_model::{IdError, TokenId};
use picket_pki::OperatorRole;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// Longest name, in characters: it is shown on one line.
const LONGEST_NAME: usize = 80;
/// Longest `sub`, in bytes (OpenID Connect Core 1.0, 2).
const LONGEST_SUBJECT: usize = 255;
/// Bytes of a digest that make an id: nobody can choose a `sub` that gives somebody else's.
const ID_BYTES: usize = 12;

/// Somebody who comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    /// Made of issuer and subject, and so the same each time.
    pub(super) id: TokenId,
    /// For people; not to be decided by.
    pub(super) name: String,
    /// By the first rule that fits.
    pub(super) role: OperatorRole,
}

/// Why somebody stays outside.
#[derive(Debug, Error)]
pub(super) enum Outside {
    /// The issuer says nothing by which they could be known again.
    #[error("the issuer says no usable `sub`")]
    Subject,
    /// The id that was made is none.
    #[error(transparent)]
    Id(#[from] IdError),
    /// No rule fits.
    #[error("{name} is known to {issuer}, and no [[page.oidc.allow]] of this controller lets them in")]
    NoRule {
        /// Who.
        name: String,
        /// By whom.
        issuer: String,
    },
}

/// Whether a rule asks for a claim that is not among these, so that the issuer has to be asked for more.
pub(super) fn wants_more(lines: &OidcLines, claims: &Map<String, Value>) -> bool {
    lines.allow.iter().any(|rule| !claims.contains_key(&rule.claim))
}

/// Who they are, and what they may do.
pub(super) fn person(lines: &OidcLines, claims: &Map<String, Value>) -> Result<Person, Outside> {
    let subject = claims.get("sub").and_then(Value::as_str);
    let fits = |subject: &&str| (1..=LONGEST_SUBJECT).contains(&subject.len());
    let subject = subject.filter(fits).ok_or(Outside::Subject)?;
    let name = name(claims, subject);
    let Some(rule) = lines.allow.iter().find(|rule| fits_rule(rule, claims)) else {
        return Err(Outside::NoRule { name, issuer: lines.host().to_owned() });
    };
    Ok(Person { id: id(&lines.issuer, subject)?, name, role: rule.role })
}

/// An address counts only once the issuer has seen that it is theirs: else whoever writes it into their profile has it.
fn fits_rule(rule: &AllowLines, claims: &Map<String, Value>) -> bool {
    let is_it = |value: &Value| value.as_str() == Some(rule.value.as_str());
    let fits = match claims.get(&rule.claim) {
        Some(Value::Array(values)) => values.iter().any(is_it),
        Some(value) => is_it(value),
        None => false,
    };
    fits && (rule.claim != "email" || is_verified(claims))
}

fn is_verified(claims: &Map<String, Value>) -> bool {
    claims.get("email_verified") == Some(&Value::Bool(true))
}

fn name(claims: &Map<String, Value>, subject: &str) -> String {
    let text = |claim: &str| claims.get(claim).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    let email = text("email").filter(|_| is_verified(claims));
    let name = email.or_else(|| text("preferred_username")).or_else(|| text("name")).unwrap_or(subject);
    name.chars().filter(|character| !character.is_control()).take(LONGEST_NAME).collect()
}

fn id(issuer: &str, subject: &str) -> Result<TokenId, IdError> {
    let digest = Sha256::digest(format!("picket oidc 1\n{issuer}\n{subject}"));
    format!("{PERSON}{}", hex::encode(&digest[..ID_BYTES])).parse()
}

#[cfg(test)]
mod tests {
    use super::{super::config::tests::LINES, *};
    use serde_json::json;

    fn lines() -> OidcLines {
        toml::from_str(LINES).unwrap()
    }

    fn of(claims: &Value) -> Result<Person, Outside> {
        person(&lines(), claims.as_object().unwrap())
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let admin =
            of(&json!({"sub": "1", "groups": ["staff", "admins"], "email": "bob@example.com", "email_verified": true}));
        let admin = admin.unwrap();
        assert_eq!((admin.role, admin.name.as_str()), (OperatorRole::Admin, "bob@example.com"));
        let viewer =
            of(&json!({"sub": "1", "groups": ["staff"], "email": "bob@example.com", "email_verified": true})).unwrap();
        assert_eq!(viewer.role, OperatorRole::Viewer);
        assert_eq!(admin.id, viewer.id, "the same person, whatever they may do");
        assert_eq!(of(&json!({"sub": "1", "groups": "admins"})).unwrap().role, OperatorRole::Admin);
    }

    #[test]
    fn who_fits_no_rule_stays_outside() {
        for claims in [
            json!({"sub": "1"}),
            json!({"sub": "1", "groups": []}),
            json!({"sub": "1", "groups": ["Admins", "admins ", ["admins"]]}),
            json!({"sub": "1", "groups": {"admins": true}}),
            json!({"sub": "1", "email": "bob@example.com"}),
            json!({"sub": "1", "email": "bob@example.com", "email_verified": false}),
            json!({"sub": "1", "email": "bob@example.com", "email_verified": "true"}),
            json!({"sub": "1", "email": ["bob@example.com"], "email_verified": 1}),
        ] {
            let error = of(&claims).unwrap_err();
            assert!(matches!(error, Outside::NoRule { .. }), "{claims}: {error}");
        }
        for claims in
            [json!({"groups": "admins"}), json!({"sub": "", "groups": "admins"}), json!({"sub": 7, "groups": "admins"})]
        {
            assert!(matches!(of(&claims).unwrap_err(), Outside::Subject), "{claims}");
        }
        assert!(matches!(of(&json!({"sub": "x".repeat(256), "groups": "admins"})), Err(Outside::Subject)));
    }

    #[test]
    fn a_person_is_who_the_issuer_says_by_subject_and_nobody_by_name() {
        let one = of(&json!({"sub": "1", "groups": "admins", "preferred_username": "eve", "name": "Eve"})).unwrap();
        let two = of(&json!({"sub": "2", "groups": "admins", "preferred_username": "eve"})).unwrap();
        assert_ne!(one.id, two.id);
        assert_eq!((one.name.as_str(), one.id.as_str().len()), ("eve", 28));
        let other = OidcLines { issuer: "https://other.example".to_owned(), ..lines() };
        let claims = json!({"sub": "1", "groups": "admins"});
        assert_ne!(person(&other, claims.as_object().unwrap()).unwrap().id, one.id);
        // An address that nobody has seen is not said, and what is said fits on a line.
        let claims = json!({"sub": "1", "groups": "admins", "email": "root@example.com", "name": format!("a\n\u{7}{}", "b".repeat(99))});
        assert_eq!(of(&claims).unwrap().name, format!("a{}", "b".repeat(79)));
    }

    #[test]
    fn more_is_asked_for_where_a_rule_looks_at_what_is_not_there() {
        let wants = |claims: Value| wants_more(&lines(), claims.as_object().unwrap());
        assert!(wants(json!({"sub": "1", "email": "bob@example.com"})));
        assert!(!wants(json!({"sub": "1", "email": "", "groups": []})));
    }
}

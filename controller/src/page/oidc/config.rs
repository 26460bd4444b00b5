//! `[page.oidc]`: whose word is taken for who an operator is, and what the people it vouches for may do.

use picket_pki::OperatorRole;
use serde::Deserialize;
use std::path::PathBuf;

/// Login by an OpenID Connect issuer, beside the operators' tokens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcLines {
    /// `iss` of its tokens: the URL below which its configuration is found (OpenID Connect Discovery 1.0, 4).
    pub issuer: String,
    /// What this page is called there.
    pub client_id: String,
    /// File with the secret that the issuer gave for it; none for a public client.
    pub client_secret_file: Option<PathBuf>,
    /// Where browsers find this page: scheme, host and port. The issuer sends them back there, to `/login/oidc/return`.
    pub address: String,
    /// What is asked for beside `openid`.
    #[serde(default = "scopes")]
    pub scopes: Vec<String>,
    /// Certificates of authorities that are believed beside this host's, PEM, as for an issuer inside a company.
    pub certificates: Option<PathBuf>,
    /// Who comes in as what. The first that fits decides; whom none fits stays outside.
    #[serde(default)]
    pub allow: Vec<AllowLines>,
}

/// One rule of who comes in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowLines {
    /// The claim that is looked at.
    pub claim: String,
    /// What it is, or what is in it where it is a list.
    pub value: String,
    /// What such a person may do.
    pub role: OperatorRole,
}

impl OidcLines {
    /// The issuer as people know it.
    pub(crate) fn host(&self) -> &str {
        let rest = self.issuer.split_once("://").map_or(self.issuer.as_str(), |(_, rest)| rest);
        rest.split('/').next().unwrap_or(rest)
    }

    /// Where the issuer sends browsers back to.
    pub(super) fn back(&self) -> String {
        format!("{}/login/oidc/return", self.address)
    }

    /// Refuses what cannot be meant.
    pub(crate) fn check(&self) -> Result<(), String> {
        let shows = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let is_url = |text: &str| text.starts_with("https://") && shows(text) && !text.contains(['?', '#', '@']);
        if !is_url(&self.issuer) {
            return Err(format!(
                "page.oidc.issuer = {:?} is no issuer: write `iss` of its tokens, https://…",
                self.issuer
            ));
        }
        let place = self.address.strip_prefix("https://").or_else(|| {
            // Browsers take their own machine for safe, as where somebody forwards a port to it.
            let place = self.address.strip_prefix("http://")?;
            ["127.0.0.1", "[::1]", "localhost"].iter().any(|host| place.starts_with(host)).then_some(place)
        });
        if !place.is_some_and(|place| shows(place) && !place.contains(['/', '?', '#', '@'])) {
            return Err(format!(
                "page.oidc.address = {:?} is not where browsers find this page: write scheme, host and port without a \
                 slash at the end, https://picket.example.com; http:// is for this machine alone",
                self.address
            ));
        }
        if !shows(&self.client_id) {
            return Err(
                "page.oidc.client_id is empty: the issuer gives one when this page is registered there".to_owned()
            );
        }
        if let Some(scope) = self.scopes.iter().find(|scope| !shows(scope)) {
            return Err(format!("page.oidc.scopes: {scope:?} is no scope"));
        }
        if self.allow.is_empty() {
            return Err(
                "page.oidc has no [[page.oidc.allow]]: nobody could come in by it; say whom, with claim, value \
                        and role"
                    .to_owned(),
            );
        }
        for AllowLines { claim, value, role } in &self.allow {
            if claim.is_empty() || value.is_empty() {
                return Err("[[page.oidc.allow]]: claim and value are not empty".to_owned());
            }
            if *role < OperatorRole::Viewer {
                return Err(format!("[[page.oidc.allow]]: {role} is a role for programs, and sees no page"));
            }
        }
        Ok(())
    }
}

fn scopes() -> Vec<String> {
    ["profile", "email"].map(str::to_owned).to_vec()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const LINES: &str = "issuer = \"https://id.example.com/realms/ops\"\nclient_id = \"picket\"\n\
        address = \"https://picket.example.com\"\n[[allow]]\nclaim = \"groups\"\nvalue = \"admins\"\nrole = \"admin\"\n\
        [[allow]]\nclaim = \"email\"\nvalue = \"bob@example.com\"\nrole = \"viewer\"\n";

    pub(in super::super) fn lines(text: &str) -> Result<OidcLines, String> {
        let lines: OidcLines = toml::from_str(text).map_err(|error| error.to_string())?;
        lines.check().map(|()| lines)
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let lines = lines(LINES).unwrap();
        assert_eq!(lines.scopes, ["profile", "email"]);
        assert_eq!(
            (lines.host(), lines.back().as_str()),
            ("id.example.com", "https://picket.example.com/login/oidc/return")
        );
    }

    #[test]
    fn what_could_let_in_nobody_or_everybody_is_refused_with_what_to_write() {
        let check = |from: &str, to: &str, expect: &str| {
            assert!(LINES.contains(from), "{from}");
            let error = lines(&LINES.replace(from, to)).unwrap_err();
            assert!(error.contains(expect), "{error}");
        };
        check("https://id", "http://id", "page.oidc.issuer");
        check("realms/ops", "realms/ops?x=1", "page.oidc.issuer");
        check("https://picket.example.com", "http://picket.example.com", "page.oidc.address");
        check("https://picket.example.com", "https://picket.example.com/", "without a slash");
        check("https://picket.example.com", "https://eve@picket.example.com", "page.oidc.address");
        check("\"picket\"", "\"\"", "client_id is empty");
        check("\"admins\"", "\"\"", "claim and value are not empty");
        check("\"viewer\"", "\"enroller\"", "a role for programs");
        check("role = \"viewer\"", "role = \"king\"", "role");
        let none = LINES.split_once("[[allow]]").unwrap().0;
        assert!(lines(none).unwrap_err().contains("nobody could come in"));
        for local in ["http://127.0.0.1:7448", "http://[::1]:7448", "http://localhost:7448"] {
            assert!(lines(&LINES.replace("https://picket.example.com", local)).is_ok(), "{local}");
        }
    }
}

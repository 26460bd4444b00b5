//! `[page]`: where the status page is served, and what of it everybody may see.

use super::oidc::OidcLines;
use picket_page::PublicField;
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

/// Longest title of the public page, in characters.
const LONGEST_TITLE: usize = 80;

/// The status page; there is none where the section is not there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PageLines {
    /// For operators' browsers. Plain HTTP on loopback where no certificate is given, else TLS.
    pub listen: SocketAddr,
    /// Certificate chain that browsers trust, PEM; on other addresses than loopback the mesh CA's where absent.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
    /// Login by an issuer, beside the operators' tokens; by tokens alone where the section is not there.
    pub oidc: Option<OidcLines>,
    /// What everybody may see; nothing where the section is not there.
    pub public: Option<PublicLines>,
}

impl Default for PageLines {
    fn default() -> Self {
        Self { listen: (Ipv4Addr::LOCALHOST, 7448).into(), certificate: None, key: None, oidc: None, public: None }
    }
}

impl PageLines {
    /// Refuses what cannot be meant.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.certificate.is_some() != self.key.is_some() {
            return Err("page.certificate and page.key go together: write both, or none".to_owned());
        }
        self.oidc.as_ref().map_or(Ok(()), OidcLines::check)?;
        let Some(public) = &self.public else { return Ok(()) };
        if public.show.is_empty() {
            return Err("page.public.show is empty: name what everybody may see, or leave the section out".to_owned());
        }
        let length = public.title.chars().count();
        if !(1..=LONGEST_TITLE).contains(&length) || public.title.chars().any(char::is_control) {
            return Err(format!("page.public.title is one line of 1 to {LONGEST_TITLE} characters"));
        }
        Ok(())
    }
}

/// What everybody may see, at an address of its own. Never an address of a host, nor a host's name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicLines {
    /// For anybody's browser.
    pub listen: SocketAddr,
    /// What the page is called.
    #[serde(default = "title")]
    pub title: String,
    /// Which of it.
    pub show: BTreeSet<PublicField>,
}

fn title() -> String {
    "Sentry mesh".to_owned()
}

//! Where names are written: reads what stands at a name, and changes it where that still stands there. Decides nothing.

mod cloudflare;
mod rfc2136;
mod route53;

pub use route53::Credentialed;

use crate::{Change, DnsLines, Found, ProviderLines, secret};
use picket_model::DnsName;
use reqwest::Url;
use std::time::Duration;
use thiserror::Error;
use tokio::time::timeout;

/// For one question or one change, all of its messages included.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a name could not be read or changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DnsError {
    /// It could not be asked.
    #[error("ask {place}: {reason}")]
    Unreachable {
        /// Where.
        place: String,
        /// Why.
        reason: String,
    },
    /// It said no.
    #[error("{place} refuses: {reason}")]
    Refused {
        /// Who.
        place: String,
        /// Its words.
        reason: String,
    },
    /// Something else stood there than was found before.
    #[error("somebody changed {0} at the same time")]
    Changed(DnsName),
    /// What is needed to ask is not there.
    #[error("{0}")]
    Setup(String),
}

/// A server or a cloud that keeps names.
#[derive(Debug)]
pub struct Provider(Kind);

#[derive(Debug)]
enum Kind {
    Rfc2136(rfc2136::Server),
    Route53(route53::Route53),
    Cloudflare(cloudflare::Cloudflare),
}

impl Provider {
    /// As these lines say; secrets are read now. `credentials` are AWS's.
    ///
    /// # Errors
    /// What is wrong with a file or an address.
    pub fn new(lines: &DnsLines, client: &reqwest::Client, credentials: &Credentialed) -> Result<Self, String> {
        let kind = match &lines.provider {
            ProviderLines::Rfc2136(lines) => {
                Kind::Rfc2136(rfc2136::Server::new(lines, &secret::read(&lines.secret_file)?)?)
            }
            ProviderLines::Route53(lines) => {
                let url = base(lines.url.as_deref().unwrap_or(route53::URL))?;
                Kind::Route53(route53::Route53::new(client.clone(), url, lines.zone.clone(), credentials.clone()))
            }
            ProviderLines::Cloudflare(lines) => {
                let url = base(lines.url.as_deref().unwrap_or(cloudflare::URL))?;
                let token = secret::read(&lines.token_file)?;
                Kind::Cloudflare(cloudflare::Cloudflare::new(client.clone(), url, lines.zone.clone(), token))
            }
        };
        Ok(Self(kind))
    }

    /// What it is called.
    pub const fn name(&self) -> &'static str {
        match &self.0 {
            Kind::Rfc2136(_) => "rfc2136",
            Kind::Route53(_) => "route53",
            Kind::Cloudflare(_) => "cloudflare",
        }
    }

    /// What stands at a name, by the word of whoever keeps it and not by what others remember.
    ///
    /// # Errors
    /// See [`DnsError`].
    pub async fn read(&self, name: &DnsName) -> Result<Found, DnsError> {
        let reading = async {
            match &self.0 {
                Kind::Rfc2136(server) => server.read(name).await,
                Kind::Route53(zone) => zone.read(name).await,
                Kind::Cloudflare(zone) => zone.read(name).await,
            }
        };
        self.in_time(reading).await
    }

    /// Changes a name.
    ///
    /// # Errors
    /// See [`DnsError`]. It may have been changed all the same where no answer came.
    pub async fn write(&self, change: &Change) -> Result<(), DnsError> {
        let writing = async {
            match &self.0 {
                Kind::Rfc2136(server) => server.write(change).await,
                Kind::Route53(zone) => zone.write(change).await,
                Kind::Cloudflare(zone) => zone.write(change).await,
            }
        };
        self.in_time(writing).await
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, DnsError>>) -> Result<T, DnsError> {
        let silent = || DnsError::Unreachable {
            place: self.name().to_owned(),
            reason: format!("no answer within {} s", PATIENCE.as_secs()),
        };
        timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(silent()))
    }
}

/// An address that secrets may be sent to: with TLS, or on this host.
fn base(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("{text:?} is no URL: {error}"))?;
    let is_here = url.host_str().is_some_and(|host| {
        host.trim_matches(['[', ']'])
            .parse()
            .map_or(host == "localhost", |address: std::net::IpAddr| address.is_loopback())
    });
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_here);
    if is_safe { Ok(url) } else { Err(format!("{text} is neither https nor on this host")) }
}

/// A place below an address, which may have a path of its own.
fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    let start = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{start}/{path}"));
    url
}

/// Somebody else's words, on one line.
fn words(text: &str) -> String {
    text.chars().take(200).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_over_tls_or_stay_on_this_host() {
        for good in ["https://api.example/v4", "http://127.0.0.1:80/x", "http://[::1]:1", "http://localhost"] {
            assert!(base(good).is_ok(), "{good}");
        }
        for bad in ["http://api.example", "http://127.0.0.1.example", "ftp://localhost", "x"] {
            assert!(base(bad).is_err(), "{bad}");
        }
        assert_eq!(below(&base("https://a.example/v4/").unwrap(), "zones/1").as_str(), "https://a.example/v4/zones/1");
    }
}

//! What every request to somebody outside the mesh has in common, be it a token issuer or a cloud: whose certificates are
//! believed, little patience, no redirects, and answers of bounded size. Knows nobody's protocol.

use anyhow::Context as _;
use reqwest::{Client, Response, redirect};
use rustls::RootCertStore;
use std::time::Duration;
use thiserror::Error;

/// Time to connect, and for the whole answer: a host that joins, or a cloud that waits, is at the other end.
const TIMES: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(5));

/// Why an answer has no body.
#[derive(Debug, Error)]
pub enum BodyError {
    /// It broke off.
    #[error("{0}")]
    Broken(String),
    /// It has more bytes than such an answer can have.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}

/// The root certificates of this host; none where it has none.
pub fn host_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// A client that believes these roots. Where it is sent is the operator's choice alone: it follows no redirect and asks no
/// proxy. Whether an address may be without TLS is for the caller to say.
///
/// # Errors
/// TLS cannot be set up.
pub fn client(roots: RootCertStore, https_only: bool) -> anyhow::Result<Client> {
    let tls = rustls::ClientConfig::builder_with_provider(picket_pki::provider())
        .with_safe_default_protocol_versions()
        .context("set up TLS for requests to clouds and token issuers")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(https_only)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .connect_timeout(TIMES.0)
        .timeout(TIMES.1)
        .user_agent(concat!("picket/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("set up the client for clouds and token issuers")
}

/// The body of an answer; an error as soon as it is known to be larger than `most` bytes.
///
/// # Errors
/// See [`BodyError`].
pub async fn body(mut response: Response, most: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| BodyError::Broken(innermost(&error)))? {
        body.extend_from_slice(&chunk);
        if body.len() > most {
            return Err(BodyError::TooLarge(most));
        }
    }
    Ok(body)
}

/// The innermost cause on one line: the outer layers only say that a request was sent, and where to.
pub fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string().replace(char::is_control, " ")
}

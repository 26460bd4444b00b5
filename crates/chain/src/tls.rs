//! TLS towards chain endpoints, the same for HTTP and WebSocket: whose certificates are believed, and ring as the one
//! provider of cryptography.

use crate::fetch::FetcherError;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use std::sync::Arc;

/// The root certificates of this host; none where it has none.
pub(crate) fn host_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Believes these roots alone, shows no certificate, and offers these protocols, the preferred one first.
pub(crate) fn client_config(roots: RootCertStore, protocols: &[&str]) -> Result<ClientConfig, FetcherError> {
    let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(FetcherError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Ok(tls)
}

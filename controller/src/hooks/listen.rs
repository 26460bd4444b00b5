//! TLS with a certificate that clouds or browsers trust, from files that something else renews: for hooks, and for the status page.

use super::HooksLines;
use crate::now;
use anyhow::Context as _;
use picket_model::Timestamp;
use picket_pki::{ServedCertificate, ServerCertificate};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// The certificate that the listener shows.
pub(crate) struct Shown {
    /// Whose listener it is, for messages.
    name: &'static str,
    files: (PathBuf, PathBuf),
    served: Arc<ServedCertificate>,
}

impl Shown {
    /// Reads the files; `None` where the listener has no TLS, on loopback behind a proxy.
    pub(crate) fn new(lines: &HooksLines) -> anyhow::Result<Option<Self>> {
        Self::of("hooks", lines.certificate.as_deref(), lines.key.as_deref())
    }

    /// The same, of the listener with this name.
    pub(crate) fn of(
        name: &'static str,
        certificate: Option<&Path>,
        key: Option<&Path>,
    ) -> anyhow::Result<Option<Self>> {
        let (Some(certificate), Some(key)) = (certificate, key) else { return Ok(None) };
        let served = ServedCertificate::new(read(name, certificate, key)?);
        let served = served.with_context(|| format!("show the certificate of {name}"))?;
        Ok(Some(Self { name, files: (certificate.to_owned(), key.to_owned()), served }))
    }

    /// Whose listener it is.
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    /// Reads the files again: whatever renews them need not know of us.
    pub(crate) fn renew(&self) -> anyhow::Result<()> {
        let certificate = read(self.name, &self.files.0, &self.files.1)?;
        self.served.replace(certificate).with_context(|| format!("show the new certificate of {}", self.name))
    }

    /// TLS 1.2 too: not every cloud's senders speak 1.3.
    pub(crate) fn tls(&self) -> anyhow::Result<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(picket_pki::provider())
            .with_safe_default_protocol_versions()
            .with_context(|| format!("set up TLS for {}", self.name))?
            .with_no_client_auth()
            .with_cert_resolver(self.served.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn read(name: &str, certificate: &Path, key: &Path) -> anyhow::Result<ServerCertificate> {
    let reading = |what: &'static str, path: &Path| format!("read the {what} of {name} in {}", path.display());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain = chain.with_context(|| reading("certificate", certificate))?;
    anyhow::ensure!(!chain.is_empty(), "{} has no certificate", certificate.display());
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| reading("key", key))?;
    // Its end is the renewer's affair.
    let not_after: Timestamp = now();
    Ok(ServerCertificate { chain, key, not_after })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_again_and_what_cannot_be_read_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| folder.path().join(name));
        let write = || {
            let pair = rcgen::generate_simple_self_signed(["hooks.example".to_owned()]).unwrap();
            std::fs::write(&certificate, pair.cert.pem()).unwrap();
            std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
        };
        let lines =
            HooksLines { certificate: Some(certificate.clone()), key: Some(key.clone()), ..HooksLines::default() };
        let error = |found: anyhow::Result<()>| format!("{:#}", found.unwrap_err());
        assert!(error(Shown::new(&lines).map(drop)).contains("certificate.pem"));
        write();
        let shown = Shown::new(&lines).unwrap().unwrap();
        write();
        shown.renew().unwrap();
        std::fs::write(&certificate, "no certificate").unwrap();
        assert!(error(shown.renew()).contains("has no certificate"));
        write();
        std::fs::remove_file(&key).unwrap();
        assert!(error(shown.renew()).contains("key.pem"));
        assert!(Shown::new(&HooksLines::default()).unwrap().is_none());
    }
}

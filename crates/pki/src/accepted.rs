//! The CAs of which a server takes certificates: one, two while one follows another, and others while the server runs.

use crate::tls::{TlsError, provider};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use std::sync::{Arc, PoisonError, RwLock};

/// Takes certificates of these CAs which are in date; who shows none is let through as anonymous.
#[derive(Debug)]
pub struct AcceptedCas {
    now: RwLock<Arc<dyn ClientCertVerifier>>,
    /// What a client is told it may show. All CAs of a mesh have one name.
    subjects: Vec<DistinguishedName>,
}

impl AcceptedCas {
    /// Certificates of these, in DER.
    pub fn new(cas: &[&CertificateDer<'static>]) -> Result<Arc<Self>, TlsError> {
        let verifier = verifier(cas)?;
        Ok(Arc::new(Self { subjects: verifier.root_hint_subjects().to_vec(), now: RwLock::new(verifier) }))
    }

    /// Certificates of these from the next handshake on.
    pub fn replace(&self, cas: &[&CertificateDer<'static>]) -> Result<(), TlsError> {
        let verifier = verifier(cas)?;
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = verifier;
        Ok(())
    }

    fn now(&self) -> Arc<dyn ClientCertVerifier> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientCertVerifier for AcceptedCas {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.now().verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.now().verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.now().verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.now().supported_verify_schemes()
    }
}

fn verifier(cas: &[&CertificateDer<'static>]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for ca in cas {
        roots.add((*ca).clone()).map_err(TlsError::Certificate)?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()
        .map_err(TlsError::Verifier)
}

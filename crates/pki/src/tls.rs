//! TLS as both sides speak it: one provider of cryptography, a client that pins a CA, a server that knows its nodes.
//! Values for rustls only; sockets and accept loops are elsewhere.

use crate::{AcceptedCas, Ca, Fingerprint, SERVER_NAME, ServerCertificate};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    ServerConfig, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
    version::TLS13,
};
use secrecy::{ExposeSecret, SecretString};
use std::sync::{Arc, PoisonError, RwLock};
use thiserror::Error as ThisError;

/// HTTP/2 first: a waiting poll, a report and a renewal share one connection.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why there is no TLS configuration.
#[derive(Debug, ThisError)]
pub enum TlsError {
    /// The client's certificate or key is not PEM.
    #[error("the client {0} is not PEM")]
    Pem(&'static str),
    /// rustls refuses certificate or key.
    #[error("use the certificate for TLS")]
    Certificate(#[source] Error),
    /// The CA is no trust anchor.
    #[error("trust the mesh's CA")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
}

/// What a host shows to the controller once it is enrolled.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The certificate.
    pub certificate_pem: String,
    /// Its key, PKCS#8.
    pub key_pem: SecretString,
}

/// The one provider of cryptography, ring; every TLS configuration names it, none relies on a process-wide default.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A client that trusts the CA with this fingerprint and no other, whatever host its URL names.
/// `certificate` is `None` before the host is enrolled.
pub fn client_config(pin: Fingerprint, certificate: Option<&ClientCertificate>) -> Result<ClientConfig, TlsError> {
    client_config_of(&[pin], certificate)
}

/// As [`client_config`], with several CAs of which each is trusted: while one follows another.
pub fn client_config_of(
    pins: &[Fingerprint],
    certificate: Option<&ClientCertificate>,
) -> Result<ClientConfig, TlsError> {
    let verifier = Arc::new(PinnedCa { pins: pins.to_vec(), provider: provider() });
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Certificate)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some(ClientCertificate { certificate_pem, key_pem }) => {
            let chain =
                CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|_| TlsError::Pem("certificate"))?;
            let key = PrivateKeyDer::from_pem_slice(key_pem.expose_secret().as_bytes())
                .map_err(|_| TlsError::Pem("private key"))?;
            builder.with_client_auth_cert(vec![chain], key).map_err(TlsError::Certificate)?
        }
    };
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// A server that shows `served`. With `client_ca`, a client may show a certificate, which must then be of that CA and
/// in date; a client without one is let through as anonymous (enrolment).
pub fn server_config(served: Arc<ServedCertificate>, client_ca: Option<&Ca>) -> Result<ServerConfig, TlsError> {
    let accepted = client_ca.map(|ca| AcceptedCas::new(&[ca.certificate_der()])).transpose()?;
    server_config_accepting(served, accepted)
}

/// As [`server_config`], with CAs that may become others while the server runs.
pub fn server_config_accepting(
    served: Arc<ServedCertificate>,
    clients: Option<Arc<AcceptedCas>>,
) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Certificate)?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(accepted) => builder.with_client_cert_verifier(accepted),
    };
    let mut config = builder.with_cert_resolver(served);
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
    // A resumed session would carry a client's certificate past its end without looking at it again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The certificate that a server shows now; replaced before it ends, while the server runs.
#[derive(Debug)]
pub struct ServedCertificate(RwLock<Arc<CertifiedKey>>);

impl ServedCertificate {
    /// Shows `certificate`.
    pub fn new(certificate: ServerCertificate) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self(RwLock::new(certified(certificate)?))))
    }

    /// Shows `certificate` from the next connection on.
    pub fn replace(&self, certificate: ServerCertificate) -> Result<(), TlsError> {
        let certified = certified(certificate)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
        Ok(())
    }
}

impl ResolvesServerCert for ServedCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn certified(certificate: ServerCertificate) -> Result<Arc<CertifiedKey>, TlsError> {
    CertifiedKey::from_der(certificate.chain, certificate.key, &provider()).map(Arc::new).map_err(TlsError::Certificate)
}

/// Trusts the CAs that a host pins, if the server presents one of them, for the one name that controllers have.
#[derive(Debug)]
struct PinnedCa {
    pins: Vec<Fingerprint>,
    provider: Arc<CryptoProvider>,
}

/// The server belongs to another mesh, or somebody stands between.
#[derive(Debug, ThisError)]
#[error(
    "the controller shows a chain that ends in CA {presented}, this host pins CA {pinned}: \
     check the controller's URL and the join token; a host that was away while its mesh's CA was rotated trusts the \
     new one by its agent's `trust` command"
)]
struct OtherCa {
    presented: Fingerprint,
    pinned: String,
}

impl PinnedCa {
    fn verify_under(
        &self,
        ca: &CertificateDer<'_>,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        WebPkiServerVerifier::builder_with_provider(Arc::new(only_root(ca)?), self.provider.clone())
            .build()
            .map_err(|cause| Error::Other(OtherError(Arc::new(cause))))?
            .verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
    }
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let name = ServerName::try_from(SERVER_NAME).map_err(|_| CertificateError::BadEncoding)?;
        let pinned = intermediates.iter().filter(|certificate| self.pins.contains(&Fingerprint::of(certificate)));
        let mut verdict = None;
        for ca in pinned {
            verdict = Some(self.verify_under(ca, end_entity, intermediates, &name, ocsp_response, now));
            if let Some(Ok(_)) = verdict {
                break;
            }
        }
        verdict.unwrap_or_else(|| {
            let last = intermediates.last().unwrap_or(end_entity);
            let pinned = self.pins.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
            let other = OtherCa { presented: Fingerprint::of(last), pinned };
            Err(Error::Other(OtherError(Arc::new(other))))
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        None
    }
}

fn only_root(ca: &CertificateDer<'_>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone().into_owned())?;
    Ok(roots)
}

#[cfg(test)]
mod tests;

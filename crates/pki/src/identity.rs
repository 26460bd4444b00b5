//! Who a certificate names: the URIs in subject alternative names, written by `ca` and read back here.
//! Reads only; whether a certificate is genuine is TLS's business, decided before.

use crate::{ca::CLOCK_SKEW, keys::public_key_sha256};
use picket_model::{MeshId, NodeId, Timestamp};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use thiserror::Error;
use x509_parser::prelude::{ASN1Time, GeneralName, ParsedExtension, X509Certificate};

const SCHEME: &str = "picket://";

/// The node a certificate was signed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// Its mesh.
    pub mesh: MeshId,
    /// The node.
    pub node: NodeId,
    /// The certificate's serial, lower-case hexadecimal as in [`crate::SignedCertificate`].
    pub serial: String,
    /// SHA-256 of the certificate's public key, lower-case hexadecimal.
    pub key_sha256: String,
    /// When the certificate ends. A connection may last longer.
    pub not_after: Timestamp,
    /// Key identifier of the CA that signed it, lower-case hexadecimal ([`crate::CaCertificate::key_id`]).
    pub authority: String,
}

/// Why a certificate names no node.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// Not PEM.
    #[error("the certificate is not PEM")]
    Pem,
    /// Not a certificate.
    #[error("read the certificate")]
    Der(#[source] x509_parser::error::X509Error),
    /// Has no or several names, or one that is not ours.
    #[error("the certificate does not name exactly one node as picket://<mesh>/node/<id>")]
    Name,
}

/// Reads the node from a certificate in DER that TLS has verified.
pub fn node_of(certificate_der: &[u8]) -> Result<NodeIdentity, IdentityError> {
    let certificate = parse(certificate_der)?;
    let (mesh, node) = only_uri(&certificate).and_then(parse_node_uri).ok_or(IdentityError::Name)?;
    Ok(NodeIdentity {
        mesh,
        node,
        serial: hex::encode(certificate.raw_serial()),
        key_sha256: public_key_sha256(certificate.public_key().raw),
        not_after: Timestamp::from_millis(certificate.validity().not_after.timestamp().saturating_mul(1000)),
        authority: authority(&certificate).unwrap_or_default(),
    })
}

/// The key identifier of the CA that signed a certificate.
fn authority(certificate: &X509Certificate<'_>) -> Option<String> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| hex::encode(id.0)),
        _ => None,
    })
}

/// A certificate's own key identifier.
pub(crate) fn own_key_id(certificate: &X509Certificate<'_>) -> Option<String> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(hex::encode(id.0)),
        _ => None,
    })
}

/// When a certificate was made and when it ends, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// When it was made, by the controller's clock.
    pub made_at: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}

/// Reads from a certificate of ours, in PEM, how long it lasts.
///
/// # Errors
/// An [`IdentityError`] where the text is no certificate.
pub fn validity_of(certificate_pem: &str) -> Result<Validity, IdentityError> {
    let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|_| IdentityError::Pem)?;
    let certificate = parse(&der)?;
    let at = |time: ASN1Time| Timestamp::from_millis(time.timestamp().saturating_mul(1000));
    // It is good from a little earlier on, for hosts whose clocks lag.
    let made_at = at(certificate.validity().not_before).plus(CLOCK_SKEW);
    Ok(Validity { made_at, not_after: at(certificate.validity().not_after) })
}

/// `picket://<mesh>/node/<id>`.
pub(crate) fn node_uri(mesh: &MeshId, node: &NodeId) -> String {
    format!("{SCHEME}{mesh}/node/{node}")
}

/// `picket://<mesh>`, in the CA's own certificate.
pub(crate) fn mesh_uri(mesh: &MeshId) -> String {
    format!("{SCHEME}{mesh}")
}

/// The mesh in a CA's certificate.
pub(crate) fn mesh_of(certificate: &X509Certificate<'_>) -> Option<MeshId> {
    only_uri(certificate)?.strip_prefix(SCHEME)?.parse().ok()
}

pub(crate) fn parse(certificate_der: &[u8]) -> Result<X509Certificate<'_>, IdentityError> {
    match x509_parser::parse_x509_certificate(certificate_der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(x509_parser::nom::Err::Error(cause) | x509_parser::nom::Err::Failure(cause)) => {
            Err(IdentityError::Der(cause))
        }
        Err(x509_parser::nom::Err::Incomplete(_)) => {
            Err(IdentityError::Der(x509_parser::error::X509Error::InvalidCertificate))
        }
    }
}

/// The one name in the certificate, if there is exactly one and it is a URI.
fn only_uri<'a>(certificate: &X509Certificate<'a>) -> Option<&'a str> {
    let names = certificate.subject_alternative_name().ok()??;
    match names.value.general_names.as_slice() {
        [GeneralName::URI(uri)] => Some(uri),
        _ => None,
    }
}

fn parse_node_uri(uri: &str) -> Option<(MeshId, NodeId)> {
    let (mesh, node) = uri.strip_prefix(SCHEME)?.split_once("/node/")?;
    Some((mesh.parse().ok()?, node.parse().ok()?))
}

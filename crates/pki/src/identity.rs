//! Who a certificate names: the URIs in subject alternative names, written by `ca` and read back here.
//! Reads only; whether a certificate is genuine is TLS's business, decided before.

use crate::keys::public_key_sha256;
use picket_model::{MeshId, NodeId, Timestamp};
use thiserror::Error;
use x509_parser::prelude::{GeneralName, X509Certificate};

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
}

/// Why a certificate names no node.
#[derive(Debug, Error)]
pub enum IdentityError {
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
    })
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

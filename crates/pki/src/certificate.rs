//! A mesh CA's certificate without its key: what hosts pin, and what everybody may see.

use crate::{Fingerprint, identity};
use picket_model::{MeshId, Timestamp};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use thiserror::Error;

/// Longest PEM text of a certificate that is read, in bytes: ours have below one thousand.
const LONGEST: usize = 8 * 1024;

/// Why a text is no CA's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// Not PEM, or too long.
    #[error("the CA's certificate is not PEM")]
    Pem,
    /// Not a certificate.
    #[error("the CA's certificate is not X.509")]
    Der,
    /// A certificate that may not sign others.
    #[error("the certificate is not a CA's")]
    NotCa,
    /// A certificate of something else.
    #[error("the CA's certificate names no mesh")]
    Mesh,
}

/// The certificate of a mesh's CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaCertificate {
    mesh: MeshId,
    der: CertificateDer<'static>,
    pem: String,
    not_after: Timestamp,
}

impl CaCertificate {
    /// Reads one certificate in PEM. Says nothing about who signed it: whoever trusts it knows its fingerprint.
    ///
    /// # Errors
    /// [`CertificateError`] where it is none of a mesh's CA.
    pub fn from_pem(pem: &str) -> Result<Self, CertificateError> {
        if pem.len() > LONGEST {
            return Err(CertificateError::Pem);
        }
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| CertificateError::Pem)?;
        let parsed = identity::parse(&der).map_err(|_| CertificateError::Der)?;
        if !parsed.is_ca() {
            return Err(CertificateError::NotCa);
        }
        let mesh = identity::mesh_of(&parsed).ok_or(CertificateError::Mesh)?;
        let not_after = Timestamp::from_millis(parsed.validity().not_after.timestamp().saturating_mul(1000));
        Ok(Self { mesh, pem: pem.to_owned(), not_after, der: der.clone() })
    }

    /// The mesh.
    pub fn mesh(&self) -> &MeshId {
        &self.mesh
    }

    /// What hosts pin.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    /// The certificate in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The certificate in DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// When it ends.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// How certificates name the CA that signed them ([`crate::NodeIdentity::authority`]), lower-case hexadecimal.
    pub fn key_id(&self) -> String {
        let parsed = identity::parse(&self.der).ok();
        parsed.as_ref().and_then(identity::own_key_id).unwrap_or_default()
    }

    /// Whether this CA's key signed the certificate, PEM. Says nothing of its time.
    pub fn signed(&self, certificate_pem: &str) -> bool {
        let Ok(der) = CertificateDer::from_pem_slice(certificate_pem.as_bytes()) else { return false };
        self.signed_der(&der)
    }

    pub(crate) fn signed_der(&self, certificate: &[u8]) -> bool {
        let (Ok(own), Ok(theirs)) = (identity::parse(&self.der), identity::parse(certificate)) else { return false };
        theirs.verify_signature(Some(own.public_key())).is_ok()
    }

    /// Its public key (SubjectPublicKeyInfo) in DER.
    pub(crate) fn public_key(&self) -> Option<Vec<u8>> {
        identity::parse(&self.der).ok().map(|parsed| parsed.public_key().raw.to_vec())
    }
}

//! Where keys and random bytes are made. Everything else in this crate is given them.

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::fmt;
use thiserror::Error;

/// Why there is no key.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The kernel gave no random bytes.
    #[error("read random bytes from the system")]
    Random(#[source] getrandom::Error),
    /// ring made no key.
    #[error("make an ECDSA P-256 key")]
    Generate(#[source] rcgen::Error),
    /// The PEM text is not a key of our kind. The cause is left out: it could quote the key.
    #[error("the private key is not PEM with one ECDSA P-256 key in PKCS#8")]
    Parse,
    /// No signing request for the key.
    #[error("sign a certificate request")]
    Request(#[source] rcgen::Error),
}

/// `N` random bytes from the system, for callers at the rim: secrets of tokens, ids, serials.
pub fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(KeyError::Random)?;
    Ok(bytes)
}

/// A host's own TLS key: ECDSA P-256, made on the host, never sent.
pub struct TlsKey(KeyPair);

impl TlsKey {
    /// A new key.
    pub fn generate() -> Result<Self, KeyError> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map(Self).map_err(KeyError::Generate)
    }

    /// The key that [`Self::key_pem`] wrote.
    pub fn from_pem(pem: &SecretString) -> Result<Self, KeyError> {
        KeyPair::from_pkcs8_pem_and_sign_algo(pem.expose_secret(), &PKCS_ECDSA_P256_SHA256)
            .map(Self)
            .map_err(|_| KeyError::Parse)
    }

    /// The private key as PKCS#8 PEM, for a file only its owner reads.
    pub fn key_pem(&self) -> SecretString {
        self.0.serialize_pem().into()
    }

    /// A certificate signing request. It proves possession of the key and names nothing: names are the CA's to give.
    pub fn csr_pem(&self) -> Result<String, KeyError> {
        let mut nameless = CertificateParams::default();
        nameless.distinguished_name = rcgen::DistinguishedName::new();
        nameless.serialize_request(&self.0).and_then(|csr| csr.pem()).map_err(KeyError::Request)
    }

    /// SHA-256 of the public key (SubjectPublicKeyInfo), lower-case hexadecimal: `Node::tls_key_sha256`.
    pub fn public_key_sha256(&self) -> String {
        public_key_sha256(&self.0.subject_public_key_info())
    }

    pub(crate) fn into_pair(self) -> KeyPair {
        self.0
    }
}

impl fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsKey(public key SHA-256 {})", self.public_key_sha256())
    }
}

/// SHA-256 of a SubjectPublicKeyInfo in DER, lower-case hexadecimal.
pub(crate) fn public_key_sha256(spki_der: &[u8]) -> String {
    hex::encode(Sha256::digest(spki_der))
}

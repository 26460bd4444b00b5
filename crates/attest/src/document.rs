//! The AWS instance identity document, `/latest/dynamic/instance-identity/document`, with the signature beside it at
//! `/signature`: base64 of RSA PKCS#1 v1.5 with SHA-256 over the document's exact bytes (EC2 user guide, "Verify the instance
//! identity document", option 2). AWS has a certificate for each region. The PKCS#7 forms are not read.

use crate::{
    identity::{Identity, Kind},
    json,
    shown::shown,
    token::is_instance,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use picket_model::Timestamp;
use ring::signature::{RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, UnparsedPublicKey};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt};
use thiserror::Error;
use x509_parser::{pem::parse_x509_pem, public_key::PublicKey};

/// Largest document that is read, in bytes: AWS's have about 480.
pub const LARGEST: usize = 8 << 10;
/// Largest signature, in bytes of base64: 8192 bits.
const LARGEST_SIGNATURE: usize = 1400;
/// Keys below this many bits are taken only where the operator says so.
const GOOD_BITS: usize = 2048;

/// Why a document proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DocumentError {
    /// Too large.
    #[error(
        "the instance identity document has more than {LARGEST} bytes, or its signature more than {LARGEST_SIGNATURE}"
    )]
    TooLarge,
    /// Not base64.
    #[error("the signature of the instance identity document is not base64 without white space")]
    Base64,
    /// Not JSON as it should be.
    #[error("the instance identity document cannot be read: {0}")]
    Json(String),
    /// A field is missing or not as it should be.
    #[error("the instance identity document has no usable `{0}`")]
    Field(&'static str),
    /// No certificate for its region.
    #[error("there is no certificate for AWS region {0}: name it in attest.aws_certificates")]
    Region(String),
    /// The region's certificate is not valid now.
    #[error("the certificate for AWS region {region} is valid from {from} to {until}: configure the present one")]
    Certificate {
        /// Which.
        region: String,
        /// Its begin.
        from: Timestamp,
        /// Its end.
        until: Timestamp,
    },
    /// Not signed by that certificate's key.
    #[error("the signature of the instance identity document is wrong for AWS region {0}")]
    Signature(String),
}

/// A certificate that cannot be used for documents.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// Not one certificate.
    #[error("not PEM with one certificate and nothing after it")]
    Pem,
    /// Not RSA.
    #[error("its key is not RSA: take AWS's certificate \"RSA\" for the region, not \"DSA\"")]
    NotRsa,
    /// Too few bits.
    #[error(
        "its key has {0} bits: AWS signs this form of the document with 1024 bits in all regions, which is short for today; \
         write attest.aws_short_keys = true to take it all the same, or have hosts show an aws-sts token"
    )]
    Short(usize),
}

/// AWS's certificate for the documents of one region.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// RSAPublicKey in DER (RFC 8017, A.1.1).
    pub(crate) key: Vec<u8>,
    pub(crate) valid: (Timestamp, Timestamp),
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate(from {} to {})", self.valid.0, self.valid.1)
    }
}

impl Certificate {
    /// Reads a certificate in PEM. It is believed because the operator names it: nobody signed it but itself.
    ///
    /// # Errors
    /// A [`CertificateError`] for another kind of key, or a short one where that is not allowed.
    pub fn parse(pem: &str, allow_short: bool) -> Result<Self, CertificateError> {
        let (rest, pem) = parse_x509_pem(pem.trim().as_bytes()).map_err(|_| CertificateError::Pem)?;
        if !rest.is_empty() || pem.label != "CERTIFICATE" {
            return Err(CertificateError::Pem);
        }
        let certificate = pem.parse_x509().map_err(|_| CertificateError::Pem)?;
        let public = certificate.public_key();
        let Ok(PublicKey::RSA(key)) = public.parsed() else { return Err(CertificateError::NotRsa) };
        let bits = key.modulus.iter().skip_while(|byte| **byte == 0).count() * 8;
        if bits < 1024 || (bits < GOOD_BITS && !allow_short) {
            return Err(CertificateError::Short(bits));
        }
        let at = |time: x509_parser::time::ASN1Time| Timestamp::from_millis(time.timestamp().saturating_mul(1000));
        let valid = (at(certificate.validity().not_before), at(certificate.validity().not_after));
        Ok(Self { key: public.subject_public_key.data.to_vec(), valid })
    }
}

/// The certificates by region, as configured.
pub type RegionCertificates = BTreeMap<String, Certificate>;

/// Which instance a document describes, once its region's key has verified it.
///
/// # Errors
/// A [`DocumentError`] that says what is wrong.
pub fn identify(
    certificates: &RegionCertificates,
    document: &str,
    signature: &str,
    now: Timestamp,
) -> Result<Identity, DocumentError> {
    if document.len() > LARGEST || signature.len() > LARGEST_SIGNATURE {
        return Err(DocumentError::TooLarge);
    }
    let signature = STANDARD.decode(signature).map_err(|_| DocumentError::Base64)?;
    let map = json::object(document.as_bytes()).map_err(DocumentError::Json)?;
    // The region only chooses the key: another region's key cannot sign for this one.
    let region = text(&map, "region")?;
    let certificate = certificates.get(region).ok_or_else(|| DocumentError::Region(shown(region)))?;
    let (from, until) = certificate.valid;
    if now < from || now > until {
        return Err(DocumentError::Certificate { region: region.to_owned(), from, until });
    }
    let key = UnparsedPublicKey::new(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, &certificate.key);
    key.verify(document.as_bytes(), &signature).map_err(|_| DocumentError::Signature(region.to_owned()))?;

    let account = text(&map, "accountId")?;
    if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DocumentError::Field("accountId"));
    }
    let instance = text(&map, "instanceId")?;
    if !is_instance(instance) {
        return Err(DocumentError::Field("instanceId"));
    }
    let launched_at = text(&map, "pendingTime")?.parse().map_err(|_| DocumentError::Field("pendingTime"))?;
    Ok(Identity {
        kind: Kind::AwsDocument,
        account: account.to_owned(),
        instance: instance.to_owned(),
        region: Some(region.to_owned()),
        zone: Some(text(&map, "availabilityZone")?.to_owned()),
        image: Some(text(&map, "imageId")?.to_owned()),
        instance_name: None,
        tags: BTreeMap::new(),
        claims: Map::new(),
        launched_at: Some(launched_at),
        issued_at: None,
        expires_at: None,
    })
}

fn text<'a>(map: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, DocumentError> {
    map.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).ok_or(DocumentError::Field(name))
}

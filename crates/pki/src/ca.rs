//! The mesh's certificate authority: one key, certificates for nodes (from their requests) and for the controller itself.
//! Names are given here, never taken from a request.

use crate::{
    CaCertificate, Fingerprint, identity,
    keys::{self, KeyError, TlsKey, public_key_sha256},
};
use picket_model::{MeshId, NodeId, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls::pki_types::{
    CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject,
};
use secrecy::SecretString;
use std::{fmt, time::Duration};
use thiserror::Error;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

/// The name in every controller's certificate, whatever host or address its URL names: moving a controller needs no
/// new certificate, since a host trusts the one CA it pins and not a name.
pub const SERVER_NAME: &str = "controller.picket.internal";

/// Ten years: hosts pin it, so a new one means telling every host.
const CA_LIFETIME: Duration = Duration::from_hours(10 * 365 * 24);
/// How long a rotation may take.
const CROSS_LIFETIME: Duration = Duration::from_hours(365 * 24);
/// Made anew at each start, and by the controller before it ends.
const SERVER_LIFETIME: Duration = Duration::from_hours(90 * 24);
/// How far a host's clock may lag behind the controller's before it refuses a fresh certificate.
pub(crate) const CLOCK_SKEW: Duration = Duration::from_mins(5);

/// What the certificate authority could not do.
#[derive(Debug, Error)]
pub enum CaError {
    /// The host's request is at fault, not we.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// No key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// ring or rcgen signed nothing.
    #[error("sign the certificate of {subject}")]
    Sign {
        /// Whose certificate.
        subject: String,
        /// The cause.
        #[source]
        cause: rcgen::Error,
    },
    /// The stored CA is not what we wrote.
    #[error("the stored certificate authority cannot be used: {0}; restore it from a backup, every host pins it")]
    Stored(&'static str),
    /// A certificate cannot name this moment.
    #[error("{at} is outside the years a certificate can name")]
    Time {
        /// The moment.
        at: Timestamp,
    },
}

/// What is wrong with a certificate signing request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Not a request.
    #[error("the certificate request is not PEM with one PKCS#10 request")]
    Parse,
    /// Another kind of key.
    #[error("the certificate request's key is not ECDSA P-256")]
    Key,
    /// Whoever sent it does not hold the key.
    #[error("the certificate request is not signed by its own key")]
    Signature,
}

/// A certificate authority in two PEM texts, for the store.
#[derive(Clone, Debug)]
pub struct CaPem {
    /// The certificate; public.
    pub certificate: String,
    /// The private key, PKCS#8.
    pub key: SecretString,
}

/// A node's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCertificate {
    /// The certificate alone, without the CA's.
    pub pem: String,
    /// Its serial, lower-case hexadecimal.
    pub serial: String,
    /// Its end, in whole seconds.
    pub not_after: Timestamp,
    /// SHA-256 of its public key (SubjectPublicKeyInfo), lower-case hexadecimal.
    pub key_sha256: String,
}

/// What the controller shows to whoever connects: a key and a chain which ends in the CA, where the pin is looked for.
pub struct ServerCertificate {
    /// The controller's certificate, then the CA's.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the first.
    pub key: PrivateKeyDer<'static>,
    /// Its end, in whole seconds.
    pub not_after: Timestamp,
}

impl ServerCertificate {
    /// Lets those trust it too who pin the CA that was before: `cross_pem` is that one's word for this one's CA.
    ///
    /// # Errors
    /// [`CaError::Stored`] where `cross_pem` is no certificate.
    pub fn also_under(&mut self, before: &CaCertificate, cross_pem: &str) -> Result<(), CaError> {
        let cross = CertificateDer::from_pem_slice(cross_pem.as_bytes());
        let cross = cross.map_err(|_| CaError::Stored("what the last one signed for it is not PEM"))?;
        // The CA of now stays the last: an error names it.
        let place = self.chain.len().saturating_sub(1);
        self.chain.splice(place..place, [cross, before.der().clone()]);
        Ok(())
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerCertificate(until {})", self.not_after)
    }
}

/// The certificate authority of one mesh.
pub struct Ca {
    mesh: MeshId,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key_id: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    /// A new one, with a new key.
    pub fn generate(mesh: &MeshId, now: Timestamp) -> Result<Self, CaError> {
        Self::with_key(mesh, TlsKey::generate()?, now)
    }

    /// A new one, with a key that was made elsewhere.
    pub fn with_key(mesh: &MeshId, key: TlsKey, now: Timestamp) -> Result<Self, CaError> {
        let pair = key.into_pair();
        let params = ca_params(mesh, now, CA_LIFETIME)?;
        let certificate = params.self_signed(&pair).map_err(|cause| unsigned("the CA", cause))?;
        let certificate_pem = certificate.pem();
        let certificate = CertificateDer::from(certificate);
        let key_id = identity::parse(&certificate).ok().as_ref().and_then(identity::own_key_id).unwrap_or_default();
        Ok(Self { mesh: mesh.clone(), certificate_pem, certificate, key_id, issuer: Issuer::new(params, pair) })
    }

    /// The one that [`Self::to_pem`] wrote.
    pub fn from_pem(certificate_pem: &str, key_pem: &SecretString) -> Result<Self, CaError> {
        let pair = TlsKey::from_pem(key_pem)?.into_pair();
        let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|_| CaError::Stored("its certificate is not PEM"))?;
        let parsed = identity::parse(&der).map_err(|_| CaError::Stored("its certificate is not X.509"))?;
        if parsed.public_key().raw != pair.subject_public_key_info() {
            return Err(CaError::Stored("its key does not belong to its certificate"));
        }
        if !parsed.is_ca() {
            return Err(CaError::Stored("its certificate may not sign others"));
        }
        let mesh = identity::mesh_of(&parsed).ok_or(CaError::Stored("its certificate names no mesh"))?;
        let key_id = identity::own_key_id(&parsed).unwrap_or_default();
        let issuer = Issuer::from_ca_cert_der(&der, pair)
            .map_err(|_| CaError::Stored("its certificate has names we never write"))?;
        Ok(Self { mesh, certificate_pem: certificate_pem.to_owned(), certificate: der, key_id, issuer })
    }

    /// Name and key of the CA that is to follow this one, signed by this one, PEM: who pins this one trusts by it what the
    /// next one signs, and learns which that is.
    pub fn cross_sign(&self, next: &CaCertificate, now: Timestamp) -> Result<String, CaError> {
        let subject = "the next CA";
        let key = next.public_key().and_then(|spki| SubjectPublicKeyInfo::from_der(&spki).ok());
        let key = key.ok_or(CaError::Stored("its certificate's key cannot be read"))?;
        let params = ca_params(next.mesh(), now, CROSS_LIFETIME)?;
        Ok(params.signed_by(&key, &self.issuer).map_err(|cause| unsigned(subject, cause))?.pem())
    }

    /// Certificate and key, for the store.
    pub fn to_pem(&self) -> CaPem {
        CaPem { certificate: self.certificate_pem.clone(), key: self.issuer.key().serialize_pem().into() }
    }

    /// The mesh whose CA this is.
    pub fn mesh(&self) -> &MeshId {
        &self.mesh
    }

    /// The certificate; public.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The certificate alone; public.
    pub fn certificate(&self) -> Result<CaCertificate, CaError> {
        CaCertificate::from_pem(&self.certificate_pem)
            .map_err(|_| CaError::Stored("its certificate is not one of ours"))
    }

    /// The certificate in DER; public.
    pub fn certificate_der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// How certificates name it that it signed ([`crate::NodeIdentity::authority`]), lower-case hexadecimal.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// What hosts pin.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// A certificate for `node` with the key of the request. The request proves possession of the key by its signature;
    /// whatever else it asks for is not looked at.
    pub fn sign_node(
        &self,
        csr_pem: &str,
        node: &NodeId,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<SignedCertificate, CaError> {
        let public_key = proven_key(csr_pem)?;
        let mut params = params(node.as_str(), now, lifetime)?;
        params.subject_alt_names = vec![uri(&identity::node_uri(&self.mesh, node))?];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate =
            params.signed_by(&public_key, &self.issuer).map_err(|cause| unsigned(node.as_str(), cause))?;
        Ok(SignedCertificate {
            pem: certificate.pem(),
            serial: params.serial_number.map(|serial| hex::encode(serial.to_bytes())).unwrap_or_default(),
            not_after: seconds(params.not_after),
            key_sha256: public_key_sha256(&public_key.subject_public_key_info()),
        })
    }

    /// A new key and certificate for a controller, 90 days long.
    pub fn server_certificate(&self, now: Timestamp) -> Result<ServerCertificate, CaError> {
        let pair = TlsKey::generate()?.into_pair();
        let mut params = params(SERVER_NAME, now, SERVER_LIFETIME)?;
        let name = SERVER_NAME.try_into().map_err(|cause| unsigned(SERVER_NAME, cause))?;
        params.subject_alt_names = vec![SanType::DnsName(name)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&pair, &self.issuer).map_err(|cause| unsigned(SERVER_NAME, cause))?;
        Ok(ServerCertificate {
            chain: vec![certificate.into(), self.certificate.clone()],
            key: PrivatePkcs8KeyDer::from(pair.serialize_der()).into(),
            not_after: seconds(params.not_after),
        })
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ca({}, {})", self.mesh, self.fingerprint())
    }
}

/// What all our certificates have in common. The serial is random: rcgen's own choice depends on the key alone, and a
/// renewed certificate must not have the old one's serial.
fn params(common_name: &str, now: Timestamp, lifetime: Duration) -> Result<CertificateParams, CaError> {
    let mut serial = keys::random::<16>()?;
    // A positive DER integer without a leading zero byte, so that it reads the same wherever it is printed.
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = date(Timestamp::from_millis(
        now.as_millis().saturating_sub(i64::try_from(CLOCK_SKEW.as_millis()).unwrap_or(i64::MAX)),
    ))?;
    params.not_after = date(now.plus(lifetime))?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// What the certificates of all our CAs have in common, whoever signs them.
fn ca_params(mesh: &MeshId, now: Timestamp, lifetime: Duration) -> Result<CertificateParams, CaError> {
    let mut params = params("Picket mesh CA", now, lifetime)?;
    params.distinguished_name.push(DnType::OrganizationName, mesh.as_str());
    params.subject_alt_names = vec![uri(&identity::mesh_uri(mesh))?];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(params)
}

/// SHA-256 of a request's public key, once its signature shows that whoever made it holds the private one; lower-case
/// hexadecimal.
///
/// # Errors
/// A [`RequestError`] for anything but a request of ours.
pub fn request_key_sha256(csr_pem: &str) -> Result<String, RequestError> {
    Ok(public_key_sha256(&proven_key(csr_pem)?.subject_public_key_info()))
}

/// The request's public key, once its signature shows that the sender holds the private one.
fn proven_key(csr_pem: &str) -> Result<SubjectPublicKeyInfo, RequestError> {
    let der = CertificateSigningRequestDer::from_pem_slice(csr_pem.as_bytes()).map_err(|_| RequestError::Parse)?;
    let (_, csr) = X509CertificationRequest::from_der(&der).map_err(|_| RequestError::Parse)?;
    let key = SubjectPublicKeyInfo::from_der(csr.certification_request_info.subject_pki.raw)
        .map_err(|_| RequestError::Key)?;
    if key.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
        return Err(RequestError::Key);
    }
    csr.verify_signature().map_err(|_| RequestError::Signature)?;
    Ok(key)
}

fn uri(text: &str) -> Result<SanType, CaError> {
    text.try_into().map(SanType::URI).map_err(|cause| unsigned(text, cause))
}

fn unsigned(subject: &str, cause: rcgen::Error) -> CaError {
    CaError::Sign { subject: subject.to_owned(), cause }
}

fn date(at: Timestamp) -> Result<OffsetDateTime, CaError> {
    OffsetDateTime::from_unix_timestamp(at.as_millis().div_euclid(1000)).map_err(|_| CaError::Time { at })
}

fn seconds(date: OffsetDateTime) -> Timestamp {
    Timestamp::from_millis(date.unix_timestamp().saturating_mul(1000))
}

#[cfg(test)]
mod tests;

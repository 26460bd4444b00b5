//! Tests of the CA: what it signs, what it refuses.

use super::*;
use crate::{NodeIdentity, node_of, validity_of};
use rcgen::{PKCS_ECDSA_P384_SHA384, SignatureAlgorithm, SigningKey};
use secrecy::ExposeSecret;

const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_123);
const HOURS_8: Duration = Duration::from_hours(8);

#[test]
fn node_certificate_says_what_was_signed() {
    let (ca, key) = (ca(), TlsKey::generate().unwrap());
    let signed = ca.sign_node(&key.csr_pem().unwrap(), &node(), NOW, HOURS_8).unwrap();
    let identity = NodeIdentity {
        mesh: "harbour".parse().unwrap(),
        node: node(),
        serial: signed.serial.clone(),
        key_sha256: key.public_key_sha256(),
        authority: ca.certificate().unwrap().key_id(),
        not_after: signed.not_after,
    };
    assert_eq!(read(&signed), identity);
    assert_eq!(signed.key_sha256, key.public_key_sha256());
    assert_eq!(signed.not_after.to_string(), NOW.plus(HOURS_8).to_string());
    let der = der(&signed.pem);
    let validity = identity::parse(&der).unwrap().validity().clone();
    assert_eq!(validity.not_before.timestamp() * 1000, NOW.as_millis() / 1000 * 1000 - 300_000, "clocks differ");
}

#[test]
fn a_host_reads_from_its_certificate_when_to_renew_it() {
    let (key, ca) = (TlsKey::generate().unwrap(), ca());
    let csr = key.csr_pem().unwrap();
    let signed = ca.sign_node(&csr, &node(), NOW, HOURS_8).unwrap();
    let validity = validity_of(&signed.pem).unwrap();
    assert_eq!(validity.not_after, signed.not_after);
    assert_eq!(validity.not_after.since(validity.made_at), HOURS_8);
    assert_eq!(request_key_sha256(&csr).unwrap(), signed.key_sha256);
    assert!(validity_of("nonsense").is_err());
}

#[test]
fn renewed_certificate_has_the_same_key_and_another_serial() {
    let (ca, csr) = (ca(), TlsKey::generate().unwrap().csr_pem().unwrap());
    let [first, second] = [(); 2].map(|()| ca.sign_node(&csr, &node(), NOW, HOURS_8).unwrap());
    assert_eq!(first.key_sha256, second.key_sha256);
    assert_ne!(first.serial, second.serial);
}

#[test]
fn whatever_a_request_asks_for_only_its_key_counts() {
    let mut greedy = CertificateParams::new(vec![SERVER_NAME.to_owned()]).unwrap();
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.distinguished_name.push(DnType::CommonName, "admin");
    greedy.subject_alt_names.push(uri("picket://harbour/node/somebody-else").unwrap());
    greedy.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let pair = KeyPair::generate().unwrap();
    let csr = greedy.serialize_request(&pair).unwrap().pem().unwrap();

    let signed = ca().sign_node(&csr, &node(), NOW, HOURS_8).unwrap();
    assert_eq!(read(&signed).node, node());
    let der = der(&signed.pem);
    let certificate = identity::parse(&der).unwrap();
    assert!(!certificate.is_ca());
    assert_eq!(certificate.subject().to_string(), "CN=sentry-1");
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
}

#[test]
fn request_without_proof_of_its_key_is_refused() {
    /// Holds one key, claims another.
    struct Thief {
        own: KeyPair,
        claimed: KeyPair,
    }
    impl PublicKeyData for Thief {
        fn der_bytes(&self) -> &[u8] {
            self.claimed.der_bytes()
        }
        fn algorithm(&self) -> &'static SignatureAlgorithm {
            self.claimed.algorithm()
        }
    }
    impl SigningKey for Thief {
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
            self.own.sign(message)
        }
    }
    let thief = Thief { own: KeyPair::generate().unwrap(), claimed: KeyPair::generate().unwrap() };
    refused(&request(&thief), RequestError::Signature);
}

#[test]
fn only_p256_keys_are_signed() {
    refused(&request(&KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap()), RequestError::Key);
    refused(&request(&KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap()), RequestError::Key);
}

#[test]
fn what_is_no_request_is_refused() {
    let csr = request(&KeyPair::generate().unwrap());
    let other_kind = ca().certificate_pem().to_owned();
    let cut = csr.lines().take(3).chain(["-----END CERTIFICATE REQUEST-----"]).collect::<Vec<_>>().join("\n");
    for bad in ["", "nonsense", &other_kind, &cut, &csr[..100]] {
        refused(bad, RequestError::Parse);
    }
}

#[test]
fn stored_ca_is_the_same_ca() {
    let ca = ca();
    let CaPem { certificate, key } = ca.to_pem();
    let restored = Ca::from_pem(&certificate, &key).unwrap();
    assert_eq!((restored.mesh(), restored.fingerprint()), (ca.mesh(), ca.fingerprint()));
    let csr = TlsKey::generate().unwrap().csr_pem().unwrap();
    let signed = restored.sign_node(&csr, &node(), NOW, HOURS_8).unwrap();
    let (signed, root) = (der(&signed.pem), der(ca.certificate_pem()));
    let root = identity::parse(&root).unwrap();
    let signed = identity::parse(&signed).unwrap();
    signed.verify_signature(Some(root.public_key())).unwrap();
    assert_eq!(signed.issuer(), root.subject());
}

#[test]
fn stored_ca_that_does_not_fit_is_an_error_and_no_new_ca() {
    let CaPem { certificate, key } = ca().to_pem();
    let other = ca().to_pem();
    let node_key = TlsKey::generate().unwrap();
    let node_certificate = ca().sign_node(&node_key.csr_pem().unwrap(), &node(), NOW, HOURS_8).unwrap().pem;
    let cases = [
        (certificate.as_str(), other.key, "does not belong"),
        ("", key, "not PEM"),
        (certificate.as_str(), "".into(), "private key"),
        (certificate.as_str(), certificate.as_str().into(), "private key"),
        (node_certificate.as_str(), node_key.key_pem(), "may not sign"),
    ];
    for (certificate, key, reason) in cases {
        let error = Ca::from_pem(certificate, &key).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn moments_no_certificate_can_name_are_an_error() {
    let csr = TlsKey::generate().unwrap().csr_pem().unwrap();
    let error = ca().sign_node(&csr, &node(), Timestamp::from_millis(i64::MAX), HOURS_8).unwrap_err();
    assert!(matches!(error, CaError::Time { .. }), "{error}");
}

#[test]
fn only_certificates_with_one_node_are_nodes() {
    let ca = ca();
    assert!(node_of(ca.certificate_der()).is_err(), "the CA itself");
    assert!(node_of(&ca.server_certificate(NOW).unwrap().chain[0]).is_err(), "a controller");
    assert!(node_of(b"").is_err());
    for names in [
        &["picket://harbour/node/a", "picket://harbour/node/b"][..],
        &["picket://harbour"],
        &["picket://harbour/node/"],
        &["picket://harbour/node/a/b"],
        &["picket://harbour/node/A"],
        &["https://harbour/node/a"],
    ] {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.iter().map(|name| uri(name).unwrap()).collect();
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert!(node_of(certificate.der()).is_err(), "{names:?}");
    }
}

#[test]
fn debug_shows_no_key() {
    let ca = ca();
    let pem = ca.to_pem();
    let key = TlsKey::from_pem(&pem.key).unwrap();
    let secret = pem.key.expose_secret().lines().nth(1).unwrap();
    let shown = format!("{ca:?} {pem:?} {key:?}");
    assert!(!shown.contains(secret), "{shown}");
    assert!(shown.contains(&ca.fingerprint().to_string()), "{shown}");
}

#[track_caller]
fn refused(csr: &str, reason: RequestError) {
    match ca().sign_node(csr, &node(), NOW, HOURS_8) {
        Err(CaError::Request(found)) => assert_eq!(found, reason),
        other => panic!("{other:?}"),
    }
}

fn request(key: &impl SigningKey) -> String {
    CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()
}

fn read(signed: &SignedCertificate) -> NodeIdentity {
    node_of(&der(&signed.pem)).unwrap()
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn ca() -> Ca {
    Ca::generate(&"harbour".parse().unwrap(), NOW).unwrap()
}

fn node() -> NodeId {
    "sentry-1".parse().unwrap()
}

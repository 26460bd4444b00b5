//! One CA follows another: whether the one that a host pins has vouched for the one that is to follow. Only who holds the
//! pinned CA's key can make a host trust another.

use crate::{CaCertificate, identity};
use picket_model::Timestamp;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use thiserror::Error;

/// Longest PEM text of a certificate that is read, in bytes.
const LONGEST: usize = 8 * 1024;

/// Why the next CA is not believed to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SuccessionError {
    /// The CA's word is no certificate.
    #[error("what the pinned CA signed is not one X.509 certificate in PEM")]
    Parse,
    /// Another mesh's.
    #[error("it is of another mesh")]
    Mesh,
    /// The word is for another key or name, or for one that may not sign.
    #[error("what the pinned CA signed is for another key, another name, or not for a CA")]
    Other,
    /// Not the pinned CA's word.
    #[error("the pinned CA did not sign it")]
    Signature,
    /// Not made by who holds the next CA's key.
    #[error("the next CA's certificate is not signed by its own key")]
    Unsigned,
    /// Over, or not begun.
    #[error("its time is over or has not begun: check the clocks")]
    Time,
}

/// Checks that `pinned` vouches for `next`: `cross_pem` is the name and key of `next`, signed by `pinned`.
///
/// # Errors
/// A [`SuccessionError`] for anything else.
pub fn check_succession(
    pinned: &CaCertificate,
    next: &CaCertificate,
    cross_pem: &str,
    now: Timestamp,
) -> Result<(), SuccessionError> {
    if cross_pem.len() > LONGEST {
        return Err(SuccessionError::Parse);
    }
    let der = CertificateDer::from_pem_slice(cross_pem.as_bytes()).map_err(|_| SuccessionError::Parse)?;
    let cross = identity::parse(&der).map_err(|_| SuccessionError::Parse)?;
    let own = identity::parse(next.der()).map_err(|_| SuccessionError::Parse)?;
    if pinned.mesh() != next.mesh() || identity::mesh_of(&cross).as_ref() != Some(next.mesh()) {
        return Err(SuccessionError::Mesh);
    }
    let same = cross.public_key().raw == own.public_key().raw && cross.subject().as_raw() == own.subject().as_raw();
    if !same || !cross.is_ca() {
        return Err(SuccessionError::Other);
    }
    if !pinned.signed_der(&der) {
        return Err(SuccessionError::Signature);
    }
    if !next.signed_der(next.der()) {
        return Err(SuccessionError::Unsigned);
    }
    let second = now.as_millis().div_euclid(1000);
    let is_current = |certificate: &x509_parser::prelude::X509Certificate<'_>| {
        let validity = certificate.validity();
        (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&second)
    };
    if is_current(&cross) && is_current(&own) { Ok(()) } else { Err(SuccessionError::Time) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ca;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn ca(mesh: &str) -> (Ca, CaCertificate) {
        let ca = Ca::generate(&mesh.parse().unwrap(), NOW).unwrap();
        let certificate = ca.certificate().unwrap();
        (ca, certificate)
    }

    #[test]
    fn only_the_pinned_ca_names_the_next_one() {
        let ((old, pinned), (next_key, next), (liar, liars)) = (ca("one"), ca("one"), ca("one"));
        let word = old.cross_sign(&next, NOW).unwrap();
        let check = |pinned: &CaCertificate, next: &CaCertificate, word: &str, expect| {
            assert_eq!(check_succession(pinned, next, word, NOW), expect);
        };
        check(&pinned, &next, &word, Ok(()));
        check(&pinned, &next, &liar.cross_sign(&next, NOW).unwrap(), Err(SuccessionError::Signature));
        check(&pinned, &next, &next_key.cross_sign(&next, NOW).unwrap(), Err(SuccessionError::Signature));
        check(&pinned, &next, next.pem(), Err(SuccessionError::Signature));
        check(&pinned, &liars, &word, Err(SuccessionError::Other));
        check(&liars, &next, &word, Err(SuccessionError::Signature));
        check(&pinned, &next, "", Err(SuccessionError::Parse));
        check(&pinned, &next, &"x".repeat(LONGEST + 1), Err(SuccessionError::Parse));
        let (_, foreign) = ca("two");
        check(&pinned, &foreign, &old.cross_sign(&foreign, NOW).unwrap(), Err(SuccessionError::Mesh));
        // A host's certificate is no word for a CA, whoever it is for.
        let csr = crate::TlsKey::generate().unwrap().csr_pem().unwrap();
        let node = old.sign_node(&csr, &"n-1".parse().unwrap(), NOW, Duration::from_secs(60)).unwrap();
        assert!(check_succession(&pinned, &next, &node.pem, NOW).is_err());
        assert!(CaCertificate::from_pem(&node.pem).is_err());
    }

    #[test]
    fn a_word_ends_with_its_time() {
        let ((old, pinned), (_, next)) = (ca("one"), ca("one"));
        let word = old.cross_sign(&next, NOW).unwrap();
        let at = |time| check_succession(&pinned, &next, &word, time);
        assert_eq!(at(NOW.plus(Duration::from_hours(364 * 24))), Ok(()));
        assert_eq!(at(NOW.plus(Duration::from_hours(366 * 24))), Err(SuccessionError::Time));
        assert_eq!(at(Timestamp::from_millis(NOW.as_millis() - 3_600_000)), Err(SuccessionError::Time));
    }

    #[test]
    fn a_certificate_says_which_ca_signed_it() {
        let ((old, pinned), (_, next)) = (ca("one"), ca("one"));
        let csr = crate::TlsKey::generate().unwrap().csr_pem().unwrap();
        let signed = old.sign_node(&csr, &"n-1".parse().unwrap(), NOW, Duration::from_secs(60)).unwrap();
        let der = CertificateDer::from_pem_slice(signed.pem.as_bytes()).unwrap();
        assert_eq!(crate::node_of(&der).unwrap().authority, pinned.key_id());
        assert!(!pinned.key_id().is_empty() && pinned.key_id() != next.key_id());
        assert!(pinned.signed(&signed.pem) && !next.signed(&signed.pem) && !pinned.signed("nonsense"));
    }
}

//! Which CAs this host trusts, and what it takes to trust another one: a word of the CA it pins, never of the controller alone.
//! Values in, values out; the asking is beside it.

use crate::identity::Identity;
use picket_api::{
    AgentClient, ApiError,
    ca::{CaQuery, MeshCas, NextCa},
};
use picket_model::Timestamp;
use picket_pki::{CaCertificate, CertificateError, Fingerprint, SuccessionError, check_succession};
use std::{future::Future, pin::Pin, time::Duration};
use thiserror::Error;

use crate::subscribe::pause;

/// Why what the controller says of CAs is not followed. What is trusted stays.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TrustRefusal {
    /// Not a certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The CA that this host pins did not say so.
    #[error("the next CA {next} is not vouched for by the one this host pins: {cause}")]
    Succession {
        /// The one it is to trust.
        next: Fingerprint,
        /// What is wrong.
        cause: SuccessionError,
    },
    /// Nothing that this host trusts follows from it.
    #[error("the controller speaks of CA {current}, which this host does not trust")]
    Stranger {
        /// The CA it speaks of.
        current: Fingerprint,
    },
}

/// What follows from what the controller says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Nothing.
    Stays,
    /// The next CA is trusted beside the one before.
    Learns(Fingerprint),
    /// The next CA is the only one, if a controller shows it: a connection that trusts nothing else is to be tried.
    Settles(Fingerprint),
}

/// What to do about the CAs of the mesh.
///
/// # Errors
/// A [`TrustRefusal`] where the controller says what no honest one would.
pub fn judge(identity: &Identity, told: &MeshCas, now: Timestamp) -> Result<Trust, TrustRefusal> {
    let current = CaCertificate::from_pem(&told.current_pem)?;
    let fingerprint = current.fingerprint();
    match &told.next {
        // A host that joined by a token of the next CA pins it from its first hour.
        Some(next) if CaCertificate::from_pem(&next.pem)?.fingerprint() == identity.ca_fingerprint => Ok(Trust::Stays),
        Some(NextCa { pem, cross_pem }) if fingerprint == identity.ca_fingerprint => {
            let next = CaCertificate::from_pem(pem)?;
            let refused = |cause| TrustRefusal::Succession { next: next.fingerprint(), cause };
            check_succession(&current, &next, cross_pem, now).map_err(refused)?;
            let known = identity.next_ca == Some(next.fingerprint());
            Ok(if known { Trust::Stays } else { Trust::Learns(next.fingerprint()) })
        }
        None if fingerprint == identity.ca_fingerprint => Ok(Trust::Stays),
        // Whether or not yet another one is to follow by now: that one is learned from this one, once it is pinned.
        _ if Some(fingerprint) == identity.next_ca => Ok(Trust::Settles(fingerprint)),
        _ => Err(TrustRefusal::Stranger { current: fingerprint }),
    }
}

/// Whether this host's certificate is to be renewed though it is young: another CA, which this host trusts, signs by now.
pub fn is_outdated(identity: &Identity, told: &MeshCas, certificate_pem: &str) -> bool {
    if !identity.pins().contains(&told.issues) {
        return false;
    }
    let named = [Some(&told.current_pem), told.next.as_ref().map(|next| &next.pem)];
    let cas = named.into_iter().flatten().filter_map(|pem| CaCertificate::from_pem(pem).ok());
    cas.filter(|ca| ca.fingerprint() == told.issues).any(|ca| !ca.signed(certificate_pem))
}

type Asking = Pin<Box<dyn Future<Output = Result<Option<MeshCas>, ApiError>>>>;

/// The question about CAs, of which one is under way at a time.
#[derive(Default)]
pub struct CaWatch {
    asking: Option<Asking>,
    /// The CA that the question under way trusts alone.
    trying: Option<Fingerprint>,
    known: Option<String>,
}

impl CaWatch {
    /// Asks, after a while, for something else than what was told last.
    pub fn ask(&mut self, identity: &Identity, client: &AgentClient, delay: Duration) {
        let trusts: Vec<String> = identity.pins().iter().map(ToString::to_string).collect();
        let query = CaQuery { known: self.known.clone(), trusts: trusts.join(",") };
        self.trying = None;
        self.put(query, client, delay);
    }

    /// Asks at once over a connection that trusts `ca` alone.
    pub fn try_alone(&mut self, ca: Fingerprint, client: &AgentClient) {
        self.trying = Some(ca);
        self.put(CaQuery { known: None, trusts: ca.to_string() }, client, Duration::ZERO);
    }

    /// What was told is dealt with, and need not be told again.
    pub fn dealt_with(&mut self, told: &MeshCas) {
        self.known = Some(told.tag.clone());
    }

    /// Waits for an answer; with it the CA which was trusted alone for it. Forever where nobody asks. May be dropped at any
    /// time.
    pub async fn answered(&mut self) -> (Result<Option<MeshCas>, ApiError>, Option<Fingerprint>) {
        let Some(asking) = &mut self.asking else { return std::future::pending().await };
        let answer = asking.await;
        self.asking = None;
        (answer, self.trying.take())
    }

    fn put(&mut self, query: CaQuery, client: &AgentClient, delay: Duration) {
        let client = client.clone();
        self.asking = Some(Box::pin(async move {
            pause(delay).await;
            client.cas(&query).await
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::tests::identity;
    use picket_pki::{Ca, TlsKey};

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn ca(mesh: &str) -> Ca {
        Ca::generate(&mesh.parse().unwrap(), NOW).unwrap()
    }

    fn pinning(ca: &Ca, next: Option<&Ca>) -> Identity {
        Identity { ca_fingerprint: ca.fingerprint(), next_ca: next.map(Ca::fingerprint), ..identity() }
    }

    fn told(current: &Ca, next: Option<(&Ca, &Ca)>, issues: &Ca) -> MeshCas {
        let next = next.map(|(next, signer)| NextCa {
            pem: next.certificate_pem().to_owned(),
            cross_pem: signer.cross_sign(&next.certificate().unwrap(), NOW).unwrap(),
        });
        MeshCas { tag: "t".into(), current_pem: current.certificate_pem().into(), next, issues: issues.fingerprint() }
    }

    #[test]
    fn a_host_learns_the_next_ca_from_the_one_it_pins_and_settles_on_it_at_the_end() {
        let (old, next) = (ca("m-1"), ca("m-1"));
        let judged = |identity: &Identity, told: &MeshCas| judge(identity, told, NOW).unwrap();
        assert_eq!(judged(&pinning(&old, None), &told(&old, None, &old)), Trust::Stays);
        let announced = told(&old, Some((&next, &old)), &old);
        assert_eq!(judged(&pinning(&old, None), &announced), Trust::Learns(next.fingerprint()));
        assert_eq!(judged(&pinning(&old, Some(&next)), &announced), Trust::Stays);
        assert_eq!(judged(&pinning(&next, None), &announced), Trust::Stays, "joined by a token of the next");
        let finished = told(&next, None, &next);
        assert_eq!(judged(&pinning(&old, Some(&next)), &finished), Trust::Settles(next.fingerprint()));
        assert_eq!(judged(&pinning(&next, None), &finished), Trust::Stays);
        // One that was away for the finish, and came back when the next rotation was under way.
        let third = ca("m-1");
        let following = told(&next, Some((&third, &next)), &next);
        assert_eq!(judged(&pinning(&old, Some(&next)), &following), Trust::Settles(next.fingerprint()));
        let settled = pinning(&old, Some(&next)).settled(next.fingerprint());
        assert_eq!(judged(&settled, &following), Trust::Learns(third.fingerprint()));
        // A rotation that was begun anew, as after a restored backup.
        let other = ca("m-1");
        let anew = told(&old, Some((&other, &old)), &old);
        assert_eq!(judged(&pinning(&old, Some(&next)), &anew), Trust::Learns(other.fingerprint()));
    }

    #[test]
    fn nobody_but_the_pinned_ca_can_name_the_next_one() {
        let (old, next, liar) = (ca("m-1"), ca("m-1"), ca("m-1"));
        let refused = |identity: &Identity, told: &MeshCas| judge(identity, told, NOW).unwrap_err().to_string();
        let pinned = pinning(&old, None);
        for signer in [&liar, &next] {
            let error = refused(&pinned, &told(&old, Some((&next, signer)), &old));
            assert!(error.contains("not vouched for"), "{error}");
        }
        // The good word for one CA, shown for another.
        let mut swapped = told(&old, Some((&next, &old)), &old);
        swapped.next.as_mut().unwrap().pem = liar.certificate_pem().to_owned();
        assert!(refused(&pinned, &swapped).contains("not vouched for"));
        let foreign = ca("m-2");
        assert!(refused(&pinned, &told(&old, Some((&foreign, &old)), &old)).contains("another mesh"));
        // Without any word.
        assert!(refused(&pinned, &told(&next, None, &next)).contains("does not trust"));
        assert!(refused(&pinned, &told(&liar, Some((&next, &liar)), &liar)).contains("does not trust"));
        assert!(refused(&pinning(&old, Some(&next)), &told(&liar, None, &liar)).contains("does not trust"));
        // Who settles on one has learned nothing of what that one is said to be followed by.
        let mut settled = pinning(&next, None);
        settled.next_ca = None;
        assert!(refused(&settled, &told(&next, Some((&liar, &liar)), &next)).contains("not vouched for"));
        let mut broken = told(&old, None, &old);
        broken.current_pem = "-----BEGIN nothing".into();
        assert!(refused(&pinned, &broken).contains("not PEM"));
    }

    #[test]
    fn a_certificate_of_the_old_ca_is_renewed_once_a_trusted_one_signs() {
        let (old, next) = (ca("m-1"), ca("m-1"));
        let key = TlsKey::generate().unwrap();
        let sign = |ca: &Ca| {
            let node = "n-1".parse().unwrap();
            ca.sign_node(&key.csr_pem().unwrap(), &node, NOW, Duration::from_secs(60)).unwrap().pem
        };
        let issuing = told(&old, Some((&next, &old)), &next);
        assert!(is_outdated(&pinning(&old, Some(&next)), &issuing, &sign(&old)));
        assert!(!is_outdated(&pinning(&old, Some(&next)), &issuing, &sign(&next)));
        assert!(!is_outdated(&pinning(&old, None), &issuing, &sign(&old)), "what is not trusted signs nothing for us");
        assert!(!is_outdated(&pinning(&old, Some(&next)), &told(&old, Some((&next, &old)), &old), &sign(&old)));
    }
}

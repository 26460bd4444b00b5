//! The mesh's CA as the running controller has it: which one signs, which are accepted, what is shown and told. One CA, or two
//! while one follows another. The steps from one to the other are in `rotation`.

use super::{
    CaConfig, Secrets,
    kept::{Kept, Phase},
    rest::{check_given, left_behind},
};
use crate::{operators, state_dir::StateDir};
use anyhow::Context as _;
use picket_api::ca::{MeshCas, NextCa};
use picket_model::{MeshId, NodeId, Timestamp};
use picket_pki::{AcceptedCas, Ca, CaError, Fingerprint, ServedCertificate, ServerCertificate, SignedCertificate};
use secrecy::SecretString;
use std::{sync::Arc, time::Duration};
use tokio::sync::{Mutex, MutexGuard, Notify, watch};

/// The CAs of one moment.
#[derive(Debug)]
pub(crate) struct CaSet {
    /// The mesh's.
    pub(crate) current: Arc<Ca>,
    /// The one that is to follow.
    pub(crate) rotation: Option<Rotation>,
}

/// One CA on its way to follow another.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    /// The CA that is to follow.
    pub(crate) next: Arc<Ca>,
    /// What is on the disk about it.
    pub(crate) kept: Kept,
}

impl CaSet {
    /// The one that signs.
    pub(crate) fn issuer(&self) -> &Arc<Ca> {
        match &self.rotation {
            Some(Rotation { next, kept }) if kept.phase != Phase::Announced => next,
            _ => &self.current,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Ca>> {
        std::iter::once(&self.current).chain(self.rotation.as_ref().map(|rotation| &rotation.next))
    }

    /// What hosts are told.
    pub(crate) fn told(&self) -> MeshCas {
        let next = self.rotation.as_ref().map(|Rotation { next, kept }| NextCa {
            pem: next.certificate_pem().to_owned(),
            cross_pem: kept.cross_pem.clone(),
        });
        let issues = self.issuer().fingerprint();
        let following = self.rotation.as_ref().map_or_else(|| "-".to_owned(), |r| r.next.fingerprint().to_string());
        MeshCas {
            tag: format!("{}.{following}.{issues}", self.current.fingerprint()),
            current_pem: self.current.certificate_pem().to_owned(),
            next,
            issues,
        }
    }

    /// A new certificate of the controller, which all who trust one of the CAs believe.
    fn server_certificate(&self, now: Timestamp) -> Result<ServerCertificate, CaError> {
        let mut certificate = self.issuer().server_certificate(now)?;
        if let Some(Rotation { kept, .. }) = &self.rotation
            && kept.phase != Phase::Announced
        {
            certificate.also_under(&self.current.certificate()?, &kept.cross_pem)?;
        }
        Ok(certificate)
    }
}

/// The CA at work.
pub(crate) struct Authority {
    set: watch::Sender<Arc<CaSet>>,
    served: Arc<ServedCertificate>,
    accepted: Arc<AcceptedCas>,
    pub(super) state: Arc<StateDir>,
    pub(super) config: CaConfig,
    /// A host said something new about the CAs.
    pub(crate) heard: Notify,
    changing: Mutex<()>,
}

impl Authority {
    /// The CA in the state folder; a new one at the first start. A rotation goes on where it was.
    pub(crate) async fn open(
        state: Arc<StateDir>,
        config: CaConfig,
        mesh: impl FnOnce() -> anyhow::Result<MeshId>,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        check_given(&state, &config)?;
        let secrets = Secrets::fetch(&config).await?;
        let kept = Kept::resume(&state, &secrets)?;
        let current = Arc::new(state.ca(mesh, &secrets, now)?);
        let rotation = match kept {
            None => None,
            Some(kept) => {
                let next = kept.load(&state, &secrets).context("read the CA that is to follow")?;
                Some(Rotation { next: Arc::new(next), kept })
            }
        };
        if let Some(said) = left_behind(&state, &config)? {
            tracing::warn!("{said}");
        }
        let is_of_current = |key: &SecretString| Ca::from_pem(current.certificate_pem(), key).is_ok();
        if rotation.is_none() && secrets.next_key.as_ref().is_some_and(is_of_current) {
            tracing::warn!(
                "the CA's key is given under ca.next_key_file or ca.next_key_command: give it by ca.key_file or \
                 ca.key_command, in place of the one before"
            );
        }
        let set = CaSet { current, rotation };
        let served = ServedCertificate::new(set.server_certificate(now)?)?;
        let accepted: Vec<_> = set.all().map(|ca| ca.certificate_der()).collect();
        let accepted = AcceptedCas::new(&accepted)?;
        let set = watch::Sender::new(Arc::new(set));
        Ok(Self { set, served, accepted, state, config, heard: Notify::new(), changing: Mutex::default() })
    }

    /// The CAs of now.
    pub(crate) fn now(&self) -> Arc<CaSet> {
        self.set.borrow().clone()
    }

    /// The CAs of now and whenever they change.
    pub(crate) fn follow(&self) -> watch::Receiver<Arc<CaSet>> {
        self.set.subscribe()
    }

    /// One change at a time.
    pub(super) async fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Shows, accepts and tells what belongs to these CAs.
    pub(super) fn put(&self, set: CaSet, now: Timestamp) -> anyhow::Result<()> {
        let accepted: Vec<_> = set.all().map(|ca| ca.certificate_der()).collect();
        self.accepted.replace(&accepted)?;
        self.served.replace(set.server_certificate(now)?)?;
        // The file of the local operator is a convenience: with the old fingerprint in it, it is good until the finish.
        if let Err(error) = operators::follow_ca(&self.state, set.issuer().fingerprint()) {
            tracing::warn!(error = format!("{error:#}"), "the local operator's file names the CA of before still");
        }
        self.set.send_replace(Arc::new(set));
        Ok(())
    }

    /// Shows a fresh certificate from now on; of the CA that signs once a change that is under way is made.
    pub(crate) async fn show_fresh(&self, now: Timestamp) -> anyhow::Result<()> {
        let _changing = self.change().await;
        let certificate = self.now().server_certificate(now)?;
        self.served.replace(certificate).context("show a new server certificate")
    }

    /// What is shown to whoever connects.
    pub(crate) fn served(&self) -> Arc<ServedCertificate> {
        self.served.clone()
    }

    /// Whose certificates are taken.
    pub(crate) fn accepted(&self) -> Arc<AcceptedCas> {
        self.accepted.clone()
    }

    /// The CA that certificates with this key identifier are of; `None` where it is none of the mesh's now.
    pub(crate) fn of_key_id(&self, key_id: &str) -> Option<Fingerprint> {
        self.now().all().find(|ca| ca.key_id() == key_id).map(|ca| ca.fingerprint())
    }

    /// The mesh whose CA this is.
    pub(crate) fn mesh(&self) -> MeshId {
        self.now().current.mesh().clone()
    }

    /// The fingerprint that join tokens and operators' files carry which are made now.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.now().issuer().fingerprint()
    }

    /// The certificate of the CA that signs now, PEM.
    pub(crate) fn certificate_pem(&self) -> String {
        self.now().issuer().certificate_pem().to_owned()
    }

    /// A certificate for a host, as [`Ca::sign_node`].
    pub(crate) fn sign_node(
        &self,
        csr_pem: &str,
        node: &NodeId,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<SignedCertificate, CaError> {
        self.now().issuer().sign_node(csr_pem, node, now, lifetime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn a_fresh_certificate_waits_for_a_change_that_is_under_way() {
        let folder = tempfile::tempdir().unwrap();
        let state = Arc::new(StateDir::open(folder.path()).unwrap());
        let now = Timestamp::from_millis(1_800_000_000_000);
        let mesh = || Ok("m-1".parse()?);
        let authority = Authority::open(state, CaConfig::default(), mesh, now).await.unwrap();
        let changing = authority.change().await;
        let mut shown = std::pin::pin!(authority.show_fresh(now));
        assert!(shown.as_mut().now_or_never().is_none(), "it would show a certificate of the CA from before");
        drop(changing);
        shown.await.unwrap();
    }
}

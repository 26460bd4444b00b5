//! What each host shall be, in memory. A waiting poll sleeps on its own host's entry: a change that touches two hosts
//! wakes two polls, however many wait.

use crate::store::Target;
use picket_api::ConfigAnswer;
use picket_model::{Digest, Generation, NodeId};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// What one host shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum HostWanted {
    /// Not in any plan yet.
    #[default]
    Unplanned,
    /// The content with this revision and digest.
    Content {
        /// Last generation in which the content changed.
        revision: Generation,
        /// Digest of the content.
        digest: Digest,
    },
    /// Cut from the mesh.
    Revoked,
}

/// The target and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Wanted(Mutex<Board>);

#[derive(Debug, Default)]
struct Board {
    target: Option<Arc<Target>>,
    hosts: BTreeMap<NodeId, watch::Sender<HostWanted>>,
}

impl Wanted {
    /// Puts a committed plan up and wakes the hosts it touches.
    pub(crate) fn publish(&self, target: Target) {
        let target = Arc::new(target);
        let mut board = self.lock();
        board.target = Some(target.clone());
        for (id, config) in &target.plan.nodes {
            board.host(id).send_if_modified(|wanted| match wanted {
                HostWanted::Revoked => false,
                HostWanted::Content { revision, .. } if *revision == config.revision => false,
                _ => {
                    *wanted = HostWanted::Content { revision: config.revision, digest: config.digest() };
                    true
                }
            });
        }
    }

    /// Tells a host that it is no member any more.
    pub(crate) fn revoke(&self, node: &NodeId) {
        self.lock().host(node).send_replace(HostWanted::Revoked);
    }

    /// The target; `None` before the first plan.
    pub(crate) fn target(&self) -> Option<Arc<Target>> {
        self.lock().target.clone()
    }

    /// What a host shall be, now and whenever that changes.
    pub(crate) fn follow(&self, node: &NodeId) -> watch::Receiver<HostWanted> {
        self.lock().host(node).subscribe()
    }

    /// What a host shall be.
    pub(crate) fn of(&self, node: &NodeId) -> HostWanted {
        self.lock().hosts.get(node).map_or(HostWanted::Unplanned, |host| host.borrow().clone())
    }

    /// Whether a poll of this host waits.
    pub(crate) fn is_followed(&self, node: &NodeId) -> bool {
        self.lock().hosts.get(node).is_some_and(|host| host.receiver_count() > 0)
    }

    /// A host's whole content, as an answer.
    pub(crate) fn answer(&self, node: &NodeId) -> Option<ConfigAnswer> {
        let full = self.target()?.plan.nodes.get(node)?.clone();
        Some(ConfigAnswer { revision: full.revision, digest: full.digest(), full })
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    fn host(&mut self, node: &NodeId) -> &watch::Sender<HostWanted> {
        self.hosts.entry(node.clone()).or_default()
    }
}

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
        let known = |id: &NodeId| match self.of(id) {
            HostWanted::Content { revision, .. } => Some(revision),
            HostWanted::Unplanned | HostWanted::Revoked => None,
        };
        let changed = target.plan.nodes.values().filter(|config| known(&config.node) != Some(config.revision));
        // Digests take most of the time and are made without the lock, which every answer needs.
        let news: Vec<(NodeId, HostWanted)> = changed
            .map(|config| {
                let wanted = HostWanted::Content { revision: config.revision, digest: config.digest() };
                (config.node.clone(), wanted)
            })
            .collect();
        let mut board = self.lock();
        board.target = Some(Arc::new(target));
        for (id, news) in news {
            board.host(&id).send_if_modified(|wanted| {
                let stays = matches!(wanted, HostWanted::Revoked);
                if !stays {
                    *wanted = news;
                }
                !stays
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

    /// A host's whole content, as an answer; `None` where it has none.
    pub(crate) fn answer(&self, node: &NodeId) -> Option<ConfigAnswer> {
        let (target, wanted) = {
            let board = self.lock();
            (board.target.clone()?, board.hosts.get(node)?.borrow().clone())
        };
        let full = target.plan.nodes.get(node)?.clone();
        match wanted {
            HostWanted::Content { revision, digest } => Some(ConfigAnswer { revision, digest, full }),
            HostWanted::Unplanned | HostWanted::Revoked => None,
        }
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

//! What each host shall be, in memory. A waiting poll sleeps on its own host's entry: a change that touches two hosts
//! wakes two polls, however many wait.

use crate::store::Target;
use picket_api::ConfigAnswer;
use picket_model::{Digest, Generation, NodeId, SetDigests};
use std::{
    collections::{BTreeMap, BTreeSet},
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

/// What a host that asks is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Nothing yet.
    Nothing,
    /// Its whole content.
    Content(Box<ConfigAnswer>),
    /// That it is no member any more.
    Revoked,
}

/// The target and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    board: Mutex<Board>,
    changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Board {
    target: Option<Arc<Target>>,
    hosts: BTreeMap<NodeId, watch::Sender<HostWanted>>,
}

impl Wanted {
    /// Puts a committed plan up and wakes the hosts it touches; nothing where a newer one is up by now.
    pub(crate) fn publish(&self, target: Target) {
        let known = |id: &NodeId| match self.of(id) {
            HostWanted::Content { revision, .. } => Some(revision),
            HostWanted::Unplanned | HostWanted::Revoked => None,
        };
        let changed = target.plan.nodes.values().filter(|config| known(&config.node) != Some(config.revision));
        // Digests take most of the time and are made without the lock, which every answer needs.
        let mut sets = SetDigests::default();
        let news: Vec<(NodeId, HostWanted)> = changed
            .map(|config| {
                let wanted = HostWanted::Content { revision: config.revision, digest: config.digest_among(&mut sets) };
                (config.node.clone(), wanted)
            })
            .collect();
        let mut board = self.lock();
        // Of two that are put up at once, one is by another controller.
        if board.target.as_ref().is_some_and(|newer| newer.plan.generation > target.plan.generation) {
            return;
        }
        let planned = |id: &NodeId| target.plan.nodes.contains_key(id);
        let unplanned = board.hosts.keys().filter(|id| !planned(id)).map(|id| (id.clone(), HostWanted::Unplanned));
        let unplanned: Vec<(NodeId, HostWanted)> = unplanned.collect();
        board.target = Some(Arc::new(target));
        for (id, news) in news.into_iter().chain(unplanned) {
            board.host(&id).send_if_modified(|wanted| {
                let changes = *wanted != HostWanted::Revoked && *wanted != news;
                if changes {
                    *wanted = news;
                }
                changes
            });
        }
        drop(board);
        self.changes.send_replace(());
    }

    /// Tells a host that it is no member any more; false where it was told before.
    pub(crate) fn revoke(&self, node: &NodeId) -> bool {
        let is_news = self.lock().host(node).send_if_modified(|wanted| {
            let is_news = *wanted != HostWanted::Revoked;
            *wanted = HostWanted::Revoked;
            is_news
        });
        if is_news {
            self.changes.send_replace(());
        }
        is_news
    }

    /// Wakes a host's poll though there is nothing new of what it shall be: it is answered so, and the host looks at all else.
    pub(crate) fn nudge(&self, node: &NodeId) {
        self.lock().host(node).send_modify(|_| {});
    }

    /// Changes with every target, and with every host that is cut from the mesh.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
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

    /// Hosts of which a poll waits.
    pub(crate) fn followed(&self) -> BTreeSet<NodeId> {
        let board = self.lock();
        board.hosts.iter().filter(|(_, host)| host.receiver_count() > 0).map(|(id, _)| id.clone()).collect()
    }

    /// What there is to tell a host that holds the revision `after`. A member that is in no plan waits.
    pub(crate) fn news(&self, node: &NodeId, after: Generation) -> News {
        let (target, wanted) = {
            let board = self.lock();
            (board.target.clone(), board.hosts.get(node).map(|host| host.borrow().clone()).unwrap_or_default())
        };
        match (wanted, target.as_ref().and_then(|target| target.plan.nodes.get(node))) {
            (HostWanted::Revoked, _) => News::Revoked,
            (HostWanted::Content { revision, digest }, Some(full)) if revision > after => {
                News::Content(Box::new(ConfigAnswer { revision, digest, full: full.clone() }))
            }
            (HostWanted::Content { .. } | HostWanted::Unplanned, _) => News::Nothing,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    fn host(&mut self, node: &NodeId) -> &watch::Sender<HostWanted> {
        self.hosts.entry(node.clone()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{FirewallPolicy, NodeConfig, NodeRole, Timestamp, WireGuardConfig};
    use picket_plan::{Basis, Plan};

    fn target(generation: u64, hosts: &[&str]) -> Target {
        let generation = Generation(generation);
        let config = |name: &&str| NodeConfig {
            mesh: "m-1".parse().unwrap(),
            node: name.parse().unwrap(),
            role: NodeRole::Prep,
            generation,
            revision: generation,
            wireguard: WireGuardConfig {
                listen_port: 0,
                addresses: BTreeSet::new(),
                mtu: 1420,
                peers: BTreeMap::new(),
            },
            firewall: FirewallPolicy::default(),
        };
        let nodes = hosts.iter().map(config).map(|config| (config.node.clone(), config)).collect();
        let basis = Basis { policy_version: 1, validators: 0, validators_version: 0 };
        let plan = Plan { generation, parent: Generation(0), nodes, basis };
        Target { plan, planned_at: Timestamp::from_millis(0) }
    }

    #[test]
    fn a_member_in_no_plan_waits_and_only_a_revoked_host_hears_so() {
        let (wanted, node) = (Wanted::default(), "n-1".parse().unwrap());
        let news = |after| match wanted.news(&node, Generation(after)) {
            News::Content(answer) => answer.revision.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(news(0), "Nothing");
        wanted.publish(target(1, &["n-1", "n-2"]));
        assert_eq!((news(0), news(1)), ("1".to_owned(), "Nothing".to_owned()));
        wanted.publish(target(2, &["n-2"]));
        assert_eq!((news(0), wanted.of(&node)), ("Nothing".to_owned(), HostWanted::Unplanned));
        wanted.publish(target(3, &["n-1"]));
        assert_eq!(news(1), "3");
        wanted.revoke(&node);
        wanted.publish(target(4, &["n-1"]));
        assert_eq!(news(0), "Revoked");
    }
}

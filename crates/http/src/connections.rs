//! Which connections are open, how many a node may have, and the means to close those of one.

use picket_model::NodeId;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// A handle on the open connections of one or several listeners; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// Of nodes.
    nodes: BTreeMap<NodeId, BTreeMap<u64, Entry>>,
    /// How many there are, of nodes and of others.
    count: usize,
}

/// A node's connection.
#[derive(Debug)]
struct Entry {
    /// Of the certificate that it showed.
    serial: String,
    close: Arc<Notify>,
    /// Whether it was told to close because its node has too many.
    surplus: bool,
}

impl Connections {
    /// None open.
    pub fn new() -> Self {
        Self::default()
    }

    /// Connections past their handshake.
    pub fn count(&self) -> usize {
        self.lock().count
    }

    /// Closes every connection of `node` and says how many there were. Requests in flight get a second to be answered;
    /// wake a waiting poll first, so that it ends with an answer.
    pub fn close_node(&self, node: &NodeId) -> usize {
        self.close_replaced(node, &BTreeSet::new())
    }

    /// As [`close_node`](Self::close_node), but for the connections that showed a certificate with one of these serials.
    pub fn close_replaced(&self, node: &NodeId, good: &BTreeSet<String>) -> usize {
        let open = self.lock();
        let theirs = open.nodes.get(node).into_iter().flat_map(BTreeMap::values);
        theirs.filter(|entry| !good.contains(&entry.serial)).inspect(|entry| entry.close.notify_one()).count()
    }

    /// Enters a connection until the value returned is dropped. Of a node that has more than `most` with it, the oldest is told to
    /// close: it is the one whose other end may be gone, and the newest has just shown that it is there.
    pub(crate) fn enter(&self, node: Option<(NodeId, String)>, most: usize) -> Entered {
        let close = Arc::new(Notify::new());
        let mut open = self.lock();
        let key = open.next;
        (open.next, open.count) = (key + 1, open.count + 1);
        let node = node.map(|(node, serial)| {
            let theirs = open.nodes.entry(node.clone()).or_default();
            theirs.insert(key, Entry { serial, close: close.clone(), surplus: false });
            let mut kept = theirs.values_mut().filter(|entry| !entry.surplus);
            let oldest = kept.next();
            if let Some(oldest) = oldest.filter(|_| kept.count() >= most) {
                oldest.surplus = true;
                oldest.close.notify_one();
            }
            node
        });
        Entered { connections: self.clone(), key, node, close }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place among the open ones.
#[derive(Debug)]
pub(crate) struct Entered {
    connections: Connections,
    key: u64,
    node: Option<NodeId>,
    close: Arc<Notify>,
}

impl Entered {
    /// Ends when the connection is told to close.
    pub(crate) async fn told_to_close(&self) {
        self.close.notified().await;
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.count -= 1;
        let Some(node) = &self.node else { return };
        if let Some(theirs) = open.nodes.get_mut(node) {
            theirs.remove(&self.key);
            if theirs.is_empty() {
                open.nodes.remove(node);
            }
        }
    }
}

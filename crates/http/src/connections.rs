//! Which connections are open, and the means to close those of one node.

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
    entries: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Whose it is, and the serial of the certificate that it showed.
    node: Option<(NodeId, String)>,
    close: Arc<Notify>,
}

impl Connections {
    /// None open.
    pub fn new() -> Self {
        Self::default()
    }

    /// Connections past their handshake.
    pub fn count(&self) -> usize {
        self.lock().entries.len()
    }

    /// Closes every connection of `node` and says how many there were. Requests in flight get a second to be answered;
    /// wake a waiting poll first, so that it ends with an answer.
    pub fn close_node(&self, node: &NodeId) -> usize {
        self.close_replaced(node, &BTreeSet::new())
    }

    /// As [`close_node`](Self::close_node), but for the connections that showed a certificate with one of these serials.
    pub fn close_replaced(&self, node: &NodeId, good: &BTreeSet<String>) -> usize {
        let open = self.lock();
        let replaced = |(of, serial): &(NodeId, String)| of == node && !good.contains(serial);
        let theirs = open.entries.values().filter(|entry| entry.node.as_ref().is_some_and(replaced));
        theirs.inspect(|entry| entry.close.notify_one()).count()
    }

    /// Enters a connection until the value returned is dropped.
    pub(crate) fn enter(&self, node: Option<(NodeId, String)>) -> Entered {
        let close = Arc::new(Notify::new());
        let mut open = self.lock();
        let key = open.next;
        open.next += 1;
        open.entries.insert(key, Entry { node, close: close.clone() });
        Entered { connections: self.clone(), key, close }
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
        self.connections.lock().entries.remove(&self.key);
    }
}

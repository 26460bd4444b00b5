//! What each host last said is in force, in memory. Kept in the database by a task, so that no report waits for a disk.

use crate::{
    advertised,
    moves::{self, Told},
    store::{StoreError, StoredReport, Transaction},
};
use picket_model::{Advertised, Node, NodeId, NodeReport, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use tokio::sync::watch;

/// A host's last report.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// What it said and when, by the calendar.
    pub(crate) stored: StoredReport,
    /// When, by the clock that does not jump.
    pub(crate) at: Instant,
    /// Since when the node beside it is not well by its word; of times before this controller started, only the last is known.
    pub(crate) unwell_since: Option<Timestamp>,
}

impl Received {
    /// One that comes now, after what was known.
    fn now(stored: StoredReport, unwell_before: Option<Timestamp>) -> Self {
        let is_unwell = stored.report.chain.as_ref().is_some_and(|chain| !chain.is_good());
        let unwell_since = is_unwell.then(|| unwell_before.unwrap_or(stored.received_at));
        Self { stored, at: Instant::now(), unwell_since }
    }
}

/// The last reports of all hosts.
#[derive(Debug)]
pub(crate) struct Reports {
    inner: Mutex<Inner>,
    arrived: watch::Sender<()>,
    advertised: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Inner {
    reports: BTreeMap<NodeId, Received>,
    unsaved: BTreeSet<NodeId>,
    /// Moves of hidden validators' ways that the audit log does not have.
    moves: Told,
}

impl Reports {
    /// Those kept from before.
    pub(crate) fn new(kept: BTreeMap<NodeId, StoredReport>) -> Self {
        let reports = kept.into_iter().map(|(node, stored)| (node, Received::now(stored, None))).collect();
        let inner = Mutex::new(Inner { reports, ..Inner::default() });
        Self { inner, arrived: watch::Sender::new(()), advertised: watch::Sender::new(()) }
    }

    /// Takes a report and wakes whoever waits for one. What its goloop's peers advertise stays from before where it does
    /// not say.
    pub(crate) fn put(&self, node: &Node, mut report: NodeReport, now: Timestamp) {
        let mut inner = self.lock();
        let before = inner.reports.remove(&node.id);
        let unwell_before = before.as_ref().and_then(|before| before.unwell_since);
        let before = before.map(|received| received.stored.report);
        let (before, ways) = before.map(|before| (before.advertised, before.paths)).unwrap_or_default();
        report.paths = moves::accepted(node, report.paths.take());
        inner.moves.note(node, ways.as_deref(), report.paths.as_deref(), now);
        let said = advertised::accepted(node, report.advertised.take(), now);
        let is_news = said.as_ref().is_some_and(|said| advertised::is_news(said, before.as_ref()));
        report.advertised = said.or(before);
        let stored = StoredReport { report, received_at: now };
        inner.reports.insert(node.id.clone(), Received::now(stored, unwell_before));
        inner.unsaved.insert(node.id.clone());
        drop(inner);
        self.arrived.send_replace(());
        if is_news {
            self.advertised.send_replace(());
        }
    }

    /// Takes reports that came to other controllers and are in the database, where nothing newer came here.
    pub(crate) fn heard_elsewhere(&self, reports: Vec<(NodeId, StoredReport)>) {
        if reports.is_empty() {
            return;
        }
        let mut is_news = false;
        let mut inner = self.lock();
        for (node, stored) in reports {
            let before = inner.reports.get(&node).map(|received| &received.stored);
            if before.is_some_and(|before| before.received_at >= stored.received_at) {
                continue;
            }
            let said = stored.report.advertised.as_ref();
            is_news |= said.is_some_and(|said| {
                advertised::is_news(said, before.and_then(|before| before.report.advertised.as_ref()))
            });
            let unwell_before = inner.reports.get(&node).and_then(|before| before.unwell_since);
            inner.reports.insert(node, Received::now(stored, unwell_before));
        }
        drop(inner);
        self.arrived.send_replace(());
        if is_news {
            self.advertised.send_replace(());
        }
    }

    /// What the goloops beside these hosts said last, in order of host.
    pub(crate) fn advertised<'a>(&self, nodes: impl IntoIterator<Item = &'a Node>) -> Vec<Advertised> {
        let inner = self.lock();
        let members = nodes.into_iter().filter(|node| advertised::may_tell(node));
        members.filter_map(|node| inner.reports.get(&node.id)?.stored.report.advertised.clone()).collect()
    }

    /// Changes when a host says something else about what its goloop's peers advertise.
    pub(crate) fn advertised_news(&self) -> watch::Receiver<()> {
        self.advertised.subscribe()
    }

    /// A host's last report.
    pub(crate) fn get(&self, node: &NodeId) -> Option<Received> {
        self.lock().reports.get(node).cloned()
    }

    /// Something of a host's last report.
    pub(crate) fn of<T>(&self, node: &NodeId, read: impl FnOnce(&Received) -> T) -> Option<T> {
        self.lock().reports.get(node).map(read)
    }

    /// Changes with every report.
    pub(crate) fn arrivals(&self) -> watch::Receiver<()> {
        self.arrived.subscribe()
    }

    /// Whether there are reports the database does not have.
    pub(crate) fn is_unsaved(&self) -> bool {
        !self.lock().unsaved.is_empty()
    }

    /// Writes what the database does not have; what could not be committed is tried again with the next save.
    pub(crate) async fn save(&self, mut tx: Transaction) -> Result<(), StoreError> {
        let (batch, moves): (Vec<(NodeId, StoredReport)>, _) = {
            let mut inner = self.lock();
            let unsaved = std::mem::take(&mut inner.unsaved);
            let batch = unsaved.into_iter().filter_map(|id| inner.reports.get(&id).map(|r| (id, r.stored.clone())));
            (batch.collect(), inner.moves.take())
        };
        let written = async {
            // With the reports that tell of them: whoever starts anew finds both or neither.
            moves::record(&mut tx, &moves).await?;
            tx.put_reports(&batch).await?;
            tx.commit().await
        };
        let written = written.await;
        if written.is_err() {
            let mut inner = self.lock();
            inner.unsaved.extend(batch.into_iter().map(|(node, _)| node));
            inner.moves.put_back(moves);
        }
        written
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{ChainHealth, Generation, NodeRole, fixture};

    #[test]
    fn a_node_is_not_well_since_it_was_first_said_and_no_more_once_it_is() {
        let (reports, host) = (Reports::new(BTreeMap::new()), fixture::node("prep-1", NodeRole::Prep, 1));
        let check = |seconds: i64, state: Option<&str>, expect: Option<i64>| {
            let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
            let chain = state.map(|state| ChainHealth { state: state.to_owned(), height: None, error: None });
            reports.put(&host, NodeReport { chain, ..fixture::in_force(Generation(1), None) }, at(seconds));
            let since = reports.of(&host.id, |received| received.unwell_since).unwrap();
            assert_eq!(since, expect.map(at), "{state:?} at {seconds} s");
        };
        check(0, None, None);
        check(1, Some("started"), None);
        check(5, Some("stopped"), Some(5));
        check(50, Some("unknown"), Some(5));
        check(60, Some("started"), None);
        check(70, Some("stopped"), Some(70));
        check(80, None, None);
    }
}

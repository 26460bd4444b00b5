//! All hosts as they were when somebody last read them, kept in memory: what changed since is read, and no more. The database is
//! the truth, whoever changed it; only what is committed is kept.

use super::{StoreError, Transaction, addresses::GivenBelow, error::sql, row::number, statement::query};
use picket_model::{Node, NodeId};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What is known of the hosts.
#[derive(Debug, Default)]
pub(super) struct Hosts(Mutex<Known>);

/// All hosts as they were after a change.
#[derive(Clone, Debug, Default)]
struct Known {
    nodes: Arc<BTreeMap<NodeId, Node>>,
    change: i64,
    given_below: Option<GivenBelow>,
}

impl Hosts {
    /// Forgets everything.
    pub(super) fn forget(&self) {
        *self.lock() = Known::default();
    }

    /// Below which address all are given out, as far as is known.
    pub(super) fn given_below(&self) -> Option<GivenBelow> {
        self.lock().given_below
    }

    /// Notes below which address all are given out.
    pub(super) fn all_given_below(&self, given_below: GivenBelow) {
        self.lock().given_below = Some(given_below);
    }

    fn known(&self) -> Known {
        self.lock().clone()
    }

    /// Brings what was known after a change up to another one; `None` where somebody else did meanwhile.
    fn advance(&self, from: i64, changed: Vec<Node>, to: i64) -> Option<Arc<BTreeMap<NodeId, Node>>> {
        let mut known = self.lock();
        if known.change != from {
            return None;
        }
        // In place, unless somebody looks at it at this moment.
        Arc::make_mut(&mut known.nodes).extend(changed.into_iter().map(|node| (node.id.clone(), node)));
        known.change = to;
        Some(Arc::clone(&known.nodes))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transaction {
    /// All hosts, revoked ones too.
    pub async fn nodes(&mut self) -> Result<Arc<BTreeMap<NodeId, Node>>, StoreError> {
        let last = self.last_change_of_nodes().await?;
        loop {
            let known = self.hosts.known();
            if known.change == last {
                return Ok(known.nodes);
            }
            if known.change > last {
                // This view is older than what others have seen by now, or the database is.
                let nodes = self.nodes_changed_after(0).await?.0;
                return Ok(Arc::new(nodes.into_iter().map(|node| (node.id.clone(), node)).collect()));
            }
            let (changed, to) = self.nodes_changed_after(known.change).await?;
            if self.writes {
                // It may have hosts that are never committed.
                let mut nodes = known.nodes;
                Arc::make_mut(&mut nodes).extend(changed.into_iter().map(|node| (node.id.clone(), node)));
                return Ok(nodes);
            }
            let from = known.change;
            drop(known);
            if let Some(nodes) = self.hosts.advance(from, changed, to) {
                return Ok(nodes);
            }
        }
    }

    async fn last_change_of_nodes(&mut self) -> Result<i64, StoreError> {
        let row = query("SELECT COALESCE(MAX(change), 0) AS change FROM node_changes WHERE mesh = $1")
            .bind(self.mesh.as_str())
            .fetch_one(&mut self.sql)
            .await
            .map_err(sql("see whether hosts changed"))?;
        number(&row, "change")
    }
}

//! Sentries that hosts are to leave.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{plain, text, time},
    statement::query,
};
use picket_model::{Drain, Drains, NodeId};

impl Transaction {
    /// All of them; those of hosts that are no members any more are left out.
    pub async fn drains(&mut self) -> Result<Drains, StoreError> {
        let rows = query(
            "SELECT drains.node, ordered_by, ordered_at, until FROM drains JOIN nodes ON nodes.id = drains.node
             WHERE drains.mesh = $1 AND revoked_at IS NULL",
        )
        .bind(self.mesh.as_str())
        .fetch_all(&mut self.sql)
        .await
        .map_err(sql("read which sentries are drained"))?;
        let drain = |row| {
            let drain =
                Drain { by: plain(row, "ordered_by")?, at: time(row, "ordered_at")?, until: time(row, "until")? };
            Ok((text(row, "node")?, drain))
        };
        rows.iter().map(drain).collect()
    }

    /// Has a sentry drained, in the place of what was wanted before.
    pub async fn put_drain(&mut self, node: &NodeId, drain: &Drain) -> Result<(), StoreError> {
        query(
            "INSERT INTO drains (mesh, node, ordered_by, ordered_at, until) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (mesh, node) DO UPDATE SET ordered_by = excluded.ordered_by, ordered_at = excluded.ordered_at,
                until = excluded.until",
        )
        .bind(self.mesh.as_str())
        .bind(node.as_str())
        .bind(drain.by.as_str())
        .bind(drain.at.as_millis())
        .bind(drain.until.as_millis())
        .execute(&mut self.sql)
        .await
        .map_err(sql("drain a sentry"))?;
        Ok(())
    }

    /// Ends a drain; false where there was none.
    pub async fn end_drain(&mut self, node: &NodeId) -> Result<bool, StoreError> {
        let done = query("DELETE FROM drains WHERE mesh = $1 AND node = $2")
            .bind(self.mesh.as_str())
            .bind(node.as_str())
            .execute(&mut self.sql)
            .await
            .map_err(sql("end a drain"))?;
        Ok(done.rows_affected() > 0)
    }
}

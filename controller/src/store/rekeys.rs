//! WireGuard keys of hosts beside the one of now: the next one, and those of before.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{text, text_or_none},
    statement::query,
};
use picket_model::{NodeId, Timestamp, WireGuardPublicKey};
use std::collections::BTreeMap;

impl Transaction {
    /// The next keys of all hosts.
    pub async fn next_keys(&mut self) -> Result<BTreeMap<NodeId, WireGuardPublicKey>, StoreError> {
        let rows = query("SELECT node, key FROM next_keys WHERE mesh = $1")
            .bind(self.mesh.as_str())
            .fetch_all(&mut self.sql)
            .await
            .map_err(sql("read the next keys"))?;
        rows.iter().map(|row| Ok((text(row, "node")?, text(row, "key")?))).collect()
    }

    /// Enters a host's next key in the place of the one it may have announced before; `None` forgets that.
    pub async fn put_next_key(
        &mut self,
        node: &NodeId,
        key: Option<&WireGuardPublicKey>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        query("DELETE FROM next_keys WHERE mesh = $1 AND node = $2")
            .bind(self.mesh.as_str())
            .bind(node.as_str())
            .execute(&mut self.sql)
            .await
            .map_err(sql("forget a next key"))?;
        let Some(key) = key else { return Ok(()) };
        query("INSERT INTO next_keys (mesh, node, key, at) VALUES ($1, $2, $3, $4)")
            .bind(self.mesh.as_str())
            .bind(node.as_str())
            .bind(key.to_string())
            .bind(at.as_millis())
            .execute(&mut self.sql)
            .await
            .map_err(sql("enter a next key"))?;
        Ok(())
    }

    /// Notes that a host is to replace this key; false where that was so before.
    pub async fn ask_for_key(&mut self, node: &NodeId, key: &WireGuardPublicKey) -> Result<bool, StoreError> {
        let done = query(
            "UPDATE nodes SET key_to_replace = $1
             WHERE mesh = $2 AND id = $3 AND (key_to_replace IS NULL OR key_to_replace <> $1)",
        )
        .bind(key.to_string())
        .bind(self.mesh.as_str())
        .bind(node.as_str())
        .execute(&mut self.sql)
        .await
        .map_err(sql("ask a host for another key"))?;
        Ok(done.rows_affected() == 1)
    }

    /// The key that a host was asked to replace last, whether it has by now or not.
    pub async fn key_to_replace(&mut self, node: &NodeId) -> Result<Option<WireGuardPublicKey>, StoreError> {
        let row = query("SELECT key_to_replace FROM nodes WHERE mesh = $1 AND id = $2")
            .bind(self.mesh.as_str())
            .bind(node.as_str())
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read which key a host is to replace"))?;
        row.as_ref().map_or(Ok(None), |row| text_or_none(row, "key_to_replace"))
    }

    /// Whether any host used this key before or uses it now.
    pub async fn was_key(&mut self, key: &WireGuardPublicKey) -> Result<bool, StoreError> {
        let found =
            query("SELECT 1 FROM former_keys WHERE key = $1 UNION SELECT 1 FROM nodes WHERE wireguard_key = $1")
                .bind(key.to_string())
                .fetch_optional(&mut self.sql)
                .await
                .map_err(sql("look a key up"))?;
        Ok(found.is_some())
    }

    /// A host's next key is its key from now on; the one of before is never given to anybody.
    pub async fn change_key(
        &mut self,
        node: &NodeId,
        [before, after]: [&WireGuardPublicKey; 2],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        query("INSERT INTO former_keys (mesh, key, node, at) VALUES ($1, $2, $3, $4)")
            .bind(self.mesh.as_str())
            .bind(before.to_string())
            .bind(node.as_str())
            .bind(at.as_millis())
            .execute(&mut self.sql)
            .await
            .map_err(sql("keep a former key"))?;
        query("UPDATE nodes SET wireguard_key = $1 WHERE mesh = $2 AND id = $3")
            .bind(after.to_string())
            .bind(self.mesh.as_str())
            .bind(node.as_str())
            .execute(&mut self.sql)
            .await
            .map_err(sql("change a host's key"))?;
        self.put_next_key(node, None, at).await
    }
}

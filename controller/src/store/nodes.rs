//! Enrolled hosts; all of them at once are in `hosts`. Rows are never deleted: a revoked host's keys and addresses are not given out again.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{number, plain, plain_or_none, text, text_or_none, time, time_or_none},
    statement::{Row, query},
};
use picket_model::{Node, NodeId, NodeState, OverlayAddresses, PoolName, Timestamp, TokenId, WireGuardPublicKey};

/// A host and the join token it came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// The host.
    pub node: Node,
    /// The token.
    pub token: TokenId,
}

impl Transaction {
    /// Hosts that changed after a change, revoked ones too, and the number of the last change. Leases and reports are none.
    pub async fn nodes_changed_after(&mut self, change: i64) -> Result<(Vec<Node>, i64), StoreError> {
        let rows = query(
            "SELECT nodes.*, node_changes.change AS change FROM node_changes
             JOIN nodes ON nodes.mesh = node_changes.mesh AND nodes.id = node_changes.node
             WHERE node_changes.mesh = $1 AND node_changes.change > $2 ORDER BY node_changes.change",
        )
        .bind(self.mesh.as_str())
        .bind(change)
        .fetch_all(&mut self.sql)
        .await
        .map_err(sql("read the hosts that changed"))?;
        let last = rows.last().map_or(Ok(change), |row| number(row, "change"))?;
        Ok((rows.iter().map(node).collect::<Result<_, _>>()?, last))
    }

    /// One host by id.
    pub async fn node(&mut self, id: &NodeId) -> Result<Option<Node>, StoreError> {
        let row = query("SELECT * FROM nodes WHERE mesh = $1 AND id = $2")
            .bind(self.mesh.as_str())
            .bind(id.as_str())
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read a host"))?;
        row.as_ref().map(node).transpose()
    }

    /// One host by id or name: the member of that name, else the one revoked last.
    pub async fn node_called(&mut self, id_or_name: &str) -> Result<Option<Node>, StoreError> {
        let row = query(
            "SELECT * FROM (
                 SELECT nodes.*, 0 AS place FROM nodes WHERE mesh = $1 AND id = $2
                 UNION ALL
                 SELECT nodes.*, CASE WHEN revoked_at IS NULL THEN 1 ELSE 2 END AS place FROM nodes
                 WHERE mesh = $1 AND name = $2
             ) AS called ORDER BY place, revoked_at DESC LIMIT 1",
        )
        .bind(self.mesh.as_str())
        .bind(id_or_name)
        .fetch_optional(&mut self.sql)
        .await
        .map_err(sql("read a host"))?;
        row.as_ref().map(node).transpose()
    }

    /// Every host, revoked ones too, that has one of the two keys, or had, or is to have, the first: at most two.
    pub async fn nodes_with_key(
        &mut self,
        wireguard: &WireGuardPublicKey,
        tls_key_sha256: &str,
    ) -> Result<Vec<Enrolled>, StoreError> {
        let rows = query(
            "SELECT * FROM nodes WHERE wireguard_key = $1 OR tls_key_sha256 = $2
                OR id IN (SELECT node FROM next_keys WHERE key = $1 UNION SELECT node FROM former_keys WHERE key = $1)",
        )
        .bind(wireguard.to_string())
        .bind(tls_key_sha256)
        .fetch_all(&mut self.sql)
        .await
        .map_err(sql("look keys up"))?;
        rows.iter().map(|row| Ok(Enrolled { node: node(row)?, token: text(row, "token")? })).collect()
    }

    /// Enters a new host.
    pub async fn insert_node(&mut self, node: &Node, token: &TokenId) -> Result<(), StoreError> {
        query(
            "INSERT INTO nodes (mesh, id, name, role, wireguard_key, tls_key_sha256, overlay_v4, overlay_v6, endpoint,
                machine_id, token, enrolled_at, identity_key, issued, pool, revoked_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, NULL)",
        )
        .bind(self.mesh.as_str())
        .bind(node.id.as_str())
        .bind(node.name.as_str())
        .bind(node.role.to_string())
        .bind(node.wireguard_key.to_string())
        .bind(node.tls_key_sha256.as_str())
        .bind(node.overlay.v4.to_string())
        .bind(node.overlay.v6.to_string())
        .bind(node.endpoint.map(|endpoint| endpoint.to_string()))
        .bind(node.machine_id.as_deref())
        .bind(token.as_str())
        .bind(node.enrolled_at.as_millis())
        .bind(node.identity_key.map(|key| key.to_string()))
        .bind(i64::from(node.issued))
        .bind(node.pool.as_ref().map(PoolName::as_str))
        .execute(&mut self.sql)
        .await
        .map_err(sql("enter a host"))?;
        Ok(())
    }

    /// Changes what a host may say anew when it repeats its enrolment: its name and its endpoint.
    pub async fn rename_node(&mut self, node: &Node) -> Result<(), StoreError> {
        query("UPDATE nodes SET name = $1, endpoint = $2 WHERE mesh = $3 AND id = $4")
            .bind(node.name.as_str())
            .bind(node.endpoint.map(|endpoint| endpoint.to_string()))
            .bind(self.mesh.as_str())
            .bind(node.id.as_str())
            .execute(&mut self.sql)
            .await
            .map_err(sql("change a host"))?;
        Ok(())
    }

    /// Marks a member as revoked; false where it was so before.
    pub async fn revoke_node(&mut self, id: &NodeId, at: Timestamp) -> Result<bool, StoreError> {
        let done = query("UPDATE nodes SET revoked_at = $1 WHERE mesh = $2 AND id = $3 AND revoked_at IS NULL")
            .bind(at.as_millis())
            .bind(self.mesh.as_str())
            .bind(id.as_str())
            .execute(&mut self.sql)
            .await
            .map_err(sql("revoke a host"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Puts a member into quarantine from this moment on, or takes it out; false where it is revoked or was so before.
    pub async fn quarantine_node(&mut self, id: &NodeId, since: Option<Timestamp>) -> Result<bool, StoreError> {
        let done = query(
            "UPDATE nodes SET quarantined_at = $1
             WHERE mesh = $2 AND id = $3 AND revoked_at IS NULL AND (quarantined_at IS NULL) <> ($1 IS NULL)",
        )
        .bind(since.map(Timestamp::as_millis))
        .bind(self.mesh.as_str())
        .bind(id.as_str())
        .execute(&mut self.sql)
        .await
        .map_err(sql("quarantine a host"))?;
        Ok(done.rows_affected() == 1)
    }
}

pub(super) fn node(row: &Row) -> Result<Node, StoreError> {
    let id: NodeId = text(row, "id")?;
    read(row, id.clone()).map_err(|error| match error {
        StoreError::Row { what, problem } => StoreError::row(format!("host {id}, column {what},"), problem),
        other => other,
    })
}

fn read(row: &Row, id: NodeId) -> Result<Node, StoreError> {
    let state = match (time_or_none(row, "revoked_at")?, time_or_none(row, "quarantined_at")?) {
        (Some(at), _) => NodeState::Revoked { at },
        (None, Some(since)) => NodeState::Quarantined { since },
        (None, None) => NodeState::Active,
    };
    Ok(Node {
        id,
        name: text(row, "name")?,
        role: text(row, "role")?,
        wireguard_key: text(row, "wireguard_key")?,
        identity_key: text_or_none(row, "identity_key")?,
        tls_key_sha256: plain(row, "tls_key_sha256")?,
        overlay: OverlayAddresses { v4: text(row, "overlay_v4")?, v6: text(row, "overlay_v6")? },
        endpoint: text_or_none(row, "endpoint")?,
        machine_id: plain_or_none(row, "machine_id")?,
        issued: number::<u8>(row, "issued")? != 0,
        pool: text_or_none(row, "pool")?,
        enrolled_at: time(row, "enrolled_at")?,
        state,
    })
}

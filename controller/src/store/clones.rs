//! Hosts of which a copy came to join. A flag stands until an operator clears it or the host is revoked.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{plain, text, text_or_none, time},
    statement::query,
};
use picket_model::{NodeId, NodeName, Timestamp};
use std::{net::IpAddr, time::Duration};

/// A copy that comes again after so long is news; each try before that is the same one.
const QUIET: Duration = Duration::from_hours(1);

/// A host that was copied, and the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClonedHost {
    /// The member.
    pub node: NodeId,
    /// Its name.
    pub original: NodeName,
    /// What both have: `keys` or `machine id`.
    pub what: String,
    /// What the copy calls itself.
    pub name: String,
    /// Where the copy was seen last.
    pub address: IpAddr,
    /// When.
    pub at: Timestamp,
}

/// A member by its machine, and where it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The member.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Where it was seen; `None` for a host that was not heard since that is kept.
    pub seen_from: Option<IpAddr>,
}

impl Transaction {
    /// Members with this machine id.
    pub async fn members_on_machine(&mut self, machine_id: &str) -> Result<Vec<Machine>, StoreError> {
        let rows = query(
            "SELECT id, name, seen_from FROM nodes
             WHERE mesh = $1 AND machine_id = $2 AND revoked_at IS NULL ORDER BY enrolled_at, id",
        )
        .bind(self.mesh.as_str())
        .bind(machine_id)
        .fetch_all(&mut self.sql)
        .await
        .map_err(sql("look a machine id up"))?;
        let machine = |row| -> Result<Machine, StoreError> {
            Ok(Machine { node: text(row, "id")?, name: text(row, "name")?, seen_from: text_or_none(row, "seen_from")? })
        };
        rows.iter().map(machine).collect()
    }

    /// Where a host was seen last.
    pub async fn seen_from(&mut self, id: &NodeId) -> Result<Option<IpAddr>, StoreError> {
        let row = query("SELECT seen_from FROM nodes WHERE mesh = $1 AND id = $2")
            .bind(self.mesh.as_str())
            .bind(id.as_str())
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read where a host was seen"))?;
        row.map_or(Ok(None), |row| text_or_none(&row, "seen_from"))
    }

    /// Flags a member as copied; false where it was flagged for the same a while ago, by whatever copy.
    pub async fn flag_clone(&mut self, clone: &ClonedHost) -> Result<bool, StoreError> {
        let known = self.clones().await?.into_iter().find(|known| known.node == clone.node);
        query(
            "INSERT INTO clones (mesh, node, what, name, address, at) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (mesh, node) DO UPDATE SET what = excluded.what, name = excluded.name,
                address = excluded.address, at = excluded.at",
        )
        .bind(self.mesh.as_str())
        .bind(clone.node.as_str())
        .bind(clone.what.as_str())
        .bind(clone.name.as_str())
        .bind(clone.address.to_string())
        .bind(clone.at.as_millis())
        .execute(&mut self.sql)
        .await
        .map_err(sql("flag a host"))?;
        Ok(known.is_none_or(|known| known.what != clone.what || clone.at.since(known.at) >= QUIET))
    }

    /// Members that are flagged, in order of name.
    pub async fn clones(&mut self) -> Result<Vec<ClonedHost>, StoreError> {
        let rows = query(
            "SELECT clones.*, nodes.name AS original FROM clones JOIN nodes ON nodes.id = clones.node
             WHERE clones.mesh = $1 AND nodes.revoked_at IS NULL ORDER BY nodes.name",
        )
        .bind(self.mesh.as_str())
        .fetch_all(&mut self.sql)
        .await
        .map_err(sql("read which hosts are flagged"))?;
        let clone = |row| -> Result<ClonedHost, StoreError> {
            Ok(ClonedHost {
                node: text(row, "node")?,
                original: text(row, "original")?,
                what: plain(row, "what")?,
                name: plain(row, "name")?,
                address: text(row, "address")?,
                at: time(row, "at")?,
            })
        };
        rows.iter().map(clone).collect()
    }

    /// Takes a flag away; false where there was none.
    pub async fn clear_clone(&mut self, id: &NodeId) -> Result<bool, StoreError> {
        let done = query("DELETE FROM clones WHERE mesh = $1 AND node = $2")
            .bind(self.mesh.as_str())
            .bind(id.as_str())
            .execute(&mut self.sql)
            .await
            .map_err(sql("clear a flag"))?;
        Ok(done.rows_affected() == 1)
    }
}

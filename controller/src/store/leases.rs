//! Leases of hosts: granted, renewed when a host is heard, and ended by one statement over what is written.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{integer, number, number_or_none, text, time_or_none, to_json},
    statement::{Row, query},
};
use picket_model::{Lease, NodeId, NodeName, NodeRole, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

/// How a host went that no person revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its lease was over.
    Lease,
    /// It said so itself.
    Left,
    /// Its cloud said that the instance goes.
    Cloud,
}

impl Ended {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::Left => "left",
            Self::Cloud => "cloud",
        }
    }
}

/// How many hosts of a role there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleCount {
    /// Members.
    pub active: usize,
    /// Those whom their lease's end removed since the moment asked for.
    pub ended: usize,
}

impl Transaction {
    /// The leases of all hosts, revoked ones too.
    pub async fn leases(&mut self) -> Result<BTreeMap<NodeId, Lease>, StoreError> {
        let rows = query("SELECT id, last_seen, lease_ms, lease_until FROM nodes WHERE mesh = $1")
            .bind(self.mesh.as_str())
            .fetch_all(&mut self.sql)
            .await
            .map_err(sql("read the leases"))?;
        rows.iter().map(|row| Ok((text(row, "id")?, lease(row)?))).collect()
    }

    /// Gives a host a lease that begins now.
    pub async fn grant_lease(&mut self, id: &NodeId, lease: &Lease, from: IpAddr) -> Result<(), StoreError> {
        query(
            "UPDATE nodes SET last_seen = $1, lease_ms = $2, lease_until = $3, seen_from = $4 WHERE mesh = $5 AND id = $6",
        )
        .bind(lease.last_seen.map(Timestamp::as_millis))
        .bind(lease.length_ms.map(integer))
        .bind(lease.until.map(Timestamp::as_millis))
        .bind(from.to_string())
        .bind(self.mesh.as_str())
        .bind(id.as_str())
        .execute(&mut self.sql)
        .await
        .map_err(sql("grant a lease"))?;
        Ok(())
    }

    /// Notes that a member was heard, which renews its lease; false where it is no member any more.
    pub async fn renew_lease(&mut self, id: &NodeId, from: IpAddr, at: Timestamp) -> Result<bool, StoreError> {
        let done = query(
            "UPDATE nodes SET last_seen = $1, lease_until = $1 + lease_ms, seen_from = $2
             WHERE mesh = $3 AND id = $4 AND revoked_at IS NULL",
        )
        .bind(at.as_millis())
        .bind(from.to_string())
        .bind(self.mesh.as_str())
        .bind(id.as_str())
        .execute(&mut self.sql)
        .await
        .map_err(sql("renew a lease"))?;
        Ok(done.rows_affected() == 1)
    }

    /// How many hosts have a role, and how many of it their leases ended since a moment.
    pub async fn count_role(&mut self, role: NodeRole, since: Timestamp) -> Result<RoleCount, StoreError> {
        let row = query(
            "SELECT COUNT(*) FILTER (WHERE revoked_at IS NULL AND quarantined_at IS NULL AND issued = 0) AS active,
                COUNT(*) FILTER (WHERE ended = 'lease' AND revoked_at > $1) AS ended
             FROM nodes WHERE mesh = $2 AND role = $3",
        )
        .bind(since.as_millis())
        .bind(self.mesh.as_str())
        .bind(role.to_string())
        .fetch_one(&mut self.sql)
        .await
        .map_err(sql("count hosts"))?;
        Ok(RoleCount { active: number(&row, "active")?, ended: number(&row, "ended")? })
    }

    /// Members of a role whose lease is over and who are not among those with an open poll; heard longest ago first.
    pub async fn leases_over(
        &mut self,
        role: NodeRole,
        open: &BTreeSet<NodeId>,
        now: Timestamp,
    ) -> Result<Vec<NodeName>, StoreError> {
        let rows = query(
            "SELECT name FROM nodes WHERE mesh = $1 AND role = $2 AND revoked_at IS NULL AND lease_until <= $3
                AND id NOT IN (SELECT value FROM json_each($4)) ORDER BY lease_until, id",
        )
        .bind(self.mesh.as_str())
        .bind(role.to_string())
        .bind(now.as_millis())
        .bind(to_json(open, "open")?)
        .fetch_all(&mut self.sql)
        .await
        .map_err(sql("read which leases are over"))?;
        rows.iter().map(|row| text(row, "name")).collect()
    }

    /// Revokes members of a role whose lease is over, who have no open poll, and who are not pinned: at most so many, those
    /// heard longest ago first. One statement, so that nothing is decided from what was true a moment ago.
    pub async fn end_leases(
        &mut self,
        role: NodeRole,
        open: &BTreeSet<NodeId>,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<(NodeId, NodeName, Lease)>, StoreError> {
        let rows = query(
            "UPDATE nodes SET revoked_at = $3, ended = 'lease' WHERE id IN (
                SELECT id FROM nodes WHERE mesh = $1 AND role = $2 AND revoked_at IS NULL AND lease_until <= $3
                    AND id NOT IN (SELECT value FROM json_each($4)) ORDER BY lease_until, id LIMIT $5)
             RETURNING id, name, last_seen, lease_ms, lease_until",
        )
        .bind(self.mesh.as_str())
        .bind(role.to_string())
        .bind(now.as_millis())
        .bind(to_json(open, "open")?)
        .bind(integer(most))
        .fetch_all(&mut self.sql)
        .await
        .map_err(sql("end leases"))?;
        rows.iter().map(|row| Ok((text(row, "id")?, text(row, "name")?, lease(row)?))).collect()
    }

    /// Says how a host went that is revoked now.
    pub async fn note_end(&mut self, id: &NodeId, ended: Ended) -> Result<(), StoreError> {
        query("UPDATE nodes SET ended = $1 WHERE mesh = $2 AND id = $3 AND ended IS NULL")
            .bind(ended.as_str())
            .bind(self.mesh.as_str())
            .bind(id.as_str())
            .execute(&mut self.sql)
            .await
            .map_err(sql("note how a host went"))?;
        Ok(())
    }
}

/// The length of a lease as columns keep it.
pub(super) fn length_or_none(row: &Row) -> Result<Option<Duration>, StoreError> {
    Ok(number_or_none::<u64>(row, "lease_ms")?.map(Duration::from_millis))
}

pub(super) fn lease(row: &Row) -> Result<Lease, StoreError> {
    Ok(Lease {
        last_seen: time_or_none(row, "last_seen")?,
        length_ms: number_or_none(row, "lease_ms")?,
        until: time_or_none(row, "lease_until")?,
    })
}

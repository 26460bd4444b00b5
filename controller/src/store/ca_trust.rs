//! What each host last said of the mesh's CAs.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{json, number, text, text_or_none, to_json},
    statement::query,
};
use picket_model::{NodeId, Timestamp};
use picket_pki::Fingerprint;
use std::collections::{BTreeMap, BTreeSet};

/// What a host trusts, and what it is trusted by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaTrust {
    /// CAs it trusts, by its own word.
    pub trusts: BTreeSet<Fingerprint>,
    /// The CA of the certificate it showed.
    pub shows: Option<Fingerprint>,
}

impl Transaction {
    /// What all hosts said last, revoked ones too.
    pub async fn ca_trust(&mut self) -> Result<BTreeMap<NodeId, CaTrust>, StoreError> {
        let rows = query("SELECT node, trusts, shows FROM ca_trust WHERE mesh = $1")
            .bind(self.mesh.as_str())
            .fetch_all(&mut self.sql)
            .await
            .map_err(sql("read what hosts trust"))?;
        let trust = |row| Ok(CaTrust { trusts: json(row, "trusts")?, shows: text_or_none(row, "shows")? });
        rows.iter().map(|row| Ok((text(row, "node")?, trust(row)?))).collect()
    }

    /// What one host said last.
    pub async fn ca_trust_of(&mut self, node: &NodeId) -> Result<Option<CaTrust>, StoreError> {
        let row = query("SELECT trusts, shows FROM ca_trust WHERE mesh = $1 AND node = $2")
            .bind(self.mesh.as_str())
            .bind(node.as_str())
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read what a host trusts"))?;
        row.map(|row| Ok(CaTrust { trusts: json(&row, "trusts")?, shows: text_or_none(&row, "shows")? })).transpose()
    }

    /// Keeps what a host says now.
    pub async fn put_ca_trust(&mut self, node: &NodeId, trust: &CaTrust, now: Timestamp) -> Result<(), StoreError> {
        query(
            "INSERT INTO ca_trust (mesh, node, trusts, shows, at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (mesh, node) DO UPDATE SET trusts = $3, shows = $4, at = $5",
        )
        .bind(self.mesh.as_str())
        .bind(node.as_str())
        .bind(to_json(&trust.trusts, "trusts")?)
        .bind(trust.shows.map(|ca| ca.to_string()))
        .bind(now.as_millis())
        .execute(&mut self.sql)
        .await
        .map_err(sql("keep what a host trusts"))?;
        Ok(())
    }

    /// How many join tokens made before `made` are good for somebody now: those carry the fingerprint of then.
    pub async fn count_tokens_made_before(&mut self, made: Timestamp, now: Timestamp) -> Result<usize, StoreError> {
        let row = query(
            "SELECT COUNT(*) AS good FROM tokens
             WHERE mesh = $1 AND created_at < $2 AND expires_at > $3 AND revoked_at IS NULL AND used < uses",
        )
        .bind(self.mesh.as_str())
        .bind(made.as_millis())
        .bind(now.as_millis())
        .fetch_one(&mut self.sql)
        .await
        .map_err(sql("count join tokens"))?;
        number(&row, "good")
    }
}

//! The operator's policy, every version of it.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{integer, json, number, to_json},
    statement::query,
};
use picket_model::{Policy, Timestamp};

impl Transaction {
    /// The newest policy and its version.
    pub async fn policy(&mut self) -> Result<Option<(u64, Policy)>, StoreError> {
        let row = query("SELECT version, policy FROM policies WHERE mesh = $1 ORDER BY version DESC LIMIT 1")
            .bind(self.mesh.as_str())
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read the policy"))?;
        row.map(|row| Ok((number(&row, "version")?, json(&row, "policy")?))).transpose()
    }

    /// A version of the policy; all are kept.
    pub async fn policy_of(&mut self, version: u64) -> Result<Option<Policy>, StoreError> {
        let row = query("SELECT policy FROM policies WHERE mesh = $1 AND version = $2")
            .bind(self.mesh.as_str())
            .bind(integer(version))
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read the policy"))?;
        row.map(|row| json(&row, "policy")).transpose()
    }

    /// Enters the next version.
    pub async fn insert_policy(&mut self, version: u64, policy: &Policy, now: Timestamp) -> Result<(), StoreError> {
        query("INSERT INTO policies (mesh, version, policy, at) VALUES ($1, $2, $3, $4)")
            .bind(self.mesh.as_str())
            .bind(integer(version))
            .bind(to_json(policy, "policy")?)
            .bind(now.as_millis())
            .execute(&mut self.sql)
            .await
            .map_err(sql("enter a policy"))?;
        Ok(())
    }
}

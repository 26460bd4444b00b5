//! How far everything is that plans are made from, at one look: what has not moved on is not read again. A statement costs more
//! than what it reads.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{number, plain_or_none},
    statement::query,
};
use picket_model::ShieldOrders;
use std::sync::Arc;

/// What a planner asks first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// Version of the policy; zero before the first.
    pub policy: u64,
    /// Version of the validator set; zero before the first.
    pub validators: u64,
    /// Number of the last change of a host.
    pub change: i64,
    /// Whether a host has made a key that it does not use yet.
    pub has_next_keys: bool,
    /// Whether a sentry is to be left.
    pub has_drains: bool,
    /// What people ordered about shields: a change of that has no number.
    pub shield: Arc<ShieldOrders>,
}

impl Transaction {
    /// How far everything is.
    pub async fn versions(&mut self) -> Result<Versions, StoreError> {
        let row = query(
            "SELECT (SELECT COALESCE(MAX(version), 0) FROM policies WHERE mesh = $1) AS policy,
                    (SELECT COALESCE(MAX(version), 0) FROM validator_sets WHERE mesh = $1) AS validators,
                    (SELECT COALESCE(MAX(change), 0) FROM node_changes WHERE mesh = $1) AS change,
                    (SELECT COUNT(*) FROM next_keys WHERE mesh = $1) AS next_keys,
                    (SELECT COUNT(*) FROM drains WHERE mesh = $1) AS drains,
                    (SELECT MAX(orders) FROM shield_orders WHERE mesh = $1) AS shield",
        )
        .bind(self.mesh.as_str())
        .fetch_one(&mut self.sql)
        .await
        .map_err(sql("see how far everything is"))?;
        Ok(Versions {
            policy: number(&row, "policy")?,
            validators: number(&row, "validators")?,
            change: number(&row, "change")?,
            has_next_keys: number::<u64>(&row, "next_keys")? > 0,
            has_drains: number::<u64>(&row, "drains")? > 0,
            shield: self.orders_in(plain_or_none(&row, "shield")?)?,
        })
    }
}

//! Operators' tokens. Only the hash of the secret is kept.

use super::{StoreError, Transaction, error::sql, row::text};
use picket_model::{Timestamp, TokenId};
use picket_pki::{OperatorRole, SecretHash};
use sqlx::query;

/// An operator as kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The public half of the token: who it is in the audit log.
    pub id: TokenId,
    /// Hash of the secret half.
    pub secret_hash: SecretHash,
    /// What they may do.
    pub role: OperatorRole,
}

impl Transaction {
    /// One operator by the token's id.
    pub async fn operator(&mut self, id: &TokenId) -> Result<Option<Operator>, StoreError> {
        let row = query("SELECT * FROM operators WHERE mesh = $1 AND id = $2")
            .bind(self.mesh.as_str())
            .bind(id.as_str())
            .fetch_optional(&mut *self.sql)
            .await
            .map_err(sql("read an operator"))?;
        row.map(|row| {
            Ok(Operator { id: text(&row, "id")?, secret_hash: text(&row, "secret_hash")?, role: text(&row, "role")? })
        })
        .transpose()
    }

    /// Enters an operator.
    pub async fn insert_operator(&mut self, operator: &Operator, now: Timestamp) -> Result<(), StoreError> {
        query("INSERT INTO operators (mesh, id, secret_hash, role, created_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(self.mesh.as_str())
            .bind(operator.id.as_str())
            .bind(operator.secret_hash.to_string())
            .bind(operator.role.to_string())
            .bind(now.as_millis())
            .execute(&mut *self.sql)
            .await
            .map_err(sql("enter an operator"))?;
        Ok(())
    }
}

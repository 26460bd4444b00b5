//! Operators: by tokens, of whose secret only a hash is kept, and by an issuer's word.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{integer, plain, text, text_or_none, time, time_or_none},
    statement::{Row, query},
};
use picket_model::{Timestamp, TokenId};
use picket_pki::{OperatorRole, SecretHash};

/// How the ids of those begin who log in by an issuer's word; a token's begins as `op`.
pub(crate) const PERSON: &str = "sso-";

/// An operator as kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The public half of the token: who it is in the audit log.
    pub id: TokenId,
    /// Hash of the secret half.
    pub secret_hash: SecretHash,
    /// What they may do.
    pub role: OperatorRole,
    /// When the token was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// The operator who made it; `None` for one made on the controller's host.
    pub made_by: Option<TokenId>,
    /// Whose it is, for people.
    pub comment: String,
}

impl Operator {
    /// Whether the token is good.
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    /// Whether it is somebody who logs in by an issuer, and no token that somebody has.
    pub fn is_a_persons(&self) -> bool {
        self.id.as_str().starts_with(PERSON)
    }
}

impl Transaction {
    /// One operator by the token's id.
    pub async fn operator(&mut self, id: &TokenId) -> Result<Option<Operator>, StoreError> {
        let row = query("SELECT * FROM operators WHERE mesh = $1 AND id = $2")
            .bind(self.mesh.as_str())
            .bind(id.as_str())
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read an operator"))?;
        row.as_ref().map(operator).transpose()
    }

    /// Operators in order of their making, at most so many of those after a time and an id.
    pub async fn operators(
        &mut self,
        after: Option<&(i64, TokenId)>,
        most: usize,
    ) -> Result<Vec<Operator>, StoreError> {
        let rows = query(
            "SELECT * FROM operators WHERE mesh = $1 AND ($2 IS NULL OR (created_at, id) > ($2, $3))
             ORDER BY created_at, id LIMIT $4",
        )
        .bind(self.mesh.as_str())
        .bind(after.map(|(at, _)| *at))
        .bind(after.map(|(_, id)| id.as_str()))
        .bind(integer(most))
        .fetch_all(&mut self.sql)
        .await
        .map_err(sql("read the operators"))?;
        rows.iter().map(operator).collect()
    }

    /// Enters an operator.
    pub async fn insert_operator(&mut self, operator: &Operator) -> Result<(), StoreError> {
        query(
            "INSERT INTO operators (mesh, id, secret_hash, role, created_at, expires_at, made_by, comment)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(self.mesh.as_str())
        .bind(operator.id.as_str())
        .bind(operator.secret_hash.to_string())
        .bind(operator.role.to_string())
        .bind(operator.created_at.as_millis())
        .bind(operator.expires_at.map(Timestamp::as_millis))
        .bind(operator.made_by.as_ref().map(TokenId::as_str))
        .bind(operator.comment.as_str())
        .execute(&mut self.sql)
        .await
        .map_err(sql("enter an operator"))?;
        Ok(())
    }

    /// Writes what an operator may do from now on, for how long, and who it is for people.
    pub async fn change_operator(&mut self, operator: &Operator) -> Result<(), StoreError> {
        query("UPDATE operators SET role = $1, expires_at = $2, comment = $3 WHERE mesh = $4 AND id = $5")
            .bind(operator.role.to_string())
            .bind(operator.expires_at.map(Timestamp::as_millis))
            .bind(operator.comment.as_str())
            .bind(self.mesh.as_str())
            .bind(operator.id.as_str())
            .execute(&mut self.sql)
            .await
            .map_err(sql("change an operator"))?;
        Ok(())
    }

    /// Takes a revocation back; false where there was none.
    pub async fn readmit_operator(&mut self, id: &TokenId) -> Result<bool, StoreError> {
        let done =
            query("UPDATE operators SET revoked_at = NULL WHERE mesh = $1 AND id = $2 AND revoked_at IS NOT NULL")
                .bind(self.mesh.as_str())
                .bind(id.as_str())
                .execute(&mut self.sql)
                .await
                .map_err(sql("readmit an operator"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Revokes an operator's token; false where it was so before.
    pub async fn revoke_operator(&mut self, id: &TokenId, at: Timestamp) -> Result<bool, StoreError> {
        let done = query("UPDATE operators SET revoked_at = $1 WHERE mesh = $2 AND id = $3 AND revoked_at IS NULL")
            .bind(at.as_millis())
            .bind(self.mesh.as_str())
            .bind(id.as_str())
            .execute(&mut self.sql)
            .await
            .map_err(sql("revoke an operator"))?;
        Ok(done.rows_affected() == 1)
    }
}

fn operator(row: &Row) -> Result<Operator, StoreError> {
    Ok(Operator {
        id: text(row, "id")?,
        secret_hash: text(row, "secret_hash")?,
        role: text(row, "role")?,
        created_at: time(row, "created_at")?,
        expires_at: time_or_none(row, "expires_at")?,
        revoked_at: time_or_none(row, "revoked_at")?,
        made_by: text_or_none(row, "made_by")?,
        comment: plain(row, "comment")?,
    })
}

//! Join tokens. Only the hash of the secret is kept.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{number, text, time},
};
use picket_model::{NodeRole, Timestamp, TokenId};
use picket_pki::SecretHash;
use sqlx::query;

/// A join token as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its public half.
    pub id: TokenId,
    /// Hash of its secret half.
    pub secret_hash: SecretHash,
    /// The only role it admits.
    pub role: NodeRole,
    /// How often it may be used.
    pub uses: u32,
    /// How often it was.
    pub used: u32,
    /// When its time is over.
    pub expires_at: Timestamp,
}

impl Transaction {
    /// One token by id.
    pub async fn token(&mut self, id: &TokenId) -> Result<Option<Token>, StoreError> {
        let row = query("SELECT * FROM tokens WHERE mesh = $1 AND id = $2")
            .bind(self.mesh.as_str())
            .bind(id.as_str())
            .fetch_optional(&mut *self.sql)
            .await
            .map_err(sql("read a join token"))?;
        row.map(|row| {
            Ok(Token {
                id: text(&row, "id")?,
                secret_hash: text(&row, "secret_hash")?,
                role: text(&row, "role")?,
                uses: number(&row, "uses")?,
                used: number(&row, "used")?,
                expires_at: time(&row, "expires_at")?,
            })
        })
        .transpose()
    }

    /// Enters a new token.
    pub async fn insert_token(&mut self, token: &Token, now: Timestamp) -> Result<(), StoreError> {
        query(
            "INSERT INTO tokens (mesh, id, secret_hash, role, uses, used, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(self.mesh.as_str())
        .bind(token.id.as_str())
        .bind(token.secret_hash.to_string())
        .bind(token.role.to_string())
        .bind(i64::from(token.uses))
        .bind(i64::from(token.used))
        .bind(now.as_millis())
        .bind(token.expires_at.as_millis())
        .execute(&mut *self.sql)
        .await
        .map_err(sql("enter a join token"))?;
        Ok(())
    }

    /// Uses a token once more; false where it is used up.
    pub async fn use_token(&mut self, id: &TokenId) -> Result<bool, StoreError> {
        let done = query("UPDATE tokens SET used = used + 1 WHERE mesh = $1 AND id = $2 AND used < uses")
            .bind(self.mesh.as_str())
            .bind(id.as_str())
            .execute(&mut *self.sql)
            .await
            .map_err(sql("use a join token"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Deletes tokens whose time was over before `before` and says which.
    pub async fn delete_tokens_expired(&mut self, before: Timestamp) -> Result<Vec<TokenId>, StoreError> {
        let rows = query("DELETE FROM tokens WHERE mesh = $1 AND expires_at < $2 RETURNING id")
            .bind(self.mesh.as_str())
            .bind(before.as_millis())
            .fetch_all(&mut *self.sql)
            .await
            .map_err(sql("delete old join tokens"))?;
        rows.iter().map(|row| text(row, "id")).collect()
    }
}

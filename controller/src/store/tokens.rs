//! Join tokens. Only the hash of the secret is kept.

use super::{
    StoreError, Transaction,
    error::sql,
    leases::length_or_none,
    row::{integer, json, number, plain, text, text_or_none, time, time_or_none, to_json},
    statement::{Row, query},
};
use ipnet::IpNet;
use picket_model::{NamePattern, NodeRole, PoolName, Timestamp, TokenId};
use picket_pki::SecretHash;
use std::time::Duration;

/// What a token grants, and to which hosts beyond their role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenTerms {
    /// Lease of those who join by it: the role's own where `None`, none at all where zero.
    pub lease: Option<Duration>,
    /// Pool of those who join by it.
    pub pool: Option<PoolName>,
    /// Which names they may have; any where `None`.
    pub name: Option<NamePattern>,
    /// Where they may be seen; anywhere where empty.
    pub from: Vec<IpNet>,
    /// What it is for, for people.
    pub comment: String,
}

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
    /// When it was made.
    pub created_at: Timestamp,
    /// When its time is over.
    pub expires_at: Timestamp,
    /// What it grants, and to whom.
    pub terms: TokenTerms,
    /// The operator who made it; `None` for one from before that was kept.
    pub made_by: Option<TokenId>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl Transaction {
    /// One token by id.
    pub async fn token(&mut self, id: &TokenId) -> Result<Option<Token>, StoreError> {
        let row = query("SELECT * FROM tokens WHERE mesh = $1 AND id = $2")
            .bind(self.mesh.as_str())
            .bind(id.as_str())
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read a join token"))?;
        row.as_ref().map(token).transpose()
    }

    /// Tokens in order of their making, at most so many of those after a time and an id; of one operator, or of all.
    pub async fn tokens(
        &mut self,
        made_by: Option<&TokenId>,
        after: Option<&(i64, TokenId)>,
        most: usize,
    ) -> Result<Vec<Token>, StoreError> {
        let rows = query(
            "SELECT * FROM tokens WHERE mesh = $1 AND ($2 IS NULL OR made_by = $2)
                AND ($3 IS NULL OR (created_at, id) > ($3, $4))
             ORDER BY created_at, id LIMIT $5",
        )
        .bind(self.mesh.as_str())
        .bind(made_by.map(TokenId::as_str))
        .bind(after.map(|(at, _)| *at))
        .bind(after.map(|(_, id)| id.as_str()))
        .bind(integer(most))
        .fetch_all(&mut self.sql)
        .await
        .map_err(sql("read the join tokens"))?;
        rows.iter().map(token).collect()
    }

    /// Revokes a token; false where it was so before.
    pub async fn revoke_token(&mut self, id: &TokenId, at: Timestamp) -> Result<bool, StoreError> {
        let done = query("UPDATE tokens SET revoked_at = $1 WHERE mesh = $2 AND id = $3 AND revoked_at IS NULL")
            .bind(at.as_millis())
            .bind(self.mesh.as_str())
            .bind(id.as_str())
            .execute(&mut self.sql)
            .await
            .map_err(sql("revoke a join token"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Enters a new token.
    pub async fn insert_token(&mut self, token: &Token) -> Result<(), StoreError> {
        let terms = &token.terms;
        query(
            "INSERT INTO tokens (mesh, id, secret_hash, role, uses, used, created_at, expires_at, lease_ms, name_pattern,
                sources, comment, made_by, pool)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        )
        .bind(self.mesh.as_str())
        .bind(token.id.as_str())
        .bind(token.secret_hash.to_string())
        .bind(token.role.to_string())
        .bind(i64::from(token.uses))
        .bind(i64::from(token.used))
        .bind(token.created_at.as_millis())
        .bind(token.expires_at.as_millis())
        .bind(terms.lease.map(|lease| integer(lease.as_millis())))
        .bind(terms.name.as_ref().map(NamePattern::as_str))
        .bind(to_json(&terms.from, "sources")?)
        .bind(terms.comment.as_str())
        .bind(token.made_by.as_ref().map(TokenId::as_str))
        .bind(terms.pool.as_ref().map(PoolName::as_str))
        .execute(&mut self.sql)
        .await
        .map_err(sql("enter a join token"))?;
        Ok(())
    }

    /// Uses a token once more; false where it is used up.
    pub async fn use_token(&mut self, id: &TokenId) -> Result<bool, StoreError> {
        let done = query("UPDATE tokens SET used = used + 1 WHERE mesh = $1 AND id = $2 AND used < uses")
            .bind(self.mesh.as_str())
            .bind(id.as_str())
            .execute(&mut self.sql)
            .await
            .map_err(sql("use a join token"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Deletes tokens whose time was over before `before` and says which.
    pub async fn delete_tokens_expired(&mut self, before: Timestamp) -> Result<Vec<TokenId>, StoreError> {
        let rows = query("DELETE FROM tokens WHERE mesh = $1 AND expires_at < $2 RETURNING id")
            .bind(self.mesh.as_str())
            .bind(before.as_millis())
            .fetch_all(&mut self.sql)
            .await
            .map_err(sql("delete old join tokens"))?;
        rows.iter().map(|row| text(row, "id")).collect()
    }
}

fn token(row: &Row) -> Result<Token, StoreError> {
    Ok(Token {
        id: text(row, "id")?,
        secret_hash: text(row, "secret_hash")?,
        role: text(row, "role")?,
        uses: number(row, "uses")?,
        used: number(row, "used")?,
        created_at: time(row, "created_at")?,
        expires_at: time(row, "expires_at")?,
        terms: TokenTerms {
            lease: length_or_none(row)?,
            pool: text_or_none(row, "pool")?,
            name: text_or_none(row, "name_pattern")?,
            from: json(row, "sources")?,
            comment: plain(row, "comment")?,
        },
        made_by: text_or_none(row, "made_by")?,
        revoked_at: time_or_none(row, "revoked_at")?,
    })
}

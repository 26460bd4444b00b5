//! Answers to requests that named an idempotency key: sealed text, of which this file knows nothing. Kept for a day.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{plain, plain_or_none, time},
};
use picket_model::{Timestamp, TokenId};
use sqlx::query;

/// What is kept under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Digest of the request it answers.
    pub request: String,
    /// The answer; `None` while the request is under way.
    pub sealed: Option<String>,
    /// When the request came.
    pub at: Timestamp,
}

impl Transaction {
    /// What is kept under an operator's key; where nothing is, the key is taken for this request.
    pub async fn claim_answer(
        &mut self,
        operator: &TokenId,
        key: &str,
        request: &str,
        now: Timestamp,
    ) -> Result<Option<Answer>, StoreError> {
        let row = query("SELECT request, sealed, at FROM answers WHERE mesh = $1 AND operator = $2 AND key = $3")
            .bind(self.mesh.as_str())
            .bind(operator.as_str())
            .bind(key)
            .fetch_optional(&mut *self.sql)
            .await
            .map_err(sql("look an idempotency key up"))?;
        if let Some(row) = row {
            let (request, sealed) = (plain(&row, "request")?, plain_or_none(&row, "sealed")?);
            return Ok(Some(Answer { request, sealed, at: time(&row, "at")? }));
        }
        query("INSERT INTO answers (mesh, operator, key, request, at) VALUES ($1, $2, $3, $4, $5)")
            .bind(self.mesh.as_str())
            .bind(operator.as_str())
            .bind(key)
            .bind(request)
            .bind(now.as_millis())
            .execute(&mut *self.sql)
            .await
            .map_err(sql("take an idempotency key"))?;
        Ok(None)
    }

    /// Keeps the answer under a key that was taken.
    pub async fn put_answer(&mut self, operator: &TokenId, key: &str, sealed: &str) -> Result<(), StoreError> {
        query("UPDATE answers SET sealed = $1 WHERE mesh = $2 AND operator = $3 AND key = $4")
            .bind(sealed)
            .bind(self.mesh.as_str())
            .bind(operator.as_str())
            .bind(key)
            .execute(&mut *self.sql)
            .await
            .map_err(sql("keep an answer"))?;
        Ok(())
    }

    /// Gives a key back: its request came to nothing.
    pub async fn free_answer(&mut self, operator: &TokenId, key: &str) -> Result<(), StoreError> {
        query("DELETE FROM answers WHERE mesh = $1 AND operator = $2 AND key = $3")
            .bind(self.mesh.as_str())
            .bind(operator.as_str())
            .bind(key)
            .execute(&mut *self.sql)
            .await
            .map_err(sql("give an idempotency key back"))?;
        Ok(())
    }

    /// Drops answers from before a moment, and requests that never came to an end: whoever answered them is gone.
    pub async fn forget_answers(&mut self, before: Timestamp, unfinished_before: Timestamp) -> Result<(), StoreError> {
        query("DELETE FROM answers WHERE mesh = $1 AND (at < $2 OR sealed IS NULL AND at < $3)")
            .bind(self.mesh.as_str())
            .bind(before.as_millis())
            .bind(unfinished_before.as_millis())
            .execute(&mut *self.sql)
            .await
            .map_err(sql("drop old answers"))?;
        Ok(())
    }
}

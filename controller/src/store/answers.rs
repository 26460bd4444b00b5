//! Answers to requests that named an idempotency key: sealed text, of which this file knows nothing. Kept for a day.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{plain, plain_or_none},
    statement::query,
};
use picket_model::{Timestamp, TokenId};

/// What is kept under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Digest of the request it answers.
    pub request: String,
    /// How far that is.
    pub progress: Progress,
}

/// How far a request with a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It has changed nothing yet.
    Begun,
    /// What it asks for is written, in the transaction that said so; its answer is not kept yet.
    CarriedOut,
    /// Its answer.
    Answered(String),
}

/// In the place of an answer that is not kept yet, once the request is carried out. Sealed text is never empty.
const CARRIED_OUT: &str = "";

impl Transaction {
    /// What is kept under an operator's key; where nothing is, the key is taken for this request.
    pub async fn claim_answer(
        &mut self,
        operator: &TokenId,
        key: &str,
        request: &str,
        now: Timestamp,
    ) -> Result<Option<Answer>, StoreError> {
        let row = query("SELECT request, sealed FROM answers WHERE mesh = $1 AND operator = $2 AND key = $3")
            .bind(self.mesh.as_str())
            .bind(operator.as_str())
            .bind(key)
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("look an idempotency key up"))?;
        if let Some(row) = row {
            let progress = match plain_or_none(&row, "sealed")? {
                None => Progress::Begun,
                Some(sealed) if sealed == CARRIED_OUT => Progress::CarriedOut,
                Some(sealed) => Progress::Answered(sealed),
            };
            return Ok(Some(Answer { request: plain(&row, "request")?, progress }));
        }
        query("INSERT INTO answers (mesh, operator, key, request, at) VALUES ($1, $2, $3, $4, $5)")
            .bind(self.mesh.as_str())
            .bind(operator.as_str())
            .bind(key)
            .bind(request)
            .bind(now.as_millis())
            .execute(&mut self.sql)
            .await
            .map_err(sql("take an idempotency key"))?;
        Ok(None)
    }

    /// Marks a key's request as carried out, with whatever else this transaction changes; false where it was before.
    pub(super) async fn carry_out(&mut self, operator: &TokenId, key: &str) -> Result<bool, StoreError> {
        let done =
            query("UPDATE answers SET sealed = $1 WHERE mesh = $2 AND operator = $3 AND key = $4 AND sealed IS NULL")
                .bind(CARRIED_OUT)
                .bind(self.mesh.as_str())
                .bind(operator.as_str())
                .bind(key)
                .execute(&mut self.sql)
                .await
                .map_err(sql("mark an idempotency key"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Keeps the answer under a key that was taken.
    pub async fn put_answer(&mut self, operator: &TokenId, key: &str, sealed: &str) -> Result<(), StoreError> {
        query("UPDATE answers SET sealed = $1 WHERE mesh = $2 AND operator = $3 AND key = $4")
            .bind(sealed)
            .bind(self.mesh.as_str())
            .bind(operator.as_str())
            .bind(key)
            .execute(&mut self.sql)
            .await
            .map_err(sql("keep an answer"))?;
        Ok(())
    }

    /// Gives a key back whose request came to nothing; false where it was carried out, and the key stays taken.
    pub async fn free_answer(&mut self, operator: &TokenId, key: &str) -> Result<bool, StoreError> {
        let done = query("DELETE FROM answers WHERE mesh = $1 AND operator = $2 AND key = $3 AND sealed IS NULL")
            .bind(self.mesh.as_str())
            .bind(operator.as_str())
            .bind(key)
            .execute(&mut self.sql)
            .await
            .map_err(sql("give an idempotency key back"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Drops answers to requests from before a moment.
    pub async fn forget_answers(&mut self, before: Timestamp) -> Result<(), StoreError> {
        query("DELETE FROM answers WHERE mesh = $1 AND at < $2")
            .bind(self.mesh.as_str())
            .bind(before.as_millis())
            .execute(&mut self.sql)
            .await
            .map_err(sql("drop old answers"))?;
        Ok(())
    }
}

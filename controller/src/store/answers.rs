//! Answers to requests that named an idempotency key: sealed text, of which this file knows nothing. Kept for a day.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{plain, plain_or_none},
    statement::query,
};
use crate::claim::Claim;
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
    /// It has changed nothing yet: programs of before said so first.
    Begun,
    /// What it asks for is written, in the transaction that said so; its answer is not kept yet.
    CarriedOut,
    /// Its answer.
    Answered(String),
}

/// In the place of an answer that is not kept yet, once the request is carried out. Sealed text is never empty.
const CARRIED_OUT: &str = "";

impl Transaction {
    /// What is kept under an operator's key.
    pub async fn answer(&mut self, operator: &TokenId, key: &str) -> Result<Option<Answer>, StoreError> {
        let row = query("SELECT request, sealed FROM answers WHERE mesh = $1 AND operator = $2 AND key = $3")
            .bind(self.mesh.as_str())
            .bind(operator.as_str())
            .bind(key)
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("look an idempotency key up"))?;
        let Some(row) = row else { return Ok(None) };
        let progress = match plain_or_none(&row, "sealed")? {
            None => Progress::Begun,
            Some(sealed) if sealed == CARRIED_OUT => Progress::CarriedOut,
            Some(sealed) => Progress::Answered(sealed),
        };
        Ok(Some(Answer { request: plain(&row, "request")?, progress }))
    }

    /// Marks a request as carried out, with whatever else this transaction changes; false where its key was marked before.
    pub(super) async fn carry_out(&mut self, claim: &Claim, now: Timestamp) -> Result<bool, StoreError> {
        let unmarked = "INSERT INTO answers (mesh, operator, key, request, sealed, at) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (mesh, operator, key) DO UPDATE SET request = excluded.request, sealed = excluded.sealed
             WHERE answers.sealed IS NULL";
        let done = self.write_answer(unmarked, claim, CARRIED_OUT, now).await;
        Ok(done.map_err(sql("mark an idempotency key"))? == 1)
    }

    /// Keeps the answer to a request under its key.
    pub(crate) async fn put_answer(&mut self, claim: &Claim, sealed: &str, now: Timestamp) -> Result<(), StoreError> {
        let any = "INSERT INTO answers (mesh, operator, key, request, sealed, at) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (mesh, operator, key) DO UPDATE SET sealed = excluded.sealed";
        self.write_answer(any, claim, sealed, now).await.map_err(sql("keep an answer"))?;
        Ok(())
    }

    /// By a statement with these places; how many rows it wrote.
    async fn write_answer(
        &mut self,
        statement: &'static str,
        claim: &Claim,
        sealed: &str,
        now: Timestamp,
    ) -> Result<u64, sqlx::Error> {
        let written = query(statement)
            .bind(self.mesh.as_str())
            .bind(claim.operator.as_str())
            .bind(claim.key.as_str())
            .bind(claim.asked.as_str())
            .bind(sealed)
            .bind(now.as_millis());
        Ok(written.execute(&mut self.sql).await?.rows_affected())
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

//! How far each outgoing webhook is in the audit log. What is to be sent is in the log itself: nothing is kept twice.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{number, plain_or_none, time, time_or_none},
    statement::query,
};
use picket_model::Timestamp;

/// How a webhook stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookRow {
    /// The last line of the audit log that was sent, or is not for it.
    pub line: i64,
    /// Failures in a row.
    pub failures: u32,
    /// Since when it fails.
    pub failing_since: Option<Timestamp>,
    /// Not to be tried before.
    pub next_at: Timestamp,
    /// Why it failed last.
    pub error: Option<String>,
}

impl Transaction {
    /// How a webhook stands; `None` for a new one.
    pub async fn webhook(&mut self, name: &str) -> Result<Option<WebhookRow>, StoreError> {
        let row = query("SELECT * FROM webhooks WHERE mesh = $1 AND name = $2")
            .bind(self.mesh.as_str())
            .bind(name)
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read how a webhook stands"))?;
        let row = row.as_ref().map(|row| {
            Ok(WebhookRow {
                line: number(row, "line")?,
                failures: number(row, "failures")?,
                failing_since: time_or_none(row, "failing_since")?,
                next_at: time(row, "next_at")?,
                error: plain_or_none(row, "error")?,
            })
        });
        row.transpose()
    }

    /// Has a new webhook begin at the end of the log.
    pub async fn begin_webhook(&mut self, name: &str, now: Timestamp) -> Result<WebhookRow, StoreError> {
        let (line, _) = self.log_head().await?;
        let row = WebhookRow { line, failures: 0, failing_since: None, next_at: now, error: None };
        self.put_webhook(name, &row).await?;
        Ok(row)
    }

    /// Writes down how a webhook stands.
    pub async fn put_webhook(&mut self, name: &str, row: &WebhookRow) -> Result<(), StoreError> {
        query(
            "INSERT INTO webhooks (mesh, name, line, failures, failing_since, next_at, error)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (mesh, name) DO UPDATE SET line = excluded.line, failures = excluded.failures,
                failing_since = excluded.failing_since, next_at = excluded.next_at, error = excluded.error",
        )
        .bind(self.mesh.as_str())
        .bind(name)
        .bind(row.line)
        .bind(i64::from(row.failures))
        .bind(row.failing_since.map(Timestamp::as_millis))
        .bind(row.next_at.as_millis())
        .bind(row.error.as_deref())
        .execute(&mut self.sql)
        .await
        .map_err(sql("write down how a webhook stands"))?;
        Ok(())
    }
}

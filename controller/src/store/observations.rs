//! How each validator-list source stands: its last good answer and its last failure.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{integer, number, number_or_none, plain, plain_or_none, text, time_or_none},
    statement::query,
};
use picket_api::operator::SourceView;
use picket_model::SourceId;

/// A source as kept and as shown.
pub type SourceRow = SourceView;

impl Transaction {
    /// All sources ever asked, in order of id.
    pub async fn sources(&mut self) -> Result<Vec<SourceRow>, StoreError> {
        let rows = query("SELECT * FROM sources WHERE mesh = $1 ORDER BY id")
            .bind(self.mesh.as_str())
            .fetch_all(&mut self.sql)
            .await
            .map_err(sql("read the sources"))?;
        rows.iter()
            .map(|row| {
                Ok(SourceRow {
                    id: text::<SourceId>(row, "id")?,
                    url: plain(row, "url")?,
                    height: number_or_none(row, "height")?,
                    seen_at: time_or_none(row, "seen_at")?,
                    entries: number(row, "entries")?,
                    refused: number(row, "refused")?,
                    error: plain_or_none(row, "error")?,
                    push: None,
                })
            })
            .collect()
    }

    /// Keeps how a source stands now.
    pub async fn put_source(&mut self, source: &SourceRow) -> Result<(), StoreError> {
        query(
            "INSERT INTO sources (mesh, id, url, height, seen_at, entries, refused, error)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (mesh, id) DO UPDATE SET url = excluded.url, height = excluded.height,
                 seen_at = excluded.seen_at, entries = excluded.entries, refused = excluded.refused,
                 error = excluded.error",
        )
        .bind(self.mesh.as_str())
        .bind(source.id.as_str())
        .bind(source.url.as_str())
        .bind(source.height.map(integer))
        .bind(source.seen_at.map(|at| at.as_millis()))
        .bind(integer(source.entries))
        .bind(integer(source.refused))
        .bind(source.error.as_deref())
        .execute(&mut self.sql)
        .await
        .map_err(sql("keep how a source stands"))?;
        Ok(())
    }

    /// Keeps only that a source failed; its last good answer stays.
    pub async fn put_source_error(&mut self, id: &SourceId, url: &str, error: &str) -> Result<(), StoreError> {
        query(
            "INSERT INTO sources (mesh, id, url, entries, refused, error) VALUES ($1, $2, $3, 0, 0, $4)
             ON CONFLICT (mesh, id) DO UPDATE SET url = excluded.url, error = excluded.error",
        )
        .bind(self.mesh.as_str())
        .bind(id.as_str())
        .bind(url)
        .bind(error)
        .execute(&mut self.sql)
        .await
        .map_err(sql("keep how a source stands"))?;
        Ok(())
    }
}

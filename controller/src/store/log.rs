//! The chain of the audit log: each line's hash is over the line before and itself, so that none can be changed, dropped or put
//! in without a trace. Whoever can write the file can write the whole log anew; its head, kept elsewhere, tells.

use super::{
    Store, StoreError, Transaction,
    error::sql,
    events::event,
    row::{number, plain},
    statement::query,
};
use picket_api::{
    operator::EventView,
    operators::{LogBreak, LogVerdict},
};
use sha2::{Digest as _, Sha256};

/// Lines read at once.
const BATCH: i64 = 1000;

impl Store {
    /// Gives lines from before the chain their hashes. Once: where any line has one, a line without was put in by somebody else,
    /// and is for [`verify_log`](Transaction::verify_log) to find.
    pub(super) async fn chain_old_events(&self) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let row = query("SELECT COUNT(*) AS lines, COUNT(NULLIF(hash, '')) AS chained FROM events")
            .fetch_one(&mut tx.sql)
            .await
            .map_err(sql("read the audit log"))?;
        if number::<i64>(&row, "lines")? == 0 || number::<i64>(&row, "chained")? > 0 {
            return Ok(());
        }
        let (mut last, mut head) = (0, String::new());
        loop {
            let lines = tx.events_after(last).await?;
            if lines.is_empty() {
                break;
            }
            for line in lines {
                (last, head) = (line.id, link(&head, tx.mesh.as_str(), &line));
                query("UPDATE events SET hash = $1 WHERE id = $2")
                    .bind(head.as_str())
                    .bind(line.id)
                    .execute(&mut tx.sql)
                    .await
                    .map_err(sql("chain the audit log"))?;
            }
        }
        tx.commit().await
    }
}

impl Transaction {
    /// Number and hash of the newest line; zero and empty before the first.
    pub(super) async fn log_head(&mut self) -> Result<(i64, String), StoreError> {
        let row = query("SELECT id, hash FROM events ORDER BY id DESC LIMIT 1")
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read the end of the audit log"))?;
        row.map_or(Ok((0, String::new())), |row| Ok((number(&row, "id")?, plain(&row, "hash")?)))
    }

    /// Looks at every line of the audit log.
    pub async fn verify_log(&mut self) -> Result<LogVerdict, StoreError> {
        let mut verdict = LogVerdict { lines: 0, last: 0, head: String::new(), broken: None };
        loop {
            let lines = self.events_after(verdict.last).await?;
            if lines.is_empty() {
                break;
            }
            for line in lines {
                let hash = link(&verdict.head, self.mesh.as_str(), &line);
                let expected = verdict.last + 1;
                let wrong = match line.id {
                    id if id != expected => Some((expected, "it is missing")),
                    _ if hash != line.hash => {
                        Some((line.id, "it is not as it was written, or a line before it is gone"))
                    }
                    _ => None,
                };
                if let Some((line, text)) = wrong {
                    return Ok(LogVerdict { broken: Some(LogBreak { line, text: text.to_owned() }), ..verdict });
                }
                (verdict.lines, verdict.last, verdict.head) = (verdict.lines + 1, line.id, hash);
            }
        }
        if self.lines_written().await? > verdict.last {
            let text = "it and all after it are missing".to_owned();
            verdict.broken = Some(LogBreak { line: verdict.last + 1, text });
        }
        Ok(verdict)
    }

    /// Keeps which number the newest line has.
    pub(super) async fn put_lines_written(&mut self, last: i64) -> Result<(), StoreError> {
        query(
            "INSERT INTO log_ends (mesh, lines) VALUES ($1, $2)
             ON CONFLICT (mesh) DO UPDATE SET lines = excluded.lines",
        )
        .bind(self.mesh.as_str())
        .bind(last)
        .execute(&mut self.sql)
        .await
        .map_err(sql("keep how many lines were written"))?;
        Ok(())
    }

    /// The greatest number that a line ever had.
    pub(super) async fn lines_written(&mut self) -> Result<i64, StoreError> {
        let row = query("SELECT COALESCE(MAX(lines), 0) AS written FROM log_ends WHERE mesh = $1")
            .bind(self.mesh.as_str())
            .fetch_one(&mut self.sql)
            .await
            .map_err(sql("read how many lines were written"))?;
        number(&row, "written")
    }

    /// The next lines after one, oldest first.
    pub async fn events_after(&mut self, id: i64) -> Result<Vec<EventView>, StoreError> {
        let rows = query("SELECT * FROM events WHERE id > $1 ORDER BY id LIMIT $2")
            .bind(id)
            .bind(BATCH)
            .fetch_all(&mut self.sql)
            .await
            .map_err(sql("read the audit log"))?;
        rows.iter().map(event).collect()
    }
}

/// The hash of a line, after the one with the hash `before`. Every field has its length before it, so that no text can pass for
/// the next field.
pub(super) fn link(before: &str, mesh: &str, line: &EventView) -> String {
    let address = line.address.map(|address| address.to_string());
    let (id, at) = (line.id.to_string(), line.at.as_millis().to_string());
    let fields = [before, mesh, &id, &at, &line.actor, &line.action, &line.subject, &line.detail];
    let given = [address.as_deref(), line.reason.as_deref()];
    let mut hash = Sha256::new();
    for field in fields.into_iter().map(Some).chain(given) {
        let length = field.map_or_else(|| "-".to_owned(), |field| field.len().to_string());
        hash.update(format!("{length}:{}", field.unwrap_or_default()));
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_line_counts_and_none_can_pass_for_another() {
        let line =
            EventView { id: 7, actor: "op-1".into(), subject: "ab".into(), detail: "c".into(), ..EventView::default() };
        let reason = |text: &str| Some(text.to_owned());
        let others = [
            EventView { id: 8, ..line.clone() },
            EventView { actor: "op-2".into(), ..line.clone() },
            EventView { subject: "a".into(), detail: "bc".into(), ..line.clone() },
            EventView { reason: reason(""), ..line.clone() },
            EventView { reason: reason("c"), ..line.clone() },
            EventView { address: Some("192.0.2.1".parse().unwrap()), ..line.clone() },
            EventView { at: picket_model::Timestamp::from_millis(1), ..line.clone() },
        ];
        let own = link("", "m-1", &line);
        assert_eq!(own, link("", "m-1", &EventView { hash: "another".into(), ..line.clone() }));
        assert_ne!(own, link(&own, "m-1", &line));
        assert_ne!(own, link("", "m-2", &line));
        for other in others {
            assert_ne!(own, link("", "m-1", &other), "{other:?}");
        }
    }
}

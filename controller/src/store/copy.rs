//! A whole database into another, of whichever kind: row by row, as it is. For backups, restores, and moves between SQLite and
//! PostgreSQL; knows tables and no nouns.

use super::{
    Place, Store, StoreError, Transaction,
    error::sql,
    row::number,
    statement::{Connection, Value, query, query_made},
};
use picket_model::MeshId;
use picket_progress::Progress;
use std::path::Path;

/// Every table with rows of a mesh, each after those it refers to. Duties are of the controllers that run now,
/// how far the schema is, and in what order hosts changed, each
/// database knows itself.
const TABLES: [&str; 33] = [
    "meshes",
    "policies",
    "nodes",
    "tokens",
    "operators",
    "sources",
    "validator_sets",
    "validator_changes",
    "orders",
    "shield_orders",
    "observations",
    "observation_days",
    "plans",
    "parts",
    "configs",
    "departures",
    "target",
    "cuts",
    "reports",
    "events",
    "log_ends",
    "answers",
    "identities",
    "clones",
    "hook_messages",
    "hook_tasks",
    "webhooks",
    "ca_trust",
    "ca_successions",
    "next_keys",
    "former_keys",
    "certificates",
    "drains",
];
/// Tables whose rows PostgreSQL numbers.
const NUMBERED: [&str; 2] = ["parts", "certificates"];

impl Store {
    /// Copies everything into an empty database, in one view and one change, and tells how far it is; the number of rows.
    ///
    /// # Errors
    /// Either database fails, the other one is not empty, or its audit log does not hold; then nothing is in it.
    pub async fn copy_to(&self, other: &Self, progress: &Progress) -> Result<u64, StoreError> {
        // It may have tables that are not in the list above.
        if let Some(step) = self.beyond.or(other.beyond) {
            return Err(StoreError::Newer { place: "to copy".to_owned(), step });
        }
        let (mut from, mut to) = (self.read().await?, other.write().await?);
        if to.any_mesh().await?.is_some() {
            return Err(StoreError::row("database to copy to", "it is not empty"));
        }
        let mut rows = 0;
        for (number, table) in TABLES.into_iter().enumerate() {
            progress.now(format!("the copy, {rows} rows so far, tables"));
            progress.done(number, TABLES.len());
            rows += from.copy_table(&mut to, table).await?;
        }
        progress.now("the audit log to be verified on both sides");
        to.renumber().await?;
        let (before, after) = (from.verify_log().await?, to.verify_log().await?);
        if before != after {
            return Err(StoreError::row("copy", "its audit log is not the one it was copied from"));
        }
        to.commit().await?;
        Ok(rows)
    }

    /// Copies everything into a new file of SQLite's, which only its owner reads.
    ///
    /// # Errors
    /// The file is there already, or either database fails; then no file is left.
    pub async fn back_up(&self, file: &Path, progress: &Progress) -> Result<u64, StoreError> {
        if file.exists() {
            return Err(StoreError::row(format!("{}", file.display()), "it exists already: a backup replaces nothing"));
        }
        let unfinished = file.with_extension("unfinished");
        let copied = async {
            remove(&unfinished)?;
            let other = Self::open(&unfinished, self.mesh.clone()).await?;
            let rows = self.copy_to(&other, progress).await;
            // Closed, all of it is in the one file.
            other.close().await;
            let rows = rows?;
            std::fs::rename(&unfinished, file).map_err(sqlx::Error::Io).map_err(sql("name the backup"))?;
            Ok(rows)
        };
        let copied = copied.await;
        if copied.is_err() {
            remove(&unfinished)?;
        }
        copied
    }

    /// The mesh that a database is of; `None` for an empty one.
    pub async fn mesh_of(place: &Place) -> Result<Option<MeshId>, StoreError> {
        let nobody = "none".parse().map_err(|_| StoreError::row("mesh id", "it cannot be made"))?;
        let store = Self::as_it_is(place, nobody).await?;
        let found = store.read().await?.any_mesh().await;
        store.close().await;
        found?.map(|id| id.parse().map_err(|_| StoreError::row("mesh id", "it is no id"))).transpose()
    }
}

impl Transaction {
    async fn any_mesh(&mut self) -> Result<Option<String>, StoreError> {
        let row = query("SELECT id FROM meshes ORDER BY id LIMIT 1").fetch_optional(&mut self.sql).await;
        row.map_err(sql("read the mesh"))?.map(|row| super::row::plain(&row, "id")).transpose()
    }

    async fn copy_table(&mut self, to: &mut Self, table: &'static str) -> Result<u64, StoreError> {
        let rows = query_made(format!("SELECT * FROM {table}")).fetch_all(&mut self.sql).await;
        let rows = rows.map_err(sql("read a table"))?;
        for row in &rows {
            let columns = row.columns().map_err(sql("read a row"))?;
            let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
            let places: Vec<String> = (1..=names.len()).map(|place| format!("${place}")).collect();
            let text = format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), places.join(", "));
            let insert = columns.iter().fold(query_made(text), |insert, (_, value)| insert.bind(value.clone()));
            insert.execute(&mut to.sql).await.map_err(sql("write a row"))?;
        }
        Ok(u64::try_from(rows.len()).unwrap_or(u64::MAX))
    }

    /// Has PostgreSQL go on counting after the rows that were copied.
    async fn renumber(&mut self) -> Result<(), StoreError> {
        if matches!(self.sql, Connection::Sqlite(_)) {
            return Ok(());
        }
        for table in NUMBERED {
            let last = query_made(format!("SELECT COALESCE(MAX(id), 0) + 1 AS next FROM {table}"));
            let next: i64 = number(&last.fetch_one(&mut self.sql).await.map_err(sql("count rows"))?, "next")?;
            let count = query_made(format!("SELECT setval(pg_get_serial_sequence('{table}', 'id'), $1, FALSE)"));
            count.bind(Value::Number(Some(next))).execute(&mut self.sql).await.map_err(sql("go on counting rows"))?;
        }
        Ok(())
    }
}

/// Removes a file of SQLite's and those beside it.
fn remove(file: &Path) -> Result<(), StoreError> {
    for end in ["", "-wal", "-shm"] {
        let mut name = file.as_os_str().to_owned();
        name.push(end);
        match std::fs::remove_file(name) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                return Err(sql("remove an unfinished backup")(sqlx::Error::Io(cause)));
            }
            _ => {}
        }
    }
    Ok(())
}

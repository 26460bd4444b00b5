//! What must survive a restart: one database, one file per noun. SQL that also suits PostgreSQL; no decisions.
//! A row that cannot be read is an error that names it, never an empty default.

mod answers;
mod ca_trust;
mod certificates;
mod clones;
mod contents;
mod drains;
mod error;
mod events;
mod history;
mod hooks;
mod identities;
mod leases;
mod log;
mod meshes;
mod nodes;
mod observations;
mod observed;
mod operators;
mod orders;
mod plans;
mod policies;
mod rekeys;
mod reports;
mod row;
mod shield;
mod tokens;
mod validators;
mod webhooks;

pub use answers::{Answer, Progress};
pub use ca_trust::CaTrust;
pub use certificates::Standing;
pub use clones::{ClonedHost, Machine};
pub use error::StoreError;
pub use events::Actor;
pub use history::{KeptVersions, RETENTION};
pub use hooks::{HookSource, HookState, HookTask, Outcome};
pub use identities::KnownIdentity;
pub use leases::{Ended, RoleCount};
pub use nodes::Enrolled;
pub use observations::SourceRow;
pub use observed::MOST_ROWS_A_DAY;
pub use operators::Operator;
pub use plans::{Cut, Target};
pub use reports::StoredReport;
pub use tokens::{Token, TokenTerms};
pub use validators::MergeRow;
pub use webhooks::WebhookRow;

use error::sql;
use picket_model::MeshId;
use sqlx::{
    SqlSafeStr as _, Sqlite, SqlitePool,
    migrate::{Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt as _, path::Path, sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::timeout,
};

/// The steps of the schema, oldest first; a released one is never changed.
const MIGRATIONS: [(i64, &str, &str); 13] = [
    (1, "start", include_str!("../../migrations/sqlite/0001_start.sql")),
    (2, "brakes", include_str!("../../migrations/sqlite/0002_brakes.sql")),
    (3, "history", include_str!("../../migrations/sqlite/0003_history.sql")),
    (4, "attested", include_str!("../../migrations/sqlite/0004_attested.sql")),
    (5, "leases", include_str!("../../migrations/sqlite/0005_leases.sql")),
    (6, "keys", include_str!("../../migrations/sqlite/0006_keys.sql")),
    (7, "hooks", include_str!("../../migrations/sqlite/0007_hooks.sql")),
    (8, "ca", include_str!("../../migrations/sqlite/0008_ca.sql")),
    (9, "proofs", include_str!("../../migrations/sqlite/0009_proofs.sql")),
    (10, "pools", include_str!("../../migrations/sqlite/0010_pools.sql")),
    (11, "certificates", include_str!("../../migrations/sqlite/0011_certificates.sql")),
    (12, "shield", include_str!("../../migrations/sqlite/0012_shield.sql")),
    (13, "drains", include_str!("../../migrations/sqlite/0013_drains.sql")),
];
/// One writer and a few readers; each connection costs a thread and a page cache.
const CONNECTIONS: u32 = 4;
/// How long a change waits for one of another program to finish.
const BUSY: Duration = Duration::from_secs(5);
/// How long a change waits for those of this program that came before it: a disk that syncs in a second, and thirty of them.
const QUEUED: Duration = Duration::from_secs(30);

/// The database of one mesh.
#[derive(Clone, Debug)]
pub struct Store {
    pool: SqlitePool,
    mesh: MeshId,
    /// First come, first served. SQLite lets whoever happens to look at the right moment write next, so that many who wait
    /// starve each other; and who waits there has a connection, which readers want.
    writer: Arc<Mutex<()>>,
    patience: Duration,
}

impl Store {
    /// Opens the database file, made where there is none, and brings its schema up to date.
    pub async fn open(path: &Path, mesh: MeshId) -> Result<Self, StoreError> {
        // SQLite gives its other files the mode of this one.
        let private = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        private.map_err(|cause| StoreError::Open { path: path.to_owned(), cause: sqlx::Error::Io(cause) })?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // A revoke that was answered must outlive a power cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        let failed = |cause| StoreError::Open { path: path.to_owned(), cause };
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).connect_with(options).await.map_err(failed)?;
        let steps = MIGRATIONS.into_iter().map(|(version, name, text)| {
            Migration::new(version, name.into(), MigrationType::Simple, text.into_sql_str(), false)
        });
        let migrated = Migrator::with_migrations(steps.collect()).run(&pool).await;
        migrated.map_err(|cause| StoreError::migration(path, cause))?;
        let store = Self { pool, mesh, writer: Arc::default(), patience: QUEUED };
        store.chain_old_events().await?;
        Ok(store)
    }

    /// A consistent view of everything.
    pub async fn read(&self) -> Result<Transaction, StoreError> {
        self.begin("BEGIN", None).await
    }

    /// A change. No other begins before this one is committed or dropped; dropped, it leaves nothing behind. Whoever holds
    /// one must not ask for a second.
    pub async fn write(&self) -> Result<Transaction, StoreError> {
        let turn = timeout(self.patience, Arc::clone(&self.writer).lock_owned()).await;
        let turn = turn.map_err(|_| StoreError::Queued { seconds: self.patience.as_secs() })?;
        self.begin("BEGIN IMMEDIATE", Some(turn)).await
    }

    async fn begin(
        &self,
        statement: &'static str,
        turn: Option<OwnedMutexGuard<()>>,
    ) -> Result<Transaction, StoreError> {
        let sql = self.pool.begin_with(statement).await.map_err(sql("begin a transaction"))?;
        Ok(Transaction { sql, mesh: self.mesh.clone(), _turn: turn })
    }

    /// Waits for what is under way and closes the database.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// One transaction; each noun's file adds its statements.
#[derive(Debug)]
pub struct Transaction {
    sql: sqlx::Transaction<'static, Sqlite>,
    mesh: MeshId,
    /// Of a change: given on after `sql` is done.
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Transaction {
    /// Makes the change last.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.sql.commit().await.map_err(sql("commit a transaction"))
    }
}

#[cfg(test)]
mod tests;

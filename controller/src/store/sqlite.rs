//! The database as a file of SQLite's: how it is made, and the steps of its schema. How it is asked is in `file`.

use super::{StoreError, error::opening};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt as _, path::Path, time::Duration};

/// The steps of the schema, oldest first; a released one is never changed.
pub(super) const MIGRATIONS: &[(i64, &str, &str)] = &[
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
    (14, "several", include_str!("../../migrations/sqlite/0014_several.sql")),
    (16, "reach", include_str!("../../migrations/sqlite/0016_reach.sql")),
    (17, "node changes", include_str!("../../migrations/sqlite/0017_node_changes.sql")),
    (18, "departures", include_str!("../../migrations/sqlite/0018_departures.sql")),
    (19, "names", include_str!("../../migrations/sqlite/0019_names.sql")),
    (20, "ca successions", include_str!("../../migrations/sqlite/0020_ca_successions.sql")),
];
/// How long the steps wait for a change of another program to finish.
const BUSY: Duration = Duration::from_secs(5);

/// Opens the database file for the steps of its schema, made where there is none.
pub(super) async fn open(path: &Path) -> Result<SqlitePool, StoreError> {
    // SQLite gives its other files the mode of this one.
    let private = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    private.map_err(sqlx::Error::Io).map_err(opening(path.display()))?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // A revoke that was answered must outlive a power cut.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await;
    pool.map_err(opening(path.display()))
}

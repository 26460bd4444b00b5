//! What can go wrong with the database, said so that an operator knows what to do.

use sqlx::migrate::MigrateError;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The database did not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The file cannot be opened.
    #[error("open database {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: sqlx::Error,
    },
    /// Its schema has steps this program does not know.
    #[error(
        "database {} was written by a newer picket-controller (schema step {step}): install that version or newer",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The unknown step.
        step: i64,
    },
    /// Its schema cannot be brought up to date.
    #[error("bring the schema of database {} up to date", path.display())]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: MigrateError,
    },
    /// A statement failed.
    #[error("{doing} in the database")]
    Sql {
        /// What was attempted.
        doing: &'static str,
        /// Why it failed.
        #[source]
        cause: sqlx::Error,
    },
    /// Changes that came before were not done in time.
    #[error(
        "begin a change in the database: those before it were not done within {seconds} s; look at the load of the disk that \
         the database is on"
    )]
    Queued {
        /// How long it waited.
        seconds: u64,
    },
    /// A row holds what cannot be understood.
    #[error("the database holds a {what} that cannot be read: {problem}; restore a backup or report this as a fault")]
    Row {
        /// Which row and column.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl StoreError {
    pub(super) fn migration(path: &Path, cause: MigrateError) -> Self {
        let path = path.to_owned();
        match cause {
            MigrateError::VersionMissing(step) => Self::Newer { path, step },
            cause => Self::Migrate { path, cause },
        }
    }

    pub(super) fn row(what: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Row { what: what.into(), problem: problem.into() }
    }
}

/// For `map_err`: which statement failed.
pub(super) fn sql(doing: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |cause| StoreError::Sql { doing, cause }
}

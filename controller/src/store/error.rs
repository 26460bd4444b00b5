//! What can go wrong with the database, said so that an operator knows what to do.

use super::postgres;
use sqlx::migrate::MigrateError;
use std::{fmt::Display, io};
use thiserror::Error;

/// The database did not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It cannot be opened.
    #[error("open database {place}")]
    Open {
        /// Where it is.
        place: String,
        /// Why.
        #[source]
        cause: sqlx::Error,
    },
    /// Its schema has steps this program does not know, and which are not for it, or that it cannot copy.
    #[error(
        "database {place} was changed by a newer picket-controller (schema step {step}) so that this one cannot work on it: install \
         that version or newer"
    )]
    Newer {
        /// Where it is.
        place: String,
        /// The unknown step.
        step: i64,
    },
    /// Its schema cannot be brought up to date.
    #[error("bring the schema of database {place} up to date")]
    Migrate {
        /// Where it is.
        place: String,
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
    /// There is no connection to it, or it was lost; what was under way may or may not be done.
    #[error("{doing}: the database does not answer; see that it runs and that this host reaches it")]
    Away {
        /// What was attempted.
        doing: &'static str,
        /// What happened.
        #[source]
        cause: sqlx::Error,
    },
    /// Changes that came before were not done in time.
    #[error(
        "begin a change in the database: those before it were not done within {seconds} s; look at the load of the disk that \
         the database is on, and at who else changes it"
    )]
    Queued {
        /// How long it waited.
        seconds: u64,
    },
    /// Another controller has carried out the same request meanwhile.
    #[error("the request with idempotency key {key} is carried out by another controller: repeat it for its answer")]
    Overtaken {
        /// The key.
        key: String,
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
    pub(super) fn row(what: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Row { what: what.into(), problem: problem.into() }
    }
}

/// For `map_err`: which database could not be opened.
pub(super) fn opening(place: impl Display) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |cause| StoreError::Open { place: place.to_string(), cause }
}

/// For `map_err`: which statement failed.
pub(super) fn sql(doing: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |cause| match cause {
        cause if postgres::is_queued(&cause) => StoreError::Queued { seconds: postgres::TURN.as_secs() },
        cause if is_lost(&cause) || matches!(cause, sqlx::Error::PoolTimedOut) => StoreError::Away { doing, cause },
        cause => StoreError::Sql { doing, cause },
    }
}

/// For a change whose turn did not come because one before it found nobody to ask.
pub(super) fn away_for_one_before() -> StoreError {
    let cause = io::Error::new(io::ErrorKind::NotConnected, "a change that came before found no database");
    StoreError::Away { doing: "begin a change", cause: sqlx::Error::Io(cause) }
}

/// Whether a connection could not be made, or broke: a new one may do better. PostgreSQL's classes of errors (appendix A of its
/// manual) are 08 for connections, 57P for a server that stops or starts, 53 for one that has no room. A server that dies between
/// taking a connection and its first word about TLS is to sqlx one that says 0 there, against the protocol (sqlx-postgres
/// src/connection/tls.rs).
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| code.len() == 5 && ["08", "57P", "53"].iter().any(|class| code.starts_with(class))),
        _ => false,
    }
}

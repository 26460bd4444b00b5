//! The database on a server of PostgreSQL's: how it is reached, how a change has its turn among several controllers, and the steps
//! of the schema.

use super::{StoreError, error::opening};
use sha2::{Digest as _, Sha256};
use sqlx::{
    PgPool, PgTransaction,
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
};
use std::{path::Path, time::Duration};

/// The steps of the schema, oldest first; a released one is never changed. The first is what SQLite's first thirteen make;
/// from there on both have the same numbers.
pub(super) const MIGRATIONS: &[(i64, &str, &str)] = &[
    (13, "schema", include_str!("../../migrations/postgres/0013_schema.sql")),
    (14, "several", include_str!("../../migrations/postgres/0014_several.sql")),
    (16, "reach", include_str!("../../migrations/postgres/0016_reach.sql")),
    (17, "node changes", include_str!("../../migrations/postgres/0017_node_changes.sql")),
    (18, "departures", include_str!("../../migrations/postgres/0018_departures.sql")),
    (19, "names", include_str!("../../migrations/postgres/0019_names.sql")),
    (20, "ca successions", include_str!("../../migrations/postgres/0020_ca_successions.sql")),
];
/// A connection costs the server a process; a controller writes with one, and reads with the others.
const CONNECTIONS: u32 = 8;
/// How long whoever wants a connection waits for one.
const ACQUIRED: Duration = Duration::from_secs(5);
/// How long one statement may take, and with it what a server that is gone without a word can keep waiting.
pub(super) const STATEMENT: Duration = Duration::from_secs(20);
/// How long a change waits for its turn among all controllers.
pub(super) const TURN: Duration = Duration::from_secs(15);
/// What each session asks of the server: a change waits so long for its turn, and whoever holds it and says nothing, or is gone,
/// loses it.
const SESSION: [(&str, &str); 6] = [
    ("lock_timeout", "15s"),
    ("statement_timeout", "20s"),
    ("idle_in_transaction_session_timeout", "20s"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "3"),
    ("tcp_keepalives_count", "3"),
];
/// By which libpq names the mode of TLS, in a URL.
const SSL_MODES: [&str; 2] = ["sslmode", "ssl-mode"];
/// An answer of PostgreSQL's to whoever waited longer than `lock_timeout` (appendix A of its manual).
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Opens the database of a URL that has no password in it.
pub(super) async fn open(url: &str, password_file: Option<&Path>) -> Result<PgPool, StoreError> {
    let options = options(url, password_file).map_err(opening(url))?;
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(ACQUIRED);
    pool.connect_with(options).await.map_err(opening(url))
}

fn options(url: &str, password_file: Option<&Path>) -> Result<PgConnectOptions, sqlx::Error> {
    let parsed: reqwest::Url = url.parse().map_err(sqlx::Error::config)?;
    let options: PgConnectOptions = url.parse()?;
    let mut options = options.application_name("picket-controller").options(SESSION);
    // libpq's own default goes on in the clear where a server has no TLS, and believes any certificate.
    if options.get_socket().is_none() && !parsed.query_pairs().any(|(key, _)| SSL_MODES.contains(&key.as_ref())) {
        options = options.ssl_mode(PgSslMode::VerifyFull);
    }
    if let Some(path) = password_file {
        let named = |cause: std::io::Error| {
            let text = format!("read the database's password from {}: {cause}", path.display());
            sqlx::Error::Io(std::io::Error::new(cause.kind(), text))
        };
        let password = zeroize::Zeroizing::new(std::fs::read_to_string(path).map_err(named)?);
        options = options.password(password.trim_end_matches(['\r', '\n']));
    }
    Ok(options)
}

/// A consistent view of everything.
pub(super) async fn read(pool: &PgPool) -> Result<PgTransaction<'static>, sqlx::Error> {
    pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
}

/// A change that has its turn among all controllers of this mesh. Each of its statements sees what was committed before that:
/// at a stricter level the view would be the one of the moment at which the wait for the turn began.
pub(super) async fn write(pool: &PgPool, turn: i64) -> Result<PgTransaction<'static>, sqlx::Error> {
    let mut transaction = pool.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(turn).execute(&mut *transaction).await?;
    Ok(transaction)
}

/// The number of a mesh's turn among the server's advisory locks.
pub(super) fn turn(mesh: &str) -> i64 {
    let digest = Sha256::digest(format!("picket mesh {mesh}"));
    digest.iter().take(8).fold(0, |number: i64, byte| (number << 8) | i64::from(*byte))
}

/// Whether a turn did not come in time.
pub(super) fn is_queued(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == LOCK_NOT_AVAILABLE)
}

/// For what a statement takes too long, or a server that is gone without a word: as any lost connection.
pub(super) fn timed_out() -> sqlx::Error {
    let text = format!("it did not answer within {} s", STATEMENT.as_secs());
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::error::is_lost;
    use tokio::io::AsyncReadExt as _;

    #[test]
    fn tls_is_verified_unless_the_url_says_otherwise_and_a_socket_has_none() {
        let mode = |url| options(url, None).unwrap().get_ssl_mode();
        assert!(matches!(mode("postgres://picket@db.example.org/picket"), PgSslMode::VerifyFull));
        assert!(matches!(mode("postgres://picket@db.example.org/picket?sslmode=verify-ca"), PgSslMode::VerifyCa));
        assert!(matches!(mode("postgres://picket@127.0.0.1/picket?sslmode=disable"), PgSslMode::Disable));
        assert!(!matches!(mode("postgres:///picket?host=/run/postgresql"), PgSslMode::VerifyFull));
    }

    #[test]
    fn a_password_comes_from_its_file_and_a_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let url = "postgres://picket@db.example.org/picket";
        let error = options(url, Some(&path)).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        std::fs::write(&path, "hunter2 with spaces \n").unwrap();
        assert!(options(url, Some(&path)).is_ok());
    }

    #[test]
    fn meshes_have_turns_of_their_own() {
        assert_eq!(turn("m-1"), turn("m-1"));
        assert_ne!(turn("m-1"), turn("m-2"));
    }

    #[tokio::test]
    async fn a_server_that_dies_before_its_first_word_is_a_connection_that_was_lost() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://picket@{}/picket", listener.local_addr().unwrap());
        let server = async {
            let (mut connection, _) = listener.accept().await.unwrap();
            // What asks for TLS, so that the end is an end and not a reset.
            connection.read_exact(&mut [0; 8]).await.unwrap();
        };
        let (opened, ()) = tokio::join!(open(&url, None), server);
        let Err(StoreError::Open { cause, .. }) = opened else { panic!("{opened:?}") };
        assert!(is_lost(&cause), "{cause:?}");
    }
}

//! A file of SQLite's, asked on the thread that wants the answer: a statement takes microseconds, and handing it to another thread took
//! longer than the statement. What waits for a disk waits beside. Runs what it is given; its own SQL begins and ends transactions.

use super::statement::Value;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, Statement,
    types::{Null, Value as Cell},
};
use sqlx::error::{DatabaseError, ErrorKind};
use std::{
    borrow::Cow,
    error::Error,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};

/// One writer and a few readers; each connection costs a page cache.
const CONNECTIONS: u32 = 4;
/// How long whoever wants a connection waits for one.
const ACQUIRED: Duration = Duration::from_secs(30);
/// How long a change waits for one of another program to finish.
const BUSY: Duration = Duration::from_secs(5);
/// How often it looks whether that one has finished.
const LOOKED_AGAIN: Duration = Duration::from_millis(5);
/// Statements that a connection keeps ready.
const READY: usize = 128;
/// Longer ones would take more room than making them anew takes time.
const LONGEST_READY: usize = 16 * 1024;

/// Connections to one file.
#[derive(Clone, Debug)]
pub(super) struct File(Arc<Connections>);

#[derive(Debug)]
struct Connections {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    places: Arc<Semaphore>,
}

impl File {
    /// Opens a file that is there.
    pub(super) fn open(path: &Path) -> Result<Self, sqlx::Error> {
        let idle = Mutex::new(vec![connect(path)?]);
        let places = Arc::new(Semaphore::new(CONNECTIONS as usize));
        Ok(Self(Arc::new(Connections { path: path.to_owned(), idle, places })))
    }

    /// A view of everything from its first statement on, or a change.
    pub(super) async fn begin(&self, writes: bool) -> Result<FileTransaction, sqlx::Error> {
        let place = timeout(ACQUIRED, Arc::clone(&self.0.places).acquire_owned()).await;
        let place = place.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)?;
        let idle = self.idle().pop();
        let connection = idle.map_or_else(|| connect(&self.0.path), Ok)?;
        let mut begun = FileTransaction { connection: Some(connection), file: self.clone(), _place: place };
        if !writes {
            begun.run("BEGIN")?;
            return Ok(begun);
        }
        let asked = Instant::now();
        // Changes of this program come one after the other already: whoever has the file now is another one.
        while let Err(error) = begun.begin_change() {
            if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) || asked.elapsed() > BUSY {
                return Err(failure(error));
            }
            sleep(LOOKED_AGAIN).await;
        }
        Ok(begun)
    }

    /// Waits for what is under way and closes the file.
    pub(super) async fn close(&self) {
        let places = self.0.places.acquire_many(CONNECTIONS).await;
        self.0.places.close();
        drop(places);
        let idle = std::mem::take(&mut *self.idle());
        // The last one puts what was written since into the file itself.
        aside(|| drop(idle));
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connect(path: &Path) -> Result<Connection, sqlx::Error> {
    let opened = || {
        // Nobody uses a connection while somebody else does.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        // A revoke that was answered must outlive a power cut.
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")?;
        connection.set_prepared_statement_cache_capacity(READY);
        Ok(connection)
    };
    opened().map_err(failure)
}

/// A transaction; dropped, it leaves nothing behind.
#[derive(Debug)]
pub(super) struct FileTransaction {
    /// There until it is dropped.
    connection: Option<Connection>,
    file: File,
    /// Given on after the connection is back.
    _place: OwnedSemaphorePermit,
}

impl FileTransaction {
    /// Makes the change last.
    pub(super) fn commit(mut self) -> Result<(), sqlx::Error> {
        aside(|| self.run("COMMIT"))
    }

    /// Runs a statement to its end; how many rows it changed.
    pub(super) fn execute(&mut self, text: &str, values: &[Value]) -> Result<u64, sqlx::Error> {
        let changed = |statement: &mut Statement<'_>| {
            let mut rows = statement.raw_query();
            while rows.next()?.is_some() {}
            Ok(())
        };
        self.with(text, values, changed).map_err(failure)?;
        Ok(self.connection().map_err(failure)?.changes())
    }

    /// The first rows of a statement, so many at most.
    pub(super) fn rows(&mut self, text: &str, values: &[Value], most: usize) -> Result<Vec<FileRow>, sqlx::Error> {
        let read = |statement: &mut Statement<'_>| {
            let columns: Arc<[Column]> = statement.columns().iter().map(Column::of).collect();
            let (mut found, mut rows) = (Vec::new(), statement.raw_query());
            while found.len() < most
                && let Some(row) = rows.next()?
            {
                let values = (0..columns.len()).map(|at| row.get(at)).collect::<Result<_, _>>()?;
                found.push(FileRow { columns: Arc::clone(&columns), values });
            }
            Ok(found)
        };
        self.with(text, values, read).map_err(failure)
    }

    fn with<T>(
        &mut self,
        text: &str,
        values: &[Value],
        work: impl FnOnce(&mut Statement<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let (connection, text) = (self.connection()?, &numbered(text));
        if text.len() > LONGEST_READY {
            let mut statement = connection.prepare(text)?;
            fill(&mut statement, values)?;
            return work(&mut statement);
        }
        let mut statement = connection.prepare_cached(text)?;
        fill(&mut statement, values)?;
        work(&mut statement)
    }

    fn begin_change(&mut self) -> rusqlite::Result<()> {
        // Who waits here would keep its thread.
        self.connection()?.busy_timeout(Duration::ZERO)?;
        let begun = self.with("BEGIN IMMEDIATE", &[], |statement| statement.raw_execute());
        self.connection()?.busy_timeout(BUSY)?;
        begun.map(|_| ())
    }

    fn run(&mut self, text: &str) -> Result<(), sqlx::Error> {
        self.with(text, &[], |statement| statement.raw_execute()).map(|_| ()).map_err(failure)
    }

    fn connection(&self) -> rusqlite::Result<&Connection> {
        self.connection.as_ref().ok_or(rusqlite::Error::InvalidQuery)
    }
}

impl Drop for FileTransaction {
    fn drop(&mut self) {
        let is_clean = self.connection.as_ref().is_some_and(Connection::is_autocommit) || self.run("ROLLBACK").is_ok();
        // One that is not is closed, which rolls back.
        if let Some(connection) = self.connection.take().filter(|_| is_clean) {
            self.file.idle().push(connection);
        }
    }
}

/// A statement with `?1` for `$1`: SQLite counts the former, and looks for the latter by its name through all of them.
fn numbered(text: &str) -> String {
    let mut parts = text.split('$');
    let mut numbered = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        numbered.push(if part.starts_with(|next: char| next.is_ascii_digit()) { '?' } else { '$' });
        numbered.push_str(part);
    }
    numbered
}

/// Fills a statement's places in order.
fn fill(statement: &mut Statement<'_>, values: &[Value]) -> rusqlite::Result<()> {
    let places = statement.parameter_count();
    let Some(values) = values.get(..places) else {
        return Err(rusqlite::Error::InvalidParameterCount(values.len(), places));
    };
    for (place, value) in (1..).zip(values) {
        match value {
            Value::Text(Some(text)) => statement.raw_bind_parameter(place, text.as_str())?,
            Value::Number(Some(number)) => statement.raw_bind_parameter(place, number)?,
            Value::Text(None) | Value::Number(None) => statement.raw_bind_parameter(place, Null)?,
        }
    }
    Ok(())
}

/// Runs what waits for a disk; whatever else this thread has to do, another one does meanwhile.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// A row as it was read.
#[derive(Debug)]
pub(super) struct FileRow {
    columns: Arc<[Column]>,
    values: Vec<Cell>,
}

#[derive(Debug)]
struct Column {
    name: Box<str>,
    /// By its table, for a NULL does not say.
    has_numbers: bool,
}

impl Column {
    fn of(column: &rusqlite::Column<'_>) -> Self {
        Self { name: column.name().into(), has_numbers: column.decl_type() == Some("INTEGER") }
    }
}

impl FileRow {
    /// What is in a column; `None` where there is no such column.
    pub(super) fn get(&self, column: &str) -> Option<&Cell> {
        let at = self.columns.iter().position(|known| &*known.name == column)?;
        self.values.get(at)
    }

    /// Every column, by name, as it is.
    pub(super) fn columns(&self) -> Result<Vec<(String, Value)>, sqlx::Error> {
        let cells = self.columns.iter().zip(&self.values);
        let cells = cells.map(|(column, cell)| {
            let value = match cell {
                Cell::Text(text) => Value::Text(Some(text.clone())),
                Cell::Integer(number) => Value::Number(Some(*number)),
                Cell::Null if column.has_numbers => Value::Number(None),
                Cell::Null => Value::Text(None),
                Cell::Real(_) | Cell::Blob(_) => return Err(sqlx::Error::ColumnNotFound(column.name.to_string())),
            };
            Ok((column.name.to_string(), value))
        });
        cells.collect()
    }
}

/// An answer of SQLite's that it cannot do something.
#[derive(Debug)]
struct Failure {
    cause: rusqlite::Error,
    text: String,
}

fn failure(cause: rusqlite::Error) -> sqlx::Error {
    let text = cause.to_string();
    sqlx::Error::Database(Box::new(Failure { cause, text }))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Failure {}

impl DatabaseError for Failure {
    fn message(&self) -> &str {
        &self.text
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        self.cause.sqlite_error().map(|error| error.extended_code.to_string().into())
    }

    fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_numbered_and_nothing_else_is_changed() {
        for (text, expect) in [
            ("SELECT a FROM b WHERE c = $1 AND d = $12", "SELECT a FROM b WHERE c = ?1 AND d = ?12"),
            ("SELECT json_extract(a, '$.b') FROM c", "SELECT json_extract(a, '$.b') FROM c"),
            ("$1$", "?1$"),
            ("", ""),
        ] {
            assert_eq!(numbered(text), expect);
        }
    }
}

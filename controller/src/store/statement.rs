//! One statement for both databases: `$1` is a place for a value in either. Runs what it is given; no SQL of its own.

#[cfg(test)]
use super::moments::{self, Moment};
use super::postgres;
use sqlx::{
    AssertSqlSafe, Column as _, PgTransaction, SqlSafeStr as _, SqlStr, SqliteTransaction, TypeInfo as _,
    postgres::PgRow, sqlite::SqliteRow,
};
use std::borrow::Cow;
use tokio::time::timeout;

/// A transaction of one of the two databases.
#[derive(Debug)]
pub(super) enum Connection {
    Sqlite(SqliteTransaction<'static>),
    Postgres(PgTransaction<'static>),
}

impl Connection {
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        #[cfg(test)]
        moments::before(Moment::Commit).await?;
        let committed = match self {
            Self::Sqlite(transaction) => transaction.commit().await,
            Self::Postgres(transaction) => transaction.commit().await,
        };
        #[cfg(test)]
        moments::after(Moment::Commit).await?;
        committed
    }
}

/// What a place of a statement is filled with. PostgreSQL wants to know the type of a NULL too.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(Option<String>),
    Number(Option<i64>),
}

/// A row of either database; `row` reads its columns.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// Every column, by name, as it is.
    pub(super) fn columns(&self) -> Result<Vec<(String, Value)>, sqlx::Error> {
        match self {
            Self::Sqlite(row) => columns(row),
            Self::Postgres(row) => columns(row),
        }
    }
}

fn columns<'r, R>(row: &'r R) -> Result<Vec<(String, Value)>, sqlx::Error>
where
    R: sqlx::Row,
    usize: sqlx::ColumnIndex<R>,
    Option<i64>: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    Option<String>: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
{
    let column = |column: &<R::Database as sqlx::Database>::Column| {
        let value = match column.type_info().name() {
            "INTEGER" | "INT8" => Value::Number(row.try_get(column.ordinal())?),
            _ => Value::Text(row.try_get(column.ordinal())?),
        };
        Ok((column.name().to_owned(), value))
    };
    row.columns().iter().map(column).collect()
}

/// What a statement changed.
pub(super) struct Done(u64);

impl Done {
    pub(super) const fn rows_affected(&self) -> u64 {
        self.0
    }
}

/// A statement and what its places are filled with.
#[must_use]
pub(super) struct Query {
    text: SqlStr,
    values: Vec<Value>,
}

/// A statement that either database understands.
pub(super) fn query(text: &'static str) -> Query {
    Query { text: text.into_sql_str(), values: Vec::new() }
}

/// The same, of a text that was put together: of names that this program knows, and of nobody's words.
pub(super) fn query_made(text: String) -> Query {
    Query { text: AssertSqlSafe(text).into_sql_str(), values: Vec::new() }
}

/// The statement as the driver of the connection's database has it, run by one of the driver's methods.
macro_rules! run {
    ($query:ident, $connection:ident, $method:ident, $sqlite:expr, $postgres:expr) => {{
        #[cfg(test)]
        moments::before(Moment::Statement).await?;
        let done = match $connection {
            Connection::Sqlite(transaction) => {
                let statement =
                    $query.values.into_iter().fold(sqlx::query($query.text), |statement, value| match value {
                        Value::Text(text) => statement.bind(text),
                        Value::Number(number) => statement.bind(number),
                    });
                statement.$method(&mut **transaction).await.map($sqlite)
            }
            Connection::Postgres(transaction) => {
                let statement =
                    $query.values.into_iter().fold(sqlx::query($query.text), |statement, value| match value {
                        Value::Text(text) => statement.bind(text),
                        Value::Number(number) => statement.bind(number),
                    });
                let done = timeout(postgres::STATEMENT, statement.$method(&mut **transaction)).await;
                done.unwrap_or_else(|_| Err(postgres::timed_out())).map($postgres)
            }
        };
        #[cfg(test)]
        moments::after(Moment::Statement).await?;
        done
    }};
}

impl Query {
    /// Fills the next place.
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Runs it for what it changes.
    pub(super) async fn execute(self, on: &mut Connection) -> Result<Done, sqlx::Error> {
        run!(self, on, execute, |done| Done(done.rows_affected()), |done| Done(done.rows_affected()))
    }

    /// All rows.
    pub(super) async fn fetch_all(self, on: &mut Connection) -> Result<Vec<Row>, sqlx::Error> {
        run!(self, on, fetch_all, |rows| rows.into_iter().map(Row::Sqlite).collect(), |rows| rows
            .into_iter()
            .map(Row::Postgres)
            .collect())
    }

    /// The first row, if there is one.
    pub(super) async fn fetch_optional(self, on: &mut Connection) -> Result<Option<Row>, sqlx::Error> {
        run!(self, on, fetch_optional, |row| row.map(Row::Sqlite), |row| row.map(Row::Postgres))
    }

    /// The only row.
    pub(super) async fn fetch_one(self, on: &mut Connection) -> Result<Row, sqlx::Error> {
        run!(self, on, fetch_one, Row::Sqlite, Row::Postgres)
    }
}

/// A text as both databases keep it: PostgreSQL has no NUL in a text.
pub(super) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text.map(|text| if text.contains('\0') { storable(&text).into_owned() } else { text }))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Some(text).into()
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Some(text).into()
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Some(text.as_str()).into()
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(|text| storable(text).into_owned()))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Some(number).into()
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

impl From<Option<&i64>> for Value {
    fn from(number: Option<&i64>) -> Self {
        number.copied().into()
    }
}

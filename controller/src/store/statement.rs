//! One statement for both databases: `$1` is a place for a value in either. Runs what it is given; no SQL of its own.

#[cfg(test)]
use super::moments::{self, Moment};
use super::{
    file::{FileRow, FileTransaction},
    postgres,
};
use sqlx::{
    AssertSqlSafe, Column as _, PgTransaction, Row as _, SqlSafeStr as _, SqlStr, TypeInfo as _, postgres::PgRow,
};
use std::borrow::Cow;
use tokio::{task::consume_budget, time::timeout};

/// A transaction of one of the two databases.
#[derive(Debug)]
pub(super) enum Connection {
    Sqlite(FileTransaction),
    Postgres(PgTransaction<'static>),
}

impl Connection {
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        #[cfg(test)]
        moments::before(Moment::Commit).await?;
        let committed = match self {
            Self::Sqlite(transaction) => transaction.commit(),
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
    Sqlite(FileRow),
    Postgres(PgRow),
}

impl Row {
    /// Every column, by name, as it is.
    pub(super) fn columns(&self) -> Result<Vec<(String, Value)>, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.columns(),
            Self::Postgres(row) => columns(row),
        }
    }
}

fn columns(row: &PgRow) -> Result<Vec<(String, Value)>, sqlx::Error> {
    let column = |column: &<sqlx::Postgres as sqlx::Database>::Column| {
        let value = match column.type_info().name() {
            "INT8" => Value::Number(row.try_get(column.ordinal())?),
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

/// The statement as PostgreSQL's driver has it, run by one of the driver's methods.
macro_rules! on_server {
    ($query:ident, $transaction:ident, $method:ident) => {{
        let statement = $query.values.into_iter().fold(sqlx::query($query.text), |statement, value| match value {
            Value::Text(text) => statement.bind(text),
            Value::Number(number) => statement.bind(number),
        });
        let done = timeout(postgres::STATEMENT, statement.$method(&mut **$transaction)).await;
        done.unwrap_or_else(|_| Err(postgres::timed_out()))
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
        asked(async {
            match on {
                Connection::Sqlite(file) => {
                    consume_budget().await;
                    file.execute(self.text.as_str(), &self.values).map(Done)
                }
                Connection::Postgres(server) => {
                    on_server!(self, server, execute).map(|done| Done(done.rows_affected()))
                }
            }
        })
        .await
    }

    /// All rows.
    pub(super) async fn fetch_all(self, on: &mut Connection) -> Result<Vec<Row>, sqlx::Error> {
        asked(async {
            match on {
                Connection::Sqlite(file) => self.read(file, usize::MAX).await,
                Connection::Postgres(server) => {
                    on_server!(self, server, fetch_all).map(|rows| rows.into_iter().map(Row::Postgres).collect())
                }
            }
        })
        .await
    }

    /// The first row, if there is one.
    pub(super) async fn fetch_optional(self, on: &mut Connection) -> Result<Option<Row>, sqlx::Error> {
        asked(async {
            match on {
                Connection::Sqlite(file) => Ok(self.read(file, 1).await?.pop()),
                Connection::Postgres(server) => {
                    on_server!(self, server, fetch_optional).map(|row| row.map(Row::Postgres))
                }
            }
        })
        .await
    }

    /// The only row.
    pub(super) async fn fetch_one(self, on: &mut Connection) -> Result<Row, sqlx::Error> {
        self.fetch_optional(on).await?.ok_or(sqlx::Error::RowNotFound)
    }

    async fn read(self, file: &mut FileTransaction, most: usize) -> Result<Vec<Row>, sqlx::Error> {
        // Nothing here ever waits: who asks much lets others go on all the same.
        consume_budget().await;
        let rows = file.rows(self.text.as_str(), &self.values, most)?;
        Ok(rows.into_iter().map(Row::Sqlite).collect())
    }
}

/// A statement's answer. In tests something may come before it, or between it and who asked.
async fn asked<T>(statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    #[cfg(test)]
    moments::before(Moment::Statement).await?;
    let done = statement.await;
    #[cfg(test)]
    moments::after(Moment::Statement).await?;
    done
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

//! Columns to values and back. Every reader names the column it could not read.

use super::{StoreError, statement::Row};
use picket_model::{Generation, Timestamp};
use rusqlite::types::Value as Cell;
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Decode, Postgres, Row as _, Type};
use std::{fmt::Display, str::FromStr};

/// What either database has in a column.
trait Column: for<'r> Decode<'r, Postgres> + Type<Postgres> {
    /// As SQLite has it; `None` where that is something else.
    fn of(cell: &Cell) -> Option<Self>;
}

impl Column for String {
    fn of(cell: &Cell) -> Option<Self> {
        if let Cell::Text(text) = cell { Some(text.clone()) } else { None }
    }
}

impl Column for i64 {
    fn of(cell: &Cell) -> Option<Self> {
        if let Cell::Integer(number) = cell { Some(*number) } else { None }
    }
}

impl<T: Column> Column for Option<T>
where
    Self: for<'r> Decode<'r, Postgres> + Type<Postgres>,
{
    fn of(cell: &Cell) -> Option<Self> {
        if *cell == Cell::Null { Some(None) } else { T::of(cell).map(Some) }
    }
}

fn get<T: Column>(row: &Row, column: &'static str) -> Result<T, StoreError> {
    match row {
        Row::Sqlite(row) => {
            let cell = row.get(column).ok_or_else(|| StoreError::row(column, "there is no such column"))?;
            T::of(cell).ok_or_else(|| StoreError::row(column, format!("a {} is there", cell.data_type())))
        }
        Row::Postgres(row) => row.try_get(column).map_err(|cause| StoreError::row(column, cause.to_string())),
    }
}

/// A text as it is.
pub(super) fn plain(row: &Row, column: &'static str) -> Result<String, StoreError> {
    get(row, column)
}

/// A text that may be NULL.
pub(super) fn plain_or_none(row: &Row, column: &'static str) -> Result<Option<String>, StoreError> {
    get(row, column)
}

/// A text that is a value's own form.
pub(super) fn text<T>(row: &Row, column: &'static str) -> Result<T, StoreError>
where
    T: FromStr,
    T::Err: Display,
{
    plain(row, column)?.parse().map_err(|cause: T::Err| StoreError::row(column, cause.to_string()))
}

/// A text that is a value's own form, or NULL.
pub(super) fn text_or_none<T>(row: &Row, column: &'static str) -> Result<Option<T>, StoreError>
where
    T: FromStr,
    T::Err: Display,
{
    let text = plain_or_none(row, column)?;
    text.map(|text| text.parse().map_err(|cause: T::Err| StoreError::row(column, cause.to_string()))).transpose()
}

/// A value in JSON.
pub(super) fn json<T: DeserializeOwned>(row: &Row, column: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(&plain(row, column)?).map_err(|cause| StoreError::row(column, cause.to_string()))
}

/// A value in JSON, or NULL.
pub(super) fn json_or_none<T: DeserializeOwned>(row: &Row, column: &'static str) -> Result<Option<T>, StoreError> {
    let text = plain_or_none(row, column)?;
    let value = text.map(|text| serde_json::from_str(&text)).transpose();
    value.map_err(|cause| StoreError::row(column, cause.to_string()))
}

/// A value as JSON.
pub(super) fn to_json(value: &impl Serialize, column: &'static str) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|cause| StoreError::row(column, cause.to_string()))
}

/// A whole number in the range of its type.
pub(super) fn number<T: TryFrom<i64>>(row: &Row, column: &'static str) -> Result<T, StoreError> {
    let value: i64 = get(row, column)?;
    T::try_from(value).map_err(|_| StoreError::row(column, format!("{value} is out of range")))
}

/// A whole number in the range of its type, or NULL.
pub(super) fn number_or_none<T: TryFrom<i64>>(row: &Row, column: &'static str) -> Result<Option<T>, StoreError> {
    let value: Option<i64> = get(row, column)?;
    value
        .map(|value| T::try_from(value).map_err(|_| StoreError::row(column, format!("{value} is out of range"))))
        .transpose()
}

/// A moment.
pub(super) fn time(row: &Row, column: &'static str) -> Result<Timestamp, StoreError> {
    get(row, column).map(Timestamp::from_millis)
}

/// A moment, or NULL.
pub(super) fn time_or_none(row: &Row, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
    get::<Option<i64>>(row, column).map(|millis| millis.map(Timestamp::from_millis))
}

/// The number of a plan.
pub(super) fn generation(row: &Row, column: &'static str) -> Result<Generation, StoreError> {
    number(row, column).map(Generation)
}

/// A count for a column; beyond 2^63, which no count or height reaches, it stays there.
pub(super) fn integer(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

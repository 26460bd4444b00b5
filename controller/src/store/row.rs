//! Columns to values and back. Every reader names the column it could not read.

use super::{StoreError, statement::Row};
use picket_model::{Generation, Timestamp};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Decode, Postgres, Row as _, Sqlite, Type};
use std::{fmt::Display, str::FromStr};

fn get<'r, T>(row: &'r Row, column: &'static str) -> Result<T, StoreError>
where
    T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
{
    let value = match row {
        Row::Sqlite(row) => row.try_get(column),
        Row::Postgres(row) => row.try_get(column),
    };
    value.map_err(|cause| StoreError::row(column, cause.to_string()))
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

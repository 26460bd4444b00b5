//! The steps of the schema: which are taken at a start, and whether this program may work where a newer one has taken more.
//!
//! The rule: a step that only adds (tables, columns with a default, indexes) leaves `schema_reach.least` as it is, and programs
//! from before it go on and may start. A step that changes or takes away what they use sets it to its own number, and they refuse.
//! One release may only add; what it replaced is taken away by the next at the earliest, when nobody needs it any more.

use super::{Place, StoreError, error::sql, postgres, sqlite};
use sqlx::{
    PgPool, SqlSafeStr as _, SqlitePool,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

/// Number, name and text.
pub(super) type Step = (i64, &'static str, &'static str);

/// A database whose steps are taken.
pub(super) enum Opened {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Takes the steps that are not taken yet. The newest step that this program does not know, where there is one and it may work all
/// the same.
pub(super) async fn bring_up_to_date(pool: &Opened, place: &Place) -> Result<Option<i64>, StoreError> {
    match run(pool, steps(pool), false).await {
        Ok(()) => return Ok(None),
        Err(MigrateError::VersionMissing(step)) => {
            let least = least(pool).await.map_err(sql("read which programs may work"))?;
            if newest(pool) < least {
                return Err(StoreError::Newer { place: place.to_string(), step });
            }
        }
        Err(cause) => return Err(StoreError::Migrate { place: place.to_string(), cause }),
    }
    run(pool, steps(pool), true).await.map_err(|cause| StoreError::Migrate { place: place.to_string(), cause })?;
    let step = furthest(pool).await.map_err(sql("read how far the schema is"))?;
    tracing::warn!(
        %place, step, known = newest(pool),
        "a newer picket-controller has brought the database further; this one works on it, and makes no copies of it"
    );
    Ok(Some(step))
}

/// Takes those of these steps that are not taken yet.
pub(super) async fn run(pool: &Opened, steps: &[Step], passes_over_others: bool) -> Result<(), MigrateError> {
    let mut migrator = migrator(steps);
    migrator.set_ignore_missing(passes_over_others);
    match pool {
        Opened::Sqlite(pool) => migrator.run(pool).await,
        Opened::Postgres(pool) => migrator.run(pool).await,
    }
}

fn migrator(steps: &[Step]) -> Migrator {
    let steps = steps.iter().map(|(version, name, text)| {
        Migration::new(*version, (*name).into(), MigrationType::Simple, text.into_sql_str(), false)
    });
    Migrator::with_migrations(steps.collect())
}

/// The steps that this program knows, oldest first.
pub(super) const fn steps(pool: &Opened) -> &'static [Step] {
    match pool {
        Opened::Sqlite(_) => sqlite::MIGRATIONS,
        Opened::Postgres(_) => postgres::MIGRATIONS,
    }
}

/// The newest step that this program knows.
fn newest(pool: &Opened) -> i64 {
    steps(pool).last().map_or(0, |(step, ..)| *step)
}

/// The least step whose programs may work on the database.
async fn least(pool: &Opened) -> Result<i64, sqlx::Error> {
    one(pool, "SELECT MAX(least) FROM schema_reach").await
}

/// The newest step that was taken.
async fn furthest(pool: &Opened) -> Result<i64, sqlx::Error> {
    one(pool, "SELECT MAX(version) FROM _sqlx_migrations").await
}

async fn one(pool: &Opened, statement: &'static str) -> Result<i64, sqlx::Error> {
    match pool {
        Opened::Sqlite(pool) => sqlx::query_scalar(statement).fetch_one(pool).await,
        Opened::Postgres(pool) => sqlx::query_scalar(statement).fetch_one(pool).await,
    }
}

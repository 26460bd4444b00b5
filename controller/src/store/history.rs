//! How the validator set came to be what it is: one row for each P-Rep that a version of the set changes, from which the
//! set of any kept version can be rebuilt.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{integer, json_or_none, number, number_or_none, text, time, to_json},
    statement::{Row, query},
};
use picket_api::validators::ValidatorChange;
use picket_model::{PrepId, Timestamp, Validator, ValidatorSet};
use std::time::Duration;

/// How long changes of the set, and observations, are kept: a year and a month, so that a year can be looked back on.
pub const RETENTION: Duration = Duration::from_hours(400 * 24);
/// Old rows are looked for so often: they are few, and looking takes longer than keeping them for a day.
const PRUNED_EVERY: Duration = Duration::from_hours(24);

/// A change with how the P-Rep was before it.
const CHANGES: &str = "SELECT changed.*, (
        SELECT former.validator FROM validator_changes AS former
        WHERE former.mesh = changed.mesh AND former.prep = changed.prep AND former.version < changed.version
        ORDER BY former.version DESC LIMIT 1) AS former
    FROM validator_changes AS changed
    WHERE changed.mesh = $1 AND changed.version > $2 AND changed.version < $3 AND ($4 IS NULL OR changed.prep = $4)
    ORDER BY changed.version DESC, changed.prep DESC LIMIT $5";

/// Which versions of the set can be rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptVersions {
    /// The oldest; zero is the empty set before the first list.
    pub oldest: u64,
    /// The newest: the one in force.
    pub newest: u64,
}

impl Transaction {
    /// Keeps what a version of the set changes.
    pub(super) async fn put_changes(
        &mut self,
        before: &ValidatorSet,
        after: &ValidatorSet,
        version: u64,
        at: Timestamp,
        height: Option<u64>,
    ) -> Result<(), StoreError> {
        let came = after.iter().filter(|new| before.0.get(&new.prep) != Some(new)).map(|new| (new.prep, Some(new)));
        let left = before.iter().filter(|old| !after.0.contains_key(&old.prep)).map(|old| (old.prep, None));
        let changes: Vec<(PrepId, Option<&Validator>)> = came.chain(left).collect();
        for (prep, validator) in changes {
            query(
                "INSERT INTO validator_changes (mesh, prep, version, validator, at, height)
                 VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (mesh, prep, version) DO UPDATE SET validator = excluded.validator",
            )
            .bind(self.mesh.as_str())
            .bind(prep.to_string())
            .bind(integer(version))
            .bind(validator.map(|validator| to_json(validator, "validator")).transpose()?)
            .bind(at.as_millis())
            .bind(height.map(integer))
            .execute(&mut self.sql)
            .await
            .map_err(sql("keep a change of the validator set"))?;
        }
        Ok(())
    }

    /// Which versions of the set are kept; only the empty one before the first list.
    pub async fn set_versions(&mut self) -> Result<KeptVersions, StoreError> {
        let row = query("SELECT oldest_version, version FROM validator_sets WHERE mesh = $1")
            .bind(self.mesh.as_str())
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read which validator sets are kept"))?;
        let Some(row) = row else { return Ok(KeptVersions { oldest: 0, newest: 0 }) };
        Ok(KeptVersions { oldest: number(&row, "oldest_version")?, newest: number(&row, "version")? })
    }

    /// The set of a version; `None` where it is not kept.
    pub async fn set_of(&mut self, version: u64) -> Result<Option<ValidatorSet>, StoreError> {
        let kept = self.set_versions().await?;
        if !(kept.oldest..=kept.newest).contains(&version) {
            return Ok(None);
        }
        let rows = query(
            "SELECT validator FROM validator_changes AS changed WHERE mesh = $1 AND validator IS NOT NULL
                 AND version = (SELECT MAX(version) FROM validator_changes AS newest
                     WHERE newest.mesh = changed.mesh AND newest.prep = changed.prep AND newest.version <= $2)",
        )
        .bind(self.mesh.as_str())
        .bind(integer(version))
        .fetch_all(&mut self.sql)
        .await
        .map_err(sql("rebuild a validator set"))?;
        let validators = rows.iter().map(|row| json_or_none::<Validator>(row, "validator"));
        validators.filter_map(Result::transpose).collect::<Result<_, _>>().map(Some)
    }

    /// The newest changes, newest last: before version `before` where it is given, of one P-Rep where it is given, at most
    /// `most`. The changes of a version are given whole, so that what comes before its number is what was not given; only
    /// of one that alone has too many, the rest is left out.
    pub async fn changes(
        &mut self,
        prep: Option<PrepId>,
        before: Option<u64>,
        most: usize,
    ) -> Result<Vec<ValidatorChange>, StoreError> {
        let kept = self.set_versions().await?;
        let rows = query(CHANGES)
            .bind(self.mesh.as_str())
            .bind(integer(kept.oldest))
            .bind(before.map_or(i64::MAX, integer))
            .bind(prep.map(|prep| prep.to_string()))
            .bind(integer(most.saturating_add(1)))
            .fetch_all(&mut self.sql)
            .await
            .map_err(sql("read the changes of the validator set"))?;
        let mut changes = rows.iter().map(change).collect::<Result<Vec<_>, _>>()?;
        if changes.len() > most
            && let (Some(newest), Some(oldest)) =
                (changes.first().map(|change| change.version), changes.last().map(|change| change.version))
        {
            changes.truncate(most);
            changes.retain(|change| newest == oldest || change.version > oldest);
        }
        changes.reverse();
        Ok(changes)
    }

    /// The newest change of a P-Rep up to a version.
    pub async fn last_change(&mut self, prep: PrepId, version: u64) -> Result<Option<ValidatorChange>, StoreError> {
        let row = query(CHANGES)
            .bind(self.mesh.as_str())
            .bind(-1)
            .bind(integer(version.saturating_add(1)))
            .bind(prep.to_string())
            .bind(1)
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read the changes of the validator set"))?;
        row.as_ref().map(change).transpose()
    }

    /// Drops what is older than [`RETENTION`], once a day at most.
    pub(super) async fn prune_history(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let marked = query("UPDATE validator_sets SET pruned_at = $1 WHERE mesh = $2 AND pruned_at <= $3")
            .bind(now.as_millis())
            .bind(self.mesh.as_str())
            .bind(now.minus(PRUNED_EVERY).as_millis())
            .execute(&mut self.sql)
            .await
            .map_err(sql("drop old history"))?;
        if marked.rows_affected() == 0 {
            return Ok(());
        }
        let before = now.minus(RETENTION);
        // The set that was in force at that time is the oldest kept: each P-Rep's row by then stays, and nothing before it.
        let row =
            query("SELECT COALESCE(MAX(version), 0) AS version FROM validator_changes WHERE mesh = $1 AND at <= $2")
                .bind(self.mesh.as_str())
                .bind(before.as_millis())
                .fetch_one(&mut self.sql)
                .await
                .map_err(sql("drop old history"))?;
        let oldest: i64 = number(&row, "version")?;
        query("UPDATE validator_sets SET oldest_version = $1 WHERE mesh = $2 AND oldest_version < $1")
            .bind(oldest)
            .bind(self.mesh.as_str())
            .execute(&mut self.sql)
            .await
            .map_err(sql("drop old history"))?;
        query(
            "DELETE FROM validator_changes WHERE mesh = $1 AND version <= $2 AND (validator IS NULL OR EXISTS (
                 SELECT 1 FROM validator_changes AS later WHERE later.mesh = validator_changes.mesh
                     AND later.prep = validator_changes.prep AND later.version > validator_changes.version
                     AND later.version <= $2))",
        )
        .bind(self.mesh.as_str())
        .bind(oldest)
        .execute(&mut self.sql)
        .await
        .map_err(sql("drop old history"))?;
        self.prune_observed(before).await
    }
}

fn change(row: &Row) -> Result<ValidatorChange, StoreError> {
    Ok(ValidatorChange {
        version: number(row, "version")?,
        at: time(row, "at")?,
        height: number_or_none(row, "height")?,
        prep: text(row, "prep")?,
        before: json_or_none(row, "former")?,
        after: json_or_none(row, "validator")?,
    })
}

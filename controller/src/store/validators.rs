//! The validator set in force, what was refused, and what a brake holds back; how it came about is in `history`.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{integer, json, number, number_or_none, time, to_json},
    statement::query,
};
use picket_api::validators::RefusedView;
use picket_model::{Timestamp, ValidatorSet};
use picket_plan::{Finding, Held, MergeMemory};

/// The outcome of the last merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeRow {
    /// The set in force.
    pub set: ValidatorSet,
    /// Its version: each change of the set is a new one.
    pub version: u64,
    /// Entries refused, by source.
    pub refused: Vec<RefusedView>,
    /// Why the set before was held.
    pub held: Option<Held>,
    /// What else there is to know.
    pub findings: Vec<Finding>,
    /// Height of the newest answer it rests on.
    pub height: Option<u64>,
    /// When it was made.
    pub merged_at: Timestamp,
    /// What the next merge is to remember.
    pub memory: MergeMemory,
}

impl Transaction {
    /// The last merge; `None` before the first.
    pub async fn merged(&mut self) -> Result<Option<MergeRow>, StoreError> {
        let row = query("SELECT * FROM validator_sets WHERE mesh = $1")
            .bind(self.mesh.as_str())
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read the validator set"))?;
        row.map(|row| {
            Ok(MergeRow {
                set: json(&row, "validators")?,
                version: number(&row, "version")?,
                refused: json(&row, "refused")?,
                held: json(&row, "held")?,
                findings: json(&row, "findings")?,
                height: number_or_none(&row, "height")?,
                merged_at: time(&row, "merged_at")?,
                memory: json(&row, "memory")?,
            })
        })
        .transpose()
    }

    /// Keeps a merge as the last one, and what it changes in the set and among the refused entries. Drops what is too old
    /// of both, now and then.
    pub async fn put_merged(&mut self, merged: &MergeRow) -> Result<(), StoreError> {
        let former = query("SELECT validators FROM validator_sets WHERE mesh = $1")
            .bind(self.mesh.as_str())
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read the validator set"))?;
        let former = former.map(|row| json(&row, "validators")).transpose()?.unwrap_or_default();
        self.put_changes(&former, &merged.set, merged.version, merged.merged_at, merged.height).await?;
        self.put_refused(&merged.refused, merged.merged_at, merged.height).await?;
        query(
            "INSERT INTO validator_sets (mesh, validators, refused, held, findings, height, merged_at, memory,
                 version)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             ON CONFLICT (mesh) DO UPDATE SET validators = excluded.validators, refused = excluded.refused,
                 held = excluded.held, findings = excluded.findings, height = excluded.height,
                 merged_at = excluded.merged_at, memory = excluded.memory,
                 version = excluded.version",
        )
        .bind(self.mesh.as_str())
        .bind(to_json(&merged.set, "validators")?)
        .bind(to_json(&merged.refused, "refused")?)
        .bind(to_json(&merged.held, "held")?)
        .bind(to_json(&merged.findings, "findings")?)
        .bind(merged.height.map(integer))
        .bind(merged.merged_at.as_millis())
        .bind(to_json(&merged.memory, "memory")?)
        .bind(integer(merged.version))
        .execute(&mut self.sql)
        .await
        .map_err(sql("keep the validator set"))?;
        self.prune_history(merged.merged_at).await
    }
}

//! What is kept of a judgement: how each source stands, the merge, and a line in the audit log for each change.

use crate::{
    config::SourceUrl,
    store::{Actor, MergeRow, SourceRow, StoreError, Transaction},
    tasks::{plan::summary, poll::Answer},
};
use picket_api::validators::RefusedView;
use picket_model::{Observation, SourceId, Timestamp, ValidatorSet};
use picket_plan::Merged;
use std::collections::BTreeMap;

/// How each source stands now.
pub(super) async fn keep_sources(
    tx: &mut Transaction,
    sources: &[SourceUrl],
    answers: &BTreeMap<SourceId, Answer>,
) -> Result<(), StoreError> {
    for SourceUrl(source) in sources {
        // Path and query may hold an access key: the host is enough to know the source by.
        let url = format!("{}://{}", source.url().scheme(), source.host());
        match answers.get(source.id()) {
            Some(Ok(observation)) => {
                let good = SourceRow {
                    id: source.id().clone(),
                    url,
                    height: Some(observation.height),
                    seen_at: Some(observation.seen_at),
                    entries: observation.entries.len(),
                    refused: observation.refused.len(),
                    error: None,
                    push: None,
                };
                tx.put_source(&good).await?;
            }
            Some(Err(error)) => tx.put_source_error(source.id(), &url, error).await?,
            None => {}
        }
    }
    Ok(())
}

/// The merge as kept. What a source that did not answer refused before still stands, while it is configured.
pub(super) fn row(
    merged: &Merged,
    before: Option<&MergeRow>,
    sources: &[SourceUrl],
    seen: &[Observation],
    at: Timestamp,
) -> MergeRow {
    let now = merged.refused.iter().map(|(source, refused)| {
        let (source, refused) = (source.clone(), refused.clone());
        RefusedView { source, refused }
    });
    let silent = |entry: &&RefusedView| {
        sources.iter().any(|source| *source.0.id() == entry.source)
            && !seen.iter().any(|observation| observation.source == entry.source)
    };
    let former = before.into_iter().flat_map(|row| row.refused.iter()).filter(silent).cloned();
    MergeRow {
        set: merged.set.clone(),
        version: before.map_or(1, |row| row.version + u64::from(row.set != merged.set)),
        refused: now.chain(former).collect(),
        held: merged.held.clone(),
        findings: merged.findings.clone(),
        height: merged.height.or(before.and_then(|row| row.height)),
        merged_at: at,
        memory: merged.memory.clone(),
    }
}

/// One line in the audit log for each change of the set. What is held is an alarm, which has lines of its own.
pub(super) async fn say_what_changed(
    tx: &mut Transaction,
    before: Option<&MergeRow>,
    merged: &Merged,
    at: Timestamp,
) -> Result<(), StoreError> {
    let first = ValidatorSet::default();
    let old = before.map_or(&first, |row| &row.set);
    let moved = merged.set.iter().filter(|new| {
        let known = old.0.get(&new.prep);
        known.is_none_or(|known| known.endpoint != new.endpoint || known.addresses != new.addresses)
    });
    let came = moved.map(|validator| format!("+ {} {}", validator.prep, validator.endpoint));
    let left = old.iter().filter(|old| !merged.set.0.contains_key(&old.prep));
    let lines: Vec<String> = came.chain(left.map(|old| format!("- {} {}", old.prep, old.endpoint))).collect();
    let subject = format!("{} validators", merged.set.len());
    if !lines.is_empty() {
        tracing::info!(validators = merged.set.len(), changes = lines.len(), "validator set changed");
        tx.record(at, &Actor::Controller, "validators.changed", &subject, &summary(&lines)).await?;
    }
    if before.is_none_or(|row| row.held.is_none())
        && let Some(held) = &merged.held
    {
        tracing::error!(reason = %held, "validator set held");
    }
    Ok(())
}

//! What was: changes of the validator set, how the sets of two generations differ, and what an explanation of a past
//! generation is made from. Reads only.

use super::ApiProblem;
use crate::{
    controller::Controller,
    store::{RETENTION, Target, Transaction},
};
use picket_api::{
    ProblemKind,
    validators::{DiffQuery, HistoryQuery, SetAt, ValidatorChange, ValidatorsDiff},
};
use picket_model::{Explanation, Generation, PrepId, Refused, Timestamp, ValidatorSet};
use picket_plan::{Basis, ExplainInput, explain as explain_plan};
use std::{collections::BTreeSet, net::IpAddr};

/// Changes in one answer, unless told otherwise, and at most.
const CHANGES: (usize, usize) = (200, 1000);

/// Changes of the set, newest last.
pub(super) async fn history(controller: &Controller, query: &HistoryQuery) -> Result<Vec<ValidatorChange>, ApiProblem> {
    let most = query.limit.unwrap_or(CHANGES.0).clamp(1, CHANGES.1);
    Ok(controller.store.read().await?.changes(query.prep, query.before, most).await?)
}

/// How the sets of two generations differ.
pub(super) async fn diff(controller: &Controller, query: DiffQuery) -> Result<ValidatorsDiff, ApiProblem> {
    let mut tx = controller.store.read().await?;
    let (from, old) = set_at(&mut tx, query.from).await?;
    let (to, new) = set_at(&mut tx, query.to).await?;
    let newest = from.version.max(to.version);
    let preps: BTreeSet<PrepId> = old.0.keys().chain(new.0.keys()).copied().collect();
    let mut changes = Vec::new();
    for prep in preps {
        let (before, after) = (old.0.get(&prep), new.0.get(&prep));
        if before == after {
            continue;
        }
        // Two versions of the set that differ in a P-Rep have a row of it.
        if let Some(last) = tx.last_change(prep, newest).await? {
            changes.push(ValidatorChange { before: before.cloned(), after: after.cloned(), ..last });
        }
    }
    Ok(ValidatorsDiff { from, to, changes })
}

/// Would an address have reached which port on which host by a plan of the past, and why: by the set, the policy and the
/// refused entries of then.
pub(super) async fn explain(
    controller: &Controller,
    generation: Generation,
    address: IpAddr,
    port: Option<u16>,
) -> Result<Explanation, ApiProblem> {
    let mut tx = controller.store.read().await?;
    let Target { plan, planned_at } = kept(&mut tx, generation).await?;
    let validators = set_of(&mut tx, generation, &plan.basis).await?;
    let policy = tx.policy_of(plan.basis.policy_version).await?.unwrap_or_default();
    let refused: BTreeSet<Refused> = tx.refused_at(planned_at).await?.into_iter().map(|entry| entry.refused).collect();
    let (nodes, refused) = (tx.nodes().await?, refused.into_iter().collect::<Vec<_>>());
    drop(tx);
    let known = ExplainInput {
        plan: &plan,
        nodes: &nodes,
        validators: &validators,
        refused: &refused,
        policy: &policy,
        now: planned_at,
    };
    Ok(explain_plan(&known, address, port))
}

async fn set_at(tx: &mut Transaction, generation: Generation) -> Result<(SetAt, ValidatorSet), ApiProblem> {
    let Some((basis, planned_at)): Option<(Basis, Timestamp)> = tx.basis(generation).await? else {
        return Err(not_kept(tx, generation).await?);
    };
    let set = set_of(tx, generation, &basis).await?;
    Ok((SetAt { generation, planned_at, version: basis.validators_version, validators: set.len() }, set))
}

async fn set_of(tx: &mut Transaction, generation: Generation, basis: &Basis) -> Result<ValidatorSet, ApiProblem> {
    // Version zero is the empty set; plans from before sets had versions say so too, and were made from another.
    let named = basis.validators_version > 0 || basis.validators == 0;
    let set = if named { tx.set_of(basis.validators_version).await? } else { None };
    set.ok_or_else(|| {
        let days = RETENTION.as_secs() / (24 * 3600);
        let detail = format!(
            "the validator set of generation {generation} is not kept: sets are kept for {days} days, and not from before \
             this controller kept any"
        );
        ApiProblem::new(ProblemKind::NotFound, detail)
    })
}

/// The plan of a generation, as long as it is kept.
pub(super) async fn kept(tx: &mut Transaction, generation: Generation) -> Result<Target, ApiProblem> {
    match tx.kept_plan(generation).await? {
        Some(target) => Ok(target),
        None => Err(not_kept(tx, generation).await?),
    }
}

async fn not_kept(tx: &mut Transaction, generation: Generation) -> Result<ApiProblem, ApiProblem> {
    let detail = match tx.plans_kept().await? {
        None => "there is no plan yet".to_owned(),
        Some((oldest, newest)) if generation > newest => {
            format!("there is no generation {generation} yet: generations {oldest} to {newest} can be asked for")
        }
        Some((oldest, newest)) => {
            format!("generation {generation} is not kept any more: generations {oldest} to {newest} can be asked for")
        }
    };
    Ok(ApiProblem::new(ProblemKind::NotFound, detail))
}

//! Plans as they were, and as they would be by another policy. Reads only.

use super::{ApiProblem, past::kept};
use crate::{Config, controller::Controller, inputs::Inputs, now, store::Target};
use picket_api::{
    ProblemKind,
    plans::{PlanAt, PlanPreview, PlansDiff, PlansQuery, PreviewPlan},
};
use picket_plan::{Epochs, Finding, Severity, Touched, changes, replan};
use std::path::Path;

/// What messages call a configuration that came in a request.
const GIVEN: &str = "the given configuration";

/// How the plans of two generations differ.
pub(super) async fn diff(controller: &Controller, query: &PlansQuery) -> Result<PlansDiff, ApiProblem> {
    let mut tx = controller.store.read().await?;
    let newest = tx.target_generation().await?;
    let from = kept(&mut tx, query.from).await?;
    let to = kept(&mut tx, query.to.unwrap_or(newest)).await?;
    let nodes = tx.nodes().await?;
    drop(tx);
    let at = |target: &Target| PlanAt { generation: target.plan.generation, planned_at: target.planned_at };
    Ok(PlansDiff { from: at(&from), to: at(&to), changes: changes(Some(&from.plan), &to.plan, &nodes) })
}

/// What the plan would be by the policy of a configuration, with all else as it is. Keys between hosts are left as they are.
pub(super) async fn preview(controller: &Controller, request: &PreviewPlan) -> Result<PlanPreview, ApiProblem> {
    let refused = |detail: String| ApiProblem::new(ProblemKind::BadRequest, detail);
    let config = Config::parse(&request.configuration, Path::new(GIVEN)).map_err(|error| refused(error.to_string()))?;
    let Some(policy) = config.policy else {
        return Err(refused(format!("{GIVEN} has no [policy]: the one in force would stay")));
    };
    let mut tx = controller.store.read().await?;
    let Some(Target { plan: parent, .. }) = tx.target().await? else {
        return Err(ApiProblem::new(ProblemKind::NotFound, "there is no plan yet".to_owned()));
    };
    // Read for this alone: whoever plans keeps what it was made from.
    let mut inputs = Inputs::default();
    inputs.refresh(&mut tx).await?;
    drop(tx);
    let at = now();
    let mut input =
        inputs.input(&controller.mesh, Some(&parent), at, Epochs { now: controller.epoch(at), confirmed: None });
    let differs = *input.policy != policy;
    input.policy = &policy;
    let next = replan(&input, &Touched::All);
    let next = next.as_ref().unwrap_or(&parent);
    let findings = inputs.planned(next, &input, &Touched::All).linted().findings();
    let (errors, warnings): (Vec<_>, Vec<_>) = findings.iter().partition(|finding| finding.severity == Severity::Error);
    let sentences = |findings: Vec<&Finding>| findings.into_iter().map(Finding::to_string).collect();
    Ok(PlanPreview {
        generation: parent.generation,
        differs,
        changes: changes(Some(&parent), next, inputs.nodes()),
        errors: sentences(errors),
        warnings: sentences(warnings),
    })
}

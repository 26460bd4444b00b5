//! Plans as operators look at them: how two of them differ, and what would become of a changed policy.

use picket_model::{Generation, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Query of `GET /v1/plans/diff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlansQuery {
    /// From the plan of this generation.
    pub from: Generation,
    /// To that of this one; the newest where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Generation>,
}

/// How two plans differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlansDiff {
    /// The one side.
    pub from: PlanAt,
    /// The other.
    pub to: PlanAt,
    /// A line for each change with the hosts it is on, `+` for what comes, `-` for what goes, `~` for what is otherwise.
    pub changes: Vec<String>,
}

/// A plan, and since when it has been one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanAt {
    /// Its generation.
    pub generation: Generation,
    /// When it was made.
    pub planned_at: Timestamp,
}

/// Body of `POST /v1/plans/preview`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreviewPlan {
    /// Text of a controller's configuration file, of which `[policy]` is looked at.
    pub configuration: String,
}

/// What a plan would be by another policy. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanPreview {
    /// The generation that it was held against, which is in force.
    pub generation: Generation,
    /// Whether the policy differs from the one in force.
    pub differs: bool,
    /// As in [`PlansDiff`].
    pub changes: Vec<String>,
    /// Why such a plan would be stopped; empty where it would become the target.
    pub errors: Vec<String>,
    /// What it would be warned of.
    pub warnings: Vec<String>,
}

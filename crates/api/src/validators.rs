//! The validator list on the wire: the set in force, what was refused or is held, its history, and a person's orders.
//! `GET /v1/validators`, `GET /v1/validators/{history,diff}`, `POST /v1/validators/{approve,hold,release}`.

use picket_model::{Generation, Orders, P2pEndpoint, PolicyDeny, PrepId, Refused, SourceId, Timestamp, Validator};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The validator set and what was not taken into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ValidatorsView {
    /// The set in force, by P-Rep.
    pub validators: Vec<Validator>,
    /// Its version: each change of the set is a new one; zero before the first list.
    pub version: u64,
    /// Entries refused, by source.
    pub refused: Vec<RefusedView>,
    /// Deny lines of the policy that are in force: they keep validators out, whatever the set says.
    #[serde(default)]
    pub denied: Vec<PolicyDeny>,
    /// What is held back, and why; `None` when nothing.
    pub held: Option<HeldView>,
    /// What a person ordered.
    pub orders: Orders,
    /// Height of the newest answer the set rests on.
    pub height: Option<u64>,
}

/// A change of the list that is held back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldView {
    /// What kind of hold it is, such as `list-held`, `no-quorum`, `held-by-operator`.
    pub kind: String,
    /// Why, and what the list would change, on one line.
    pub text: String,
    /// Names exactly this change for an approval; `None` where there is nothing that could be approved.
    pub digest: Option<String>,
    /// Why alone. Empty from controllers of before, as is what follows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What the list would change, P-Rep by P-Rep: who would leave, then who would move, then who would come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<HeldChange>,
}

/// What a held change would do to one P-Rep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldChange {
    /// The P-Rep.
    pub prep: PrepId,
    /// Its name in the set in force; empty where it has none, or is not in it.
    #[serde(default)]
    pub name: String,
    /// Where it is; `None` for one that would come.
    pub before: Option<P2pEndpoint>,
    /// Where it would be; `None` for one that would leave. The same as before where it advertises other addresses.
    pub after: Option<P2pEndpoint>,
}

impl HeldChange {
    /// What it would do, in one word.
    pub const fn verb(&self) -> &'static str {
        match (&self.before, &self.after) {
            (_, None) => "leave",
            (Some(_), Some(_)) => "move",
            (None, Some(_)) => "come",
        }
    }
}

/// A refused entry and who named it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct RefusedView {
    /// The source.
    pub source: SourceId,
    /// The entry and the reason.
    #[serde(flatten)]
    pub refused: Refused,
}

/// Body of `POST /v1/validators/approve`: lets the change with this digest through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveRequest {
    /// As the hold names it.
    pub digest: String,
}

/// Body of `POST /v1/validators/hold`: freezes the set. `POST /v1/validators/release` has no body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// Why, for people.
    #[schemars(length(min = 1, max = 200))]
    pub comment: String,
    /// Ends by itself after so many seconds; never where absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub seconds: Option<u64>,
}

/// What an order came to, once the list was judged anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderReceipt {
    /// The wanted state by now.
    pub generation: Generation,
    /// Validators in the set.
    pub validators: usize,
    /// Version of the set.
    pub version: u64,
    /// What is held back still.
    pub held: Option<HeldView>,
    /// Why the plan that would bring the set to the hosts is not in force, if so.
    #[serde(default)]
    pub refused: Vec<String>,
    /// Orders in force.
    pub orders: Orders,
}

/// Query of `GET /v1/validators/history`; the answer is a list of [`ValidatorChange`], newest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryQuery {
    /// Only changes of this P-Rep.
    #[serde(default)]
    pub prep: Option<PrepId>,
    /// Only changes before this version of the set.
    #[serde(default)]
    pub before: Option<u64>,
    /// At most so many; 200 where absent, 1000 at most.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// One P-Rep's change in one version of the set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ValidatorChange {
    /// Version of the set that it made.
    pub version: u64,
    /// When.
    pub at: Timestamp,
    /// Height of the newest answer it rests on.
    pub height: Option<u64>,
    /// The P-Rep.
    pub prep: PrepId,
    /// How it was; `None` where it is new.
    pub before: Option<Validator>,
    /// How it is; `None` where it left.
    pub after: Option<Validator>,
}

/// Query of `GET /v1/validators/diff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiffQuery {
    /// From the set of this generation.
    pub from: Generation,
    /// To the set of this one.
    pub to: Generation,
}

/// How the validator sets of two generations differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ValidatorsDiff {
    /// The one side.
    pub from: SetAt,
    /// The other.
    pub to: SetAt,
    /// P-Reps that differ, in order; `version`, `at` and `height` are those of the newest change of each up to the
    /// later of the two.
    pub changes: Vec<ValidatorChange>,
}

/// The validator set that a generation was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetAt {
    /// The generation.
    pub generation: Generation,
    /// When it became the wanted state.
    pub planned_at: Timestamp,
    /// Version of the set.
    pub version: u64,
    /// Validators in it.
    pub validators: usize,
}

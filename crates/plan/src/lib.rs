//! The controller's decisions as pure functions: merge what sources say, allocate addresses, plan, lint, compare, explain.
//! No IO, no clock, no randomness: the same input gives the same plan on every controller.

mod advertise;
mod advice;
mod attack;
mod by_host;
mod changes;
mod explain;
mod finding;
mod lease;
mod lint;
mod merge;
mod meshed;
pub mod overlay;
mod pairing;
mod planner;
mod touched;

pub use advertise::{AdvertiseInput, SentryFacts, advertise};
pub use advice::Advice;
pub use attack::{AttackedHost, Belonging, attack_sources, blocklist};
pub use by_host::ByHost;
pub use changes::changes;
pub use explain::{ExplainInput, explain};
pub use finding::{Finding, FindingKind, Severity};
pub use lease::{LeaseFacts, LeaseRules, Patience, leases_to_end};
pub use lint::{Linted, lint};
pub use merge::{
    Change, ChangeKind, Held, MergeInput, MergeMemory, Merged, NameRecord, Sighting, merge, names_due, needed,
    next_lookup,
};
pub use meshed::Meshed;
pub use pairing::Epochs;
pub use planner::{Basis, Differences, NextKeys, Plan, PlanInput, plan, replan};
pub use touched::{Made, Touched};

#[cfg(test)]
mod fixture;

//! What both agents share: enrolment, ledger, local guard, subscription, reconciliation, lockdown, status.
//! The role is an argument; the two programs are a `main` each.

pub mod additions;
pub mod chain;
pub mod cli;
pub mod confirm;
pub mod decide;
pub mod doors;
pub mod dry_run;
pub mod endpoints;
pub mod enroll;
pub mod fares;
mod forwarding;
pub mod guard;
pub mod guard_change;
pub mod guard_hidden;
mod guard_sizes;
pub mod guard_sync;
pub mod host;
pub mod identity;
pub mod kernel_facts;
pub mod leave;
pub mod ledger;
pub mod lockdown;
pub mod pairing;
pub mod paths;
pub mod posture;
pub mod proof;
pub mod reconcile;
pub mod rekey;
pub mod release;
pub mod renewal;
pub mod report;
pub mod run;
pub mod sessions;
pub mod shield;
pub mod spread;
pub mod state;
pub mod status;
pub mod subscribe;
pub mod trust;
pub mod trust_by_hand;
pub mod vouch;
pub mod watch;
pub mod wg_bench;

pub use cli::main;

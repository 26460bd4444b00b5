//! The controller as a value that starts and stops: observes the validator list and the policy, plans, tells the
//! hosts, shows what is in force. What is decided is decided in `picket-plan`; this is the rim around it.

mod admission;
mod advertised;
mod api;
pub mod app;
pub mod ca;
mod check;
mod claim;
pub mod cli;
mod clones;
pub mod config;
mod controller;
mod dns;
mod drains;
mod duties;
mod encode;
mod enroll;
pub mod hooks;
mod inputs;
mod issue;
mod joins;
mod knocks;
mod lag;
mod leases;
mod metrics;
mod moves;
mod operators;
mod origin;
mod owner;
pub mod page;
mod planning;
mod proofs;
mod rekey;
mod renew;
mod reports;
mod revoke;
#[cfg(test)]
mod simulation;
mod start;
pub mod state_dir;
pub mod store;
mod tasks;
mod upkeep;
mod wanted;

pub use app::{App, Running};
pub use config::Config;

use picket_model::Timestamp;
use std::time::SystemTime;

/// The clock of the rim.
fn now() -> Timestamp {
    #[cfg(test)]
    if let Some(now) = simulation::rim::now() {
        return now;
    }
    SystemTime::now().into()
}

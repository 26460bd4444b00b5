//! Our engine and those of others at the two ends of one tunnel, in both roles, with real packets whose bytes are compared.
//! Needs root, and the programs that `cargo xtask test` installs; without them every test says so and fails.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod ageing;
mod limit;
mod matrix;
mod meanwhile;
mod shuffled;
mod support;

//! The controller as a value that starts and stops.

pub mod config;
pub mod store;

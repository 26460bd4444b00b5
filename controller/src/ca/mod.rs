//! The mesh's certificate authority at work and at rest: where its secrets come from, and how its key lies on the disk.

mod config;
mod rest;
mod secrets;

pub use config::CaConfig;
pub use secrets::Secrets;

pub(crate) use rest::{decrypt, encrypt, status};
pub(crate) use secrets::plain;

//! The mesh's certificate authority: at work, at rest, and when another one follows it.

mod agreed;
mod authority;
mod config;
mod given;
mod kept;
mod rest;
mod rotation;
mod secrets;
mod shared;

pub use config::CaConfig;
pub use secrets::Secrets;

pub(crate) use agreed::agree;
pub(crate) use authority::Authority;
pub(crate) use given::{adopt, create};
pub(crate) use rest::{decrypt, encrypt, status};
pub(crate) use rotation::{step, switch_if_ready, view};
pub(crate) use secrets::plain;
pub(crate) use shared::follow;

//! The only accept loop: TLS, who is calling, limits, graceful stop. Routes and what they mean are the caller's.

mod connection;
mod connections;
mod limits;
mod peer;
mod places;
mod server;

pub use connections::Connections;
pub use limits::{Limits, Share, Strangers};
pub use peer::{ClientIdentity, Peer};
pub use places::{Place, Places};
pub use server::Server;

#[cfg(test)]
mod tests;

//! What this host shows to whoever watches it: metrics, and whether it can do its work now. Gives the agent nothing to do: a
//! port that is taken, or a node that does not answer, touches neither tunnels nor firewall.

mod board;
mod counts;
pub mod health;
mod node;
#[cfg(test)]
mod tests;

pub use board::{Asker, Board, Place, PlaceError};
pub use counts::Counts;
pub use node::{NodeOptions, watch};

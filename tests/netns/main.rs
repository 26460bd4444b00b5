//! The real programs in network namespaces, judged by packets. Needs root; without it every test says so and fails.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod advertised;
mod audit;
mod boot;
mod booted;
mod confirm;
mod containers;
mod drift;
mod enrolment;
mod firewall;
mod flood;
mod hidden;
mod judges;
mod keys;
mod killed;
mod lies;
mod lists;
mod names;
mod narrow;
mod outages;
mod packets;
mod proofs;
mod push;
mod rekey;
mod revocation;
mod roaming;
mod rotation;
mod scaling;
mod shield;
mod sources;
mod support;
mod sync;
mod units;

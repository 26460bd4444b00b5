//! The firewall from outside: what is let in, what changes, and that the kernel agrees. The kernel's part needs root
//! and makes network namespaces of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may stop at the first surprise")]

mod changes;
mod citizens;
mod closed;
mod flood;
mod forwarding;
mod grants;
mod kernel;
mod listing;
mod lowering;
mod namespace;
mod netlink;
mod packet;
mod policies;
mod sampled;
mod samples;
mod slow;

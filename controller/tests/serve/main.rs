//! A whole controller in this process, over loopback with real TLS and a fake chain endpoint: what agents, operators and
//! the chain see of it. No firewall, no tunnel.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod attack;
mod attest;
mod audit;
mod away;
mod ca;
mod ca_several;
mod chain;
mod crashes;
mod crowd;
mod document;
mod documents;
mod ends;
mod enroll;
mod fixture;
mod history;
mod hooks;
mod keys;
mod leases;
mod lost;
mod once;
mod operators;
mod orders;
mod page;
mod page_forms;
mod page_oidc;
mod page_tls;
mod pages;
mod paths;
mod poll;
mod program;
mod push;
mod rekey;
mod renew;
mod restart;
mod revoke;
mod roles;
mod several;
mod shield;
mod sources;
mod start;
mod tokens;
mod upkeep;

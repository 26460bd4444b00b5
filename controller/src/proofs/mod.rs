//! Proofs of identity: what a credential is worth in the admission transaction (`credential`), and what peers are told of a
//! proof (`peers`). Proofs are verified in `picket-proofs`, for hosts as well.

mod credential;
mod peers;

pub(crate) use credential::{Credential, Entry, Known, Worthless};
pub(crate) use peers::{of_peer, renew};

//! Proofs that are signed for real, and every way in which one is not good.

// Lets helpers unwrap as tests may (clippy.toml).
#![cfg(test)]

mod clouds;
mod documents;
mod tokens;

use picket_model::Timestamp;

/// 2026-11-21T12:10:00Z.
const NOW: i64 = 1_795_263_000;

fn now() -> Timestamp {
    Timestamp::from_millis(NOW * 1000)
}

//! Messages of clouds, good ones and every way in which one can be bad.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod messages;
mod sns;
mod webhooks;

use picket_attest::hooks::HookError;
use picket_model::Timestamp;
use std::fmt::Debug;

/// 2026-11-21T18:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_795_284_000_000);

/// That something is refused, and how.
fn check(found: Result<impl Debug, HookError>, expect: &str) {
    let error = found.unwrap_err().to_string();
    assert!(error.contains(expect), "{error} does not say {expect:?}");
}

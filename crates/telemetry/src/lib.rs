//! What a program says about itself: logs on stderr, metrics, health endpoints.
//! Nothing global but the one subscriber that `tracing` has; metrics are a value that the program passes on.

mod ask;
mod classic;
pub mod document;
pub mod health;
pub mod logs;
pub mod metrics;

pub use ask::{AskError, ask_ready};
pub use health::Readiness;
pub use logs::{LogError, init};
pub use metrics::Metrics;

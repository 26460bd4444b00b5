//! What a program says about itself: logs on stderr, traces, metrics, health endpoints.
//! Nothing global but the one subscriber that `tracing` has, and its count of spans; metrics are a value that the program passes on.

mod ask;
mod classic;
pub mod document;
pub mod health;
pub mod logs;
pub mod metrics;
pub mod traces;

pub use ask::{AskError, ask_ready};
pub use health::Readiness;
pub use logs::{LogError, Telling, init};
pub use metrics::Metrics;
pub use traces::{Collector, SPANS, TraceParent, TracesError};

//! Validator-list sources: what is asked, how answers are read, and the only HTTP and WebSocket clients and the resolver
//! for them.
//! Nothing here judges by policy: an [`Observation`](picket_model::Observation) says what a source said, the plan decides.

pub mod fetch;
pub mod fixed;
pub mod icon;
pub mod network;
pub mod node;
pub mod push;
mod quote;
pub mod resolve;
pub mod source;
mod tls;

pub use fetch::{FetchError, FetchLimits, Fetcher};
pub use network::{Network, Preset, PresetError, ScoreAddress, ScoreError};
pub use quote::innermost;
pub use resolve::{HostFiles, ResolveLimits, Resolver};
pub use source::{Source, SourceError, SourceKind};

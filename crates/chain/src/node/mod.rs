//! The operator's own goloop as a source: what its peers advertise, authenticated by node address (goloop
//! `network/p2p.go`). The chain's `p2pEndpoint` is not what nodes dial; this is.

pub mod answer;
pub mod ask;
pub mod place;
pub mod prep;
pub mod system;

pub use answer::{AnswerError, Inspected, Pace, parse};
pub use ask::{AskError, Goloop, LastBlock};
pub use place::{Channel, Place, PlaceError};
pub use prep::PrepStanding;
pub use system::System;

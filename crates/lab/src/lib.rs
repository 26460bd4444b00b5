//! A laboratory on one machine: hosts in network namespaces on one bridge, the real programs running on them, probes
//! between them, and what they need of the world outside. For tests, the demo and benches; needs root and iproute2.
//! Nothing here decides anything about Picket.
//!
//! ```no_run
//! # fn main() -> Result<(), picket_lab::LabError> {
//! use picket_lab::{Connect, Lab};
//! use std::time::Duration;
//!
//! let lab = Lab::new("first look")?;
//! let sentry = lab.host("sentry").address("203.0.113.11/24").address("2001:db8:1::11/64").create()?;
//! let stranger = lab.host("stranger").address("198.51.100.66/24").create()?;
//!
//! let node = sentry.listen_echo(sentry.v4(7100)?)?;
//! let stream = stranger.stream(node.address())?;
//! sentry.load_nft(
//!     "table inet test {
//!         chain prerouting { type filter hook prerouting priority raw; tcp dport 7100 drop; }
//!     }",
//! )?;
//!
//! stream.wait_dead(Duration::from_millis(100), Duration::from_secs(5))?;
//! stranger.can_connect(node.address(), Duration::from_millis(300)).must_be(Connect::Filtered)?;
//! # Ok(())
//! # }
//! ```

mod address;
pub mod autoscaled;
pub mod bench;
mod capture;
pub mod cloud;
mod command;
pub mod containers;
mod debian;
pub mod demo;
mod dns;
mod echo;
mod emulated;
mod error;
mod forge;
mod guarded;
pub mod guest;
mod host;
pub mod hosts;
pub mod icon;
pub mod image;
mod knock;
mod lab;
mod left_overs;
mod long_way;
mod machine;
pub mod mesh;
pub mod monitoring;
mod namespace;
mod nft;
pub mod p2p;
pub mod page;
mod postgres;
mod probe;
mod process;
mod programs;
mod random;
mod relay;
pub mod soak;
pub mod sources;
mod steps;
pub mod stop;
mod stream;
pub mod tunnels;
mod wait;

pub use capture::{Capture, Captured};
pub use command::Output;
pub use dns::NameServer;
pub use echo::EchoServer;
pub use error::LabError;
pub use forge::{Flood, Segment};
pub use host::{Host, HostBuilder};
pub use knock::{Heard, Knocks};
pub use lab::Lab;
pub use left_overs::clean as clean_left_overs;
pub use long_way::LongWay;
pub use machine::Machine;
pub use postgres::Postgres;
pub use probe::Connect;
pub use process::Process;
pub use programs::{Program, install_program};
pub use random::Random;
pub use relay::Relay;
pub use stream::Stream;
pub use wait::{Condition, Waited, undisturbed, wait_until};

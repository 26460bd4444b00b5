//! A host's firewall as a value: a policy is lowered to a `Ruleset`, compared with the one found in the kernel, and
//! the difference rendered as one nft transaction. All of that is pure; only `apply` runs the host's nft.

pub mod apply;
pub mod diff;
mod element;
pub mod features;
mod forward;
mod gates;
pub mod interface;
mod listing;
pub mod lower;
pub mod meter;
pub mod netlink;
pub mod observe;
pub mod provenance;
pub mod render;
pub mod rule;
pub mod ruleset;

pub use apply::{Applied, Firewall, FirewallError, Nft, NftError};
pub use diff::{Change, ReplaceReason, diff};
pub use element::Elements;
pub use features::Features;
pub use interface::{InterfaceName, InterfaceNameError};
pub use lower::{HostFacts, baseline, lower};
pub use meter::{Family, HalfOpen, Meter};
pub use observe::{Counter, Observed};
pub use provenance::Provenance;
pub use render::transaction;
pub use rule::{Log, Match, Measure, Metered, Rate, Rule, Source, Verdict};
pub use ruleset::{Chain, Hook, Ruleset, Set, TABLE};

//! The words of Picket: ids, keys, addresses, the validator set, policy, node, configuration, report.
//! Values only: no IO, no async, no clock, no randomness; text from outside is parsed here, once, into types.

pub mod advertised;
pub mod advertising;
pub mod config;
pub mod endpoint;
pub mod explain;
pub mod firewall;
#[cfg(feature = "fixture")]
pub mod fixture;
pub mod hidden;
pub mod identity;
pub mod ids;
pub mod key;
pub mod lease;
pub mod limits;
pub mod lookup;
pub mod network;
pub mod node;
pub mod observation;
pub mod orders;
pub mod paths;
pub mod pattern;
pub mod policy;
pub mod protection;
pub mod repairs;
pub mod report;
pub mod shield;
pub mod sync;
pub mod time;
pub mod validator;

pub use advertised::Advertised;
pub use advertising::{AdvertisedFact, Advertising, Verdict};
pub use config::{Digest, NodeConfig, SetDigests, WireGuardConfig, WireGuardPeer};
pub use endpoint::{DnsName, EndpointError, Host, P2pEndpoint};
pub use explain::{Explanation, Grant, HostVerdict, PortVerdict};
pub use firewall::{AllowSet, FirewallPolicy, GuardedPort, Protocol, Purpose, Reason};
pub use hidden::{Forward, Hidden, HiddenPrep};
pub use identity::{IdentityKey, Pairing};
pub use ids::{Generation, IdError, MeshId, NodeAddress, NodeId, NodeName, PoolName, PrepId, SourceId, TokenId};
pub use key::{KeyError, WireGuardPublicKey};
pub use lease::Lease;
pub use lookup::{Lookups, NameAnswer};
pub use node::{Node, NodeRole, NodeState, OverlayAddresses, OverlayPrefixes};
pub use observation::{Observation, ObservedValidator, Refused};
pub use orders::{Approval, HoldOrder, Orders};
pub use paths::{Drain, Drains, PathsReport};
pub use pattern::NamePattern;
pub use policy::{Brakes, Denied, EndpointSource, NamePolicy, Policy, PolicyAllow, PolicyDeny, Ports, PublicPorts};
pub use protection::{Limits, PublicLimits, Shield};
pub use repairs::FirewallRepairs;
pub use report::{ChainHealth, KernelView, NodeReport, PeerHealth, ReconcilerStatus, SyncServed, TakenBack};
pub use shield::{Defences, ShieldOrder, ShieldOrders, Tracking};
pub use sync::{SyncLine, SyncPath, SyncStream, SyncTarget};
pub use time::Timestamp;
pub use validator::{Grade, Provenance, Validator, ValidatorSet};

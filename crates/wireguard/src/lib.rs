//! WireGuard tunnels: a device as a value, the changes that bring it about, and the two engines that carry it: the
//! kernel's module over netlink, or one in this process. No policy: who is a peer is decided elsewhere.

pub mod device;
pub mod diff;
pub mod engine;
pub mod error;
mod kernel;
pub mod key;
pub mod link;
pub mod pair;
pub mod tunnel;
mod userspace;

pub use device::{ConfigError, DeviceConfig, DeviceState, PeerConfig, PeerState};
pub use diff::{DeviceChange, PeerUpdate};
pub use engine::{AnyDevice, Device, Engine, Preference, PreferenceError, open};
pub use error::Error;
pub use kernel::KernelDevice;
pub use key::{PresharedKey, PrivateKey, SecretError};
pub use link::steering::Steering;
pub use tunnel::{Changes, Tunnel, remove_steering};
pub use userspace::{Offloads, UserspaceDevice};

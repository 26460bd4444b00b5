//! What can go wrong between a wanted tunnel and the kernel, each with what to do about it.

use crate::{device::ConfigError, tunnel::Changes};
use picket_model::WireGuardPublicKey;
use std::io;
use thiserror::Error;

/// Something about a tunnel could not be done.
#[derive(Debug, Error)]
pub enum Error {
    /// The wanted device cannot be.
    #[error("wanted WireGuard device")]
    Config(#[from] ConfigError),
    /// The configuration speaks of another device than the one that is open.
    #[error("the configuration is for {wanted}, the open device is {name}")]
    OtherDevice {
        /// The open one.
        name: String,
        /// The one in the configuration.
        wanted: String,
    },
    /// Not allowed to change the network of this host.
    #[error("no permission to {action}: run as root or with the capability CAP_NET_ADMIN")]
    NotPermitted {
        /// What was attempted.
        action: String,
    },
    /// There is a link of that name, and not one we made.
    #[error(
        "{name} is taken by a link of kind {kind} that is not ours: remove it (ip link delete {name}) or rename it"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// What the kernel says it is.
        kind: String,
    },
    /// Kernel WireGuard was asked for and is not there.
    #[error("the kernel has no WireGuard: load its module (modprobe wireguard), or let the userspace engine be used")]
    NoKernelWireGuard,
    /// The userspace engine needs a TUN device.
    #[error("no TUN device: load its module (modprobe tun), or give the container /dev/net/tun")]
    NoTun(#[source] io::Error),
    /// Another program listens on the port.
    #[error("udp port {port} is taken by another program: stop it or choose another port")]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// The overlay has IPv6 and the host has not.
    #[error("{action}: IPv6 is switched off on this host (sysctl net.ipv6.conf.all.disable_ipv6): switch it on")]
    NoIpv6 {
        /// What was attempted.
        action: String,
    },
    /// A call on the kernel ended otherwise.
    #[error("{action}")]
    Kernel {
        /// What was attempted.
        action: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The device or its link went away under us.
    #[error("{name} is gone: it is made anew with the next configuration")]
    Gone {
        /// Its name.
        name: String,
    },
    /// A device without a private key can shake no hands.
    #[error("peer {0} cannot be added before the device has a private key")]
    NoPrivateKey(WireGuardPublicKey),
    /// A change to a peer that the device has not.
    #[error("peer {0} cannot be changed: the device has no such peer")]
    NoSuchPeer(WireGuardPublicKey),
    /// Everything was applied, and something else was read back.
    #[error("applied, but not in force when read back; still to do:\n{0}")]
    NotInForce(Changes),
}

impl Error {
    /// What the kernel said to an action, sorted by what can be done about it.
    pub(crate) fn kernel(action: impl Into<String>, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::NotPermitted { action: action.into() },
            _ => Self::Kernel { action: action.into(), source },
        }
    }
}

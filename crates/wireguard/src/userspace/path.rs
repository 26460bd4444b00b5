//! Which way a datagram came, and which way the next one to the same peer goes.

use std::net::{IpAddr, SocketAddr};

/// A peer's address, and the one of ours that it speaks to: a host with several answers from the one it was asked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) remote: SocketAddr,
    /// `None` leaves the choice to the kernel.
    pub(super) local: Option<IpAddr>,
}

impl From<SocketAddr> for Path {
    fn from(remote: SocketAddr) -> Self {
        Self { remote, local: None }
    }
}

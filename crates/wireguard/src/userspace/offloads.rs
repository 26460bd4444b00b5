//! What the kernel may do for the engine, and what it turned out not to do. Each is left out by itself, told once.

use std::sync::atomic::{AtomicBool, Ordering};

/// Which help of the kernel's the engine uses where it is to be had. All of it unless somebody wants to see the engine
/// without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// Packets of up to 64 KiB to and from the TUN interface, checksums left to whoever is last.
    pub tun: bool,
    /// UDP datagrams of one flow joined on their way to the host.
    pub tun_udp: bool,
    /// Many datagrams in one call to the network, `UDP_SEGMENT`.
    pub udp_send: bool,
    /// Many datagrams in one call from the network, `UDP_GRO`.
    pub udp_receive: bool,
}

impl Default for Offloads {
    fn default() -> Self {
        Self { tun: true, tun_udp: true, udp_send: true, udp_receive: true }
    }
}

impl Offloads {
    /// None of it, as on a kernel that knows nothing of it.
    pub fn none() -> Self {
        Self { tun: false, tun_udp: false, udp_send: false, udp_receive: false }
    }
}

/// A help that may be found missing while packets flow.
#[derive(Debug)]
pub(super) struct Help {
    name: &'static str,
    is_there: AtomicBool,
}

impl Help {
    pub(super) fn new(name: &'static str, wanted: bool) -> Self {
        Self { name, is_there: AtomicBool::new(wanted) }
    }

    pub(super) fn is_there(&self) -> bool {
        self.is_there.load(Ordering::Relaxed)
    }

    /// It is not: goes on without, and says so the first time.
    pub(super) fn is_missing(&self, error: &dyn std::fmt::Display) {
        if self.is_there.swap(false, Ordering::Relaxed) {
            tracing::info!(offload = self.name, %error, "kernel lacks an offload: tunnels are slower without");
        }
    }
}

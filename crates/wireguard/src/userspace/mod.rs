//! A device in this process: a TUN interface, two UDP sockets, and between them the sans-IO `Tunnels`, driven by two
//! threads. The interface goes away with it.

mod allowed_ips;
mod carrier;
mod checksum;
mod ecn;
mod flow;
mod join;
mod offloads;
mod path;
mod peer;
mod sockets;
mod split;
mod tun;
mod tunnels;
mod vnet;
mod wires;

pub use offloads::Offloads;

use crate::{
    device::DeviceState,
    diff::DeviceChange,
    engine::{Device, Engine},
    error::Error,
};
use carrier::{Carrier, Shared};
use picket_model::Timestamp;
use sockets::Sockets;
use std::{
    fmt, io,
    sync::Arc,
    time::{Instant, SystemTime},
};
use tun::Tun;
use tunnels::{Now, Tunnels};
use wires::Wires;

/// A WireGuard device carried by this process.
pub struct UserspaceDevice {
    name: String,
    offloads: Offloads,
    shared: Arc<Shared>,
    sockets: Arc<Sockets>,
    carrier: Carrier,
}

impl UserspaceDevice {
    /// Makes the TUN interface, in the network namespace of the calling thread, and listens on a free port. Needs
    /// CAP_NET_ADMIN.
    pub fn open(name: &str, offloads: Offloads) -> Result<Self, Error> {
        let tun = Tun::open(name, offloads)?;
        let random = getrandom::u32().map_err(|error| Error::kernel("read random bytes", io::Error::other(error)))?;
        let shared = Arc::new(Shared::new(tun, Tunnels::new(random)));
        let sockets = Arc::new(Sockets::bind(0, offloads)?);
        let carrier = Carrier::start(&shared, &sockets)?;
        Ok(Self { name: name.to_owned(), offloads, shared, sockets, carrier })
    }

    fn listen(&mut self, port: u16) -> Result<(), Error> {
        let sockets = Arc::new(Sockets::bind(port, self.offloads)?);
        // The threads before have ended once the next ones are in their place.
        self.carrier = Carrier::start(&self.shared, &sockets)?;
        self.sockets = sockets;
        Ok(())
    }

    fn change(&self, changes: &[DeviceChange]) -> Result<(), Error> {
        let mut wires = Wires::new(&self.shared.tun, &self.sockets);
        changes.iter().try_for_each(|change| {
            let applied = self.shared.tunnels().apply(now(), change, &mut wires);
            wires.flush();
            applied
        })
    }

    fn check_running(&self) -> Result<(), Error> {
        if self.carrier.is_running() { Ok(()) } else { Err(Error::Gone { name: self.name.clone() }) }
    }
}

impl Device for UserspaceDevice {
    async fn observe(&self) -> Result<DeviceState, Error> {
        self.check_running()?;
        Ok(DeviceState { listen_port: self.sockets.port, ..self.shared.tunnels().state() })
    }

    async fn apply(&mut self, changes: &[DeviceChange]) -> Result<(), Error> {
        self.check_running()?;
        let mut changes = changes;
        while let Some(first) = changes.first() {
            if let DeviceChange::SetListenPort(port) = first {
                self.listen(*port)?;
                changes = &changes[1..];
                continue;
            }
            // Those up to the next change of the port go out by the same sockets.
            let until = changes.iter().position(|change| matches!(change, DeviceChange::SetListenPort(_)));
            let (now_due, later) = changes.split_at(until.unwrap_or(changes.len()));
            self.change(now_due)?;
            changes = later;
        }
        Ok(())
    }

    fn engine(&self) -> Engine {
        Engine::Userspace
    }
}

impl fmt::Debug for UserspaceDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserspaceDevice").field("name", &self.name).field("port", &self.sockets.port).finish()
    }
}

fn now() -> Now {
    Now { steady: Instant::now(), wall: Timestamp::from(SystemTime::now()) }
}

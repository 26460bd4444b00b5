//! A device in this process: a TUN interface, two UDP sockets, and between them the sans-IO `Tunnels`, driven by a
//! thread, or two while there is much to do. The interface goes away with it.

mod allowed_ips;
mod carrier;
mod checksum;
mod ecn;
mod flow;
mod join;
mod load;
mod offloads;
mod path;
mod peer;
mod sockets;
mod split;
mod standing;
#[cfg(any(test, fuzzing))]
pub mod strangers;
mod tools;
mod tun;
mod tunnels;
mod uapi;
mod vnet;
mod wires;
mod worker;

pub use offloads::Offloads;

use crate::{
    device::{DeviceState, PeerState},
    diff::DeviceChange,
    engine::{Device, Engine},
    error::Error,
    key::PrivateKey,
};
use carrier::{Carrier, Shared};
use picket_model::{Timestamp, WireGuardPublicKey};
use sockets::Sockets;
use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime},
};
use tools::Tools;
use tun::Tun;
use tunnels::{Now, Tunnels};
use uapi::Found;
use wires::Wires;

/// A WireGuard device carried by this process.
pub struct UserspaceDevice {
    core: Arc<Mutex<Core>>,
    /// Where `wg` finds it, if it does. Goes first.
    _tools: Option<Tools>,
}

impl UserspaceDevice {
    /// Makes the TUN interface, in the network namespace of the calling thread, and listens on a free port. Needs
    /// CAP_NET_ADMIN.
    pub fn open(name: &str, offloads: Offloads) -> Result<Self, Error> {
        let core = Arc::new(Mutex::new(Core::open(name, offloads)?));
        let tools = Tools::listen(name, &core);
        Ok(Self { core, _tools: tools })
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Device for UserspaceDevice {
    async fn observe(&self) -> Result<DeviceState, Error> {
        self.core().observe()
    }

    async fn apply(&mut self, changes: &[DeviceChange]) -> Result<(), Error> {
        self.core().apply(changes)
    }

    fn engine(&self) -> Engine {
        Engine::Userspace
    }
}

impl fmt::Debug for UserspaceDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = self.core();
        f.debug_struct("UserspaceDevice").field("name", &core.name).field("port", &core.sockets.port).finish()
    }
}

/// The device itself, which its owner and tools may change.
struct Core {
    name: String,
    offloads: Offloads,
    shared: Arc<Shared>,
    sockets: Arc<Sockets>,
    carrier: Carrier,
    mark: u32,
}

impl Core {
    fn open(name: &str, offloads: Offloads) -> Result<Self, Error> {
        let tun = Tun::open(name, offloads)?;
        let random = getrandom::u32().map_err(|error| Error::kernel("read random bytes", io::Error::other(error)))?;
        let shared = Arc::new(Shared::new(tun, Tunnels::new(random)));
        let sockets = Arc::new(Sockets::bind(0, offloads)?);
        let carrier = Carrier::start(&shared, &sockets)?;
        Ok(Self { name: name.to_owned(), offloads, shared, sockets, carrier, mark: 0 })
    }

    fn observe(&self) -> Result<DeviceState, Error> {
        self.check_running()?;
        Ok(DeviceState { listen_port: self.sockets.port, ..self.shared.state() })
    }

    fn private_key(&self) -> Option<PrivateKey> {
        self.shared.tunnels().private_key()
    }

    fn mark(&self) -> u32 {
        self.mark
    }

    fn set_mark(&mut self, mark: u32) -> Result<(), Error> {
        self.sockets.set_mark(mark).map_err(|error| Error::kernel(format!("mark datagrams with {mark}"), error))?;
        self.mark = mark;
        Ok(())
    }

    fn apply(&mut self, changes: &[DeviceChange]) -> Result<(), Error> {
        self.check_running()?;
        // Those up to the next change of the port go out by the same sockets.
        for changes in changes.chunk_by(|one, two| is_port(one) == is_port(two)) {
            for change in changes {
                if let DeviceChange::SetListenPort(port) = change {
                    self.listen(*port)?;
                }
            }
            self.change(changes)?;
        }
        Ok(())
    }

    fn listen(&mut self, port: u16) -> Result<(), Error> {
        if port != 0 && port == self.sockets.port {
            return Ok(());
        }
        let sockets = Arc::new(Sockets::bind(port, self.offloads)?);
        if self.mark != 0 {
            sockets.set_mark(self.mark).map_err(|error| Error::kernel("mark datagrams", error))?;
        }
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

impl Found for Core {
    fn peer(&self, key: WireGuardPublicKey) -> Option<PeerState> {
        self.shared.tunnels().peer(key)
    }

    fn keys(&self) -> Vec<WireGuardPublicKey> {
        self.shared.state().peers.into_keys().collect()
    }
}

fn is_port(change: &DeviceChange) -> bool {
    matches!(change, DeviceChange::SetListenPort(_))
}

fn now() -> Now {
    Now { steady: Instant::now(), wall: Timestamp::from(SystemTime::now()) }
}

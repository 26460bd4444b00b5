//! A device in this process: a TUN interface, two UDP sockets, and between them the sans-IO `Tunnels`, driven by one
//! task. The interface goes away with it.

mod allowed_ips;
mod peer;
mod sockets;
mod tunnels;

use crate::{
    device::DeviceState,
    diff::DeviceChange,
    engine::{Device, Engine},
    error::Error,
};
use picket_model::Timestamp;
use sockets::Sockets;
use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    net::UdpSocket,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tun_rs::{AsyncDevice, DeviceBuilder};
use tunnels::{LARGEST, Now, Outbox, Tunnels};

/// How often timers are looked at; boringtun rounds its own to such steps.
const TICK: Duration = Duration::from_millis(250);
/// Most packets taken from one side before the other has its turn.
const BATCH: usize = 64;

/// A WireGuard device carried by this process.
pub struct UserspaceDevice {
    name: String,
    shared: Arc<Shared>,
    sockets: Arc<Sockets>,
    task: JoinHandle<()>,
}

struct Shared {
    tun: AsyncDevice,
    tunnels: Mutex<Tunnels>,
}

impl UserspaceDevice {
    /// Makes the TUN interface, in the network namespace of the calling thread, and listens on a free port. Needs a
    /// tokio runtime and CAP_NET_ADMIN.
    pub(crate) fn open(name: &str) -> Result<Self, Error> {
        let tun =
            DeviceBuilder::new().name(name).enable(false).build_async().map_err(|source| tun_error(name, source))?;
        let random = getrandom::u32().map_err(|error| Error::kernel("read random bytes", io::Error::other(error)))?;
        let shared = Arc::new(Shared { tun, tunnels: Mutex::new(Tunnels::new(random)) });
        let sockets = Arc::new(Sockets::bind(0)?);
        let task = tokio::spawn(run(shared.clone(), sockets.clone()));
        Ok(Self { name: name.to_owned(), shared, sockets, task })
    }

    fn listen(&mut self, port: u16) -> Result<(), Error> {
        self.sockets = Arc::new(Sockets::bind(port)?);
        self.task.abort();
        self.task = tokio::spawn(run(self.shared.clone(), self.sockets.clone()));
        Ok(())
    }

    fn check_running(&self) -> Result<(), Error> {
        if self.task.is_finished() { Err(Error::Gone { name: self.name.clone() }) } else { Ok(()) }
    }
}

impl Device for UserspaceDevice {
    async fn observe(&self) -> Result<DeviceState, Error> {
        self.check_running()?;
        Ok(DeviceState { listen_port: self.sockets.port, ..self.shared.tunnels().state() })
    }

    async fn apply(&mut self, changes: &[DeviceChange]) -> Result<(), Error> {
        self.check_running()?;
        for change in changes {
            if let DeviceChange::SetListenPort(port) = change {
                self.listen(*port)?;
            }
            let mut out = Wires { tun: &self.shared.tun, sockets: &self.sockets };
            self.shared.tunnels().apply(now(), change, &mut out)?;
        }
        Ok(())
    }

    fn engine(&self) -> Engine {
        Engine::Userspace
    }
}

impl Drop for UserspaceDevice {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for UserspaceDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserspaceDevice").field("name", &self.name).field("port", &self.sockets.port).finish()
    }
}

impl Shared {
    /// The state. A panic in another task would have left it whole: it is changed in steps that do not panic.
    fn tunnels(&self) -> MutexGuard<'_, Tunnels> {
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries packets until the TUN interface goes away.
async fn run(shared: Arc<Shared>, sockets: Arc<Sockets>) {
    let mut packet = vec![0; LARGEST];
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut out = Wires { tun: &shared.tun, sockets: &sockets };
    let (v4, v6) = (&sockets.v4.receive, sockets.v6.as_ref().map(|socket| &socket.receive));
    loop {
        tokio::select! {
            readable = shared.tun.readable() => {
                if let Err(error) = readable.and_then(|()| from_host(&shared, &mut packet, &mut out)) {
                    tracing::warn!(%error, "tun interface is gone");
                    return;
                }
            }
            _ = v4.readable() => from_network(&shared, v4, &mut packet, &mut out),
            Some(v6) = readable(v6) => from_network(&shared, v6, &mut packet, &mut out),
            _ = ticks.tick() => shared.tunnels().tick(now(), &mut out),
        }
    }
}

/// The socket, once it is ready, if there is one; never returns where there is none.
async fn readable(socket: Option<&UdpSocket>) -> Option<&UdpSocket> {
    let Some(socket) = socket else { return std::future::pending().await };
    socket.readable().await.ok().map(|()| socket)
}

/// Seals what the host sends. An error is the end of the interface.
fn from_host(shared: &Shared, packet: &mut [u8], out: &mut Wires<'_>) -> io::Result<()> {
    let (mut tunnels, now) = (shared.tunnels(), now());
    for _ in 0..BATCH {
        match shared.tun.try_recv(packet) {
            Ok(length) => tunnels.packet(now, &packet[..length], out),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Opens what the network brings.
fn from_network(shared: &Shared, socket: &UdpSocket, datagram: &mut [u8], out: &mut Wires<'_>) {
    let (mut tunnels, now) = (shared.tunnels(), now());
    for _ in 0..BATCH {
        match socket.try_recv_from(datagram) {
            Ok((length, from)) => tunnels.datagram(now, from, &datagram[..length], out),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // An error of an earlier datagram, told late; the next call goes on.
            Err(error) => tracing::trace!(%error, "udp socket"),
        }
    }
}

/// The real outbox.
struct Wires<'a> {
    tun: &'a AsyncDevice,
    sockets: &'a Sockets,
}

impl Outbox for Wires<'_> {
    fn to_network(&mut self, to: SocketAddr, datagram: &[u8]) {
        self.sockets.send(to, datagram);
    }

    fn to_host(&mut self, packet: &[u8]) {
        if let Err(error) = self.tun.try_send(packet) {
            tracing::trace!(%error, "packet lost");
        }
    }
}

fn now() -> Now {
    Now { steady: Instant::now(), wall: Timestamp::from(SystemTime::now()) }
}

fn tun_error(name: &str, source: io::Error) -> Error {
    match source.raw_os_error() {
        Some(nix::libc::ENOENT | nix::libc::ENODEV | nix::libc::ENXIO) => Error::NoTun(source),
        Some(nix::libc::EBUSY) => Error::NameTaken { name: name.to_owned(), kind: "tun".to_owned() },
        _ => Error::kernel(format!("make TUN interface {name}"), source),
    }
}

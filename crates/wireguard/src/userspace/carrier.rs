//! The two threads that carry packets: one from the host to the network, one the other way, which also looks after the
//! time. Each takes what there is, hands it on in one go, and sleeps until there is more. They hold the lock on the
//! tunnels while they seal and open, never during a call to the kernel that could be long.

use super::{
    now,
    sockets::{Received, Sockets},
    tun::{READ, Tun},
    tunnels::{LARGEST, Now, Tunnels},
    wires::Wires,
};
use crate::error::Error;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};
use std::{
    io,
    net::UdpSocket,
    os::fd::{AsFd as _, BorrowedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{Builder, JoinHandle},
    time::Duration,
};

/// How often the time is looked at; boringtun rounds its own timers to such steps.
const TICK: Duration = Duration::from_millis(250);
const TICK_MILLIS: u16 = 250;

/// What the threads and the device's owner share.
pub(super) struct Shared {
    pub(super) tun: Tun,
    tunnels: Mutex<Tunnels>,
}

impl Shared {
    pub(super) fn new(tun: Tun, tunnels: Tunnels) -> Self {
        Self { tun, tunnels: Mutex::new(tunnels) }
    }

    /// The state. A panic in another thread would have left it whole: it is changed in steps that do not panic.
    pub(super) fn tunnels(&self) -> MutexGuard<'_, Tunnels> {
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The threads, which end with this value.
#[derive(Debug)]
pub(super) struct Carrier {
    stop: Arc<EventFd>,
    threads: Vec<JoinHandle<()>>,
}

impl Carrier {
    pub(super) fn start(shared: &Arc<Shared>, sockets: &Arc<Sockets>) -> Result<Self, Error> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let stop = EventFd::from_flags(flags).map_err(|error| Error::kernel("make an event", error.into()))?;
        let mut carrier = Self { stop: Arc::new(stop), threads: Vec::new() };
        carrier.spawn("picket-wg-send", shared, sockets, from_host)?;
        carrier.spawn("picket-wg-recv", shared, sockets, from_network)?;
        Ok(carrier)
    }

    /// Whether nothing has ended by itself, as it does when the interface goes away.
    pub(super) fn is_running(&self) -> bool {
        !self.threads.iter().any(JoinHandle::is_finished)
    }

    fn spawn(
        &mut self,
        name: &str,
        shared: &Arc<Shared>,
        sockets: &Arc<Sockets>,
        run: fn(&Shared, &Sockets, &EventFd),
    ) -> Result<(), Error> {
        let (shared, sockets, stop) = (shared.clone(), sockets.clone(), self.stop.clone());
        let thread = Builder::new().name(name.to_owned()).spawn(move || run(&shared, &sockets, &stop));
        self.threads.push(thread.map_err(|error| Error::kernel("start a thread", error))?);
        Ok(())
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        if let Err(error) = self.stop.write(1) {
            tracing::warn!(%error, "the tunnels' threads cannot be told to stop");
            return;
        }
        for thread in self.threads.drain(..) {
            // It is over either way.
            thread.join().ok();
        }
    }
}

/// Seals what the host sends, until the interface goes away.
fn from_host(shared: &Shared, sockets: &Sockets, stop: &EventFd) {
    let mut buffer = vec![0; READ];
    let mut wires = Wires::new(&shared.tun, sockets);
    while wait(&[shared.tun.as_fd()], stop, PollTimeout::NONE) {
        let now = now();
        while !wires.is_full() {
            match shared.tun.read(&mut buffer) {
                Ok(Some(mut segments)) => {
                    let mut tunnels = shared.tunnels();
                    while let Some(packet) = segments.next() {
                        tunnels.packet(now, packet, &mut wires);
                    }
                }
                Ok(None) => tracing::trace!("packet without sense lost"),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return tracing::warn!(%error, "tun interface is gone"),
            }
        }
        wires.flush();
    }
}

/// Opens what the network brings, and does what is due by time.
fn from_network(shared: &Shared, sockets: &Sockets, stop: &EventFd) {
    let mut buffer = vec![0; LARGEST];
    let mut wires = Wires::new(&shared.tun, sockets);
    let both: Vec<_> = [Some(&sockets.v4), sockets.v6.as_ref()].into_iter().flatten().collect();
    let readable: Vec<_> = both.iter().map(|socket| socket.as_fd()).collect();
    let mut looked = now();
    while wait(&readable, stop, PollTimeout::from(TICK_MILLIS)) {
        let now = now();
        for socket in &both {
            let is_v4 = std::ptr::eq(*socket, &raw const sockets.v4);
            while let Some(received) = receive(socket, &mut buffer, is_v4) {
                open(shared, now, received, &buffer, &mut wires);
                if wires.is_full() {
                    break;
                }
            }
            wires.flush();
        }
        if now.since(looked) >= TICK {
            looked = now;
            // Each time with the lock anew, so that packets pass between.
            while !shared.tunnels().tick(now, &mut wires) {
                wires.flush();
            }
            wires.flush();
        }
    }
}

fn receive(socket: &UdpSocket, buffer: &mut [u8], is_v4: bool) -> Option<Received> {
    match Sockets::receive(socket, buffer, is_v4) {
        Ok(received) => Some(received),
        Err(error) => {
            // Beside "nothing there" the error of an earlier datagram, told late: the next call goes on.
            if error.kind() != io::ErrorKind::WouldBlock {
                tracing::trace!(%error, "udp socket");
            }
            None
        }
    }
}

fn open(shared: &Shared, now: Now, received: Received, buffer: &[u8], wires: &mut Wires<'_>) {
    let mut tunnels = shared.tunnels();
    for datagram in buffer[..received.length].chunks(received.size) {
        tunnels.datagram(now, received.path, received.ecn, datagram, wires);
    }
}

/// Sleeps until one of them has something, or time is up. False if it is time to stop.
fn wait(readable: &[BorrowedFd<'_>], stop: &EventFd, timeout: PollTimeout) -> bool {
    let mut watched: [_; 3] = std::array::from_fn(|_| PollFd::new(stop.as_fd(), PollFlags::POLLIN));
    for (watched, readable) in watched[1..].iter_mut().zip(readable) {
        *watched = PollFd::new(*readable, PollFlags::POLLIN);
    }
    let watched = &mut watched[..=readable.len()];
    match poll(watched, timeout) {
        Ok(_) => watched[0].revents().is_none_or(|events| events.is_empty()),
        Err(Errno::EINTR) => true,
        Err(error) => {
            tracing::warn!(%error, "tunnels cannot wait for packets");
            false
        }
    }
}

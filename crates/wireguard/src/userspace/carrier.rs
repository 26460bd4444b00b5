//! The two threads that carry packets: one from the host to the network, one the other way, which also looks after the
//! time. Each takes what there is, hands it on in one go, and sleeps until there is more. They hold the lock on the
//! tunnels while they seal and open, never during a call to the kernel that could be long. While little happens the second
//! also takes the host's answer to what it brought, which is there before the first has woken.

use super::{
    ecn, now,
    sockets::{Received, Sockets},
    standing::Standing,
    tun::{READ, Tun},
    tunnels::{LARGEST, Now, Tunnels},
    wires::Wires,
};
use crate::{device::DeviceState, error::Error};
use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};
use std::{
    io,
    net::UdpSocket,
    os::fd::{AsFd as _, BorrowedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, Builder, JoinHandle},
    time::{Duration, Instant},
};

/// How often the time is looked at; boringtun rounds its own timers to such steps.
const TICK: Duration = Duration::from_millis(250);
const TICK_MILLIS: u16 = 250;
/// Most reads before everything else has its turn, however much there is to read: the network, or a program on this host, may
/// well bring more than can be taken.
const ROUND: usize = 64;
/// Most datagrams of a round after which the host may have a single answer.
const FEW: usize = 2;
/// How long after a flow of its own the host has no single answers.
const QUIET: Duration = Duration::from_millis(2);

/// What the threads and the device's owner share.
pub(super) struct Shared {
    pub(super) tun: Tun,
    /// Held by who reads from the host, until what was read is on its way, so that nothing overtakes.
    turn: Mutex<Turn>,
    tunnels: Mutex<Tunnels>,
}

/// What is known of the host's queue.
#[derive(Debug, Default)]
struct Turn {
    standing: Standing,
    /// When more than a single packet was read at one time.
    flowed: Option<Instant>,
}

impl Shared {
    pub(super) fn new(tun: Tun, tunnels: Tunnels) -> Self {
        Self { tun, turn: Mutex::default(), tunnels: Mutex::new(tunnels) }
    }

    /// The state. A panic in another thread would have left it whole: it is changed in steps that do not panic.
    pub(super) fn tunnels(&self) -> MutexGuard<'_, Tunnels> {
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device as it stands, but for its port: a few peers at a time, so that packets pass between.
    pub(super) fn state(&self) -> DeviceState {
        let mut state = DeviceState { public_key: self.tunnels().public_key(), ..DeviceState::default() };
        loop {
            let last = state.peers.last_key_value().map(|(key, _)| *key);
            let slice = self.tunnels().peers_after(last);
            if slice.is_empty() {
                return state;
            }
            state.peers.extend(slice);
            thread::yield_now();
        }
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
        let mut turn = shared.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = seal(shared, &mut turn, now(), &mut buffer, &mut wires) {
            return tracing::warn!(%error, "tun interface is gone");
        }
        wires.flush_patiently();
    }
}

/// Takes from the host what there is, up to a round of it. An error is for good.
fn seal(shared: &Shared, turn: &mut Turn, now: Now, buffer: &mut [u8], wires: &mut Wires<'_>) -> io::Result<()> {
    let mut packets = 0;
    for _ in 0..ROUND {
        match shared.tun.read(buffer) {
            Ok(Some(mut segments)) => {
                let mut tells = turn.standing.tells(now.steady);
                let mut tunnels = shared.tunnels();
                while let Some(packet) = segments.next() {
                    packets += 1;
                    if !std::mem::take(&mut tells) || ecn::combine(ecn::EXPERIENCED, packet) {
                        tunnels.packet(now, packet, wires);
                    }
                }
            }
            Ok(None) => tracing::trace!("packet without sense lost"),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                turn.standing.emptied();
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_gone(&error) => return Err(error),
            Err(error) => {
                tracing::trace!(%error, "packet cannot be read");
                break;
            }
        }
        if wires.is_full() {
            break;
        }
    }
    if packets > 1 {
        turn.flowed = Some(now.steady);
    }
    Ok(())
}

/// Takes the host's answer to the few packets that it was just given, if its own thread does not, and it has no flow under way.
fn answer(shared: &Shared, now: Now, buffer: &mut [u8], wires: &mut Wires<'_>) {
    let Ok(mut turn) = shared.turn.try_lock() else { return };
    if turn.flowed.is_some_and(|at| now.steady.saturating_duration_since(at) < QUIET) {
        return;
    }
    // That it is gone is told by the other thread.
    if seal(shared, &mut turn, now, buffer, wires).is_ok() {
        wires.flush();
    }
}

/// Opens what the network brings, and does what is due by time.
fn from_network(shared: &Shared, sockets: &Sockets, stop: &EventFd) {
    let (mut buffer, mut answers) = (vec![0; LARGEST], vec![0; READ]);
    let mut wires = Wires::new(&shared.tun, sockets);
    let both: Vec<_> = [Some(&sockets.v4), sockets.v6.as_ref()].into_iter().flatten().collect();
    let readable: Vec<_> = both.iter().map(|socket| socket.as_fd()).collect();
    let mut queues = [Standing::default(), Standing::default()];
    let mut looked = now();
    // Whether more is due already than was done.
    let mut more = false;
    while wait(&readable, stop, if more { PollTimeout::ZERO } else { PollTimeout::from(TICK_MILLIS) }) {
        let now = now();
        for (socket, standing) in both.iter().zip(&mut queues) {
            let is_v4 = std::ptr::eq(*socket, &raw const sockets.v4);
            let mut datagrams = 0;
            for _ in 0..ROUND {
                let Some(received) = receive(socket, &mut buffer, is_v4) else {
                    standing.emptied();
                    break;
                };
                datagrams += received.length.div_ceil(received.size);
                if open(shared, now, received, standing.is_due(now.steady), &buffer, &mut wires) {
                    standing.told(now.steady);
                }
                if wires.is_full() {
                    break;
                }
            }
            wires.flush();
            if (1..=FEW).contains(&datagrams) {
                answer(shared, now, &mut answers, &mut wires);
            }
        }
        if more || now.since(looked) >= TICK {
            looked = now;
            more = !shared.tunnels().tick(now, &mut wires);
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

/// Opens datagrams of one sender; if it is to go slower, the first that is one of a peer's as if it had met congestion on its
/// way, and tells whether there was one: what strangers send tells nobody.
fn open(shared: &Shared, now: Now, received: Received, mut tells: bool, buffer: &[u8], wires: &mut Wires<'_>) -> bool {
    let mut told = false;
    let mut tunnels = shared.tunnels();
    for datagram in buffer[..received.length].chunks(received.size) {
        let ecn = if tells { ecn::EXPERIENCED } else { received.ecn };
        if tunnels.datagram(now, received.path, ecn, datagram, wires) {
            told |= std::mem::take(&mut tells);
        }
    }
    told
}

/// Whether a TUN interface that cannot be read will never be again.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADFD | libc::ENODEV | libc::ENXIO | libc::EIO | libc::EBADF))
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

//! The thread that carries packets between the host and the network and looks after the time, and a second one that takes
//! what the host sends while there is more to do than one can. Each takes what there is, hands it on in one go, and sleeps
//! until there is more. They hold the lock on the tunnels while they seal and open, never during a call to the kernel that
//! could be long.

use super::{
    ecn,
    load::{Load, Threads},
    now,
    sockets::{Received, Sockets},
    standing::Standing,
    tun::{READ, Tun},
    tunnels::{LARGEST, Now, Tunnels},
    wires::Wires,
    worker::{Bond, Worker, used},
};
use crate::{device::DeviceState, error::Error};
use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::EventFd,
};
use std::{
    io,
    net::UdpSocket,
    os::fd::{AsFd as _, BorrowedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How often the time is looked at; boringtun rounds its own timers to such steps.
const TICK: Duration = Duration::from_millis(250);
const TICK_MILLIS: u16 = 250;
/// Most reads before everything else has its turn, however much there is to read: the network, or a program on this host, may
/// well bring more than can be taken.
const ROUND: usize = 64;

/// How often the second thread tells what it does, at most.
const TOLD: Duration = Duration::from_millis(10);
/// Most that is waited for at a time: two sockets and the interface.
const MOST_WATCHED: usize = 3;

/// What the threads and the device's owner share.
pub(super) struct Shared {
    pub(super) tun: Tun,
    /// Of the host's queue; held by who reads from it until what was read is on its way, so that nothing overtakes.
    standing: Mutex<Standing>,
    tunnels: Mutex<Tunnels>,
}

impl Shared {
    pub(super) fn new(tun: Tun, tunnels: Tunnels) -> Self {
        Self { tun, standing: Mutex::default(), tunnels: Mutex::new(tunnels) }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
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
pub(super) struct Carrier(Worker);

impl Carrier {
    pub(super) fn start(shared: &Arc<Shared>, sockets: &Arc<Sockets>) -> Result<Self, Error> {
        let (shared, sockets) = (shared.clone(), sockets.clone());
        let worker = Worker::start("picket-wg", move |bond| carry(&shared, &sockets, bond));
        worker.map(Self).map_err(|error| Error::kernel("start a thread", error))
    }

    /// Whether nothing has ended by itself, as it does when the interface goes away.
    pub(super) fn is_running(&self) -> bool {
        self.0.is_running()
    }
}

/// What a round took of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Took {
    /// It was empty.
    Nothing,
    /// Everything.
    All,
    /// As much as goes on at once. Whether there is more is to be asked at once, too: after a sleep nobody knows whether the queue
    /// was empty meanwhile.
    Enough,
}

/// Carries both ways, until the interface goes away.
fn carry(shared: &Arc<Shared>, sockets: &Arc<Sockets>, bond: &Bond) {
    let mut wires = Wires::new(&shared.tun, sockets);
    let (mut datagrams, mut packets) = (vec![0; LARGEST], vec![0; READ]);
    let mut queues: Vec<_> = sockets.both().map(|socket| (socket, Standing::default())).collect();
    let watched: Vec<_> = sockets.both().map(|socket| socket.as_fd()).chain([shared.tun.as_fd()]).collect();
    let mut load = Load::new(Instant::now(), thread::available_parallelism().is_ok_and(|cores| cores.get() > 1));
    let mut second: Option<Worker> = None;
    let mut looked = now();
    // Whether more is due already than was done, and whether a round ended before its queue did.
    let (mut more, mut ended_early) = (false, false);
    loop {
        let timeout = if more || ended_early { PollTimeout::ZERO } else { PollTimeout::from(TICK_MILLIS) };
        let watched = &watched[..queues.len() + usize::from(second.is_none())];
        let Some(ready) = wait(watched, &bond.stop, timeout) else { return };
        let now = now();
        let mut brought = false;
        ended_early = false;
        for ((socket, standing), is_ready) in queues.iter_mut().zip(ready) {
            if !is_ready {
                standing.emptied();
                continue;
            }
            let took = open(shared, now, (socket, sockets.is_v4(socket)), standing, &mut datagrams, &mut wires);
            wires.flush();
            brought |= took != Took::Nothing;
            ended_early |= took == Took::Enough;
        }
        // What the host answers to what it was just given is there already.
        if second.is_none() && (brought || ready[queues.len()]) {
            match seal(shared, now, &mut packets, &mut wires) {
                Ok(took) => ended_early |= took == Took::Enough,
                Err(error) => return tracing::warn!(%error, "tun interface is gone"),
            }
        } else if second.is_none() {
            shared.standing().emptied();
        }
        if more || now.since(looked) >= TICK {
            looked = now;
            more = !shared.tunnels().tick(now, &mut wires);
            wires.flush();
        }
        let has_waited = second.is_none() && sockets.has_waited();
        if has_waited || load.is_due(now.steady) {
            let all = used() + second.as_ref().map_or(Duration::ZERO, Worker::used);
            second = match (load.look(now.steady, all, has_waited || sockets.has_waited()), second) {
                (Threads::One, _) => None,
                // One that has ended by itself found the interface gone, which is told here.
                (Threads::Two, Some(second)) => Some(second).filter(Worker::is_running),
                (Threads::Two, None) => begin(shared, sockets),
            };
        }
    }
}

/// A thread for what the host sends. Without it this goes on by one.
fn begin(shared: &Arc<Shared>, sockets: &Arc<Sockets>) -> Option<Worker> {
    let (shared, sockets) = (shared.clone(), sockets.clone());
    let second = Worker::start("picket-wg-send", move |bond| from_host(&shared, &sockets, bond));
    second.inspect_err(|error| tracing::debug!(%error, "tunnels go on with one thread")).ok()
}

/// Seals what the host sends, until the interface goes away.
fn from_host(shared: &Shared, sockets: &Sockets, bond: &Bond) {
    let mut buffer = vec![0; READ];
    let mut wires = Wires::new(&shared.tun, sockets);
    let mut told = Instant::now();
    let mut timeout = PollTimeout::from(TICK_MILLIS);
    while let Some([is_ready, ..]) = wait(&[shared.tun.as_fd()], &bond.stop, timeout) {
        let now = now();
        timeout = PollTimeout::from(TICK_MILLIS);
        if !is_ready {
            shared.standing().emptied();
        } else {
            match seal(shared, now, &mut buffer, &mut wires) {
                Ok(Took::Enough) => timeout = PollTimeout::ZERO,
                Ok(_) => {}
                Err(error) => return tracing::debug!(%error, "tun interface is gone"),
            }
        }
        if now.steady.saturating_duration_since(told) >= TOLD {
            told = now.steady;
            bond.tell();
        }
    }
}

/// Takes from the host what there is, up to a round of it, and hands it on; where the network has no room it waits a moment. An
/// error is for good.
fn seal(shared: &Shared, now: Now, buffer: &mut [u8], wires: &mut Wires<'_>) -> io::Result<Took> {
    let mut standing = shared.standing();
    let mut took = Took::Enough;
    for round in 0..ROUND {
        match shared.tun.read(buffer) {
            Ok(Some(mut segments)) => {
                let mut tells = standing.tells(now.steady);
                let mut tunnels = shared.tunnels();
                while let Some(packet) = segments.next() {
                    if !std::mem::take(&mut tells) || ecn::combine(ecn::EXPERIENCED, packet) {
                        tunnels.packet(now, packet, wires);
                    }
                }
            }
            Ok(None) => tracing::trace!("packet without sense lost"),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                standing.emptied();
                took = if round == 0 { Took::Nothing } else { Took::All };
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
    wires.flush_patiently();
    Ok(took)
}

/// Opens what the network brought to a socket, up to a round of it.
fn open(
    shared: &Shared,
    now: Now,
    (socket, is_v4): (&UdpSocket, bool),
    standing: &mut Standing,
    buffer: &mut [u8],
    wires: &mut Wires<'_>,
) -> Took {
    for round in 0..ROUND {
        let Some(received) = receive(socket, buffer, is_v4) else {
            standing.emptied();
            return if round == 0 { Took::Nothing } else { Took::All };
        };
        if decrypt(shared, now, received, standing.is_due(now.steady), buffer, wires) {
            standing.told(now.steady);
        }
        if wires.is_full() {
            break;
        }
    }
    Took::Enough
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
fn decrypt(
    shared: &Shared,
    now: Now,
    received: Received,
    mut tells: bool,
    buffer: &[u8],
    wires: &mut Wires<'_>,
) -> bool {
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

/// Sleeps until one of them has something, and says which, or until time is up. Nothing if it is time to stop.
fn wait(readable: &[BorrowedFd<'_>], stop: &EventFd, timeout: PollTimeout) -> Option<[bool; MOST_WATCHED]> {
    let mut watched: [_; MOST_WATCHED + 1] = std::array::from_fn(|_| PollFd::new(stop.as_fd(), PollFlags::POLLIN));
    for (watched, readable) in watched[1..].iter_mut().zip(readable) {
        *watched = PollFd::new(*readable, PollFlags::POLLIN);
    }
    let watched = &mut watched[..=readable.len()];
    match poll(watched, timeout) {
        Ok(_) => {
            let is_ready = |at: usize| watched.get(at).is_some_and(|one| one.any().unwrap_or(true));
            (!is_ready(0)).then(|| std::array::from_fn(|at| is_ready(at + 1)))
        }
        // As if all had something: whoever looks finds out.
        Err(Errno::EINTR) => Some([true; MOST_WATCHED]),
        Err(error) => {
            tracing::warn!(%error, "tunnels cannot wait for packets");
            None
        }
    }
}

//! A thread that ends with its owner's value, is told to by an event that it can wait for beside packets, and tells how much
//! processor time it takes.

use nix::sys::{
    eventfd::{EfdFlags, EventFd},
    resource::{UsageWho, getrusage},
};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

/// What a thread and its owner share.
#[derive(Debug)]
pub(super) struct Bond {
    /// Can be read from the moment on from which the thread is to end.
    pub(super) stop: EventFd,
    /// Microseconds of the processor's, when it was last told.
    used: AtomicU64,
}

impl Bond {
    /// Has the owner know how much processor time the calling thread has taken.
    pub(super) fn tell(&self) {
        self.used.store(u64::try_from(used().as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub(super) struct Worker {
    bond: Arc<Bond>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(super) fn start(name: &str, run: impl FnOnce(&Bond) + Send + 'static) -> io::Result<Self> {
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let bond = Arc::new(Bond { stop, used: AtomicU64::new(0) });
        let its = bond.clone();
        let thread = Builder::new().name(name.to_owned()).spawn(move || run(&its))?;
        Ok(Self { bond, thread: Some(thread) })
    }

    /// Whether it has not ended by itself.
    pub(super) fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// The processor time that it has told of.
    pub(super) fn used(&self) -> Duration {
        Duration::from_micros(self.bond.used.load(Ordering::Relaxed))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Err(error) = self.bond.stop.write(1) {
            return tracing::warn!(%error, "a thread of the tunnels cannot be told to stop");
        }
        if let Some(thread) = self.thread.take() {
            // It is over either way.
            thread.join().ok();
        }
    }
}

/// The processor time that the calling thread has taken; nothing where the kernel does not say.
pub(super) fn used() -> Duration {
    let micros = |time: nix::sys::time::TimeVal| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or_default();
        Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec()).unwrap_or_default())
    };
    getrusage(UsageWho::RUSAGE_THREAD)
        .map_or(Duration::ZERO, |usage| micros(usage.user_time()) + micros(usage.system_time()))
}

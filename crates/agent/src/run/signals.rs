//! The signals that tell the agent to stop, and what is told to systemd: also that the loop which waits for them turns.

use anyhow::{Context as _, Result};
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Interval,
};
use tracing::warn;

/// The two that end it, and the watchdog that ends what hangs.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Twice within the unit's `WatchdogSec=`; `None` where it has none.
    alive: Option<Interval>,
}

impl Signals {
    pub(super) fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("listen for signals");
        let alive = sd_notify::watchdog_enabled().map(|limit| super::every(limit / 2));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())?, alive })
    }

    /// Waits for one of them; its name. The watchdog hears from nobody else, so it hears nothing where nobody waits here.
    pub(super) async fn stop(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                () = tick(self.alive.as_mut()) => notify(NotifyState::Watchdog),
            }
        }
    }
}

async fn tick(timer: Option<&mut Interval>) {
    match timer {
        Some(timer) => {
            timer.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Tells systemd, where it started us.
pub(super) fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "systemd was not told how this service stands");
    }
}

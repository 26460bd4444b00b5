//! Ctrl-C and SIGTERM for programs that have labs: whoever is told may end in order; after a while, or where nobody is told, all
//! that this process made is removed, and it ends.

use crate::{LabError, left_overs, wait_until};
use nix::{
    errno::Errno,
    sys::wait::{WaitPidFlag, WaitStatus, waitpid},
};
use std::{
    os::unix::process::CommandExt as _,
    process::{self, Command},
    sync::mpsc,
    time::Duration,
};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

/// What a shell says of a program that SIGINT ended.
const STOPPED: u8 = 130;
/// How long programs may take that were under way, each of which makes one thing.
const UNDER_WAY: Duration = Duration::from_secs(10);

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Waits for a signal on a thread of its own. It is told at the first; at the next one, or once `patience` is over, the process ends,
/// and nothing of its labs is left.
///
/// # Errors
/// The system gives no signals.
pub(crate) fn on_signal(patience: Duration) -> anyhow::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel();
    let runtime: Runtime = Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? }
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            signals.next().await;
            // Nobody may be left who listens: then it is over sooner.
            let _ = sender.send(());
            let _ = timeout(patience, signals.next()).await;
        });
        // Other threads work on, and would make things behind a cleaner's back: this program becomes one that only cleans.
        let error = Command::new("/proc/self/exe").args(["clean", "--own"]).exec();
        eprintln!("picket-lab: something may be left behind, `picket-lab clean` removes it: {error}");
        process::exit(STOPPED.into());
    });
    Ok(receiver)
}

/// Removes what this process made before it became the cleaner, and ends with what a shell says of a program that was stopped.
///
/// # Errors
/// What could not be removed.
pub fn clean_own() -> Result<u8, LabError> {
    wait_until("all to be removed", UNDER_WAY, || {
        left_overs::clean_own().map_err(|error| error.to_string())?;
        if has_children() { Err("a program is under way".to_owned()) } else { Ok(()) }
    })?;
    // What the last of them made.
    left_overs::clean_own()?;
    Ok(STOPPED)
}

/// Whether programs that this process started run still.
fn has_children() -> bool {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return true,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

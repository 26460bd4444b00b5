//! Ctrl-C and SIGTERM for programs that have labs: whoever is told may end in order; after a while, or where nobody is told, all
//! that this process made is removed, and it ends.

use crate::left_overs;
use std::{process, sync::mpsc, time::Duration};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

/// What a shell says of a program that SIGINT ended.
const STOPPED: i32 = 130;
/// Looks at what is left. Who works on meanwhile may make something once more.
const LOOKS: u8 = 3;

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
        for _ in 0..LOOKS {
            if let Err(error) = left_overs::clean_own() {
                eprintln!("picket-lab: something is left behind: {error}");
            }
        }
        process::exit(STOPPED);
    });
    Ok(receiver)
}

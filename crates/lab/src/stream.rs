//! A TCP connection that never rests: small numbered messages through an echo server, so that the moment it stops is
//! known to about a millisecond.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    task::AbortHandle,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{Host, LabError, wait::wait_until};

/// Pause between messages: the resolution of what a stream can tell.
const EVERY: Duration = Duration::from_millis(1);
/// Time for the connection and the first echo.
const OPEN_WITHIN: Duration = Duration::from_secs(5);

impl Host {
    /// A running stream to an [`EchoServer`](crate::EchoServer), with one echo already received.
    ///
    /// # Errors
    /// [`LabError::Io`] if the connection cannot be made, [`LabError::TimedOut`] if nothing comes back.
    pub fn stream(&self, to: SocketAddr) -> Result<Stream, LabError> {
        self.open_stream(None, to)
    }

    /// As [`Host::stream`], from this one of the host's addresses.
    ///
    /// # Errors
    /// As [`Host::stream`].
    pub fn stream_from(&self, from: IpAddr, to: SocketAddr) -> Result<Stream, LabError> {
        self.open_stream(Some(from), to)
    }

    fn open_stream(&self, from: Option<IpAddr>, to: SocketAddr) -> Result<Stream, LabError> {
        let cannot = |error| LabError::io(format!("open a stream from {} to {to}", self.name()), error);
        let socket = self.open(from, to)?.map_err(cannot)?;
        let connected = self.shared.wait_for(async move {
            let connected = timeout(OPEN_WITHIN, socket.connect(to)).await;
            connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        })?;
        let (reader, writer) = connected.map_err(cannot)?.into_split();

        let progress = Arc::new(Mutex::new(Progress::new(Instant::now())));
        let runtime = self.shared.runtime();
        let stream = Stream {
            tasks: [
                runtime.spawn(send(writer, Arc::clone(&progress))).abort_handle(),
                runtime.spawn(receive(reader, Arc::clone(&progress))).abort_handle(),
            ],
            progress,
        };
        stream.wait_flowing(OPEN_WITHIN)?;
        Ok(stream)
    }
}

/// A stream that runs until it is dropped.
#[derive(Debug)]
pub struct Stream {
    progress: Arc<Mutex<Progress>>,
    tasks: [AbortHandle; 2],
}

impl Stream {
    /// When the last echo came back.
    #[must_use]
    pub fn last_echo(&self) -> Instant {
        lock(&self.progress).last_echo
    }

    /// How many messages came back.
    #[must_use]
    pub fn echoes(&self) -> u64 {
        lock(&self.progress).echoed
    }

    /// The longest time between two echoes so far, up to now.
    #[must_use]
    pub fn longest_silence(&self) -> Duration {
        let progress = lock(&self.progress);
        progress.longest_silence.max(progress.last_echo.elapsed())
    }

    /// Waits until nothing has come back for `quiet`, or the connection was closed, and gives the moment of the last echo.
    ///
    /// # Errors
    /// [`LabError::TimedOut`] if it still flows after `within`.
    pub fn wait_dead(&self, quiet: Duration, within: Duration) -> Result<Instant, LabError> {
        let dead = wait_until("the stream to stop", within, || {
            let progress = lock(&self.progress);
            if progress.closed.is_some() || progress.last_echo.elapsed() >= quiet {
                Ok(progress.last_echo)
            } else {
                Err(format!("{} messages came back, the last {:?} ago", progress.echoed, progress.last_echo.elapsed()))
            }
        })?;
        Ok(dead.value)
    }

    /// Waits until a message that is sent from now on comes back.
    ///
    /// # Errors
    /// [`LabError::TimedOut`] if none does within `within`.
    pub fn wait_flowing(&self, within: Duration) -> Result<(), LabError> {
        let sent = lock(&self.progress).sent;
        wait_until("the stream to flow", within, || {
            let progress = lock(&self.progress);
            let closed = progress.closed.as_deref().unwrap_or("the connection stands");
            let reason = || format!("{} of {} messages came back, {closed}", progress.echoed, progress.sent);
            if progress.echoed > sent { Ok(()) } else { Err(reason()) }
        })?;
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// What is known of a stream. Messages are numbered from 1.
#[derive(Debug)]
struct Progress {
    sent: u64,
    echoed: u64,
    last_echo: Instant,
    longest_silence: Duration,
    closed: Option<String>,
}

impl Progress {
    fn new(now: Instant) -> Self {
        Self { sent: 0, echoed: 0, last_echo: now, longest_silence: Duration::ZERO, closed: None }
    }

    fn echo(&mut self, number: u64, now: Instant) {
        self.longest_silence = self.longest_silence.max(now.saturating_duration_since(self.last_echo));
        self.last_echo = now;
        self.echoed = number;
    }
}

async fn send(mut writer: OwnedWriteHalf, progress: Arc<Mutex<Progress>>) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let number = {
            let mut progress = lock(&progress);
            progress.sent += 1;
            progress.sent
        };
        if writer.write_all(&number.to_be_bytes()).await.is_err() {
            // The reader sees the reason too, and notes it.
            return;
        }
    }
}

async fn receive(mut reader: OwnedReadHalf, progress: Arc<Mutex<Progress>>) {
    let mut message = [0; size_of::<u64>()];
    let reason = loop {
        match reader.read_exact(&mut message).await {
            Ok(_) => lock(&progress).echo(u64::from_be_bytes(message), Instant::now()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break "closed by the other end".to_owned(),
            Err(error) => break error.to_string(),
        }
    };
    lock(&progress).closed = Some(reason);
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

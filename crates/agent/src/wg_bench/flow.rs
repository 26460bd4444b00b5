//! What flows through the tunnel: one TCP stream, and small datagrams that a program at the other end sends back.

use super::ground::{Ground, INNER};
use anyhow::{Context as _, Result, anyhow, ensure};
use serde::Serialize;
use std::{
    fmt, io,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Longest that a handshake and a connection take.
const PATIENCE: Duration = Duration::from_secs(15);
/// A datagram that takes longer is lost.
const LOST: Duration = Duration::from_millis(500);
/// From one datagram to the next, as far as answers come sooner.
const PACE: Duration = Duration::from_millis(1);
const DATAGRAM: usize = 64;
const CHUNK: usize = 128 << 10;
/// Kernel ticks of proc(5), `USER_HZ`: a hundred a second on every platform that we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Round trips, in microseconds.
#[derive(Debug, Serialize)]
pub(super) struct Echoes {
    median_us: f64,
    p99_us: f64,
    lost: u32,
}

impl fmt::Display for Echoes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} us (99 of 100 below {:.0}, {} lost)", self.median_us, self.p99_us, self.lost)
    }
}

/// What a stream did in some time.
pub(super) struct Rate {
    pub(super) bits_per_second: f64,
    pub(super) cpu_seconds_per_gb: f64,
}

/// A TCP stream that flows until it is finished.
pub(super) struct Flow {
    came: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    ends: [JoinHandle<io::Result<()>>; 2],
}

impl Flow {
    pub(super) fn start(ground: &Ground) -> Result<Self> {
        let listener = ground.sides[1].inside(|_| TcpListener::bind((INNER[1], 0)))?.context("listen in the tunnel")?;
        let at = listener.local_addr()?;
        let mut stream = ground.sides[0]
            .inside(move |_| TcpStream::connect_timeout(&at, PATIENCE))?
            .context("connect through the tunnel")?;
        let (mut taken, _) = listener.accept()?;
        let (came, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, told) = (came.clone(), stop.clone());
        for end in [&stream, &taken] {
            end.set_read_timeout(Some(PATIENCE))?;
            end.set_write_timeout(Some(PATIENCE))?;
        }
        let send = thread::spawn(move || {
            let chunk = vec![7; CHUNK];
            while !told.load(Ordering::Relaxed) {
                stream.write_all(&chunk)?;
            }
            stream.shutdown(Shutdown::Write)
        });
        let take = thread::spawn(move || {
            let mut chunk = vec![0; CHUNK];
            loop {
                match taken.read(&mut chunk) {
                    Ok(0) => return Ok(()),
                    Ok(length) => drop(counter.fetch_add(length as u64, Ordering::Relaxed)),
                    // The process was stopped and goes on, signal(7).
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        });
        Ok(Self { came, stop, ends: [send, take] })
    }

    /// What it does for so long.
    pub(super) fn run(&self, length: Duration) -> Result<Rate> {
        let (begun, bytes, busy) = (Instant::now(), self.came.load(Ordering::Relaxed), busy_seconds()?);
        while begun.elapsed() < length {
            thread::park_timeout(length.saturating_sub(begun.elapsed()));
        }
        #[expect(clippy::cast_precision_loss, reason = "bytes of some seconds are far below 2^52")]
        let bytes = (self.came.load(Ordering::Relaxed) - bytes) as f64;
        ensure!(bytes > 0.0, "nothing came through the tunnel");
        Ok(Rate {
            bits_per_second: bytes * 8.0 / begun.elapsed().as_secs_f64(),
            cpu_seconds_per_gb: (busy_seconds()? - busy) / (bytes / 1e9),
        })
    }

    pub(super) fn finish(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for end in self.ends {
            end.join().map_err(|_| anyhow!("an end of the stream failed"))?.context("the stream broke")?;
        }
        Ok(())
    }
}

/// Datagrams there and back, one after the other, for so long.
pub(super) fn echoes(ground: &Ground, length: Duration) -> Result<Echoes> {
    let far = ground.sides[1].inside(|_| UdpSocket::bind((INNER[1], 0)))?.context("listen in the tunnel")?;
    let near = ground.sides[0].inside(|_| UdpSocket::bind((INNER[0], 0)))?.context("open a socket in the tunnel")?;
    let to = far.local_addr()?;
    for socket in [&far, &near] {
        socket.set_read_timeout(Some(LOST))?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    let answering = thread::spawn(move || answer(&far, &told));
    let measured = ask(&near, to, length);
    stop.store(true, Ordering::Relaxed);
    answering.join().map_err(|_| anyhow!("the answering end failed"))?.context("answer in the tunnel")?;
    measured
}

fn answer(socket: &UdpSocket, stop: &AtomicBool) -> io::Result<()> {
    let mut datagram = [0; DATAGRAM];
    while !stop.load(Ordering::Relaxed) {
        match socket.recv_from(&mut datagram) {
            Ok((length, from)) => drop(socket.send_to(&datagram[..length], from)?),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn ask(socket: &UdpSocket, to: SocketAddr, length: Duration) -> Result<Echoes> {
    let (mut times, mut lost, mut number) = (Vec::new(), 0, 0_u64);
    let begun = Instant::now();
    while begun.elapsed() < length {
        number += 1;
        let mut datagram = [0; DATAGRAM];
        datagram[..8].copy_from_slice(&number.to_le_bytes());
        let sent = Instant::now();
        socket.send_to(&datagram, to).context("send through the tunnel")?;
        let mut came = [0; DATAGRAM];
        loop {
            match socket.recv(&mut came) {
                // An earlier one, given up.
                Ok(_) if came[..8] != number.to_le_bytes() => {}
                Ok(_) => {
                    times.push(sent.elapsed().as_secs_f64() * 1e6);
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    lost += 1;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("wait for an answer through the tunnel"),
            }
        }
        thread::park_timeout(PACE.saturating_sub(sent.elapsed()));
    }
    ensure!(!times.is_empty(), "no answer came through the tunnel");
    times.sort_by(f64::total_cmp);
    let rank = |part: usize| times[(times.len() * part).div_ceil(100).saturating_sub(1)];
    Ok(Echoes { median_us: rank(50), p99_us: rank(99), lost })
}

/// Seconds that the cores of this host were busy since it started.
fn busy_seconds() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    busy_ticks(&text).map(|ticks| ticks / TICKS_PER_SECOND).context("/proc/stat has no line of all cores")
}

/// Of `cpu user nice system idle iowait irq softirq ...`, what is no waiting (proc(5)).
fn busy_ticks(stat: &str) -> Option<f64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks.as_slice() else { return None };
    Some(user + nice + system + irq + softirq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_not_busy() {
        assert_eq!(busy_ticks("cpu  1 2 4 1000 2000 8 16 0 0 0\ncpu0 9 9 9 9 9 9 9 0 0 0\n"), Some(31.0));
        assert_eq!(busy_ticks("intr 5\n"), None);
        assert_eq!(busy_ticks("cpu  1 2\n"), None);
    }
}

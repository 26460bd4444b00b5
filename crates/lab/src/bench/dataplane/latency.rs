//! How late small packets are: echoes that the other kernel answers, through the idle tunnel and beside one TCP stream.

use super::{Table, place::Pair, traffic};
use crate::{Host, bench::Figures, probe::ping_socket, undisturbed};
use anyhow::{Context as _, ensure};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

/// From one echo to the next, as far as answers come sooner.
const PACE: Duration = Duration::from_millis(1);
/// An echo that takes longer is lost.
const LOST: Duration = Duration::from_millis(500);
/// What the stream beside the echoes lasts longer.
const MARGIN: Duration = Duration::from_secs(5);
/// As many bytes as the program ping sends, header included.
const LENGTH: usize = 64;

pub(super) fn measure(pair: &Pair, length: Duration, table: &mut Table) -> anyhow::Result<()> {
    let echoes = pings(&pair.hosts[0], pair.to, length)?;
    table.add("ping-idle", &pair.name, "median_us", echoes.times.median(), &echoes.beside());
    table.add("ping-idle-p99", &pair.name, "p99_us", echoes.times.p99(), &[]);
    // The stream outlasts the echoes, however slowly it starts.
    let stream = traffic::beside(pair, length * 2 + MARGIN)?;
    let echoes = pings(&pair.hosts[0], pair.to, length)?;
    stream.must_run().context("the stream did not last")?;
    table.add("ping-loaded", &pair.name, "median_us", echoes.times.median(), &echoes.beside());
    table.add("ping-loaded-p99", &pair.name, "p99_us", echoes.times.p99(), &[]);
    stream.stop()?;
    Ok(())
}

struct Echoes {
    /// Round trips in microseconds.
    times: Figures,
    sent: u32,
    lost: u32,
}

impl Echoes {
    fn beside(&self) -> [(&'static str, f64); 2] {
        [("echoes", self.sent.into()), ("lost", self.lost.into())]
    }
}

fn pings(host: &Host, to: IpAddr, length: Duration) -> anyhow::Result<Echoes> {
    let socket = host.inside(|| ping_socket(to))??;
    socket.connect(SocketAddr::new(to, 0))?;
    socket.set_read_timeout(Some(LOST))?;
    let mut echoes = Echoes { times: Figures::default(), sent: 0, lost: 0 };
    let mut times = Vec::new();
    let (begun, mut answer) = (Instant::now(), [0; 2 * LENGTH]);
    while begun.elapsed() < length {
        let number = u16::try_from(echoes.sent & 0xffff)?.to_be_bytes();
        let mut request = [0; LENGTH];
        request[0] = if to.is_ipv4() { 8 } else { 128 };
        request[6..8].copy_from_slice(&number);
        let sent = Instant::now();
        socket.send(&request).context("send an echo")?;
        echoes.sent += 1;
        let came = loop {
            match undisturbed(|| socket.recv(&mut answer)) {
                Ok(_) if answer[6..8] == number => break Some(sent.elapsed()),
                // An earlier one, given up.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break None,
                Err(error) => return Err(error).context("wait for an echo"),
            }
        };
        match came {
            Some(time) => times.push(time.as_secs_f64() * 1e6),
            None => echoes.lost += 1,
        }
        thread::park_timeout(PACE.saturating_sub(sent.elapsed()));
    }
    ensure!(!times.is_empty(), "no echo came back from {to}");
    echoes.times = Figures::from(times);
    Ok(echoes)
}

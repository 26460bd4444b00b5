//! A way between the ends that loses, doubles and reorders datagrams, and strangers that send junk to the engine's port.

use crate::support::{Outside, PORT, Pair, SOME, SOON, inner, junk, transfer};
use picket_lab::{Host, Lab, tunnels::Carrier, undisturbed, wait_until};
use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Datagrams that wait to be sent on in another order.
const HELD: usize = 6;
/// One of so many is lost, and of so many doubled.
const LOST: u64 = 97;
const DOUBLED: u64 = 13;
/// After so long without another, what is held goes on.
const FLUSH: Duration = Duration::from_millis(2);
/// Datagrams whose fate inside the tunnel is counted.
const COUNTED: u32 = 500;

/// Sends on what comes, in another order; the same for the same datagrams.
struct Shuffler {
    at: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Shuffler {
    fn start(host: &Host, to: SocketAddr) -> Self {
        let socket = host.inside(|| UdpSocket::bind(host.v4(7000).unwrap())).unwrap().unwrap();
        socket.set_read_timeout(Some(FLUSH)).unwrap();
        let (at, stop) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let told = stop.clone();
        Self { at, stop, thread: Some(thread::spawn(move || shuffle(&socket, to, &told))) }
    }
}

impl Drop for Shuffler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

fn shuffle(socket: &UdpSocket, called: SocketAddr, stop: &AtomicBool) -> io::Result<()> {
    let (mut caller, mut seen, mut buffer) = (None, 0_u64, vec![0; 65_536]);
    let mut held: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let came = match undisturbed(|| socket.recv_from(&mut buffer)) {
            Ok((length, from)) => {
                if from != called {
                    caller = Some(from);
                }
                seen += 1;
                let to = if from == called { caller } else { Some(called) };
                if let Some(to) = to.filter(|_| !seen.is_multiple_of(LOST)) {
                    held.push((to, buffer[..length].to_vec()));
                }
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => return Err(error),
        };
        if held.len() >= HELD || !came {
            // Every other one backwards, so that neighbours part and nothing waits for long.
            let (even, odd): (Vec<_>, Vec<_>) = held.drain(..).enumerate().partition(|(number, _)| number % 2 == 0);
            for (number, (to, datagram)) in odd.into_iter().rev().chain(even) {
                socket.send_to(&datagram, to)?;
                if (seen + number as u64).is_multiple_of(DOUBLED) {
                    socket.send_to(&datagram, to)?;
                }
            }
        }
    }
    Ok(())
}

/// Numbered datagrams from the one end to the other: how often each came.
fn counted(pair: &Pair, from: usize) -> BTreeMap<u32, u32> {
    let to = inner(1 - from, Outside::V4);
    let taker = pair.host(1 - from).inside(|| UdpSocket::bind((to, 0))).unwrap().unwrap();
    taker.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let sender = pair.host(from).inside(|| UdpSocket::bind((inner(from, Outside::V4), 0))).unwrap().unwrap();
    sender.connect(taker.local_addr().unwrap()).unwrap();
    let (mut times, mut buffer) = (BTreeMap::new(), [0; 4]);
    for number in 0..COUNTED {
        sender.send(&number.to_be_bytes()).unwrap();
        // As many on the way as nobody has to drop.
        if number % 50 == 49 {
            while undisturbed(|| taker.recv(&mut buffer)).is_ok() {
                *times.entry(u32::from_be_bytes(buffer)).or_default() += 1;
            }
        }
    }
    times
}

#[test]
fn a_way_that_loses_doubles_and_reorders_changes_no_byte() {
    for carriers in [
        [Carrier::Picket, Carrier::WireguardGo],
        [Carrier::Boringtun, Carrier::Picket],
        [Carrier::Picket, Carrier::Picket],
    ] {
        let lab = Arc::new(Lab::new("shuffled").unwrap());
        let between = lab.host("between").address("203.0.113.9/24").create().unwrap();
        let shuffler = Shuffler::start(&between, SocketAddr::new(Outside::V4.address(1), PORT));
        let pair = Pair::new(&lab, carriers, Outside::V4, Some(shuffler.at));
        pair.wait_passing();
        for from in [0, 1] {
            transfer(&pair, from, Outside::V4);
            let times = counted(&pair, from);
            let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
            assert!(twice.is_empty(), "{carriers:?}: what was doubled outside came twice inside: {twice:?}");
            assert!(times.len() > COUNTED as usize * 9 / 10, "{carriers:?}: {} of {COUNTED} came", times.len());
        }
    }
}

#[test]
fn junk_at_the_port_disturbs_no_transfer() {
    let pair = Pair::joined([Carrier::WireguardGo, Carrier::Picket], Outside::V4);
    let before = pair.ends[1].process.resident_memory_bytes().unwrap();
    let transfer = crate::support::Transfer::start(pair.host(0), pair.host(1), inner(1, Outside::V4));
    transfer.wait_more(SOME);
    junk(&pair);
    transfer.wait_more(SOME);
    transfer.finish();
    let after = pair.ends[1].process.resident_memory_bytes().unwrap();
    assert!(after < before + (32 << 20), "{before} bytes before the junk, {after} after it");
    wait_until("the engine to answer", SOON, || pair.ends[1].peers().map(|peers| peers.len() == 1)).unwrap();
    pair.wait_passing();
}

//! The embedded engine when more comes than it can take, or than the network takes from it.

use crate::{OUTER_V4, OUTER_V6, PORT, SOON, userspace};
use nix::sys::socket::{setsockopt, sockopt};
use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// Sends junk to the engine's port from within its own host, faster than it can be read, until told to stop, or long enough
/// for the test to have failed: many messages in one call, each of which has to be looked at.
fn flood(stop: &Arc<AtomicBool>) -> thread::JoinHandle<u64> {
    const INITIATION: usize = 148;
    let stop = stop.clone();
    thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", PORT)).unwrap();
        setsockopt(&socket, sockopt::UdpGsoSegment, &i32::try_from(INITIATION).unwrap()).unwrap();
        let mut junk = vec![7; 64 * INITIATION];
        junk.chunks_mut(INITIATION).for_each(|message| message[..4].copy_from_slice(&[1, 0, 0, 0]));
        let (mut sent, began) = (0, Instant::now());
        while !stop.load(Ordering::Relaxed) && began.elapsed() < SOON {
            sent += u64::from(socket.send(&junk).is_ok());
        }
        sent
    })
}

#[test]
fn junk_without_end_neither_stops_the_other_family_nor_keeps_the_engine_from_ending() {
    let (one, two) = userspace(OUTER_V6);
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    let senders = two.host.run(move || async move { [(); 2].map(|()| flood(&told)) });
    let passes = one.host.ping("198.51.100.2", 0, SOON / 4);
    let began = Instant::now();
    drop(two.tunnel);
    let took = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    let sent: u64 = senders.map(|sender| sender.join().unwrap()).iter().sum();
    assert!(sent > 1_000, "no flood: {sent}");
    assert!(passes, "nothing passes over IPv6 beside {sent} heaps of junk over IPv4");
    assert!(took < Duration::from_secs(5), "the engine ended after {took:?}");
}

#[test]
fn a_burst_larger_than_a_socket_holds_waits_for_a_slow_link() {
    const BURST: usize = 400;
    let (one, two) = userspace(OUTER_V4);
    // It takes what it is given, and is slower than we are.
    one.host.command("tc qdisc add dev eth0 root tbf rate 100mbit burst 32k limit 8m").unwrap();
    let at: SocketAddr = "198.51.100.2:7000".parse().unwrap();
    let listener = two.host.run(move || async move { tokio::net::UdpSocket::bind(at).await.unwrap() });
    let arrived = two.host.start(move || async move {
        let (mut buffer, mut arrived) = ([0; 1500], 0);
        while arrived < BURST && timeout(SOON / 10, listener.recv(&mut buffer)).await.is_ok() {
            arrived += 1;
        }
        arrived
    });
    one.host.run(move || async move {
        let socket = UdpSocket::bind("198.51.100.1:0").unwrap();
        for _ in 0..BURST {
            socket.send_to(&[7; 1300], at).unwrap();
        }
    });
    let arrived = arrived.recv().unwrap();
    // One or two may be lost on purpose: the queue stands, and that tells the sender.
    assert!(arrived + 8 > BURST, "{arrived} of {BURST}");
}

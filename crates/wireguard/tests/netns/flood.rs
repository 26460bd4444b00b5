//! The embedded engine when more comes than it can take, or than the network takes from it.

use crate::{
    OUTER_V4, OUTER_V6, PORT, SOON,
    host::{Host, until},
    userspace,
};
use nix::sys::socket::{setsockopt, sockopt};
use std::{
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// Has a host's link take what it is given, slower than an engine can send.
const SLOW: &str = "tc qdisc add dev eth0 root tbf rate 100mbit burst 32k limit 8m";

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

/// Sends datagrams to the other end, where there need not be anybody.
fn burst(host: &Host, count: usize, to: SocketAddr) {
    host.run(move || async move {
        let socket = UdpSocket::bind("198.51.100.1:0").unwrap();
        for _ in 0..count {
            // That nobody listened to an earlier one is no matter.
            socket.send_to(&[7; 1300], to).ok();
        }
    });
}

#[test]
fn a_burst_larger_than_a_socket_holds_waits_for_a_slow_link() {
    const BURST: usize = 400;
    let (one, two) = userspace(OUTER_V4);
    // It takes what it is given, and is slower than we are.
    one.host.command(SLOW).unwrap();
    let at: SocketAddr = "198.51.100.2:7000".parse().unwrap();
    let listener = two.host.run(move || async move { tokio::net::UdpSocket::bind(at).await.unwrap() });
    let arrived = two.host.start(move || async move {
        let (mut buffer, mut arrived) = ([0; 1500], 0);
        while arrived < BURST && timeout(SOON / 10, listener.recv(&mut buffer)).await.is_ok() {
            arrived += 1;
        }
        arrived
    });
    burst(&one.host, BURST, at);
    let arrived = arrived.recv().unwrap();
    // One or two may be lost on purpose: the queue stands, and that tells the sender.
    assert!(arrived + 8 > BURST, "{arrived} of {BURST}");
}

#[test]
fn a_burst_as_large_as_one_read_costs_the_next_one_nothing() {
    const SIZE: usize = 1300;
    // What an engine then has sealed is as much as it hands on at once.
    const PIECES: usize = 50;
    let (one, two) = userspace(OUTER_V4);
    let at: SocketAddr = "198.51.100.2:7000".parse().unwrap();
    let listener = two.host.run(move || async move { UdpSocket::bind(at).unwrap() });
    listener.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let sender = one.host.run(move || async move {
        let socket = UdpSocket::bind("198.51.100.1:0").unwrap();
        socket.connect(at).unwrap();
        setsockopt(&socket, sockopt::UdpGsoSegment, &i32::try_from(SIZE).unwrap()).unwrap();
        socket
    });
    // Each goes once the one before has come, so none stands, for much longer than a queue may.
    let mut buffer = [0; SIZE];
    let mut is_whole = || {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(150) {
            sender.send(&[7; SIZE * PIECES]).unwrap();
            let mut missing = PIECES;
            while missing > 0 {
                match listener.recv(&mut buffer) {
                    Ok(_) => missing -= 1,
                    // A process that was stopped and goes on finds its calls ended so.
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => return false,
                }
            }
        }
        true
    };
    // Where this machine has other things to do in the midst of a burst, that one does stand: then it is tried again.
    assert!((0..10).any(|_| is_whole()), "bursts lose pieces again and again");
}

/// Threads that carry packets on this host. Those of other tests' engines are in other network namespaces.
async fn threads() -> usize {
    let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let is_engine = |path: PathBuf| {
        // One that ends meanwhile is none.
        std::fs::read_to_string(path.join("comm"))
            .is_ok_and(|name| ["picket-wg", "picket-wg-send"].contains(&name.trim_end()))
            && std::fs::read_link(path.join("ns/net")).is_ok_and(|namespace| namespace == own)
    };
    tasks.filter(|task| is_engine(task.path())).count()
}

#[test]
fn what_waits_for_a_slow_link_has_a_thread_of_its_own_until_it_does_no_more() {
    let (one, two) = userspace(OUTER_V4);
    let count = |host: &Host| host.run(|| async { threads().await });
    assert_eq!((count(&one.host), count(&two.host)), (1, 1));
    one.host.command(SLOW).unwrap();
    let began = Instant::now();
    while count(&one.host) < 2 {
        assert!(began.elapsed() < SOON, "nobody waits for the link");
        burst(&one.host, 100, "198.51.100.2:7000".parse().unwrap());
    }
    // Both directions go on, and do when one thread has it all again.
    assert!(two.host.ping("198.51.100.1", 1000, SOON));
    one.host.run(|| async { until("one thread has it all again", async || threads().await == 1).await });
    assert!(one.host.ping("198.51.100.2", 1000, SOON));
    assert_eq!(count(&two.host), 1, "who only receives needs no second one");
}

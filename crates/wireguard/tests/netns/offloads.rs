//! The embedded engine with and without each help of the kernel's: the same bytes arrive.

use crate::host::Host;
use crate::{End, PORT, SOON, device, key, until};
use picket_wireguard::{Device as _, DeviceChange, DeviceState, Offloads, UserspaceDevice};
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Mutex,
    time::timeout,
};

/// A host with a device whose offloads are chosen.
struct Side {
    host: Host,
    device: Arc<Mutex<UserspaceDevice>>,
}

impl Side {
    fn open(host: Host, own: u8, dials: Option<&str>, offloads: Offloads, mtu: u16) -> Self {
        let wanted = device(own, dials);
        let mut changes = vec![DeviceChange::SetPrivateKey(key(own)), DeviceChange::SetListenPort(PORT)];
        changes.extend(wanted.peers.into_iter().map(|(peer, config)| DeviceChange::AddPeer(peer, config)));
        let device = host.run(move || async move {
            let mut device = UserspaceDevice::open("picket0", offloads).unwrap();
            device.apply(&changes).await.unwrap();
            device
        });
        for address in [format!("198.51.100.{own}/24"), format!("fd00::{own}/64 nodad")] {
            host.ip(&format!("address add {address} dev picket0"));
        }
        host.ip(&format!("link set picket0 mtu {mtu} up"));
        Self { host, device: Arc::new(Mutex::new(device)) }
    }

    fn observe(&self) -> DeviceState {
        let device = self.device.clone();
        self.host.run(move || async move { device.lock().await.observe().await.unwrap() })
    }
}

fn pair(first: Offloads, second: Offloads, mtu: u16) -> (Side, Side) {
    let (one, two) = Host::pair();
    let two = Side::open(two, 2, None, second, mtu);
    let one = Side::open(one, 1, Some(crate::OUTER_V4), first, mtu);
    let device = one.device.clone();
    one.host.run(move || async move {
        let done = async || {
            device.lock().await.observe().await.unwrap().peers.values().all(|peer| peer.last_handshake.is_some())
        };
        until("the handshake is complete", done).await;
    });
    (one, two)
}

/// Four megabytes from one to the other over TCP, compared.
fn stream(from: &Side, to: &Side, address: &str) {
    let at = SocketAddr::new(address.parse().unwrap(), 7000);
    let sent: Arc<Vec<u8>> =
        Arc::new((0..1_u32 << 20).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect());
    let expected = sent.clone();
    let (ready, listening) = std::sync::mpsc::channel();
    let served = to.host.start(move || async move {
        let listener = TcpListener::bind(at).await.unwrap();
        ready.send(()).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        timeout(SOON, stream.read_to_end(&mut received)).await.unwrap().unwrap();
        received == *expected
    });
    listening.recv().unwrap();
    from.host.run(move || async move {
        let mut stream = TcpStream::connect(at).await.unwrap();
        timeout(SOON, stream.write_all(&sent)).await.unwrap().unwrap();
        stream.shutdown().await.unwrap();
    });
    assert!(served.recv().unwrap(), "other bytes arrived");
}

/// Datagrams of all sizes, one after the other, each answered by itself.
fn datagrams(from: &Side, to: &Side, address: &str, sizes: &'static [usize]) {
    let at = SocketAddr::new(address.parse().unwrap(), 7001);
    let any = SocketAddr::new(if at.is_ipv4() { "0.0.0.0" } else { "::" }.parse().unwrap(), 0);
    let echo = to.host.run(move || async move { UdpSocket::bind(at).await.unwrap() });
    let answered = to.host.start(move || async move {
        let mut buffer = vec![0; 65_535];
        for _ in sizes {
            let (length, from) = timeout(SOON, echo.recv_from(&mut buffer)).await.unwrap().unwrap();
            echo.send_to(&buffer[..length], from).await.unwrap();
        }
    });
    from.host.run(move || async move {
        let socket = UdpSocket::bind(any).await.unwrap();
        let mut buffer = vec![0; 65_535];
        for size in sizes {
            let sent: Vec<u8> = (0..*size).map(|n| u8::try_from((n ^ size) % 251).unwrap()).collect();
            socket.send_to(&sent, at).await.unwrap();
            let length = timeout(SOON, socket.recv(&mut buffer)).await.expect("an answer").unwrap();
            assert!(buffer[..length] == sent, "{size} bytes came back as {length}, or others");
        }
    });
    answered.recv().unwrap();
}

#[test]
fn each_help_of_the_kernels_may_be_missing_on_either_side() {
    let all = Offloads::default();
    let kinds = [
        all,
        Offloads::none(),
        Offloads { tun: false, ..all },
        Offloads { tun_udp: false, ..all },
        Offloads { udp_send: false, ..all },
        Offloads { udp_receive: false, ..all },
    ];
    for offloads in kinds {
        let (one, two) = pair(offloads, all, 1420);
        stream(&one, &two, "198.51.100.2");
        stream(&two, &one, "fd00::1");
        datagrams(&one, &two, "198.51.100.2", &[1, 64, 1_392, 1_393, 9_000, 65_507]);
        assert!(one.observe().peers.values().all(|peer| peer.received_bytes > 4 << 20), "{offloads:?}");
    }
}

#[test]
fn a_path_smaller_than_the_tunnel_carries_it_in_fragments() {
    let all = Offloads::default();
    let (one, two) = pair(all, all, 1420);
    for side in [&one, &two] {
        side.host.ip("link set eth0 mtu 1300");
    }
    stream(&one, &two, "198.51.100.2");
    datagrams(&two, &one, "fd00::1", &[1, 1_372, 20_000]);
    // And the tunnel itself made smaller, while it runs.
    for side in [&one, &two] {
        side.host.ip("link set picket0 mtu 1280");
    }
    stream(&two, &one, "fd00::1");
    stream(&one, &two, "198.51.100.2");
}

#[test]
fn an_answer_leaves_from_the_address_that_was_asked() {
    let (one, two) = Host::pair();
    // The address the kernel would choose for answers is another one than the dialler knows.
    two.ip("address delete 192.0.2.2/24 dev eth0");
    two.ip("address add 192.0.2.222/24 dev eth0");
    two.ip("address add 192.0.2.2/24 dev eth0");
    // A dialler whose own filter lets in nothing but answers.
    for rule in [
        "add table ip strict",
        "add chain ip strict in { type filter hook input priority 0 ; policy accept ; }",
        "add rule ip strict in udp dport 51820 ip saddr != 192.0.2.2 drop",
    ] {
        one.command(&format!("nft {rule}")).unwrap();
    }
    let (two, one) = (
        End::open(two, picket_wireguard::Preference::Userspace),
        End::open(one, picket_wireguard::Preference::Userspace),
    );
    two.apply(&device(2, None));
    one.apply(&device(1, Some(crate::OUTER_V4)));
    one.ping("198.51.100.2");
    two.ping("fd00::1");
    let found = one.peer(key(2).public());
    assert_eq!(found.endpoint, Some(crate::OUTER_V4.parse().unwrap()));
}

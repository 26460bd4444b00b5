//! Tunnels between hosts in network namespaces, with real packets. To be run as root; the host's own network is not
//! touched.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod flood;
mod host;
mod kernel;
mod offloads;
mod steering;
mod tools;

use host::{A_WHILE, Host, SOON, until};
use ipnet::IpNet;
use picket_model::WireGuardPublicKey;
use picket_wireguard::{
    Changes, DeviceConfig, DeviceState, Engine, Error, PeerConfig, PeerState, Preference, PrivateKey, Tunnel,
};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Mutex,
    time::timeout,
};

const PORT: u16 = 51820;
/// Overlay addresses of both hosts, in both families.
const OVERLAY: [(&str, &str); 2] = [("198.51.100.1", "198.51.100.2"), ("fd00::1", "fd00::2")];
const OUTER_V4: &str = "192.0.2.2:51820";
const OUTER_V6: &str = "[2001:db8::2]:51820";

/// The engine that tests are of where they name none: ours, or what `PICKET_ENGINE` names. `cargo xtask test --kernel` names the
/// kernel's, on a machine that has it.
fn tested() -> Preference {
    std::env::var("PICKET_ENGINE").map_or(Preference::Userspace, |name| name.parse().unwrap())
}

/// A host with a tunnel.
struct End {
    host: Host,
    tunnel: Arc<Mutex<Tunnel>>,
}

impl End {
    fn open(host: Host, preference: Preference) -> Self {
        let tunnel = host.run(move || async move { Tunnel::open("picket0", preference, None).await.unwrap() });
        Self { host, tunnel: Arc::new(Mutex::new(tunnel)) }
    }

    /// Both steps, as an agent takes them; what they changed.
    fn apply(&self, wanted: &DeviceConfig) -> (Changes, Changes) {
        self.try_apply(wanted).unwrap()
    }

    fn try_apply(&self, wanted: &DeviceConfig) -> Result<(Changes, Changes), Error> {
        let (tunnel, wanted) = (self.tunnel.clone(), wanted.clone());
        self.host.run(move || async move {
            let mut tunnel = tunnel.lock().await;
            Ok((tunnel.prepare(&wanted).await?, tunnel.connect(&wanted).await?))
        })
    }

    fn observe(&self) -> DeviceState {
        let tunnel = self.tunnel.clone();
        self.host.run(move || async move { tunnel.lock().await.observe().await.unwrap() })
    }

    fn peer(&self, key: WireGuardPublicKey) -> PeerState {
        self.observe().peers[&key].clone()
    }

    fn until_peer(&self, key: WireGuardPublicKey, what: &'static str, holds: fn(&PeerState) -> bool) {
        let tunnel = self.tunnel.clone();
        self.host.run(move || async move {
            until(what, async || holds(&tunnel.lock().await.observe().await.unwrap().peers[&key])).await;
        });
    }

    fn ping(&self, to: &str) {
        assert!(self.host.ping(to, 0, SOON), "no answer from {to}");
    }
}

fn key(n: u8) -> PrivateKey {
    PrivateKey::from_random([n; 32])
}

fn networks(list: &[&str]) -> impl Iterator<Item = IpNet> {
    list.iter().map(|text| IpNet::from(text.parse::<std::net::IpAddr>().unwrap()))
}

/// What host `own` of the two wants; it dials the other where it is told an endpoint.
fn device(own: u8, endpoint: Option<&str>) -> DeviceConfig {
    let (one, two): (Vec<_>, Vec<_>) = OVERLAY.into_iter().unzip();
    let (mine, theirs, other) = if own == 1 { (one, two, 2) } else { (two, one, 1) };
    let peer = PeerConfig {
        endpoint: endpoint.map(|text| text.parse().unwrap()),
        allowed_ips: networks(&theirs).collect(),
        keepalive_seconds: endpoint.map(|_| 25),
        preshared_key: None,
    };
    DeviceConfig {
        name: "picket0".into(),
        private_key: key(own),
        listen_port: PORT,
        addresses: networks(&mine).collect(),
        mtu: 1420,
        steering: picket_wireguard::Steering::default(),
        peers: BTreeMap::from([(key(other).public(), peer)]),
    }
}

/// Two hosts of which the first dials the second at `outer`, connected.
fn connected(preferences: (Preference, Preference), outer: &str) -> (End, End) {
    let (one, two) = Host::pair();
    let (one, two) = (End::open(one, preferences.0), End::open(two, preferences.1));
    two.apply(&device(2, None));
    one.apply(&device(1, Some(outer)));
    one.until_peer(key(2).public(), "the handshake is complete", |peer| peer.last_handshake.is_some());
    (one, two)
}

/// The same, with ours at both ends.
fn userspace(outer: &str) -> (End, End) {
    connected((Preference::Userspace, Preference::Userspace), outer)
}

/// The same, with the engine that tests are of at both ends.
fn alike(outer: &str) -> (End, End) {
    connected((tested(), tested()), outer)
}

/// A megabyte there and back over TCP.
fn transfer(from: &End, to: &End, address: &str) {
    let at: SocketAddr = SocketAddr::new(address.parse().unwrap(), 7000);
    let (ready, listening) = std::sync::mpsc::channel();
    let served = to.host.start(move || async move {
        let listener = TcpListener::bind(at).await.unwrap();
        ready.send(()).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        (&mut stream).take(1 << 20).read_to_end(&mut received).await.unwrap();
        stream.write_all(&received).await.unwrap();
    });
    listening.recv().unwrap();
    from.host.run(move || async move {
        let sent: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_le_bytes).collect();
        let exchange = async {
            let (mut reader, mut writer) = TcpStream::connect(at).await.unwrap().into_split();
            let mut received = Vec::new();
            let (written, _) = tokio::join!(writer.write_all(&sent), reader.read_to_end(&mut received));
            written.unwrap();
            assert!(received == sent, "{} bytes came back, or others", received.len());
        };
        timeout(SOON, exchange).await.expect("the transfer ends");
    });
    served.recv().unwrap();
}

#[test]
fn packets_of_both_families_pass_over_both_families() {
    // Where the kernel has WireGuard, `Auto` makes this a test of it, and of both engines with each other.
    let (ours, any) = (Preference::Userspace, Preference::Auto);
    for (preferences, outer) in [((ours, ours), OUTER_V4), ((ours, any), OUTER_V6), ((any, ours), OUTER_V4)] {
        let (one, two) = connected(preferences, outer);
        for (first, second) in OVERLAY {
            one.ping(second);
            two.ping(first);
            transfer(&one, &two, second);
            transfer(&two, &one, first);
        }
        // The largest packet the MTU allows, in one piece: 1420 less 20 for IPv4 and 8 for ICMP.
        assert!(one.host.ping("198.51.100.2", 1392, SOON));
        let outer: SocketAddr = outer.parse().unwrap();
        assert_eq!(one.peer(key(2).public()).endpoint, Some(outer));
        assert!(two.peer(key(1).public()).received_bytes > 4 << 20);
    }
}

#[test]
fn applied_twice_changes_nothing() {
    let (one, _two) = alike(OUTER_V4);
    let wanted = device(1, Some(OUTER_V4));
    assert_eq!(one.apply(&wanted), (Changes::default(), Changes::default()));
    let monitor = one.host.ip("-d link show dev picket0");
    assert_eq!(one.apply(&wanted), (Changes::default(), Changes::default()));
    assert_eq!(one.host.ip("-d link show dev picket0"), monitor);
}

#[test]
fn no_peer_comes_before_it_is_connected_and_leavers_go_first() {
    let (one, two) = alike(OUTER_V4);
    let mut wanted = device(1, None);
    let old = wanted.peers.pop_first().unwrap();
    wanted.peers.insert(key(3).public(), PeerConfig::default());
    let tunnel = one.tunnel.clone();
    let (state, later) = one.host.run(move || async move {
        let mut tunnel = tunnel.lock().await;
        tunnel.prepare(&wanted).await.unwrap();
        (tunnel.observe().await.unwrap(), tunnel.connect(&wanted).await.unwrap())
    });
    assert!(state.peers.is_empty(), "{} is gone, and the new one waits", old.0);
    let lines = "remove route 198.51.100.2/32\nremove route fd00::2/128\n";
    assert_eq!(later.to_string(), format!("add peer {}, allowed ips none\n{lines}", key(3).public()));
    drop(two);
}

#[test]
fn a_removed_peer_is_cut_in_the_middle_of_a_stream() {
    let (one, two) = alike(OUTER_V4);
    let at: SocketAddr = "198.51.100.2:7000".parse().unwrap();
    let listener = two.host.run(move || async move { TcpListener::bind(at).await.unwrap() });
    let mut stream = one.host.run(move || async move { TcpStream::connect(at).await.unwrap() });
    let mut accepted = two.host.run(move || async move { listener.accept().await.unwrap().0 });
    stream = one.host.run(move || async move {
        stream.write_all(b"before").await.unwrap();
        stream
    });
    accepted = two.host.run(move || async move {
        timeout(SOON, accepted.read_exact(&mut [0; 6])).await.unwrap().unwrap();
        accepted
    });
    let mut without = device(2, None);
    without.peers.clear();
    two.apply(&without);
    one.host.run(move || async move { stream.write_all(b"after").await.unwrap() });
    let heard = two.host.run(move || async move { timeout(A_WHILE, accepted.read(&mut [0; 6])).await.is_ok() });
    assert!(!heard);
    assert!(!one.host.ping("198.51.100.2", 0, A_WHILE));
}

#[test]
fn a_peer_that_moves_is_followed() {
    let (one, two) = alike(OUTER_V4);
    one.host.ip("address delete 192.0.2.1/24 dev eth0");
    one.host.ip("address add 192.0.2.77/24 dev eth0");
    one.ping("198.51.100.2");
    let found = two.peer(key(1).public()).endpoint;
    assert_eq!(found, Some("192.0.2.77:51820".parse().unwrap()));
    two.ping("fd00::1");
    assert_eq!(two.apply(&device(2, None)), (Changes::default(), Changes::default()));
}

#[test]
fn a_stranger_gets_nothing() {
    let (one, two) = Host::pair();
    let (stranger, waiter) = (End::open(one, tested()), End::open(two, tested()));
    waiter.apply(&device(2, None));
    let mut strange = device(1, Some(OUTER_V4));
    strange.private_key = key(9);
    stranger.apply(&strange);
    assert!(!stranger.host.ping("198.51.100.2", 0, A_WHILE));
    let seen = stranger.peer(key(2).public());
    assert!(seen.sent_bytes > 0);
    assert_eq!((seen.received_bytes, seen.last_handshake), (0, None));
    assert_eq!(waiter.peer(key(1).public()).endpoint, None);

    strange.private_key = key(1);
    stranger.apply(&strange);
    stranger.ping("198.51.100.2");
}

#[test]
fn a_source_outside_the_allowed_ips_is_dropped() {
    let (one, two) = alike(OUTER_V4);
    one.host.ip("address add 198.51.100.66/32 dev picket0");
    let at: SocketAddr = "198.51.100.2:7000".parse().unwrap();
    let listener = two.host.run(move || async move { UdpSocket::bind(at).await.unwrap() });
    one.host.run(move || async move {
        for source in ["198.51.100.66:1", "198.51.100.1:1"] {
            UdpSocket::bind(source).await.unwrap().send_to(source.as_bytes(), at).await.unwrap();
        }
    });
    let (text, from) = two.host.run(move || async move {
        let mut buffer = [0; 64];
        let (length, from) = timeout(SOON, listener.recv_from(&mut buffer)).await.unwrap().unwrap();
        (String::from_utf8(buffer[..length].to_vec()).unwrap(), from.to_string())
    });
    assert_eq!((text.as_str(), from.as_str()), ("198.51.100.1:1", "198.51.100.1:1"), "the first one was dropped");
}

#[test]
fn only_our_own_routes_and_addresses_are_touched() {
    let (one, _two) = alike(OUTER_V4);
    one.host.ip("route add 203.0.113.0/25 dev picket0");
    one.host.ip("route add 203.0.113.128/25 dev eth0");
    let before = one.host.ip("route show table all");
    let mut wanted = device(1, Some(OUTER_V4));
    wanted.mtu = 1400;
    wanted.addresses.insert("fd00::99/128".parse().unwrap());
    let peer = wanted.peers.get_mut(&key(2).public()).unwrap();
    peer.allowed_ips.insert("198.51.100.64/26".parse().unwrap());
    one.apply(&wanted);
    assert!(one.host.ip("link show dev picket0").contains("mtu 1400"));
    assert!(one.host.ip("route show").contains("198.51.100.64/26 dev picket0 proto 112"));
    one.apply(&device(1, Some(OUTER_V4)));
    assert_eq!(one.host.ip("route show table all"), before);
    assert!(!one.host.ip("address show dev picket0").contains("fe80::"), "no link-local address");

    let mut taken = device(1, Some(OUTER_V4));
    let peer = taken.peers.get_mut(&key(2).public()).unwrap();
    peer.allowed_ips.insert("203.0.113.128/25".parse().unwrap());
    let error = one.try_apply(&taken).unwrap_err();
    assert_eq!(error.to_string(), "add route 203.0.113.128/25");
    assert!(one.host.ip("route show").contains("203.0.113.128/25 dev eth0"));
}

#[test]
fn a_link_that_is_not_ours_is_left_alone() {
    for (kind, make) in [("veth", "link add picket0 type veth"), ("tun", "tuntap add picket0 mode tun")] {
        let host = Host::new();
        host.ip(make);
        let before = host.ip("-d link show dev picket0");
        for preference in [Preference::Auto, Preference::Kernel, Preference::Userspace] {
            let error = host.run(move || async move { Tunnel::open("picket0", preference, None).await.unwrap_err() });
            assert!(matches!(&error, Error::NameTaken { kind: found, .. } if found == kind), "{error}");
        }
        assert_eq!(host.ip("-d link show dev picket0"), before);
    }
}

#[test]
fn a_link_of_ours_bears_our_mark() {
    let end = End::open(Host::new(), Preference::Auto);
    assert!(end.host.ip("link show dev picket0").contains("alias picket"));
}

#[test]
fn kernel_wireguard_is_used_or_missed_by_name() {
    let host = Host::new();
    match host.run(|| async { Tunnel::open("picket0", Preference::Kernel, None).await }) {
        Ok(tunnel) => assert_eq!(tunnel.engine(), Engine::Kernel),
        Err(error) => {
            assert!(matches!(error, Error::NoKernelWireGuard), "{error}");
            let engine = host.run(|| async { Tunnel::open("picket0", Preference::Auto, None).await.unwrap().engine() });
            assert_eq!(engine, Engine::Userspace);
        }
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let (one, _two) = Host::pair();
    let other = one.run(|| async { UdpSocket::bind(("0.0.0.0", PORT)).await.unwrap() });
    let end = End::open(one, tested());
    let error = end.try_apply(&device(1, None)).unwrap_err();
    assert!(matches!(error, Error::PortTaken { port: PORT }), "{error}");
    drop(other);
    end.apply(&device(1, None));
    assert_eq!(end.observe().listen_port, PORT);
}

#[test]
fn a_host_without_ipv6_says_so_and_carries_ipv4() {
    let (one, two) = Host::pair();
    one.command("sysctl -q net.ipv6.conf.default.disable_ipv6=1").unwrap();
    let (one, two) = (End::open(one, tested()), End::open(two, tested()));
    let mut wanted = device(1, Some(OUTER_V4));
    let error = one.try_apply(&wanted).unwrap_err();
    assert!(matches!(error, Error::NoIpv6 { .. }), "{error}");

    wanted.addresses.retain(|address| address.addr().is_ipv4());
    wanted.peers.values_mut().for_each(|peer| peer.allowed_ips.retain(|network| network.addr().is_ipv4()));
    one.apply(&wanted);
    two.apply(&device(2, None));
    one.ping("198.51.100.2");
}

#[test]
fn the_device_goes_with_the_engine_and_comes_back_with_the_next() {
    let (one, two) = alike(OUTER_V4);
    let End { host, tunnel } = one;
    drop(tunnel);
    host.run(|| async { until("the link is gone", async || !device_is_there()).await });
    let one = End::open(host, tested());
    one.apply(&device(1, Some(OUTER_V4)));
    one.ping("198.51.100.2");
    two.ping("fd00::1");
}

#[test]
fn a_device_somebody_deleted_is_made_anew() {
    let (one, _two) = alike(OUTER_V4);
    one.host.ip("link delete picket0");
    let tunnel = one.tunnel.clone();
    one.host.run(move || async move {
        let gone = async || matches!(tunnel.lock().await.observe().await, Err(Error::Gone { .. }));
        until("the engine has noticed", gone).await;
    });
    let (tunnel, wanted) = (one.tunnel.clone(), device(1, Some(OUTER_V4)));
    one.host.run(move || async move {
        // A program that another test is just starting holds all that was open here, until it has begun.
        let made = async || match tunnel.lock().await.prepare(&wanted).await {
            Err(Error::PortTaken { .. }) => false,
            result => result.is_ok(),
        };
        until("its successor", made).await;
    });
    one.apply(&device(1, Some(OUTER_V4)));
    one.ping("198.51.100.2");
}

#[test]
fn a_device_that_leaves_is_gone_at_once() {
    let (one, _two) = alike(OUTER_V4);
    let End { host, tunnel } = one;
    host.run(move || async move { Arc::into_inner(tunnel).unwrap().into_inner().remove().await.unwrap() });
    assert!(host.command("ip link show dev picket0").is_err());
}

/// Whether the interface is among those of this thread's namespace.
fn device_is_there() -> bool {
    std::fs::read_to_string("/proc/thread-self/net/dev").unwrap().contains("picket0:")
}

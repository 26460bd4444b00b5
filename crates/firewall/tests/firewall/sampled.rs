//! Random policies in the kernel, sampled by packets: what arrives is what the model of the ruleset lets in, to the packet.

use crate::{
    namespace::Namespace,
    packet::{Kind, Meters, Packet, decide},
    policies::{lowered, policy},
};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, recv, sendto, setsockopt,
    socket, sockopt,
};
use picket_firewall::{Firewall, Nft, Ruleset};
use picket_model::{GuardedPort, Protocol};
use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::TestRunner,
};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

const SERVER4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const SERVER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const POLICIES: usize = 36;
const PACKETS: u16 = 90;
/// Of nobody's policy: a packet to it arrives after all before it.
const NEVER_GUARDED: u16 = 5353;
const PATIENCE: Duration = Duration::from_secs(10);

/// What a packet's source port tells: which of the packets it is.
const FIRST_NUMBER: u16 = 20_000;

#[test]
fn what_a_random_policy_lets_in_is_what_arrives() {
    let wire = Wire::new();
    let mut runner = TestRunner::deterministic();
    let (mut let_in, mut refused) = (0, 0);
    for step in 0..POLICIES {
        let wanted = lowered(&policy().new_tree(&mut runner).unwrap().current());
        // Meters of before would go on counting.
        wire.server.nft(&["flush", "ruleset"]);
        wire.server.enter(async || Firewall::new(Nft::locate().unwrap()).reconcile(&wanted).await.unwrap());
        let (arrived, expected) = (wire.arrived(step), wire.expected(step, &wanted));
        assert_eq!(arrived, expected, "policy {step}:\n{wanted}");
        let_in += expected.len();
        refused += usize::from(PACKETS) - expected.len();
    }
    assert!(let_in > 500 && refused > 500, "{let_in} let in, {refused} refused: neither is worth much");
}

/// The packets of a step: sources and ports that the policies are about, in turn, so that none is asked often.
fn packet(step: usize, number: u16) -> (IpAddr, GuardedPort) {
    let turn = usize::from(number) + step * 7;
    let last = u8::try_from(turn * 5 % 64).unwrap();
    let source = match number % 2 {
        0 => IpAddr::from([203, 0, 113, last]),
        _ => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last)]),
    };
    let protocol = if (turn / 2).is_multiple_of(2) { Protocol::Tcp } else { Protocol::Udp };
    let port = [1, 7100, 7101, 9000, 65535][turn / 4 % 5];
    (source, GuardedPort { protocol, port: port.try_into().unwrap() })
}

/// A server behind the firewall, and a world that sends in any name.
struct Wire {
    server: Namespace,
    _world: Namespace,
    send: [OwnedFd; 2],
    /// See what passed, of either protocol and family, before any program would.
    hear: Vec<(OwnedFd, bool)>,
}

impl Wire {
    fn new() -> Self {
        let (server, world) = (Namespace::new(), Namespace::new());
        server.wire(&world);
        let [near, far] = ["02:00:00:00:00:01", "02:00:00:00:00:02"];
        server.ip(&["link", "set", "wire0", "address", near]);
        world.ip(&["link", "set", "wire0", "address", far]);
        server.ip(&["address", "add", &format!("{SERVER4}/32"), "dev", "wire0"]);
        server.ip(&["address", "add", &format!("{SERVER6}/128"), "dev", "wire0", "nodad"]);
        world.ip(&["address", "add", "192.0.2.1/32", "dev", "wire0"]);
        for range in ["203.0.113.0/24", "2001:db8::/64"] {
            server.ip(&["route", "add", range, "dev", "wire0"]);
        }
        for to in [SERVER4.to_string(), SERVER6.to_string()] {
            world.ip(&["route", "add", &to, "dev", "wire0"]);
            world.ip(&["neigh", "replace", &to, "lladdr", near, "dev", "wire0", "nud", "permanent"]);
        }
        let raw = |family, protocol| socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).unwrap();
        let families = [AddressFamily::Inet, AddressFamily::Inet6];
        let send = world.enter(async || families.map(|family| raw(family, SockProtocol::Raw)));
        let hear = server.enter(async || {
            let kinds =
                families.map(|family| [SockProtocol::Tcp, SockProtocol::Udp].map(|protocol| (family, protocol)));
            let open = |(family, protocol)| {
                let socket = socket(family, SockType::Raw, SockFlag::SOCK_NONBLOCK, protocol).unwrap();
                setsockopt(&socket, sockopt::RcvBuf, &(1 << 20)).unwrap();
                (socket, family == AddressFamily::Inet)
            };
            kinds.into_iter().flatten().map(open).collect()
        });
        Self { server, _world: world, send, hear }
    }

    /// Sends all packets of a step; the numbers of those that arrived.
    fn arrived(&self, step: usize) -> BTreeSet<u16> {
        self.hear.iter().for_each(|(socket, _)| while heard(socket).is_some() {});
        (0..PACKETS).for_each(|number| {
            let (source, to) = packet(step, number);
            self.send(source, to, FIRST_NUMBER + number);
        });
        // On each of the four ways something that comes last.
        let last = [Protocol::Tcp, Protocol::Udp]
            .map(|protocol| GuardedPort { protocol, port: NEVER_GUARDED.try_into().unwrap() });
        for (of, source) in [IpAddr::from([203, 0, 113, 99]), "2001:db8::99".parse().unwrap()].into_iter().enumerate() {
            for (to, number) in last.into_iter().zip(1..) {
                self.send(source, to, FIRST_NUMBER - 10 * u16::try_from(of).unwrap() - number);
            }
        }
        let (started, mut arrived) = (Instant::now(), BTreeSet::new());
        for (socket, is_v4) in &self.hear {
            loop {
                assert!(started.elapsed() < PATIENCE, "the last packet did not arrive");
                let Some(packet) = heard(socket) else {
                    std::thread::yield_now();
                    continue;
                };
                // A raw socket of IPv4 hears the header as well.
                let ports = &packet[if *is_v4 { 20 } else { 0 }..];
                let number = u16::from_be_bytes([ports[0], ports[1]]);
                if u16::from_be_bytes([ports[2], ports[3]]) == NEVER_GUARDED {
                    break;
                }
                arrived.extend(number.checked_sub(FIRST_NUMBER));
            }
        }
        arrived
    }

    /// The same as the model has it.
    fn expected(&self, step: usize, ruleset: &Ruleset) -> BTreeSet<u16> {
        let is_let_in = |number: &u16| {
            let (source, to) = packet(step, *number);
            let kind = if to.protocol == Protocol::Tcp { Kind::FirstSyn } else { Kind::New };
            let packet = Packet { interface: "wire0".to_owned(), source, to, passing: None, kind };
            decide(ruleset, &packet, Meters::Within).accepted
        };
        (0..PACKETS).filter(is_let_in).collect()
    }

    fn send(&self, source: IpAddr, to: GuardedPort, number: u16) {
        let packet = written(source, to, number);
        let [four, six] = &self.send;
        match source {
            IpAddr::V4(_) => {
                let to = SockaddrIn::from(SocketAddrV4::new(SERVER4, 0));
                sendto(four.as_raw_fd(), &packet, &to, MsgFlags::empty())
            }
            IpAddr::V6(_) => {
                let to = SockaddrIn6::from(SocketAddrV6::new(SERVER6, 0, 0, 0));
                sendto(six.as_raw_fd(), &packet, &to, MsgFlags::empty())
            }
        }
        .unwrap();
    }
}

fn heard(socket: &OwnedFd) -> Option<Vec<u8>> {
    let mut packet = vec![0; 2048];
    let length = recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty()).ok()?;
    packet.truncate(length);
    Some(packet)
}

/// A whole packet, RFC 791 or 8200: a SYN (RFC 9293), or an empty datagram (RFC 768).
fn written(source: IpAddr, to: GuardedPort, number: u16) -> Vec<u8> {
    let (protocol, mut segment, checked) = match to.protocol {
        Protocol::Tcp => (6, vec![0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0], 16),
        Protocol::Udp => (17, vec![0, 0, 0, 0, 0, 8, 0, 0], 6),
    };
    segment.splice(0..2, number.to_be_bytes());
    segment.splice(2..4, to.port.get().to_be_bytes());
    let length = u8::try_from(segment.len()).unwrap();
    let (header, addresses) = match source {
        // Total length, id and checksum are the kernel's to fill in.
        IpAddr::V4(source) => {
            (vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0], [source.octets(), SERVER4.octets()].concat())
        }
        IpAddr::V6(source) => {
            (vec![0x60, 0, 0, 0, 0, length, protocol, 64], [source.octets(), SERVER6.octets()].concat())
        }
    };
    let covered = [&addresses[..], &[0, protocol, 0, length], &segment].concat();
    segment.splice(checked..checked + 2, checksum(&covered).to_be_bytes());
    [header, addresses, segment].concat()
}

/// The internet checksum, RFC 1071, of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let sum = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()
}

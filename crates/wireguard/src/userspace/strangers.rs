//! The engine without IO, offered whatever bytes somebody may send it: for the fuzz target and for tests, never shipped.

use super::{
    flow::Layout,
    join::{Joiner, Joins},
    path::Path,
    split::Segments,
    tunnels::{Now, Outbox, Tunnels},
    vnet::{self, Header},
};
use crate::{device::PeerConfig, diff::DeviceChange, key::PrivateKey};
use picket_model::Timestamp;
use std::{net::SocketAddr, time::Instant};

/// What came out, and has not been taken yet.
#[derive(Default)]
struct Out {
    rooms: [Vec<u8>; 2],
    datagrams: Vec<Vec<u8>>,
    packets: Vec<Vec<u8>>,
}

impl Outbox for Out {
    fn datagram_room(&mut self, bytes: usize) -> &mut [u8] {
        self.rooms[0].resize(bytes, 0);
        &mut self.rooms[0]
    }

    fn to_network(&mut self, _path: Path, _ecn: u8, length: usize) {
        self.datagrams.push(self.rooms[0][..length].to_vec());
    }

    fn packet_room(&mut self, bytes: usize) -> &mut [u8] {
        self.rooms[1].resize(bytes, 0);
        &mut self.rooms[1]
    }

    fn to_host(&mut self, length: usize) {
        self.packets.push(self.rooms[1][..length].to_vec());
    }
}

/// Offers bytes to a connected pair of devices: as a datagram from anywhere, as what a TUN interface hands over, and as a
/// packet inside the tunnel. Ends the program where one of them does more than it may.
#[expect(clippy::expect_used, clippy::panic, reason = "a broken promise ends the program: that is what it is for")]
pub fn offer(bytes: &[u8]) {
    let now = Now { steady: Instant::now(), wall: Timestamp::from_millis(1_800_000_000_000) };
    let path = Path::from(SocketAddr::from(([192, 0, 2, 1], 7)));
    let (mut one, mut two, mut out) = (Tunnels::new(3), Tunnels::new(7), Out::default());
    let keys = [PrivateKey::from_random([1; 32]), PrivateKey::from_random([2; 32])];
    for (end, own, other, dials) in [(&mut two, 1, 0, false), (&mut one, 0, 1, true)] {
        let peer = PeerConfig {
            endpoint: dials.then_some(path.remote),
            allowed_ips: ["0.0.0.0/0", "::/0"].into_iter().filter_map(|text| text.parse().ok()).collect(),
            keepalive_seconds: dials.then_some(25),
            preshared_key: None,
        };
        end.apply(now, &DeviceChange::SetPrivateKey(keys[own].clone()), &mut out).expect("a key");
        end.apply(now, &DeviceChange::AddPeer(keys[other].public(), peer), &mut out).expect("a peer");
    }
    // Initiation, response, and the keepalive that confirms.
    for end in [&mut two, &mut one, &mut two] {
        let datagram = out.datagrams.pop().expect("a message of the handshake");
        end.datagram(now, path, 0, &datagram, &mut out);
    }

    // From the network: whoever does not know the keys changes nothing.
    let before = two.state();
    two.datagram(now, path, 3, bytes, &mut out);
    assert!(two.state() == before && out.packets.is_empty(), "bytes of a stranger had an effect");

    // From the host: a header and a packet, however wrong, become packets no longer than what was read, and arrive.
    out.datagrams.clear();
    if let Some((header, packet)) = bytes.split_first_chunk::<{ vnet::LENGTH }>() {
        let mut packet = packet.to_vec();
        let length = packet.len();
        if let Some(mut segments) = Header::read(header).and_then(|header| Segments::new(header, &mut packet)) {
            while let Some(segment) = segments.next() {
                assert!(segment.len() <= length, "a segment is longer than the whole");
                one.packet(now, segment, &mut out);
            }
        }
    }
    for datagram in std::mem::take(&mut out.datagrams) {
        two.datagram(now, path, 0, &datagram, &mut out);
    }

    // To the host: what was joined is, split again, what arrived.
    let packets = std::mem::take(&mut out.packets);
    let (mut joiner, mut arena) = (Joiner::new(Joins { tcp: true, udp: true }), Vec::new());
    for packet in packets.iter().flat_map(|packet| [packet, packet]) {
        let start = arena.len();
        arena.extend_from_slice(packet);
        joiner.push(&arena, start..arena.len());
    }
    let mut again = Vec::new();
    joiner.drain(&mut arena, |header, pieces| {
        let mut whole: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
        let header = Header::read(header).unwrap_or_else(|| panic!("a header of ours makes no sense: {header:?}"));
        let mut segments = Segments::new(header, &mut whole).expect("a header of ours fits its packet");
        while let Some(segment) = segments.next() {
            again.push(segment.to_vec());
        }
    });
    let mut expected: Vec<_> = packets.iter().flat_map(|packet| [packet.clone(), packet.clone()]).collect();
    if !packets.iter().any(|packet| Layout::of(packet).is_some()) {
        assert!(again == expected, "what nothing is joined to changed");
    }
    again.sort();
    expected.sort();
    assert!(again == expected, "joining and splitting changed a packet");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn strangers_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            offer(&bytes);
        }

        /// Truncated and giant ones too, as an interface might hand them over.
        #[test]
        fn packets_with_odd_headers_do_no_harm(
            kind in 0..6_u8, first in prop_oneof![Just(0x45_u8), Just(0x60)], protocol in prop_oneof![Just(6_u8), Just(17)],
            size in 1..2_000_u16, length in prop_oneof![0..200_usize, Just(65_535), Just(70_000)],
        ) {
            let start: u16 = if first == 0x45 { 20 } else { 40 };
            let offset: u16 = if protocol == 6 { 16 } else { 6 };
            let mut bytes = vec![1, kind];
            for word in [0, size, start, offset] {
                bytes.extend(word.to_ne_bytes());
            }
            let mut packet = vec![0; length];
            for (at, value) in [(0, first), (9, protocol), (6, if first == 0x60 { protocol } else { 0 }), (32, 0x50), (52, 0x50)] {
                if let Some(byte) = packet.get_mut(at) {
                    *byte = value;
                }
            }
            bytes.extend(packet);
            offer(&bytes);
        }
    }
}

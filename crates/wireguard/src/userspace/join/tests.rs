//! Joining, splitting, and that each undoes the other: with packets made here, whose checksums are made here too.

use super::super::split::{Segments, TCP, UDP};
use super::*;
use proptest::prelude::*;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;
const ECE: u8 = 0x40;
const CWR: u8 = 0x80;

/// What a packet of a test is made of.
#[derive(Clone, Debug)]
struct Packet {
    v6: bool,
    tcp: bool,
    port: u16,
    class: u8,
    hops: u8,
    id: u16,
    sequence: u32,
    flags: u8,
    window: u16,
    options: Vec<u8>,
    payload: Vec<u8>,
}

impl Packet {
    fn tcp(sequence: u32, payload: usize) -> Self {
        Self {
            v6: false,
            tcp: true,
            port: 443,
            class: 0,
            hops: 64,
            id: 7,
            sequence,
            flags: ACK,
            window: 512,
            options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            payload: (0..payload).map(|i| u8::try_from((i + sequence as usize) % 251).unwrap()).collect(),
        }
    }

    fn udp(payload: usize) -> Self {
        Self { tcp: false, options: Vec::new(), ..Self::tcp(0, payload) }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut transport = vec![0; if self.tcp { 20 + self.options.len() } else { 8 }];
        transport[..2].copy_from_slice(&self.port.to_be_bytes());
        transport[2..4].copy_from_slice(&5001_u16.to_be_bytes());
        let length = transport.len() + self.payload.len();
        if self.tcp {
            transport[4..8].copy_from_slice(&self.sequence.to_be_bytes());
            transport[8..12].copy_from_slice(&99_u32.to_be_bytes());
            transport[12] = u8::try_from(transport.len() / 4).unwrap() << 4;
            transport[13] = self.flags;
            transport[14..16].copy_from_slice(&self.window.to_be_bytes());
            transport[20..].copy_from_slice(&self.options);
        } else {
            transport[4..6].copy_from_slice(&be16(length));
        }
        transport.extend(&self.payload);
        let mut network = vec![0; if self.v6 { 40 } else { 20 }];
        let protocol = if self.tcp { TCP } else { UDP };
        if self.v6 {
            network[..4].copy_from_slice(&[0x60 | self.class >> 4, self.class << 4, 0, 5]);
            (network[6], network[7], network[23], network[39]) = (protocol, self.hops, 1, 2);
        } else {
            (network[0], network[1], network[6], network[8], network[9]) =
                (0x45, self.class, 0x40, self.hops, protocol);
            network[4..6].copy_from_slice(&self.id.to_be_bytes());
            network[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        }
        write_lengths(&mut network, length, 0);
        let at = if self.tcp { 16 } else { 6 };
        let pseudo = pseudo_header(addresses(&network), protocol, u16::try_from(length).unwrap());
        let checksum = super::super::checksum::complement(pseudo + super::super::checksum::sum(&transport));
        transport[at..at + 2].copy_from_slice(if checksum == [0, 0] && !self.tcp { &[0xff, 0xff] } else { &checksum });
        [network, transport].concat()
    }
}

/// What the host is given for these packets: each write's header and bytes.
fn joined(packets: &[Vec<u8>]) -> Vec<(Header, Vec<u8>)> {
    join_with(Joins { tcp: true, udp: true }, packets)
}

fn join_with(joins: Joins, packets: &[Vec<u8>]) -> Vec<(Header, Vec<u8>)> {
    let (mut joiner, mut arena, mut writes) = (Joiner::new(joins), Vec::new(), Vec::new());
    for packet in packets {
        let start = arena.len();
        arena.extend(packet);
        joiner.push(&arena, start..arena.len());
    }
    assert!(joiner.len() <= packets.len());
    joiner.drain(&mut arena, |header, pieces| {
        writes.push((Header::read(header).unwrap(), pieces.iter().flat_map(|piece| piece.to_vec()).collect()));
    });
    assert_eq!(joiner.len(), 0);
    writes
}

/// What a kernel would make of a write.
fn split(header: Header, mut packet: Vec<u8>) -> Vec<Vec<u8>> {
    let mut segments = Segments::new(header, &mut packet).unwrap();
    std::iter::from_fn(|| segments.next().map(|segment| segment.to_vec())).collect()
}

/// Whether these become that many writes, and are the same again afterwards.
fn check(packets: &[Packet], writes: usize) {
    let packets: Vec<_> = packets.iter().map(Packet::bytes).collect();
    let found = joined(&packets);
    assert_eq!(found.len(), writes, "{found:?}");
    let again: Vec<_> = found.into_iter().flat_map(|(header, packet)| split(header, packet)).collect();
    assert_eq!(again, packets);
}

/// A run of consecutive pieces, the last of another size.
fn run(template: &Packet, count: u16, size: usize, last: usize) -> Vec<Packet> {
    (0..count)
        .map(|number| {
            let sequence = template.sequence.wrapping_add(u32::from(number) * u32::try_from(size).unwrap());
            let payload = Packet::tcp(sequence, if number + 1 == count { last } else { size }).payload;
            Packet { sequence, payload, id: template.id.wrapping_add(number), ..template.clone() }
        })
        .collect()
}

#[test]
fn consecutive_pieces_become_one_write_and_are_what_they_were() {
    for v6 in [false, true] {
        for template in [Packet::tcp(u32::MAX - 5_000, 0), Packet::udp(0)] {
            let template = Packet { v6, id: u16::MAX - 3, ..template };
            check(&run(&template, 10, 1_368, 1_368), 1);
            check(&run(&template, 10, 1_368, 1), 1);
            check(&run(&template, 2, 1, 1), 1);
            check(&run(&template, 64, 100, 99), 1);
            check(&run(&template, 65, 100, 100), 2);
            check(&run(&template, 60, 1_368, 1_368), 2);
        }
    }
}

#[test]
fn the_header_says_how_to_split_it() {
    let packets: Vec<_> = run(&Packet::tcp(1, 0), 3, 1_000, 500).iter().map(Packet::bytes).collect();
    let (header, packet) = joined(&packets).remove(0);
    assert_eq!(packet.len(), 52 + 2_500);
    assert_eq!(header.segmentation, Some((vnet::Segmentation::TcpV4, 1_000)));
    assert_eq!((header.checksum, header.header_length), (Some((20, 16)), 52));
    assert_eq!(u16::from_be_bytes([packet[2], packet[3]]), 2_552);
    // What the kernel is left to complete: the pseudo header's sum.
    let pseudo = pseudo_header(&packet[12..20], TCP, 2_532);
    assert_eq!(packet[36..38], fold(pseudo));
    let lone = joined(&packets[..1]).remove(0);
    assert_eq!(lone, (Header::default(), packets[0].clone()), "one alone is given as it came");
}

#[test]
fn what_linux_would_not_join_is_not_joined() {
    let two = run(&Packet::tcp(1_000, 0), 2, 100, 100);
    check(&two, 1);
    let with = |change: fn(&mut Packet)| {
        let mut packets = two.clone();
        change(&mut packets[1]);
        packets
    };
    let differing: [fn(&mut Packet); 13] = [
        |packet| packet.sequence += 1,
        |packet| packet.sequence -= 1,
        |packet| packet.id += 1,
        |packet| packet.class = 3,
        |packet| packet.hops = 63,
        |packet| packet.window = 511,
        |packet| packet.options[7] = 9,
        |packet| packet.port = 80,
        |packet| packet.flags |= FIN,
        |packet| packet.flags |= SYN,
        |packet| packet.flags |= URG,
        |packet| packet.flags |= CWR,
        |packet| packet.flags |= ECE,
    ];
    for change in differing {
        check(&with(change), 2);
    }
    check(&with(|packet| packet.payload.push(1)), 2);
    check(&with(|packet| packet.payload.clear()), 2);
    check(&[two[0].clone(), Packet { v6: true, ..two[1].clone() }], 2);
    // Congestion that is echoed in all of them is no hindrance, nor is a class of service.
    let echoed = Packet { flags: ACK | ECE, class: 0xb9, ..Packet::tcp(1, 0) };
    check(&run(&echoed, 5, 100, 100), 1);
    // An end that is wanted at once ends what is joined.
    let mut pushed = run(&Packet::tcp(1, 0), 4, 100, 100);
    pushed[1].flags |= PSH;
    check(&pushed, 2);
    let mut pushed = run(&Packet::tcp(1, 0), 4, 100, 50);
    pushed[3].flags |= PSH;
    check(&pushed, 1);
    // A short one in the middle is the last of its write.
    let mut short = run(&Packet::udp(0), 4, 100, 100);
    short[1].payload.truncate(60);
    check(&short, 2);
}

#[test]
fn nothing_is_vouched_for_that_is_not_sound() {
    for flipped in [30, 60, 140] {
        let mut packets: Vec<_> = run(&Packet::tcp(1, 0), 3, 100, 100).iter().map(Packet::bytes).collect();
        packets[1][flipped] ^= 1;
        let found = joined(&packets);
        assert!(
            found.contains(&(Header::default(), packets[1].clone())),
            "byte {flipped}: as it came, for the host to judge"
        );
    }
    let mut first: Vec<_> = run(&Packet::udp(0), 2, 100, 100).iter().map(Packet::bytes).collect();
    first[0][50] ^= 1;
    assert_eq!(joined(&first).len(), 2);
    let mut without: Vec<_> = run(&Packet::udp(0), 2, 100, 100).iter().map(Packet::bytes).collect();
    without.iter_mut().for_each(|packet| packet[26..28].copy_from_slice(&[0, 0]));
    assert_eq!(joined(&without).len(), 2, "without a checksum there is none to be found right");
}

#[test]
fn flows_are_joined_side_by_side_and_none_overtakes_itself() {
    let (one, two) =
        (run(&Packet::tcp(1, 0), 4, 100, 100), run(&Packet { port: 80, ..Packet::tcp(9, 0) }, 4, 100, 100));
    let mixed: Vec<_> = one.iter().zip(&two).flat_map(|(one, two)| [one.bytes(), two.bytes()]).collect();
    assert_eq!(joined(&mixed).len(), 2);

    // An acknowledgement in the middle of a flow stays in its place: what follows does not go before it.
    let mut held = one.clone();
    held.insert(2, Packet { payload: Vec::new(), id: 900, ..held[1].clone() });
    let bytes: Vec<_> = held.iter().map(Packet::bytes).collect();
    let found = joined(&bytes);
    assert_eq!(found.len(), 3);
    assert_eq!(found[1].1, bytes[2]);
}

#[test]
fn what_is_not_to_be_joined_is_left_alone() {
    let tcp: Vec<_> = run(&Packet::tcp(1, 0), 3, 100, 100).iter().map(Packet::bytes).collect();
    let udp: Vec<_> = run(&Packet::udp(0), 3, 100, 100).iter().map(Packet::bytes).collect();
    let none = Joins { tcp: false, udp: false };
    for (joins, packets, writes) in [
        (none, &tcp, 3),
        (none, &udp, 3),
        (Joins { udp: true, ..none }, &tcp, 3),
        (Joins { tcp: true, ..none }, &udp, 3),
        (Joins { tcp: true, ..none }, &tcp, 1),
    ] {
        assert_eq!(join_with(joins, packets).len(), writes);
    }
    let mut fragments = udp.clone();
    fragments.iter_mut().for_each(|packet| packet[6] = 0x20);
    assert_eq!(joined(&fragments).len(), 3);
}

#[test]
fn a_split_ends_and_begins_as_the_kernel_does_it() {
    // FIN and PSH are the last one's, CWR the first one's.
    let whole = Packet { flags: ACK | PSH | FIN | CWR, ..Packet::tcp(1, 250) }.bytes();
    let header =
        Header { checksum: Some((20, 16)), segmentation: Some((vnet::Segmentation::TcpV4, 100)), header_length: 0 };
    let segments = split(header, whole);
    let flags: Vec<_> = segments.iter().map(|segment| segment[33]).collect();
    assert_eq!(flags, [ACK | CWR, ACK, ACK | PSH | FIN]);
    assert_eq!(segments.iter().map(Vec::len).collect::<Vec<_>>(), [152, 152, 102]);
}

#[test]
fn a_checksum_left_open_is_completed() {
    for packet in [Packet::tcp(5, 77), Packet::udp(77), Packet { v6: true, ..Packet::udp(1_000) }] {
        let whole = packet.bytes();
        let (start, offset) = (if packet.v6 { 40 } else { 20 }, if packet.tcp { 16 } else { 6 });
        let mut open = whole.clone();
        let length = u16::try_from(whole.len() - start).unwrap();
        let pseudo = pseudo_header(addresses(&whole), if packet.tcp { TCP } else { UDP }, length);
        open[start + offset..start + offset + 2].copy_from_slice(&fold(pseudo));
        let narrow = |at: usize| u16::try_from(at).unwrap();
        let header = Header { checksum: Some((narrow(start), narrow(offset))), ..Header::default() };
        assert_eq!(split(header, open), [whole]);
    }
}

proptest! {
    #[test]
    fn joined_and_split_again_all_is_as_it_was(
        runs in proptest::collection::vec((any::<[bool; 4]>(), 0..3_u16, any::<u32>(), any::<u16>(), 1..70_u16, 1..1_400_usize, 1..1_400_usize), 1..5),
    ) {
        let packets: Vec<_> = runs.into_iter().flat_map(|([v6, tcp, options, push], port, sequence, id, count, size, last)| {
            let template = if tcp { Packet::tcp(sequence, 0) } else { Packet::udp(0) };
            let options = if options { template.options } else { Vec::new() };
            let mut run = run(&Packet { v6, port, id, sequence, options, ..template }, count, size, last.min(size));
            if push && let Some(last) = run.last_mut().filter(|packet| packet.tcp) {
                last.flags |= PSH;
            }
            run
        }).map(|packet| packet.bytes()).collect();
        let again: Vec<_> = joined(&packets).into_iter().flat_map(|(header, packet)| split(header, packet)).collect();
        // Flows keep their own order; two of them may change places.
        let flow = |packet: &[u8], from: &[Vec<u8>]| -> Vec<Vec<u8>> {
            let key = |packet: &[u8]| { let network = if packet[0] >> 4 == 4 { 20 } else { 40 }; (network, packet[if network == 20 { 9 } else { 6 }], packet[network..network + 2].to_vec()) };
            from.iter().filter(|other| key(other) == key(packet)).cloned().collect()
        };
        prop_assert_eq!(again.len(), packets.len());
        for packet in &packets {
            prop_assert_eq!(flow(packet, &again), flow(packet, &packets));
        }
    }

    /// Whatever an interface hands over, nothing worse happens than that it is not taken.
    #[test]
    fn no_header_and_no_packet_is_trusted(
        mut packet in proptest::collection::vec(any::<u8>(), 0..300), first in prop_oneof![Just(0x45_u8), Just(0x60), any::<u8>()],
        kind in 0..6_u8, checksum: bool, size in prop_oneof![0..5_u16, any::<u16>()], start in prop_oneof![Just(20_u16), Just(40), 0..400_u16], offset in prop_oneof![Just(6_u16), Just(16), any::<u16>()],
    ) {
        if let Some(byte) = packet.first_mut() {
            *byte = first;
        }
        let mut header = [u8::from(checksum), kind, 0, 0, 0, 0, 0, 0, 0, 0];
        for (at, word) in [(4, size), (6, start), (8, offset)] {
            header[at..at + 2].copy_from_slice(&word.to_ne_bytes());
        }
        let length = packet.len();
        if let Some(mut segments) = Header::read(&header).and_then(|header| Segments::new(header, &mut packet)) {
            let mut number = 0;
            while let Some(segment) = segments.next() {
                prop_assert!(segment.len() <= length);
                number += 1;
            }
            prop_assert!(number <= length.max(1));
        }
        joined(&[packet.clone(), packet]);
    }
}

//! Congestion marks across the tunnel as RFC 6040 has it: copied outwards, put together inwards. What else is in the
//! byte beside them, the class of service, stays inside: it would tell strangers what is carried. Pure.

use super::checksum::{complement, sum};

/// The two bits.
const MASK: u8 = 3;
const NOT_CAPABLE: u8 = 0;
const CAPABLE_1: u8 = 1;
const EXPERIENCED: u8 = 3;

/// The mark of a packet, for the datagram that carries it.
pub(super) fn of(packet: &[u8]) -> u8 {
    match packet {
        [first, second, ..] if first >> 4 == 4 => second & MASK,
        [first, second, ..] if first >> 4 == 6 => second >> 4 & MASK,
        _ => NOT_CAPABLE,
    }
}

/// Brings the mark of the datagram that carried it into a packet. False if the packet has to be dropped: there was
/// congestion, and who sent it would not understand the mark (RFC 6040 section 4.2).
pub(super) fn combine(outer: u8, packet: &mut [u8]) -> bool {
    match (of(packet), outer & MASK) {
        (NOT_CAPABLE, EXPERIENCED) => false,
        (NOT_CAPABLE | EXPERIENCED, _) => true,
        (inner, EXPERIENCED | CAPABLE_1) if inner != outer & MASK => {
            set(packet, outer & MASK);
            true
        }
        _ => true,
    }
}

fn set(packet: &mut [u8], mark: u8) {
    if packet[0] >> 4 == 6 {
        packet[1] = packet[1] & !(MASK << 4) | mark << 4;
        return;
    }
    packet[1] = packet[1] & !MASK | mark;
    let length = usize::from(packet[0] & 0xf) * 4;
    if let Some(header) = packet.get_mut(..length).filter(|header| header.len() >= 20) {
        header[10..12].copy_from_slice(&[0, 0]);
        let checksum = complement(sum(header));
        header[10..12].copy_from_slice(&checksum);
    }
}

#[cfg(test)]
mod tests {
    use super::super::checksum::fold;
    use super::*;

    fn v4(mark: u8) -> Vec<u8> {
        let mut packet = vec![0; 28];
        packet[0] = 0x45;
        set(&mut packet, mark);
        packet[1] |= 0xb8;
        packet[10..12].copy_from_slice(&[0, 0]);
        let checksum = complement(sum(&packet[..20]));
        packet[10..12].copy_from_slice(&checksum);
        packet
    }

    fn v6(mark: u8) -> Vec<u8> {
        let mut packet = vec![0; 48];
        (packet[0], packet[1]) = (0x6b, 0x8f | mark << 4);
        packet
    }

    /// The table of RFC 6040, figure 4, row by row: inner, and what becomes of it with each outer.
    #[test]
    fn marks_are_put_together_as_the_table_says() {
        const DROP: u8 = 9;
        let table = [(0, [0, 0, 0, DROP]), (2, [2, 1, 2, 3]), (1, [1, 1, 1, 3]), (3, [3, 3, 3, 3])];
        for (inner, results) in table {
            for (outer, expected) in (0_u8..).zip(results) {
                for mut packet in [v4(inner), v6(inner)] {
                    let before = packet.clone();
                    let kept = combine(outer, &mut packet);
                    assert_eq!(if kept { of(&packet) } else { DROP }, expected, "{inner} in {outer}");
                    let class = |packet: &[u8]| u16::from_be_bytes([packet[0], packet[1]]) & 0x0fcf;
                    if packet[0] >> 4 == 4 {
                        assert_eq!(packet[1] & !MASK, 0xb8);
                        assert_eq!(fold(sum(&packet[..20])), [0xff, 0xff], "the header's checksum is right");
                    } else {
                        assert_eq!(class(&packet), class(&before), "class and flow label stay");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_packet_has_no_mark() {
        for mut odd in [vec![], vec![0x45], vec![0x60], vec![0x15, 3], vec![0x45, 2]] {
            of(&odd);
            combine(EXPERIENCED, &mut odd);
        }
        assert_eq!(of(&[0x15, 3]), NOT_CAPABLE);
    }
}

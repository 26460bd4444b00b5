//! A packet as the host's TUN interface hands it over, up to 64 KiB with checksums still to be made, taken apart into
//! the packets that go through the tunnel. In place: each header is written before its payload, over bytes that were
//! already taken. Pure.

use super::{
    checksum::{complement, pseudo_header, sum},
    vnet::{Header, Segmentation},
};

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

/// Longest headers there are: 60 bytes of IPv4, or 40 of IPv6 and extensions, and 60 of TCP.
const LONGEST_HEADERS: usize = 128;

/// TCP flags, RFC 9293 and RFC 3168, in the byte at 13.
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// The packets that one read from the interface brought.
#[derive(Debug)]
pub(super) struct Segments<'a> {
    packet: &'a mut [u8],
    plan: Plan,
}

#[derive(Debug)]
enum Plan {
    /// Everything was given out.
    Done,
    /// One packet, as it is.
    Whole,
    Split(Split),
}

#[derive(Debug)]
struct Split {
    headers: [u8; LONGEST_HEADERS],
    /// Bytes of all headers, and of those before the transport's.
    length: usize,
    transport: usize,
    is_tcp: bool,
    /// Bytes of payload in each, but for the last.
    size: usize,
    given: usize,
    number: u16,
}

impl<'a> Segments<'a> {
    /// Of one packet with its header; `None` where the two do not fit each other.
    pub(super) fn new(header: Header, packet: &'a mut [u8]) -> Option<Self> {
        let plan = match (header.segmentation, header.checksum) {
            (Some((kind, size)), Some((start, _))) => Plan::Split(Split::new(kind, size.into(), start.into(), packet)?),
            // There is no segmentation without checksums left to be made.
            (Some(_), None) => return None,
            (None, Some((start, offset))) => {
                fill_checksum(packet, start.into(), offset.into())?;
                Plan::Whole
            }
            (None, None) => Plan::Whole,
        };
        Some(Self { packet, plan })
    }

    /// The next one, whole, with all its checksums.
    pub(super) fn next(&mut self) -> Option<&mut [u8]> {
        match &mut self.plan {
            Plan::Done => None,
            Plan::Whole => {
                self.plan = Plan::Done;
                Some(self.packet)
            }
            Plan::Split(split) => split.next(self.packet),
        }
    }
}

/// Completes a checksum of which the interface left the pseudo header's part in its place.
fn fill_checksum(packet: &mut [u8], start: usize, offset: usize) -> Option<()> {
    let checksum = complement(sum(packet.get(start..)?));
    // UDP says "none" with a zero, and means zero with all ones.
    let is_zero_udp = offset == 6 && checksum == [0, 0];
    let field = packet.get_mut(start + offset..start + offset + 2)?;
    field.copy_from_slice(if is_zero_udp { &[0xff, 0xff] } else { &checksum });
    Some(())
}

impl Split {
    fn new(kind: Segmentation, size: usize, transport: usize, packet: &[u8]) -> Option<Self> {
        let version = packet.first()? >> 4;
        let is_tcp = kind != Segmentation::Udp;
        let fits = match (version, kind) {
            (4, Segmentation::TcpV4 | Segmentation::Udp) => transport >= 20,
            (6, Segmentation::TcpV6 | Segmentation::Udp) => transport >= 40,
            _ => false,
        };
        let own = if is_tcp { usize::from(*packet.get(transport + 12)? >> 4) * 4 } else { 8 };
        let length = transport + own;
        if !fits || size == 0 || (is_tcp && own < 20) || length > LONGEST_HEADERS || packet.len() <= length {
            return None;
        }
        let mut headers = [0; LONGEST_HEADERS];
        headers[..length].copy_from_slice(&packet[..length]);
        Some(Self { headers, length, transport, is_tcp, size, given: 0, number: 0 })
    }

    fn next<'a>(&mut self, packet: &'a mut [u8]) -> Option<&'a mut [u8]> {
        // The first segment's headers are where they belong; each further one's go over the end of the payload before.
        let start = self.given;
        let rest = packet.len().checked_sub(start + self.length).filter(|rest| *rest > 0)?;
        let payload = rest.min(self.size);
        let segment = &mut packet[start..start + self.length + payload];
        segment[..self.length].copy_from_slice(&self.headers[..self.length]);
        self.given += self.size;
        let is_last = rest <= self.size;
        let (network, transport) = segment.split_at_mut(self.transport);
        let length = transport.len();
        if self.is_tcp {
            let sequence = u32::from_be_bytes([transport[4], transport[5], transport[6], transport[7]]);
            // At most 64 KiB.
            let sequence = sequence.wrapping_add(u32::try_from(start).unwrap_or_default());
            transport[4..8].copy_from_slice(&sequence.to_be_bytes());
            if !is_last {
                transport[13] &= !(FIN | PSH);
            }
            if self.number > 0 {
                transport[13] &= !CWR;
            }
        } else {
            transport[4..6].copy_from_slice(&be16(length));
        }
        write_lengths(network, length, self.number);
        let (protocol, at) = if self.is_tcp { (TCP, 16) } else { (UDP, 6) };
        transport[at..at + 2].copy_from_slice(&[0, 0]);
        let pseudo = pseudo_header(addresses(network), protocol, u16::try_from(length).unwrap_or_default());
        let checksum = complement(pseudo + sum(transport));
        let is_zero_udp = !self.is_tcp && checksum == [0, 0];
        transport[at..at + 2].copy_from_slice(if is_zero_udp { &[0xff, 0xff] } else { &checksum });
        self.number = self.number.wrapping_add(1);
        Some(segment)
    }
}

/// Writes into an IP header how many bytes of transport follow it; in IPv4 also which of several packets this is, and
/// the header's checksum.
pub(super) fn write_lengths(network: &mut [u8], transport: usize, number: u16) {
    let length = network.len() + transport;
    if network[0] >> 4 == 4 {
        let id = u16::from_be_bytes([network[4], network[5]]).wrapping_add(number);
        network[2..4].copy_from_slice(&be16(length));
        network[4..6].copy_from_slice(&id.to_be_bytes());
        network[10..12].copy_from_slice(&[0, 0]);
        let checksum = complement(sum(network));
        network[10..12].copy_from_slice(&checksum);
    } else {
        network[4..6].copy_from_slice(&be16(length - 40));
    }
}

/// Source and destination of an IP header, one after the other.
pub(super) fn addresses(network: &[u8]) -> &[u8] {
    if network[0] >> 4 == 4 { &network[12..20] } else { &network[8..40] }
}

/// A length, which is that of a part of a packet of at most 64 KiB.
pub(super) fn be16(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

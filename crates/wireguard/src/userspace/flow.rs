//! What of a packet from the tunnel decides whether the next one may be joined to it. Pure.

use super::{
    checksum::{fold, pseudo_header, sum},
    split::{TCP, UDP, addresses},
    vnet::Segmentation,
};

const FIN_SYN_RST_URG_CWR: u8 = 0x01 | 0x02 | 0x04 | 0x20 | 0x80;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;

/// How the headers of a packet lie: plain TCP or UDP, in one piece, without options of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bytes of the IP header.
    pub(super) network: usize,
    /// Bytes of all headers.
    pub(super) headers: usize,
    pub(super) is_tcp: bool,
}

impl Layout {
    /// Of a whole packet, exactly as long as its header says; `None` where it is anything else.
    pub(super) fn of(packet: &[u8]) -> Option<Self> {
        let (network, protocol, length) = match packet.first()? {
            // Not a fragment: neither "more follow" nor an offset.
            0x45 if packet.len() >= 20 && packet[6] & 0x3f == 0 && packet[7] == 0 => {
                (20, packet[9], usize::from(u16::from_be_bytes([packet[2], packet[3]])))
            }
            first if first >> 4 == 6 && packet.len() >= 40 => {
                (40, packet[6], usize::from(u16::from_be_bytes([packet[4], packet[5]])) + 40)
            }
            _ => return None,
        };
        let transport = &packet[network..];
        let (is_tcp, own) = match protocol {
            TCP if transport.len() >= 20 => (true, usize::from(transport[12] >> 4) * 4),
            UDP if transport.len() >= 8 => (false, 8),
            _ => return None,
        };
        let whole = length == packet.len() && network + own <= length && (!is_tcp || own >= 20);
        // A UDP length of its own would be lost in the joining.
        let fits = is_tcp || usize::from(u16::from_be_bytes([transport[4], transport[5]])) == transport.len();
        (whole && fits).then_some(Self { network, headers: network + own, is_tcp })
    }

    pub(super) fn segmentation(self) -> Segmentation {
        match (self.is_tcp, self.network) {
            (false, _) => Segmentation::Udp,
            (true, 20) => Segmentation::TcpV4,
            (true, _) => Segmentation::TcpV6,
        }
    }

    /// Where the transport's checksum is, after its header begins.
    pub(super) fn checksum_offset(self) -> usize {
        if self.is_tcp { 16 } else { 6 }
    }

    pub(super) fn protocol(self) -> u8 {
        if self.is_tcp { TCP } else { UDP }
    }

    /// Whether a packet may have others joined to it, or be joined to others: it brings data, and says nothing special.
    pub(super) fn is_plain(self, packet: &[u8]) -> bool {
        let transport = &packet[self.network..];
        if packet.len() == self.headers {
            return false;
        }
        if self.is_tcp {
            return transport[13] & FIN_SYN_RST_URG_CWR == 0 && transport[13] & ACK != 0;
        }
        // Without a checksum of its own there is none to vouch for.
        transport[6..8] != [0, 0]
    }

    /// Whether the sender wants this delivered at once: nothing is joined after it.
    pub(super) fn is_pushed(self, packet: &[u8]) -> bool {
        self.is_tcp && packet[self.network + 13] & PSH != 0
    }

    /// Whether the transport's checksum is right, with which we vouch for the packet to the kernel.
    pub(super) fn is_sound(self, packet: &[u8]) -> bool {
        let (network, transport) = packet.split_at(self.network);
        let length = u16::try_from(transport.len()).unwrap_or_default();
        fold(pseudo_header(addresses(network), self.protocol(), length) + sum(transport)) == [0xff, 0xff]
            && (network.len() != 20 || fold(sum(network)) == [0xff, 0xff])
    }

    /// Whether two packets of this layout belong to one flow.
    pub(super) fn is_same_flow(self, one: &[u8], two: &[u8]) -> bool {
        let ports = self.network..self.network + 4;
        one[0] >> 4 == two[0] >> 4 && addresses(one) == addresses(two) && one[ports.clone()] == two[ports]
    }

    /// Whether the second of two packets of one flow says the same as the first but for its data and place. Place is the
    /// TCP sequence number, that the caller knows, and the number of IPv4, which counts on.
    pub(super) fn continues(self, one: &[u8], two: &[u8], number: u16) -> bool {
        let network = if self.network == 20 {
            let id = |packet: &[u8]| u16::from_be_bytes([packet[4], packet[5]]);
            // All but length, number and checksum.
            one[..2] == two[..2] && one[6..10] == two[6..10] && id(two) == id(one).wrapping_add(number)
        } else {
            one[..4] == two[..4] && one[6..8] == two[6..8]
        };
        let (one, two) = (&one[self.network..self.headers], &two[self.network..self.headers]);
        // All but sequence number, PSH and checksum.
        let transport = || {
            one[8..13] == two[8..13]
                && one[13] | PSH == two[13] | PSH
                && one[14..16] == two[14..16]
                && one[18..] == two[18..]
        };
        network && (!self.is_tcp || transport())
    }
}

/// The sequence number of a TCP segment.
pub(super) fn sequence(transport: &[u8]) -> u32 {
    u32::from_be_bytes([transport[4], transport[5], transport[6], transport[7]])
}

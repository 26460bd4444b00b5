//! The header that a TUN interface with offloads puts before each packet, `struct virtio_net_hdr` of
//! `linux/virtio_net.h` in its short form. Pure.

/// Bytes of it.
pub(super) const LENGTH: usize = 10;

const NEEDS_CHECKSUM: u8 = 1;
const NO_SEGMENTATION: u8 = 0;
const TCP_V4: u8 = 1;
const TCP_V6: u8 = 4;
const UDP: u8 = 5;
/// Beside a kind: the first segment says that the window was reduced.
const ECN: u8 = 0x80;

/// What a packet is to be split into, or was joined from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segmentation {
    /// TCP segments in IPv4.
    TcpV4,
    /// TCP segments in IPv6.
    TcpV6,
    /// UDP datagrams.
    Udp,
}

/// What is still to be done to a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// Where the bytes to sum begin, and where after that the checksum goes, if it is not there yet.
    pub(super) checksum: Option<(u16, u16)>,
    /// Into what the packet is to be split, and bytes of payload in each piece.
    pub(super) segmentation: Option<(Segmentation, u16)>,
    /// Bytes of headers, a hint.
    pub(super) header_length: u16,
}

impl Header {
    /// Of the first bytes of what was read; `None` where they make no sense.
    pub(super) fn read(bytes: &[u8; LENGTH]) -> Option<Self> {
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let kind = match bytes[1] & !ECN {
            NO_SEGMENTATION => None,
            TCP_V4 => Some(Segmentation::TcpV4),
            TCP_V6 => Some(Segmentation::TcpV6),
            UDP => Some(Segmentation::Udp),
            _ => return None,
        };
        Some(Self {
            checksum: (bytes[0] & NEEDS_CHECKSUM != 0).then(|| (word(6), word(8))),
            segmentation: kind.map(|kind| (kind, word(4))),
            header_length: word(2),
        })
    }

    pub(super) fn write(self) -> [u8; LENGTH] {
        let kind = match self.segmentation {
            None => NO_SEGMENTATION,
            Some((Segmentation::TcpV4, _)) => TCP_V4,
            Some((Segmentation::TcpV6, _)) => TCP_V6,
            Some((Segmentation::Udp, _)) => UDP,
        };
        let flags = if self.checksum.is_some() { NEEDS_CHECKSUM } else { 0 };
        let (start, offset) = self.checksum.unwrap_or_default();
        let size = self.segmentation.map_or(0, |(_, size)| size);
        let mut bytes = [flags, kind, 0, 0, 0, 0, 0, 0, 0, 0];
        for (at, word) in [(2, self.header_length), (4, size), (6, start), (8, offset)] {
            bytes[at..at + 2].copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let all = [Segmentation::TcpV4, Segmentation::TcpV6, Segmentation::Udp].map(|kind| Some((kind, 1368)));
        for segmentation in all.into_iter().chain([None]) {
            for checksum in [None, Some((20, 16))] {
                let header = Header { checksum, segmentation, header_length: 52 };
                assert_eq!(Header::read(&header.write()), Some(header));
            }
        }
        assert_eq!(Header::default().write(), [0; LENGTH]);
        // UFO, which no kernel of today sends, and a number that is none.
        assert_eq!(Header::read(&[0, 3, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(Header::read(&[0, 77, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        // TCP whose first segment bears CWR is still TCP.
        assert_eq!(
            Header::read(&[0, 0x81, 0, 0, 1, 1, 0, 0, 0, 0]).unwrap().segmentation.unwrap().0,
            Segmentation::TcpV4
        );
    }
}

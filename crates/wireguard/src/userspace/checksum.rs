//! The Internet checksum (RFC 1071), fast enough to be taken of every packet. Pure. Sums are in the byte order of this
//! machine, which the arithmetic allows: what is stored comes out right in either.

/// Bytes summed side by side, so that the compiler uses wide registers.
const STRIDE: usize = 32;
const LANES: usize = STRIDE / 4;

/// The sum of these bytes as 16-bit words, the last one filled up with zero. Sums of several pieces may be added, if all
/// but the last have an even length.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    let mut lanes = [0_u64; LANES];
    let mut strides = bytes.chunks_exact(STRIDE);
    for stride in &mut strides {
        for (lane, word) in lanes.iter_mut().zip(stride.chunks_exact(4)) {
            *lane += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        }
    }
    let rest = strides.remainder().chunks(4).map(|rest| {
        let mut word = [0; 4];
        word[..rest.len()].copy_from_slice(rest);
        u64::from(u32::from_ne_bytes(word))
    });
    lanes.iter().sum::<u64>() + rest.sum::<u64>()
}

/// A sum as 16 bits, in the order in which they are stored.
pub(super) fn fold(mut sum: u64) -> [u8; 2] {
    while let high @ 1.. = sum >> 16 {
        sum = (sum & 0xffff) + high;
    }
    let [.., first, second] = sum.to_be_bytes();
    u16::from_be_bytes([first, second]).to_ne_bytes()
}

/// The checksum that belongs to a sum.
pub(super) fn complement(sum: u64) -> [u8; 2] {
    let [first, second] = fold(sum);
    [!first, !second]
}

/// The sum of the header that TCP and UDP imagine before theirs: addresses, protocol and length (RFC 9293, RFC 768).
pub(super) fn pseudo_header(addresses: &[u8], protocol: u8, length: u16) -> u64 {
    let [high, low] = length.to_be_bytes();
    sum(addresses) + sum(&[0, protocol, high, low])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071, word for word.
    fn plain(bytes: &[u8]) -> [u8; 2] {
        let mut sum = 0_u32;
        for word in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([word[0], *word.get(1).unwrap_or(&0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::try_from(sum).unwrap().to_be_bytes()
    }

    proptest! {
        #[test]
        fn is_the_sum_of_the_specification(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(fold(sum(&bytes)), plain(&bytes));
            let even = bytes.len() / 4 * 2;
            prop_assert_eq!(fold(sum(&bytes[..even]) + sum(&bytes[even..])), plain(&bytes));
        }
    }

    #[test]
    fn the_largest_packet_does_not_overflow() {
        assert_eq!(fold(sum(&[0xff; 65_535])), plain(&[0xff; 65_535]));
    }

    #[test]
    fn a_known_header_has_its_checksum() {
        // From Wikipedia, "Internet checksum": its checksum is b861.
        let mut header = [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        let checksum = complement(sum(&header));
        assert_eq!(checksum, [0xb8, 0x61]);
        header[10..12].copy_from_slice(&checksum);
        assert_eq!(fold(sum(&header)), [0xff, 0xff]);
    }
}

//! The Internet checksum (RFC 1071), fast enough to be taken of every packet. Pure. Sums are in the byte order of this
//! machine, which the arithmetic allows: what is stored comes out right in either.

/// Bytes summed in one step, as words of 8 with a carry each. Vectors were slower: the compiler took them apart again.
const STRIDE: usize = 32;

/// The sum of these bytes as 16-bit words, the last one filled up with zero. Sums of several pieces may be added, if all
/// but the last have an even length.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    let (strides, rest) = bytes.as_chunks::<STRIDE>();
    let (words, rest) = rest.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    // Two sums side by side, as one would wait for itself.
    let [mut even, mut odd] = [u128::from(u64::from_ne_bytes(last)), 0];
    for stride in strides {
        let word = |at: usize| u128::from(u64::from_ne_bytes(std::array::from_fn(|byte| stride[at * 8 + byte])));
        even += word(0);
        odd += word(1);
        even += word(2);
        odd += word(3);
    }
    for word in words {
        even += u128::from(u64::from_ne_bytes(*word));
    }
    // All powers of 2^16 count alike.
    (even + odd).to_ne_bytes().as_chunks::<4>().0.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum()
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

//! Overlay addresses: one IPv4 and one IPv6 address per host, never given out twice.

use ipnet::{Ipv4Net, Ipv6Net};
use picket_model::{NodeId, OverlayAddresses, OverlayPrefixes};
use sha2::{Digest, Sha256};
use std::net::{Ipv4Addr, Ipv6Addr};
use thiserror::Error;

/// No address left.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "overlay range {prefix} is used up: {used} addresses were given out and none is given out twice; configure a wider one"
)]
pub struct OverlayError {
    /// The range.
    pub prefix: Ipv4Net,
    /// Addresses given out so far.
    pub used: usize,
}

/// A unique local /48: `fd` and 40 random bits (RFC 4193 section 3.2.1).
pub fn ula_prefix(random: [u8; 5]) -> Ipv6Net {
    let [a, b, c, d, e] = random;
    let address = Ipv6Addr::from([0xfd, a, b, c, d, e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    Ipv6Net::new_assert(address, 48)
}

/// Addresses of a range that hosts may have, in order, from one on.
pub fn addresses(range: &Ipv4Net, from: Ipv4Addr) -> impl Iterator<Item = Ipv4Addr> + use<> {
    let first = range.hosts().next().map_or(0, Ipv4Addr::to_bits);
    let before = usize::try_from(from.to_bits().saturating_sub(first)).unwrap_or(usize::MAX);
    range.hosts().skip(before)
}

/// Addresses for a new host: the IPv4 address that it is given, and the IPv6 range with 64 bits of the SHA-256 of the host's id.
pub fn given(prefixes: &OverlayPrefixes, node: &NodeId, v4: Ipv4Addr) -> OverlayAddresses {
    OverlayAddresses { v4, v6: derived(&prefixes.v6, node) }
}

fn derived(prefix: &Ipv6Net, node: &NodeId) -> Ipv6Addr {
    let hash = Sha256::digest(node.as_str().as_bytes());
    let mut octets = prefix.network().octets();
    let host = octets.iter_mut().skip(8);
    host.zip(hash.iter()).for_each(|(octet, byte)| *octet = *byte);
    Ipv6Addr::from(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(v4: &str) -> OverlayPrefixes {
        OverlayPrefixes { v4: v4.parse().unwrap(), v6: ula_prefix([1, 2, 3, 4, 5]) }
    }

    #[test]
    fn addresses_go_on_from_one_to_the_last_that_a_host_may_have() {
        let from = |range: &str, from: &str| -> Vec<String> {
            addresses(&range.parse().unwrap(), from.parse().unwrap()).map(|address| address.to_string()).collect()
        };
        assert_eq!(from("192.0.2.0/30", "0.0.0.0"), ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(from("192.0.2.0/30", "192.0.2.1"), ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(from("192.0.2.0/30", "192.0.2.2"), ["192.0.2.2"]);
        assert_eq!(from("192.0.2.0/30", "192.0.2.3"), [""; 0]);
        assert_eq!(from("192.0.2.6/31", "192.0.2.7"), ["192.0.2.7"]);
        // However far it is.
        assert_eq!(from("0.0.0.0/0", "255.255.255.254"), ["255.255.255.254"]);
    }

    #[test]
    fn hosts_get_different_ipv6_addresses() {
        let of = |id: &str| {
            given(&prefixes("192.0.2.0/24"), &id.parse().unwrap(), "192.0.2.2".parse().unwrap()).v6.to_string()
        };
        assert_ne!(of("n-1"), of("n-2"));
        assert_eq!(of("n-1"), of("n-1"));
        assert!(of("n-1").starts_with("fd01:203:405:"));
    }
}

//! Overlay addresses: one IPv4 and one IPv6 address per host, never given out twice.

use ipnet::{Ipv4Net, Ipv6Net};
use picket_model::{NodeId, OverlayAddresses, OverlayPrefixes};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
};
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

/// Addresses for a new host. IPv4: the lowest that was never given out (`taken` holds those of revoked hosts too, so
/// that nobody inherits their flows). IPv6: the range and 64 bits of the SHA-256 of the host's id.
pub fn allocate(
    prefixes: &OverlayPrefixes,
    node: &NodeId,
    taken: &BTreeSet<Ipv4Addr>,
) -> Result<OverlayAddresses, OverlayError> {
    let free = prefixes.v4.hosts().find(|address| !taken.contains(address));
    let v4 = free.ok_or(OverlayError { prefix: prefixes.v4, used: taken.len() })?;
    Ok(OverlayAddresses { v4, v6: derived(&prefixes.v6, node) })
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
    fn the_lowest_free_address_is_given() {
        let taken = BTreeSet::from(["192.0.2.1".parse().unwrap(), "192.0.2.3".parse().unwrap()]);
        let given = allocate(&prefixes("192.0.2.0/24"), &"n-1".parse().unwrap(), &taken).unwrap();
        assert_eq!(given.v4.to_string(), "192.0.2.2");
        assert!(given.v6.to_string().starts_with("fd01:203:405:"), "{}", given.v6);
    }

    #[test]
    fn hosts_get_different_ipv6_addresses() {
        let of = |id: &str| allocate(&prefixes("192.0.2.0/24"), &id.parse().unwrap(), &BTreeSet::new()).unwrap().v6;
        assert_ne!(of("n-1"), of("n-2"));
        assert_eq!(of("n-1"), of("n-1"));
    }

    #[test]
    fn a_used_up_range_is_an_error_not_a_second_owner() {
        let taken = BTreeSet::from(["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()]);
        let error = allocate(&prefixes("192.0.2.0/30"), &"n-1".parse().unwrap(), &taken).unwrap_err();
        assert_eq!(error.used, 2);
    }
}

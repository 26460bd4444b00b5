//! Facts about IP addresses: one canonical form, and the ranges no validator on the internet can have.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// `::ffff:a.b.c.d` as the IPv4 address it means: nft takes the mapped form into an IPv6 set, where it never matches.
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The network that holds exactly this address, in canonical form.
pub fn host_network(address: IpAddr) -> IpNet {
    IpNet::from(canonical(address))
}

/// A network in canonical form: host bits cleared, and what lies within `::ffff:0:0/96` as the IPv4 network it means.
pub fn canonical_network(network: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    let network = network.trunc();
    match (network.addr().to_canonical(), network.prefix_len().checked_sub(MAPPED_BITS)) {
        (IpAddr::V4(address), Some(length)) if network.addr().is_ipv6() => {
            Ipv4Net::new(address, length).map_or(network, IpNet::V4)
        }
        _ => network,
    }
}

/// A network as people read it: a single address without its length.
#[derive(Clone, Copy, Debug)]
pub struct Shown(
    /// The network.
    pub IpNet,
);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() { self.0.addr().fmt(f) } else { self.0.fmt(f) }
    }
}

/// An address and port as the kernel lists sockets, proc_net_tcp(5): hexadecimal words in the byte order of this machine, then the
/// port.
pub fn kernel_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let address = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let octets: [u8; 16] = words.concat().try_into().ok()?;
            IpAddr::from(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// The special-purpose range an address lies in, by name; `None` for an address of the public internet.
/// Ranges: IANA special-purpose address registries (RFC 6890 and updates), multicast, IPv4 class E.
pub fn special_range(address: IpAddr) -> Option<&'static str> {
    match canonical(address) {
        IpAddr::V4(v4) => named(&SPECIAL_V4, |net: &Ipv4Net| net.contains(&v4)),
        IpAddr::V6(v6) => named(&SPECIAL_V6, |net: &Ipv6Net| net.contains(&v6))
            .or_else(|| (!GLOBAL_UNICAST_V6.contains(&v6)).then_some("outside global unicast 2000::/3")),
    }
}

fn named<N>(ranges: &[(N, &'static str)], holds: impl Fn(&N) -> bool) -> Option<&'static str> {
    ranges.iter().find(|(net, _)| holds(net)).map(|(_, name)| *name)
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(first: u16, second: u16, third: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, third, 0, 0, 0, 0, 0), length)
}

/// Private and link-local ranges of IPv4 (RFC 1918, 6598, 3927): what is near a host, not on the internet.
pub const PRIVATE4: [Ipv4Net; 5] =
    [v4(10, 0, 0, 0, 8), v4(100, 64, 0, 0, 10), v4(169, 254, 0, 0, 16), v4(172, 16, 0, 0, 12), v4(192, 168, 0, 0, 16)];

/// Those of IPv6 (RFC 4193, 4291).
pub const PRIVATE6: [Ipv6Net; 2] = [v6(0xfc00, 0, 0, 7), v6(0xfe80, 0, 0, 10)];

const GLOBAL_UNICAST_V6: Ipv6Net = v6(0x2000, 0, 0, 3);

const SPECIAL_V4: [(Ipv4Net, &str); 16] = [
    (v4(0, 0, 0, 0, 8), "this network 0.0.0.0/8"),
    (v4(10, 0, 0, 0, 8), "private 10.0.0.0/8"),
    (v4(100, 64, 0, 0, 10), "shared 100.64.0.0/10"),
    (v4(127, 0, 0, 0, 8), "loopback 127.0.0.0/8"),
    (v4(169, 254, 0, 0, 16), "link-local 169.254.0.0/16"),
    (v4(172, 16, 0, 0, 12), "private 172.16.0.0/12"),
    (v4(192, 0, 0, 0, 24), "protocol assignments 192.0.0.0/24"),
    (v4(192, 0, 2, 0, 24), "documentation 192.0.2.0/24"),
    (v4(192, 88, 99, 0, 24), "6to4 relay 192.88.99.0/24"),
    (v4(192, 168, 0, 0, 16), "private 192.168.0.0/16"),
    (v4(198, 18, 0, 0, 15), "benchmarking 198.18.0.0/15"),
    (v4(198, 51, 100, 0, 24), "documentation 198.51.100.0/24"),
    (v4(203, 0, 113, 0, 24), "documentation 203.0.113.0/24"),
    (v4(224, 0, 0, 0, 4), "multicast 224.0.0.0/4"),
    (v4(255, 255, 255, 255, 32), "broadcast 255.255.255.255"),
    (v4(240, 0, 0, 0, 4), "reserved 240.0.0.0/4"),
];

const SPECIAL_V6: [(Ipv6Net, &str); 5] = [
    (v6(0x2001, 0x0db8, 0, 32), "documentation 2001:db8::/32"),
    (v6(0x2001, 0, 0, 23), "protocol assignments 2001::/23"),
    (v6(0x2002, 0, 0, 16), "6to4 2002::/16"),
    (v6(0x3fff, 0, 0, 20), "documentation 3fff::/20"),
    (v6(0x2620, 0x004f, 0x8000, 48), "direct delegation AS112 2620:4f:8000::/48"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_ranges_are_named() {
        let special = [
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "172.31.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "250.0.0.1",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "2001:db8::1",
            "2002::1",
            "64:ff9b::1",
            "::ffff:10.0.0.1",
        ];
        for text in special {
            assert!(special_range(text.parse().unwrap()).is_some(), "{text}");
        }
        for text in ["1.1.1.1", "210.180.69.101", "172.32.0.1", "2a01:4f8::1", "::ffff:1.1.1.1"] {
            assert_eq!(special_range(text.parse().unwrap()), None, "{text}");
        }
    }

    #[test]
    fn no_private_range_is_of_the_public_internet() {
        let ends = PRIVATE4.iter().flat_map(|net| [IpAddr::from(net.network()), net.broadcast().into()]);
        let ends = ends.chain(PRIVATE6.iter().flat_map(|net| [IpAddr::from(net.network()), net.broadcast().into()]));
        for end in ends {
            assert!(special_range(end).is_some(), "{end}");
        }
    }

    #[test]
    fn mapped_addresses_become_ipv4() {
        assert_eq!(host_network("::ffff:192.0.2.1".parse().unwrap()).to_string(), "192.0.2.1/32");
        let check = |text: &str, expect: &str| {
            assert_eq!(canonical_network(text.parse().unwrap()).to_string(), expect);
        };
        check("::ffff:192.0.2.77/120", "192.0.2.0/24");
        check("::ffff:0:0/96", "0.0.0.0/0");
        check("::ffff:0:0/95", "::fffe:0:0/95");
        check("192.0.2.77/24", "192.0.2.0/24");
        check("2001:db8::1/32", "2001:db8::/32");
    }
}

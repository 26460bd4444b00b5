//! How many addresses networks hold, for the guard's limits. Values in, values out.

use crate::guard::Widths;
use ipnet::{IpNet, Ipv6Net};

/// Addresses in networks, by family, saturating.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sizes {
    v4: u128,
    v6: u128,
}

impl Sizes {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self { v4: self.v4.saturating_add(other.v4), v6: self.v6.saturating_add(other.v6) }
    }
}

/// How many addresses a network lets in. IPv4-mapped addresses count as what they mean, or `::ffff:0:0/96` would be
/// a small network that lets in everybody.
pub(crate) fn size(network: IpNet) -> Sizes {
    const MAPPED: Ipv6Net = Ipv6Net::new_assert(std::net::Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);
    match network {
        IpNet::V4(net) => Sizes { v4: addresses(32 - net.prefix_len()), v6: 0 },
        IpNet::V6(net) if MAPPED.contains(&net) => Sizes { v4: addresses(128 - net.prefix_len()), v6: 0 },
        IpNet::V6(net) => Sizes { v4: 0, v6: addresses(128 - net.prefix_len()) },
    }
}

pub(crate) fn is_within(widest: Widths, sizes: Sizes) -> bool {
    let most = |bits: u8, width: u8| addresses(bits.saturating_sub(width));
    sizes.v4 <= most(32, widest.v4) && sizes.v6 <= most(128, widest.v6)
}

fn addresses(host_bits: u8) -> u128 {
    1_u128.checked_shl(host_bits.into()).unwrap_or(u128::MAX)
}

//! Cryptokey routing: which peer an address belongs to, by longest prefix.

use ipnet::IpNet;
use std::{collections::BTreeMap, net::IpAddr};

/// Networks, each of one peer. A look-up costs one search for each prefix length in use, of which an overlay has one
/// or two a family; a change costs one search, however many networks there are.
#[derive(Debug)]
pub(super) struct AllowedIps<P> {
    owners: BTreeMap<IpNet, P>,
    v4: Lengths,
    v6: Lengths,
}

/// How many networks there are of each prefix length.
type Lengths = BTreeMap<u8, usize>;

impl<P: Copy + PartialEq> AllowedIps<P> {
    pub(super) fn new() -> Self {
        Self { owners: BTreeMap::new(), v4: Lengths::new(), v6: Lengths::new() }
    }

    /// Gives a network to a peer; the peer that had it so far.
    pub(super) fn insert(&mut self, network: IpNet, peer: P) -> Option<P> {
        let network = network.trunc();
        let before = self.owners.insert(network, peer);
        if before.is_none() {
            *self.lengths(network).entry(network.prefix_len()).or_default() += 1;
        }
        before
    }

    /// Takes a network from a peer, if it is that peer's.
    pub(super) fn remove(&mut self, network: IpNet, peer: P) {
        let network = network.trunc();
        if self.owners.get(&network) != Some(&peer) {
            return;
        }
        self.owners.remove(&network);
        let lengths = self.lengths(network);
        if let Some(count) = lengths.get_mut(&network.prefix_len()) {
            *count -= 1;
            if *count == 0 {
                lengths.remove(&network.prefix_len());
            }
        }
    }

    /// The peer an address belongs to.
    pub(super) fn peer_of(&self, address: IpAddr) -> Option<P> {
        let lengths = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        lengths.keys().rev().find_map(|length| {
            let network = IpNet::new(address, *length).ok()?.trunc();
            self.owners.get(&network).copied()
        })
    }

    fn lengths(&mut self, network: IpNet) -> &mut Lengths {
        match network {
            IpNet::V4(_) => &mut self.v4,
            IpNet::V6(_) => &mut self.v6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn network(family: bool, bits: u32, length: u8) -> IpNet {
        let address = if family {
            IpAddr::from(bits.to_be_bytes())
        } else {
            IpAddr::from((u128::from(bits) << 96).to_be_bytes())
        };
        IpNet::new(address, length).unwrap()
    }

    proptest! {
        /// Beside the plain definition: the longest of all networks that hold the address.
        #[test]
        fn finds_the_longest_prefix(
            steps in proptest::collection::vec((any::<bool>(), any::<bool>(), 0..16_u32, 0..=32_u8, 0..3_u8), 0..60),
            asked in proptest::collection::vec((any::<bool>(), 0..16_u32), 20),
        ) {
            let (mut found, mut model) = (AllowedIps::new(), BTreeMap::<IpNet, u8>::new());
            for (insert, family, bits, length, peer) in steps {
                let net = network(family, bits << 28, length);
                if insert {
                    prop_assert_eq!(found.insert(net, peer), model.insert(net.trunc(), peer));
                } else {
                    found.remove(net, peer);
                    if model.get(&net.trunc()) == Some(&peer) {
                        model.remove(&net.trunc());
                    }
                }
            }
            for (family, bits) in asked {
                let address = network(family, bits << 28, 32).addr();
                let longest = model.iter().filter(|(net, _)| net.contains(&address)).max_by_key(|(net, _)| net.prefix_len());
                prop_assert_eq!(found.peer_of(address), longest.map(|(_, peer)| *peer));
            }
        }
    }
}

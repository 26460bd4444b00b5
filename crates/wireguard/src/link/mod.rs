//! What is around a WireGuard device: its addresses, its MTU, whether it is up, and the routes into it. Values; the
//! kernel's side of them is in `netlink`.

pub(crate) mod netlink;
pub(crate) mod steering;
mod steering_netlink;
pub mod watch;

use crate::device::DeviceConfig;
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};
#[cfg(test)]
use steering::Steering;

/// A link, wanted whole. That it is up goes without saying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// Largest packet, in bytes.
    pub mtu: u16,
    /// All its addresses but link-local ones, which are the kernel's own.
    pub addresses: BTreeSet<IpNet>,
    /// Networks routed into it.
    pub routes: BTreeSet<IpNet>,
    /// Largest packet on these routes, where that is less than the link's.
    pub route_mtu: Option<u16>,
}

impl LinkConfig {
    /// The link a device wants: its addresses, and a route to each peer's networks.
    ///
    /// A whole family (`0.0.0.0/0`, `::/0`) among allowed IPs gets no route: in the main table it would swallow the
    /// host's own traffic, the tunnel's datagrams first. Such traffic, and what else is steered, has rules: see `steering`.
    pub fn of(device: &DeviceConfig) -> Self {
        let networks = device.peers.values().flat_map(|peer| &peer.allowed_ips);
        let networks = networks.filter(|network| !device.steering.networks.contains(network));
        Self {
            mtu: device.mtu,
            addresses: device.addresses.clone(),
            routes: networks.filter(|network| network.prefix_len() > 0).map(IpNet::trunc).collect(),
            route_mtu: device.steering.mtu,
        }
    }
}

/// A link as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
    /// Its addresses but link-local ones.
    pub addresses: BTreeSet<IpNet>,
    /// Routes into it that are ours: in the main table, with our protocol number.
    pub routes: BTreeSet<IpNet>,
    /// Those of them that have a largest packet of their own.
    pub mtus: BTreeMap<IpNet, u32>,
}

/// One step. Its text is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// Take a route away.
    RemoveRoute(IpNet),
    /// Take an address away.
    RemoveAddress(IpNet),
    /// Set the largest packet, in bytes.
    SetMtu(u16),
    /// Give it an address.
    AddAddress(IpNet),
    /// Bring it up.
    Up,
    /// Route a network into it.
    AddRoute(IpNet),
    /// Give a route another largest packet, or the link's.
    SetRouteMtu(IpNet, Option<u16>),
}

impl LinkChange {
    /// Whether it is about a route. Routes follow the peers, and so wait for the firewall.
    pub fn is_route(&self) -> bool {
        matches!(self, Self::RemoveRoute(_) | Self::AddRoute(_) | Self::SetRouteMtu(..))
    }
}

impl fmt::Display for LinkChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemoveRoute(network) => write!(f, "remove route {network}"),
            Self::RemoveAddress(address) => write!(f, "remove address {address}"),
            Self::SetMtu(mtu) => write!(f, "set mtu {mtu}"),
            Self::AddAddress(address) => write!(f, "add address {address}"),
            Self::Up => f.write_str("bring link up"),
            Self::AddRoute(network) => write!(f, "add route {network}"),
            Self::SetRouteMtu(network, Some(mtu)) => write!(f, "set mtu {mtu} of route {network}"),
            Self::SetRouteMtu(network, None) => write!(f, "take mtu off route {network}"),
        }
    }
}

/// What makes the found link the wanted one, removals first; nothing if it already is.
pub fn diff(wanted: &LinkConfig, found: &LinkState) -> Vec<LinkChange> {
    let mut changes = Vec::new();
    changes.extend(found.routes.difference(&wanted.routes).copied().map(LinkChange::RemoveRoute));
    changes.extend(found.addresses.difference(&wanted.addresses).copied().map(LinkChange::RemoveAddress));
    if found.mtu != u32::from(wanted.mtu) {
        changes.push(LinkChange::SetMtu(wanted.mtu));
    }
    changes.extend(wanted.addresses.difference(&found.addresses).copied().map(LinkChange::AddAddress));
    if !found.up {
        changes.push(LinkChange::Up);
    }
    changes.extend(wanted.routes.difference(&found.routes).copied().map(LinkChange::AddRoute));
    let other_mtu = wanted.routes.iter().filter(|route| {
        // A route that comes anew has none yet.
        let had = found.mtus.get(*route).filter(|_| found.routes.contains(*route));
        had.copied() != wanted.route_mtu.map(u32::from)
    });
    changes.extend(other_mtu.map(|route| LinkChange::SetRouteMtu(*route, wanted.route_mtu)));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{device::PeerConfig, key::PrivateKey};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn networks(list: &[&str]) -> BTreeSet<IpNet> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn applied(mut state: LinkState, changes: &[LinkChange]) -> LinkState {
        for change in changes {
            match change {
                LinkChange::RemoveRoute(network) => {
                    assert!(state.routes.remove(network));
                    state.mtus.remove(network);
                }
                LinkChange::SetRouteMtu(network, mtu) => {
                    assert!(state.routes.contains(network));
                    state.mtus.remove(network);
                    state.mtus.extend(mtu.map(|mtu| (*network, u32::from(mtu))));
                }
                LinkChange::RemoveAddress(address) => assert!(state.addresses.remove(address)),
                LinkChange::SetMtu(mtu) => state.mtu = u32::from(*mtu),
                LinkChange::AddAddress(address) => assert!(state.addresses.insert(*address)),
                LinkChange::Up => state.up = true,
                // The kernel refuses a route into a link that is down.
                LinkChange::AddRoute(network) => assert!(state.up && state.routes.insert(*network)),
            }
        }
        state
    }

    #[test]
    fn changes_read_as_lines() {
        let wanted = LinkConfig {
            mtu: 1420,
            addresses: networks(&["fd00::1/128"]),
            routes: networks(&["fd00::2/128", "10.0.0.0/24"]),
            route_mtu: Some(1300),
        };
        let found = LinkState {
            mtu: 1500,
            up: false,
            addresses: networks(&["fd00::9/128"]),
            routes: networks(&["fd00::7/128", "10.0.0.0/24"]),
            mtus: BTreeMap::new(),
        };
        let lines: Vec<String> = diff(&wanted, &found).iter().map(LinkChange::to_string).collect();
        let expect = [
            "remove route fd00::7/128",
            "remove address fd00::9/128",
            "set mtu 1420",
            "add address fd00::1/128",
            "bring link up",
            "add route fd00::2/128",
            "set mtu 1300 of route 10.0.0.0/24",
            "set mtu 1300 of route fd00::2/128",
        ];
        assert_eq!(lines, expect);
    }

    #[test]
    fn a_whole_family_among_allowed_ips_gets_no_route() {
        let peer = PeerConfig { allowed_ips: networks(&["0.0.0.0/0", "::/0", "fd00::2/128"]), ..Default::default() };
        let device = DeviceConfig {
            name: "picket0".into(),
            private_key: PrivateKey::from_random([1; 32]),
            listen_port: 0,
            addresses: BTreeSet::new(),
            mtu: 1420,
            peers: BTreeMap::from([(PrivateKey::from_random([2; 32]).public(), peer)]),
            steering: Steering::default(),
        };
        assert_eq!(LinkConfig::of(&device).routes, networks(&["fd00::2/128"]));
    }

    fn some_networks() -> impl Strategy<Value = BTreeSet<IpNet>> {
        proptest::collection::btree_set((0..6_u8).prop_map(|n| format!("10.{n}.0.0/16").parse().unwrap()), 0..6)
    }

    proptest! {
        #[test]
        fn what_is_applied_is_what_is_wanted_and_once_is_enough(
            addresses in some_networks(), routes in some_networks(), mtu in 576..1500_u16,
            had in some_networks(), routed in some_networks(), up: bool,
            route_mtu in proptest::option::of(1280..1300_u16), had_mtu in proptest::option::of(1280..1300_u32),
        ) {
            let wanted = LinkConfig { mtu, addresses, routes, route_mtu };
            let mtus = had_mtu.map(|mtu| routed.iter().map(|network| (*network, mtu)).collect()).unwrap_or_default();
            let found = LinkState { mtu: 1420, up, addresses: had, routes: routed, mtus };
            let after = applied(found.clone(), &diff(&wanted, &found));
            prop_assert_eq!((&after.addresses, &after.routes, after.mtu), (&wanted.addresses, &wanted.routes, u32::from(mtu)));
            prop_assert_eq!(diff(&wanted, &after), vec![]);
        }
    }
}

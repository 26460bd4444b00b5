//! Which doors a sentry has, from the firewall that guards them: none without it, none to a node that no tunnel leads to. Values in,
//! values out; what serves them is `picket-gateway`.

use picket_gateway::{Door, Rules, Stands, Stream};
use picket_model::{
    FirewallPolicy, Purpose, ReconcilerStatus, SyncPath, SyncServed, SyncStream, SyncTarget, WireGuardConfig,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
};

/// The doors of a host with this firewall and these tunnels.
pub fn doors(firewall: &FirewallPolicy, wireguard: &WireGuardConfig) -> Vec<Door> {
    let reached: BTreeSet<IpAddr> =
        wireguard.peers.values().flat_map(|peer| &peer.allowed_ips).map(|network| network.addr()).collect();
    let own: BTreeSet<IpAddr> = wireguard.addresses.iter().map(|network| network.addr()).collect();
    firewall.syncs.iter().filter_map(|path| door(path, firewall, &own, &reached)).collect()
}

fn door(
    path: &SyncPath,
    firewall: &FirewallPolicy,
    own: &BTreeSet<IpAddr>,
    reached: &BTreeSet<IpAddr>,
) -> Option<Door> {
    let node = match &path.to {
        SyncTarget::Own => IpAddr::from(Ipv4Addr::LOCALHOST),
        SyncTarget::Prep { overlay, .. } => IpAddr::from(overlay.v4),
    };
    if path.to != SyncTarget::Own && !reached.contains(&node) {
        return None;
    }
    // The mesh and the operator reach every guarded port, and so does the host itself.
    let members = [Purpose::Overlay, Purpose::Admin].into_iter().flat_map(|purpose| firewall.allowed(purpose).0.keys());
    let itself = [IpAddr::from(Ipv4Addr::LOCALHOST).into(), IpAddr::from(Ipv6Addr::LOCALHOST).into()];
    let own_addresses = own.iter().map(|address| (*address).into());
    let callers = path.citizens.iter().chain(members).copied().chain(itself).chain(own_addresses).collect();
    let addresses = match (path.citizens.is_empty(), path.addresses.is_empty()) {
        (true, _) => own.clone(),
        (false, false) => own.union(&path.addresses).copied().collect(),
        (false, true) => BTreeSet::new(),
    };
    let stream = |stream: &SyncStream| match stream {
        SyncStream::Block => Stream::Block,
        SyncStream::Event => Stream::Event,
    };
    Some(Door {
        port: path.port,
        addresses,
        callers,
        node: SocketAddr::new(node, path.to_port.get()),
        rules: Rules { streams: path.websocket.iter().map(stream).collect(), debug: path.debug },
    })
}

/// How they stand, as the host reports it.
pub fn told(stands: BTreeMap<NonZeroU16, Stands>) -> BTreeMap<NonZeroU16, SyncServed> {
    let told = |stands: Stands| SyncServed {
        status: match stands.error {
            None => ReconcilerStatus::InForce,
            Some(error) => ReconcilerStatus::Failed { error },
        },
        requests: stands.requests,
    };
    stands.into_iter().map(|(port, stands)| (port, told(stands))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::tests::config;
    use picket_model::OverlayAddresses;

    fn path(citizens: &[&str], addresses: &[&str]) -> SyncPath {
        let port = NonZeroU16::new(9000).unwrap();
        let overlay = OverlayAddresses { v4: "10.77.0.3".parse().unwrap(), v6: "fd00:1:2::3".parse().unwrap() };
        SyncPath {
            port,
            to: SyncTarget::Prep { node: "n-2".parse().unwrap(), name: "prep-1".parse().unwrap(), overlay },
            to_port: port,
            citizens: citizens.iter().map(|text| text.parse().unwrap()).collect(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            websocket: BTreeSet::new(),
            debug: false,
        }
    }

    #[test]
    fn a_door_is_inside_the_mesh_unless_there_are_citizens() {
        let mut config = config();
        let listens = |config: &picket_model::NodeConfig| {
            let doors = doors(&config.firewall, &config.wireguard);
            doors.iter().map(|door| door.addresses.len()).collect::<Vec<_>>()
        };
        assert!(listens(&config).is_empty());
        for (path, expect) in [
            (path(&[], &["192.0.2.9"]), 2),
            (path(&["198.51.100.0/24"], &["192.0.2.9"]), 3),
            (path(&["198.51.100.0/24"], &[]), 0),
        ] {
            config.firewall.syncs = [path].into();
            assert_eq!(listens(&config), [expect]);
        }
        let door = doors(&config.firewall, &config.wireguard).remove(0);
        let is_served = |text: &str| {
            let address: IpAddr = text.parse().unwrap();
            door.callers.iter().any(|network| network.contains(&address))
        };
        assert!(is_served("198.51.100.9") && is_served("10.77.0.3") && is_served("127.0.0.1"));
        // A validator of the list is a stranger here.
        assert!(!is_served("203.0.113.7") && !is_served("192.0.2.1"));
        config.wireguard.peers.clear();
        assert!(listens(&config).is_empty(), "no tunnel, no door");
    }
}

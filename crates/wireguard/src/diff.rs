//! From a found device to the wanted one in the fewest changes. Values only.

use crate::{
    device::{DeviceConfig, DeviceState, PeerConfig, PeerState},
    key::{PresharedKey, PrivateKey},
};
use ipnet::IpNet;
use picket_model::WireGuardPublicKey;
use std::{collections::BTreeSet, fmt, net::SocketAddr};

/// One step. Its text is one line and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceChange {
    /// Take a peer away; its tunnel ends at once.
    RemovePeer(WireGuardPublicKey),
    /// Give the device its key; all its tunnels shake hands again.
    SetPrivateKey(PrivateKey),
    /// Listen on another UDP port.
    SetListenPort(u16),
    /// Add a peer.
    AddPeer(WireGuardPublicKey, PeerConfig),
    /// Change a peer.
    UpdatePeer(WireGuardPublicKey, PeerUpdate),
}

impl DeviceChange {
    /// Whether this lets something through that did not get through before. Such changes wait for the firewall.
    pub fn opens(&self) -> bool {
        matches!(self, Self::AddPeer(..) | Self::UpdatePeer(..))
    }
}

/// What changes about a peer; `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerUpdate {
    /// New place to dial it.
    pub endpoint: Option<SocketAddr>,
    /// All its networks from now on. A network of another peer moves over.
    pub allowed_ips: Option<BTreeSet<IpNet>>,
    /// Seconds between keepalives from now on.
    pub keepalive_seconds: Option<Option<u16>>,
    /// Secret from the next handshake on.
    pub preshared_key: Option<Option<PresharedKey>>,
}

/// What makes the found device the wanted one, removals first; nothing if it already is.
///
/// A peer's endpoint moves with the peer, so one that differs from the wanted endpoint is no difference by itself:
/// setting it back would cut a peer that roamed. It is set where the peer has none, and where the wish changed:
/// where `previous`, the configuration this process brought into force last, wanted another one. Without
/// `previous`, after a start, the wish is asserted once; a peer that roamed comes back with its next packet.
pub fn diff(wanted: &DeviceConfig, found: &DeviceState, previous: Option<&DeviceConfig>) -> Vec<DeviceChange> {
    let mut changes = Vec::new();
    let is_rekeyed = found.public_key.is_some_and(|key| key != wanted.private_key.public());
    // Under another key there is no session to lose, and a peer that comes anew is dialled at once: WireGuard itself would
    // wait for something to send.
    let anew = |key: &WireGuardPublicKey| {
        let is_dialled = wanted.peers.get(key).is_some_and(|peer| peer.endpoint.is_some());
        is_rekeyed && is_dialled && found.peers.get(key).is_some_and(|peer| peer.endpoint.is_some())
    };
    let unwanted = found.peers.keys().filter(|key| !wanted.peers.contains_key(key) || anew(key));
    changes.extend(unwanted.map(|key| DeviceChange::RemovePeer(*key)));
    if found.public_key != Some(wanted.private_key.public()) {
        changes.push(DeviceChange::SetPrivateKey(wanted.private_key.clone()));
    }
    if wanted.listen_port != 0 && wanted.listen_port != found.listen_port {
        changes.push(DeviceChange::SetListenPort(wanted.listen_port));
    }
    for (key, peer) in &wanted.peers {
        match found.peers.get(key).filter(|_| !anew(key)) {
            None => changes.push(DeviceChange::AddPeer(*key, peer.clone())),
            Some(state) => {
                let dialled = previous.and_then(|previous| previous.peers.get(key)).and_then(|peer| peer.endpoint);
                let update = peer_update(peer, state, dialled);
                if update != PeerUpdate::default() {
                    changes.push(DeviceChange::UpdatePeer(*key, update));
                }
            }
        }
    }
    changes
}

fn peer_update(wanted: &PeerConfig, found: &PeerState, dialled: Option<SocketAddr>) -> PeerUpdate {
    let roamed = found.endpoint.is_some() && dialled == wanted.endpoint;
    PeerUpdate {
        endpoint: wanted.endpoint.filter(|endpoint| found.endpoint != Some(*endpoint) && !roamed),
        allowed_ips: (wanted.allowed_ips != found.allowed_ips).then(|| wanted.allowed_ips.clone()),
        keepalive_seconds: (wanted.keepalive_seconds != found.keepalive_seconds).then_some(wanted.keepalive_seconds),
        preshared_key: (wanted.preshared_key != found.preshared_key).then(|| wanted.preshared_key.clone()),
    }
}

impl fmt::Display for DeviceChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemovePeer(key) => write!(f, "remove peer {key}"),
            Self::SetPrivateKey(key) => write!(f, "set private key of {}", key.public()),
            Self::SetListenPort(port) => write!(f, "listen on udp port {port}"),
            Self::AddPeer(key, peer) => {
                write!(f, "add peer {key}")?;
                let whole = PeerUpdate {
                    endpoint: peer.endpoint,
                    allowed_ips: Some(peer.allowed_ips.clone()),
                    keepalive_seconds: peer.keepalive_seconds.map(Some),
                    preshared_key: peer.preshared_key.clone().map(Some),
                };
                write!(f, "{whole}")
            }
            Self::UpdatePeer(key, update) => write!(f, "update peer {key}{update}"),
        }
    }
}

impl fmt::Display for PeerUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(endpoint) = self.endpoint {
            write!(f, ", endpoint {endpoint}")?;
        }
        if let Some(networks) = &self.allowed_ips {
            f.write_str(", allowed ips")?;
            networks.iter().try_for_each(|network| write!(f, " {network}"))?;
            if networks.is_empty() {
                f.write_str(" none")?;
            }
        }
        match self.keepalive_seconds {
            Some(Some(seconds)) => write!(f, ", keepalive {seconds} s")?,
            Some(None) => f.write_str(", no keepalive")?,
            None => {}
        }
        match self.preshared_key {
            Some(Some(_)) => f.write_str(", preshared key set"),
            Some(None) => f.write_str(", preshared key removed"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(n: u8) -> WireGuardPublicKey {
        WireGuardPublicKey::new([n; 32]).unwrap()
    }

    fn device(peers: &[(u8, PeerConfig)]) -> DeviceConfig {
        DeviceConfig {
            name: "picket0".into(),
            private_key: PrivateKey::from_random([1; 32]),
            listen_port: 51820,
            addresses: BTreeSet::new(),
            mtu: 1420,
            steering: crate::Steering::default(),
            peers: peers.iter().map(|(n, peer)| (key(*n), peer.clone())).collect(),
        }
    }

    fn peer(endpoint: Option<&str>, allowed: &[&str]) -> PeerConfig {
        PeerConfig {
            endpoint: endpoint.map(|text| text.parse().unwrap()),
            allowed_ips: allowed.iter().map(|text| text.parse().unwrap()).collect(),
            ..PeerConfig::default()
        }
    }

    /// What WireGuard does with a change: a network that is given to a peer is taken from whoever had it.
    fn applied(mut state: DeviceState, changes: &[DeviceChange]) -> DeviceState {
        for change in changes {
            match change {
                DeviceChange::RemovePeer(key) => drop(state.peers.remove(key).unwrap()),
                DeviceChange::SetPrivateKey(key) => state.public_key = Some(key.public()),
                DeviceChange::SetListenPort(port) => state.listen_port = *port,
                DeviceChange::AddPeer(key, peer) => {
                    take(&mut state, &peer.allowed_ips);
                    let new = PeerState {
                        endpoint: peer.endpoint,
                        allowed_ips: peer.allowed_ips.clone(),
                        keepalive_seconds: peer.keepalive_seconds,
                        preshared_key: peer.preshared_key.clone(),
                        ..PeerState::default()
                    };
                    assert_eq!(state.peers.insert(*key, new), None);
                }
                DeviceChange::UpdatePeer(key, update) => {
                    update.allowed_ips.iter().for_each(|networks| take(&mut state, networks));
                    let peer = state.peers.get_mut(key).unwrap();
                    peer.endpoint = update.endpoint.or(peer.endpoint);
                    update.allowed_ips.iter().for_each(|networks| peer.allowed_ips.clone_from(networks));
                    update.keepalive_seconds.iter().for_each(|keepalive| peer.keepalive_seconds = *keepalive);
                    update.preshared_key.iter().for_each(|secret| peer.preshared_key.clone_from(secret));
                }
            }
        }
        state
    }

    fn take(state: &mut DeviceState, networks: &BTreeSet<IpNet>) {
        state.peers.values_mut().for_each(|peer| peer.allowed_ips.retain(|network| !networks.contains(network)));
    }

    fn check(wanted: &DeviceConfig, found: &DeviceState, previous: Option<&DeviceConfig>, expect: &[&str]) {
        let lines: Vec<String> = diff(wanted, found, previous).iter().map(DeviceChange::to_string).collect();
        assert_eq!(lines, expect);
    }

    #[test]
    fn changes_read_as_lines_without_secrets_removals_first() {
        let secret: PresharedKey = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=".parse().unwrap();
        let old = device(&[(2, peer(None, &["fd00::2/128"])), (3, peer(None, &["fd00::3/128"]))]);
        let found = applied(DeviceState::default(), &diff(&old, &DeviceState::default(), None));
        let mut changed = peer(Some("192.0.2.3:51820"), &["fd00::2/128"]);
        changed.keepalive_seconds = Some(25);
        changed.preshared_key = Some(secret);
        let mut wanted = device(&[(3, changed), (4, peer(None, &[]))]);
        wanted.private_key = PrivateKey::from_random([7; 32]);
        wanted.listen_port = 51821;
        let own = wanted.private_key.public();
        check(
            &wanted,
            &found,
            Some(&old),
            &[
                &format!("remove peer {}", key(2)),
                &format!("set private key of {own}"),
                "listen on udp port 51821",
                &format!(
                    "update peer {}, endpoint 192.0.2.3:51820, allowed ips fd00::2/128, keepalive 25 s, preshared key set",
                    key(3)
                ),
                &format!("add peer {}, allowed ips none", key(4)),
            ],
        );
    }

    #[test]
    fn under_another_private_key_peers_that_are_dialled_are_dialled_at_once() {
        let old = device(&[(2, peer(Some("192.0.2.2:1"), &["fd00::2/128"])), (3, peer(None, &["fd00::3/128"]))]);
        let found = applied(DeviceState::default(), &diff(&old, &DeviceState::default(), None));
        let wanted = DeviceConfig { private_key: PrivateKey::from_random([7; 32]), ..old.clone() };
        let expected = [
            format!("remove peer {}", key(2)),
            format!("set private key of {}", wanted.private_key.public()),
            format!("add peer {}, endpoint 192.0.2.2:1, allowed ips fd00::2/128", key(2)),
        ];
        check(&wanted, &found, Some(&old), &expected.each_ref().map(String::as_str));
    }

    #[test]
    fn any_port_will_do_where_none_is_wanted() {
        let mut wanted = device(&[]);
        let found = applied(DeviceState::default(), &diff(&wanted, &DeviceState::default(), None));
        wanted.listen_port = 0;
        check(&wanted, &found, None, &[]);
    }

    #[test]
    fn a_peer_that_roamed_is_left_where_it_is() {
        let wanted = device(&[(2, peer(Some("192.0.2.2:1"), &[])), (3, peer(None, &[]))]);
        let mut found = applied(DeviceState::default(), &diff(&wanted, &DeviceState::default(), None));
        for peer in found.peers.values_mut() {
            peer.endpoint = Some("198.51.100.1:9".parse().unwrap());
        }
        check(&wanted, &found, Some(&wanted), &[]);
        check(&wanted, &found, None, &[&format!("update peer {}, endpoint 192.0.2.2:1", key(2))]);
        let moved = device(&[(2, peer(Some("192.0.2.9:1"), &[])), (3, peer(None, &[]))]);
        check(&moved, &found, Some(&wanted), &[&format!("update peer {}, endpoint 192.0.2.9:1", key(2))]);
        found.peers.get_mut(&key(2)).unwrap().endpoint = None;
        check(&wanted, &found, Some(&wanted), &[&format!("update peer {}, endpoint 192.0.2.2:1", key(2))]);
    }

    #[test]
    fn peers_may_swap_their_networks() {
        let old = device(&[(2, peer(None, &["fd00::2/128"])), (3, peer(None, &["fd00::3/128"]))]);
        let new = device(&[(2, peer(None, &["fd00::3/128"])), (3, peer(None, &["fd00::2/128"]))]);
        let found = applied(DeviceState::default(), &diff(&old, &DeviceState::default(), None));
        let after = applied(found.clone(), &diff(&new, &found, Some(&old)));
        assert_eq!(diff(&new, &after, Some(&new)), []);
    }

    /// Devices whose peers share no network, out of a small world so that two of them overlap.
    fn any_device() -> impl Strategy<Value = DeviceConfig> {
        let peer = (any::<Option<u8>>(), 0..4_u8, any::<Option<u8>>(), any::<Option<bool>>());
        let peers = proptest::collection::btree_map(2..8_u8, peer, 0..6);
        let networks = proptest::collection::vec(0..10_u8, 12);
        (peers, networks, 0..3_u16, 1..3_u8).prop_map(|(peers, owners, port, own)| {
            let mut config = device(&[]);
            config.private_key = PrivateKey::from_random([own; 32]);
            config.listen_port = port;
            for (n, (endpoint, _, keepalive, secret)) in peers {
                let mut peer = peer_of(n, &owners);
                peer.endpoint = endpoint.map(|port| SocketAddr::from(([192, 0, 2, n], u16::from(port))));
                peer.keepalive_seconds = keepalive.map(u16::from).filter(|seconds| *seconds > 0);
                peer.preshared_key = secret.map(|b| PresharedKey::from_bytes([u8::from(b) + 1; 32]).unwrap());
                config.peers.insert(key(n), peer);
            }
            config
        })
    }

    fn peer_of(n: u8, owners: &[u8]) -> PeerConfig {
        let networks = owners.iter().enumerate().filter(|(_, owner)| **owner == n);
        let networks = networks.map(|(i, _)| format!("10.{i}.0.0/16").parse().unwrap());
        PeerConfig { allowed_ips: networks.collect(), ..PeerConfig::default() }
    }

    fn matches(state: &DeviceState, wanted: &DeviceConfig) {
        assert_eq!(state.public_key, Some(wanted.private_key.public()));
        assert!(wanted.listen_port == 0 || wanted.listen_port == state.listen_port);
        assert!(state.peers.keys().eq(wanted.peers.keys()));
        for (key, peer) in &wanted.peers {
            let found = &state.peers[key];
            assert_eq!(found.allowed_ips, peer.allowed_ips);
            assert_eq!(found.keepalive_seconds, peer.keepalive_seconds);
            assert_eq!(found.preshared_key, peer.preshared_key);
            assert!(peer.endpoint.is_none() || found.endpoint == peer.endpoint);
        }
    }

    proptest! {
        #[test]
        fn what_is_applied_is_what_is_wanted_and_once_is_enough(first in any_device(), second in any_device()) {
            let fresh = applied(DeviceState::default(), &diff(&first, &DeviceState::default(), None));
            matches(&fresh, &first);
            prop_assert_eq!(diff(&first, &fresh, None), vec![]);
            prop_assert_eq!(diff(&first, &fresh, Some(&first)), vec![]);

            let changes = diff(&second, &fresh, Some(&first));
            let removals = changes.iter().take_while(|c| matches!(c, DeviceChange::RemovePeer(_))).count();
            prop_assert!(!changes[removals..].iter().any(|c| matches!(c, DeviceChange::RemovePeer(_))));
            let after = applied(fresh, &changes);
            matches(&after, &second);
            prop_assert_eq!(diff(&second, &after, Some(&second)), vec![]);
            prop_assert_eq!(diff(&second, &after, None), vec![]);
        }
    }
}

//! A WireGuard device as a value: what is wanted and what was found. No IO.

use crate::key::{PresharedKey, PrivateKey};
use crate::link::steering::Steering;
use ipnet::IpNet;
use picket_model::{Timestamp, WireGuardConfig, WireGuardPublicKey};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};
use thiserror::Error;

/// Longest name of a network interface in bytes: `IFNAMSIZ` less the final zero.
const LONGEST_NAME: usize = 15;
/// Smallest MTU with which the kernel keeps IPv6 on a link, RFC 8200 section 5.
const SMALLEST_MTU_V6: u16 = 1280;
/// Smallest MTU every IPv4 host takes, RFC 791.
const SMALLEST_MTU_V4: u16 = 576;

/// Why a wanted device cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The kernel takes no such name.
    #[error("{0:?} is not the name of a network interface: 1 to 15 letters, digits, '-', '_' or '.'")]
    Name(String),
    /// Cryptokey routing gives each address to one peer.
    #[error("allowed IPs {network} are given to two peers: {first} and {second}")]
    SharedAllowedIps {
        /// The network.
        network: IpNet,
        /// The one peer.
        first: WireGuardPublicKey,
        /// The other.
        second: WireGuardPublicKey,
    },
    /// A device that is its own peer is silently left without it by the kernel.
    #[error("peer {0} has this device's own key")]
    OwnKey(WireGuardPublicKey),
    /// Too small for the addresses it has.
    #[error("an MTU of {0} bytes is too small: at least 576, and 1280 with IPv6 inside the tunnel")]
    Mtu(u16),
}

/// A device, wanted whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceConfig {
    /// Interface name.
    pub name: String,
    /// The device's private key.
    pub private_key: PrivateKey,
    /// UDP port; 0 takes whichever is found or free.
    pub listen_port: u16,
    /// Addresses of the interface.
    pub addresses: BTreeSet<IpNet>,
    /// Largest packet inside the tunnel, in bytes.
    pub mtu: u16,
    /// Peers by key.
    pub peers: BTreeMap<WireGuardPublicKey, PeerConfig>,
    /// Calls that leave through it by rules of their own.
    pub steering: Steering,
}

/// One peer, wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerConfig {
    /// Where to dial it; `None` waits to be dialled.
    pub endpoint: Option<SocketAddr>,
    /// Networks behind it, without host bits.
    pub allowed_ips: BTreeSet<IpNet>,
    /// Seconds between keepalives; `None` sends none.
    pub keepalive_seconds: Option<u16>,
    /// Secret mixed into its handshakes.
    pub preshared_key: Option<PresharedKey>,
}

impl DeviceConfig {
    /// The device a host's configuration speaks of, in canonical form, together with the key only the host has.
    /// Errors where no kernel could bring it into force.
    pub fn from_model(name: &str, private_key: PrivateKey, wanted: &WireGuardConfig) -> Result<Self, ConfigError> {
        let peers = wanted.peers.iter().map(|(key, peer)| {
            let config = PeerConfig {
                endpoint: peer.endpoint.map(|at| SocketAddr::new(at.ip().to_canonical(), at.port())),
                allowed_ips: peer.allowed_ips.iter().map(IpNet::trunc).collect(),
                keepalive_seconds: peer.keepalive_seconds.filter(|seconds| *seconds > 0),
                preshared_key: None,
            };
            (*key, config)
        });
        let config = Self {
            name: name.to_owned(),
            private_key,
            listen_port: wanted.listen_port,
            addresses: wanted.addresses.clone(),
            mtu: wanted.mtu,
            peers: peers.collect(),
            steering: Steering::default(),
        };
        config.check()?;
        Ok(config)
    }

    /// An error where no kernel could bring this device into force.
    pub fn check(&self) -> Result<(), ConfigError> {
        let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let name = self.name.as_str();
        if name.is_empty() || name.len() > LONGEST_NAME || matches!(name, "." | "..") || !name.bytes().all(letter) {
            return Err(ConfigError::Name(name.to_owned()));
        }
        let inside = self.addresses.iter().chain(self.peers.values().flat_map(|peer| &peer.allowed_ips));
        let v6 = inside.clone().any(|network| matches!(network, IpNet::V6(_)));
        if self.mtu < if v6 { SMALLEST_MTU_V6 } else { SMALLEST_MTU_V4 } {
            return Err(ConfigError::Mtu(self.mtu));
        }
        let own = self.private_key.public();
        if self.peers.contains_key(&own) {
            return Err(ConfigError::OwnKey(own));
        }
        let mut owners = BTreeMap::new();
        for (key, peer) in &self.peers {
            for network in &peer.allowed_ips {
                if let Some(first) = owners.insert(network.trunc(), *key) {
                    return Err(ConfigError::SharedAllowedIps { network: *network, first, second: *key });
                }
            }
        }
        Ok(())
    }
}

/// A device as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceState {
    /// Its public key; `None` before it was given a private one.
    pub public_key: Option<WireGuardPublicKey>,
    /// UDP port; 0 before it has one.
    pub listen_port: u16,
    /// Peers by key.
    pub peers: BTreeMap<WireGuardPublicKey, PeerState>,
}

/// One peer as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerState {
    /// Where it was last heard from, or is to be dialled.
    pub endpoint: Option<SocketAddr>,
    /// Networks behind it.
    pub allowed_ips: BTreeSet<IpNet>,
    /// Seconds between keepalives.
    pub keepalive_seconds: Option<u16>,
    /// Secret mixed into its handshakes.
    pub preshared_key: Option<PresharedKey>,
    /// Last completed handshake.
    pub last_handshake: Option<Timestamp>,
    /// Bytes received from it on the wire, authenticated ones only.
    pub received_bytes: u64,
    /// Bytes sent to it on the wire.
    pub sent_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::WireGuardPeer;

    fn peer(allowed: &[&str]) -> WireGuardPeer {
        WireGuardPeer {
            node: "n-2".parse().unwrap(),
            name: "sentry-1".parse().unwrap(),
            endpoint: Some("[::ffff:192.0.2.1]:51820".parse().unwrap()),
            allowed_ips: allowed.iter().map(|text| text.parse().unwrap()).collect(),
            keepalive_seconds: Some(0),
            pairing: None,
        }
    }

    fn model(mtu: u16, peers: &[(u8, &[&str])]) -> WireGuardConfig {
        WireGuardConfig {
            listen_port: 51820,
            addresses: BTreeSet::from(["fd00::1/128".parse().unwrap()]),
            mtu,
            peers: peers
                .iter()
                .map(|(n, allowed)| (WireGuardPublicKey::new([*n; 32]).unwrap(), peer(allowed)))
                .collect(),
        }
    }

    fn check(name: &str, wanted: &WireGuardConfig, expect: &str) {
        let found = DeviceConfig::from_model(name, PrivateKey::from_random([1; 32]), wanted);
        assert_eq!(found.map_or_else(|error| error.to_string(), |_| "ok".to_owned()), expect);
    }

    #[test]
    fn devices_no_kernel_takes_are_refused() {
        check("picket0", &model(1420, &[(9, &["fd00::9/128"]), (8, &["fd00::8/128"])]), "ok");
        check(
            "",
            &model(1420, &[]),
            "\"\" is not the name of a network interface: 1 to 15 letters, digits, '-', '_' or '.'",
        );
        check(
            "a/b",
            &model(1420, &[]),
            "\"a/b\" is not the name of a network interface: 1 to 15 letters, digits, '-', '_' or '.'",
        );
        check(
            "picket0",
            &model(1279, &[]),
            "an MTU of 1279 bytes is too small: at least 576, and 1280 with IPv6 inside the tunnel",
        );
        let key = |n: u8| WireGuardPublicKey::new([n; 32]).unwrap();
        check(
            "picket0",
            &model(1420, &[(9, &["fd00::9/64"]), (8, &["fd00::8/64"])]),
            &format!("allowed IPs fd00::/64 are given to two peers: {} and {}", key(8), key(9)),
        );
    }

    #[test]
    fn a_device_is_not_its_own_peer() {
        let private = PrivateKey::from_random([1; 32]);
        let mut wanted = model(1420, &[]);
        wanted.peers.insert(private.public(), peer(&[]));
        let found = DeviceConfig::from_model("picket0", private.clone(), &wanted);
        assert_eq!(found, Err(ConfigError::OwnKey(private.public())));
    }

    #[test]
    fn what_the_model_says_is_brought_into_canonical_form() {
        let wanted = model(1420, &[(9, &["fd00::9/64"])]);
        let device = DeviceConfig::from_model("picket0", PrivateKey::from_random([1; 32]), &wanted).unwrap();
        let peer = device.peers.values().next().unwrap();
        assert_eq!(peer.endpoint, Some("192.0.2.1:51820".parse().unwrap()));
        assert_eq!(peer.allowed_ips, BTreeSet::from(["fd00::/64".parse().unwrap()]));
        assert_eq!(peer.keepalive_seconds, None);
    }
}
